/* SPDX-License-Identifier: MIT */
/*
 * testing.h - run tasks in a world that repeats itself.
 *
 * A simulated runtime has one worker, a virtual clock that jumps to the next
 * deadline when nothing can run, a seeded choice of what runs next, and
 * streams in memory. The same seed gives the same run.
 */
#ifndef ZOKIO_TESTING_H
#define ZOKIO_TESTING_H

#include <zokio/base.h>

/** How to simulate. All zero is the default. */
typedef struct zk_sim_config {
    /** Chooses every order. 0: 1. */
    uint64_t seed;
    /** Bytes a stream holds before its writer waits. 0: 65536. */
    uint32_t stream_capacity;
    uint32_t flags;       /**< must be zero */
    uint64_t reserved[8]; /**< must be zero */
} zk_sim_config_t;

ZK_BEGIN_DECLS

/**
 * Run `fn` as the first task of a simulated runtime. The virtual clock starts
 * at one second.
 *
 * @param cfg  borrowed for the call; NULL is all defaults.
 *
 * @retval value     of `fn`.
 * @retval -EDEADLK  nothing can ever run again; the log names who waits for
 *                   what. Also when called from a task.
 * @retval -EINVAL   bad configuration.
 * @retval -ENOMEM   no memory.
 *
 * @context  plain thread only; blocks it.
 * @threads  any; each call is a world of its own.
 * @memory   allocates; all is freed on return.
 * @since    0.1
 */
ZK_API int zk_sim_run(const zk_sim_config_t *cfg, int (*fn)(void *), void *arg);

/**
 * A connected pair of streams in memory, for zk_read(), zk_write() and their
 * kin on a task of a simulated runtime. When one end is closed the other reads
 * what is left and then the end of the stream, and writes get -EPIPE.
 *
 * @param fd  receives two descriptors; untouched on failure. Close them by
 *            zk_close().
 *
 * @retval 0       made.
 * @retval -EPERM  not called from a task of a simulated runtime.
 * @retval -ENOMEM no memory.
 *
 * @context  task only; never switches.
 * @threads  -
 * @memory   allocates; freed when both are closed.
 * @since    0.1
 */
ZK_API ZK_MUST_CHECK int zk_sim_stream(zk_fd_t fd[2]);

/**
 * A number that stands for everything that happened so far in this simulated
 * runtime: same seed and program, same number.
 *
 * @retval hash  0 when not called from a task of a simulated runtime.
 *
 * @context  task only; never switches.
 * @threads  -
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API uint64_t zk_sim_trace_hash(void);

ZK_END_DECLS

#endif
