/* SPDX-License-Identifier: MIT */
/*
 * main.c - zkbench: zokio's small workloads, one a run.
 *
 *      zkbench list
 *      zkbench WORKLOAD [--n N] [--workers W] [--json]
 *
 * Definitions, units and gates are in docs/benchmarks.md. Every workload checks
 * that the work was done and fails if it was not.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "zkbench.h"

static const struct workload *const groups[] = {
    switch_workloads, task_workloads,   time_workloads,
    idle_workloads,   stream_workloads,
};

enum { N_GROUPS = sizeof groups / sizeof groups[0] };

int workload_run(const struct bench_options *options, int (*fn)(void *),
                 void *arg)
{
    zk_config_t config = {
        .workers = options->workers,
        /* A million parked tasks need more than the default 5 s to end. */
        .shutdown_ns = ZK_SEC(60),
    };

    return zk_run(&config, fn, arg);
}

int workload_fail(const char *what, int rc)
{
    fprintf(stderr, "zkbench: %s: %s\n", what, zk_strerror(rc));
    return rc;
}

int latch_open(struct latch *latch, uint64_t count)
{
    int rc;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, latch->fd) < 0)
        return -errno;
    rc = zk_fd_adopt(latch->fd[0]);
    if (rc == 0)
        rc = zk_fd_adopt(latch->fd[1]);
    if (rc < 0) {
        latch_close(latch);
        return rc;
    }
    /* Published by whatever starts the tasks that count down. */
    atomic_store_explicit(&latch->left, count, memory_order_relaxed);
    return 0;
}

void latch_done(struct latch *latch)
{
    /* acq_rel: what each task did before is seen by the one who waits, through
     * the last of them. */
    if (atomic_fetch_sub_explicit(&latch->left, 1, memory_order_acq_rel) != 1)
        return;
    if (zk_write(latch->fd[1], "", 1, ZK_FOREVER) != 1)
        workload_fail("latch", -EIO);
}

int latch_wait(struct latch *latch)
{
    char byte;
    ssize_t n = zk_read(latch->fd[0], &byte, 1, ZK_FOREVER);

    return n == 1 ? 0 : n < 0 ? (int)n : -EPIPE;
}

void latch_close(struct latch *latch)
{
    zk_close(latch->fd[0]);
    zk_close(latch->fd[1]);
}

static int list(void)
{
    for (unsigned g = 0; g < N_GROUPS; g++)
        for (const struct workload *w = groups[g]; w->name != NULL; w++)
            printf("%-12s %s\n", w->name, w->what);
    return 0;
}

static const struct workload *find(const char *name)
{
    for (unsigned g = 0; g < N_GROUPS; g++)
        for (const struct workload *w = groups[g]; w->name != NULL; w++)
            if (strcmp(w->name, name) == 0)
                return w;
    return NULL;
}

int main(int argc, char **argv)
{
    const struct workload *workload;
    struct bench_options options;

    if (bench_options_parse(&options, "zokio", argc, argv) < 0)
        return 2;
    if (strcmp(options.workload, "list") == 0)
        return list();
    workload = find(options.workload);
    if (workload == NULL) {
        fprintf(stderr, "no such workload; `zkbench list` names them\n");
        return 2;
    }
    if (options.n == 0)
        options.n = workload->n;
    return workload->run(&options) == 0 ? 0 : 1;
}
