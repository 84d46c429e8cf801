/* SPDX-License-Identifier: MIT */
/* zkbench.h - a workload, and what several of them need. */
#ifndef ZKBENCH_ZKBENCH_H
#define ZKBENCH_ZKBENCH_H

#include <stdatomic.h>
#include <zokio.h>

#include "common/bench.h"

struct workload {
    const char *name;
    const char *what; /* one line for `zkbench list` */
    uint64_t n;       /* when the command line has none */
    int (*run)(const struct bench_options *options); /* 0 or negative errno */
};

extern const struct workload switch_workloads[]; /* ended by a NULL name */
extern const struct workload task_workloads[];
extern const struct workload time_workloads[];
extern const struct workload idle_workloads[];
extern const struct workload stream_workloads[];

/* zk_run() with the workers of the command line. */
int workload_run(const struct bench_options *options, int (*fn)(void *),
                 void *arg);

/* Say what went wrong and give `rc` back. */
int workload_fail(const char *what, int rc);

/*
 * Counts down to zero, then wakes the one who waits, by a byte through a pair
 * of sockets: the waiter is parked, so that its worker is free to work.
 */
struct latch {
    _Atomic uint64_t left;
    zk_fd_t fd[2];
};

int latch_open(struct latch *latch, uint64_t count);
void latch_done(struct latch *latch); /* on a task */
int latch_wait(struct latch *latch);  /* on a task; 0 or negative errno */
void latch_close(struct latch *latch);

#endif
