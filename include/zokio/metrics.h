/* SPDX-License-Identifier: MIT */
/*
 * metrics.h - what a runtime counted.
 */
#ifndef ZOKIO_METRICS_H
#define ZOKIO_METRICS_H

#include <zokio/base.h>
#include <zokio/runtime.h>

/** A snapshot. Counters only grow; what is a level says so. */
typedef struct zk_stats {
    uint64_t tasks_started;
    uint64_t tasks_finished;
    uint64_t switches;      /**< dispatches of a task */
    uint64_t parks;         /**< waits that really waited */
    uint64_t steals;        /**< tasks taken from another worker */
    uint64_t worker_sleeps; /**< times a worker went to sleep in its reactor */
    uint64_t worker_wakes;  /**< times a sleeping worker was woken by another */
    uint64_t io_submitted;  /**< operations that had to wait */
    uint64_t io_immediate;  /**< operations that did not */
    uint64_t timers_fired;
    uint64_t adoptions;        /**< queues taken over from a stuck worker */
    uint64_t stacks_mapped;    /**< level: address space, in stacks */
    uint64_t stacks_live;      /**< level: attached to a task */
    uint64_t stacks_cached;    /**< level: warm and free */
    uint64_t stacks_unguarded; /**< level: without a guard, for lack of it */
    uint64_t task_blocks;      /**< level: blocks in slabs */
    uint64_t heap_bytes;       /**< level: allocated through memory.h */
    uint32_t workers;          /**< level */
    uint32_t spare_workers;    /**< level: standing in for stuck ones */
    uint32_t blocking_threads; /**< level */
    uint32_t private_pad;
    const char *backend; /**< "io_uring", "epoll", "sim" */
    const char *guards;  /**< "madvise", "mprotect" or "none" */
    uint64_t reserved[8];
} zk_stats_t;

ZK_BEGIN_DECLS

/**
 * Read the counters of a runtime. Each is exact for its worker at some moment
 * of the call; there is no moment common to all.
 *
 * @param out  receives the snapshot.
 *
 * @retval none
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API void zk_runtime_stats(const zk_runtime_t *rt, zk_stats_t *out);

ZK_END_DECLS

#endif
