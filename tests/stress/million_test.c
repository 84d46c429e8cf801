/* SPDX-License-Identifier: MIT */
/* A million tasks at once, each with a guarded stack. */
#include "stress/stress.h"

#define TASKS stress_width(1000000)

static _Atomic long parked, ended, failed;

/* The event all wait for is the shutdown of their runtime. */
static void wait_for_all(void *arg)
{
    (void)arg;
    atomic_fetch_add(&parked, 1);
    if (zk_shutdown_wait(ZK_FOREVER) != 0)
        atomic_fetch_add(&failed, 1);
    atomic_fetch_add(&ended, 1);
}

static int start_and_wake(void *arg)
{
    zk_stats_t stats;
    int maps;

    (void)arg;
    for (long i = 0; i < TASKS; i++)
        if (!EXPECT_EQ(zk_go(wait_for_all, NULL), 0))
            return -ENOMEM;
    while (atomic_load(&parked) < TASKS)
        if (zk_yield() < 0)
            return -EIO;
    zk_runtime_stats(zk_runtime_current(), &stats);
    maps = zk_test_map_count();
    EXPECT_GE(stats.stacks_live, TASKS);
    EXPECT_EQ(stats.stacks_unguarded, 0);
    EXPECT_LT(maps, 1000);
    fprintf(stderr, "# %d mappings, guards by %s\n", maps, stats.guards);
    return zk_shutdown_begin(); /* wakes them all */
}

ZK_TEST(a_million_tasks_park_on_guarded_stacks_and_wake)
{
    zk_config_t cfg = {.flags = ZK_WAIT_ALL, .stack_class = ZK_STACK_64K};

    atomic_store(&parked, 0);
    atomic_store(&ended, 0);
    EXPECT_EQ(zk_run(&cfg, start_and_wake, NULL), 0);
    EXPECT_EQ(atomic_load(&ended), TASKS);
    EXPECT_EQ(atomic_load(&failed), 0);
}

static _Atomic long ran;

static void count(void *arg)
{
    (void)arg;
    atomic_fetch_add(&ran, 1);
}

static int start_short(void *arg)
{
    zk_stats_t stats;

    (void)arg;
    for (long i = 0; i < TASKS; i++)
        if (!EXPECT_EQ(zk_go(count, NULL), 0))
            return -ENOMEM;
    while (atomic_load(&ran) < TASKS)
        if (zk_yield() < 0)
            return -EIO;
    zk_runtime_stats(zk_runtime_current(), &stats);
    return stats.stacks_live < 1000 ? 0 : -E2BIG;
}

ZK_TEST(a_million_short_tasks_share_a_few_stacks)
{
    zk_config_t cfg = {.flags = ZK_WAIT_ALL};

    EXPECT_EQ(zk_run(&cfg, start_short, NULL), 0);
    EXPECT_EQ(atomic_load(&ran), TASKS);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(a_million_short_tasks_share_a_few_stacks),
        ZK_CASE(a_million_tasks_park_on_guarded_stacks_and_wake));
}
