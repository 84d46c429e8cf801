/* SPDX-License-Identifier: MIT */
/*
 * stress.h - what the stress tests share.
 *
 * Each test of this suite takes some seconds. ZK_STRESS_ROUNDS=100 makes the
 * counted ones a hundred times as long. Under ThreadSanitizer they are shorter:
 * it is about twenty times slower and knows some 8,000 tasks at a time.
 */
#ifndef ZK_STRESS_H
#define ZK_STRESS_H

#include "integration/integration.h"

#include "scheduler/task.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define STRESS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STRESS_TSAN 1
#endif
#endif
#if !defined(STRESS_TSAN)
#define STRESS_TSAN 0
#endif

/* How often to do what is done `quick` times in a quick run. */
static inline long stress_rounds(long quick)
{
    const char *text = getenv("ZK_STRESS_ROUNDS");
    long factor = text != NULL ? strtol(text, NULL, 10) : 1;
    long n = quick * (factor > 0 ? factor : 1) / (STRESS_TSAN ? 20 : 1);

    return n > 0 ? n : 1;
}

/* As many tasks as the tools bear. */
static inline int stress_width(int plain)
{
    return STRESS_TSAN && plain > 3000 ? 3000 : plain;
}

static inline int stress_workers(void)
{
    zk_stats_t stats;

    zk_runtime_stats(zk_runtime_current(), &stats);
    return (int)stats.workers;
}

/* Until a task that is not detached waits, or has ended. A descriptor that it was
 * given must not be closed before: it would wait on the number's next owner. */
static inline void stress_await_park(zk_task_t handle)
{
    const struct zk_task *task = handle.private_block;
    zk_time_t bound = BOUND;
    enum zk_task_phase phase;

    do {
        phase = zk_phase(zk_atomic_load(&task->state, acquire));
        if (phase == ZK_PHASE_PARKED || phase == ZK_PHASE_DONE)
            return;
        if (zk_yield() < 0)
            sched_yield();
    } while (zk_now() < bound);
    EXPECT_EQ(phase, ZK_PHASE_PARKED);
}

/* xorshift, for choices of a test; `state` is not 0. */
static inline uint64_t stress_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Compute without giving way. */
static inline void stress_compute(zk_time_t span)
{
    zk_time_t end = zk_after(span);

    while (zk_now() < end)
        ;
}

#endif
