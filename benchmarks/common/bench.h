/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what the measuring programs share: their command line, the line
 * they print, the clock and the listening socket.
 *
 * Every program is called
 *
 *      program WORKLOAD [--n N] [--workers W] [--port P] [--json]
 *
 * and prints a line for each figure, `program figure value unit`, or with
 * --json an object of the same.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench_options {
    const char *program; /* first word of each line */
    const char *workload;
    uint64_t n;          /* 0: the workload's own default */
    int64_t deadline_ms; /* 0: wait for ever; servers that can */
    unsigned workers;    /* 0: as many as the machine has */
    unsigned port;
    bool json;
};

/* 0, or -1 after saying on standard error what is wrong. */
int bench_options_parse(struct bench_options *out, const char *program,
                        int argc, char **argv);

void bench_print(const struct bench_options *options, const char *figure,
                 double value, const char *unit);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t bench_now(void);
/* Nanoseconds of processor the process has used, user and system. */
uint64_t bench_cpu(void);

/* A listening socket on 127.0.0.1, blocking, or -1 after saying why. */
int bench_listen(unsigned port);

#ifdef __cplusplus
}
#endif

#endif
