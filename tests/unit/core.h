/* SPDX-License-Identifier: MIT */
/*
 * core.h - what the tests of scheduler and io share.
 *
 * Most run in simulated worlds. There the clock moves only when nothing can
 * run, so a sleep of a nanosecond (settle) is a barrier: when it is over every
 * other task waits for something. A wait that never ends is a deadlock of that
 * world, which fails the test and names who waits.
 */
#ifndef ZK_UNIT_CORE_H
#define ZK_UNIT_CORE_H

#include "zk_test.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include <zokio.h>
#include <zokio/testing.h>

#include "scheduler/worker.h"

/* The body runs as the main task of `n` worlds, one a seed. `world_seed` is
 * the seed of this one. */
#define SEEDS_TEST(name, n) SEEDS_TEST_CONFIG(name, n, .flags = 0)

/* ... with fields of zk_sim_config_t. */
#define SEEDS_TEST_CONFIG(name, n, ...)                                        \
    static void name##_steps(void);                                            \
    static int name##_task(void *arg)                                          \
    {                                                                          \
        (void)arg;                                                             \
        name##_steps();                                                        \
        return 0;                                                              \
    }                                                                          \
    ZK_TEST(name)                                                              \
    {                                                                          \
        for (unsigned i = 0; i < (n); i++) {                                   \
            world_seed = zk_test_seed() + i;                                   \
            if (!world_run(name##_task, (zk_sim_config_t){.seed = world_seed,  \
                                                          __VA_ARGS__}))       \
                break;                                                         \
        }                                                                      \
    }                                                                          \
    static void name##_steps(void)

static ZK_UNUSED uint64_t world_seed;

static inline bool world_run(int (*fn)(void *), zk_sim_config_t cfg)
{
    return EXPECT_EQ(zk_sim_run(&cfg, fn, NULL), 0);
}

/* Until every other task waits; 1 ns of the virtual clock. */
static inline void settle(void)
{
    EXPECT_EQ(zk_sleep_until(zk_after(ZK_NS(1))), 0);
}

static inline zk_task_t spawn(int (*fn)(void *), void *arg)
{
    zk_task_t task = {NULL, 0};

    EXPECT_EQ(zk_spawn(&task, NULL, fn, arg), 0);
    return task;
}

/* What a task returned; INT_MIN if it cannot be joined. */
static inline int result_of(zk_task_t task)
{
    int result = INT_MIN;

    EXPECT_EQ(zk_join(task, &result, ZK_FOREVER), 0);
    return result;
}

static inline struct zk_task *block_of(zk_task_t task)
{
    return task.private_block;
}

/* The worker of the calling task, and the pieces of it. */
static inline struct zk_worker *worker_here(void)
{
    return zk__worker_current();
}

/* A number that a test may draw in a world: repeats with its seed. */
static inline uint32_t draw(struct zk_rand *rand, uint32_t below)
{
    return zk_rand_below(rand, below);
}

#endif
