/* SPDX-License-Identifier: MIT */
/* Walking a task's stack ends at its base. */
#include "integration/integration.h"

#include <execinfo.h>
#include <stdio.h>

enum { FRAMES_MAX = 64 };

static __attribute__((noinline)) int walk(void **frames)
{
    return backtrace(frames, FRAMES_MAX);
}

static int walk_deep(void *arg);
static int (*volatile walk_again)(void *) = walk_deep; /* not to be inlined */

static int walk_deep(void *arg)
{
    int depth = *(int *)arg;
    void *frames[FRAMES_MAX];
    volatile int n;

    if (depth > 0) {
        depth--;
        n = walk_again(&depth);
        return n;
    }
    n = walk(frames);
    return n;
}

RUN_TEST(backtrace_ends_at_the_base_of_a_task)
{
    int shallow = 0, deep = 10;
    zk_task_t task;
    int n = 0;

    EXPECT_EQ(zk_spawn(&task, NULL, walk_deep, &shallow), 0);
    n = result_of(task);
    EXPECT_GE(n, 2);
    EXPECT_LT(n, 16); /* not into what lies above the stack */
    EXPECT_EQ(zk_spawn(&task, NULL, walk_deep, &deep), 0);
    EXPECT_EQ(result_of(task) - n, 10);
}

/* The base of the stack, before and after it slept on one worker or another. */
static int walk_after_sleep(void *arg)
{
    void *frames[2][FRAMES_MAX];
    int n[2];

    (void)arg;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 100 * pass; i++)
            if (zk_sleep_until(zk_after(ZK_US(10))) < 0)
                return -EIO;
        n[pass] = walk(frames[pass]);
    }
    if (n[0] != n[1] || n[0] < 2)
        return -E2BIG;
    /* The caller may stand there twice, unrolled; its own callers do not. */
    return memcmp(&frames[0][n[0] - 2], &frames[1][n[0] - 2],
                  2 * sizeof(void *));
}

RUN_TEST(a_task_that_moved_has_the_same_frames)
{
    zk_task_t task[20];

    for (int i = 0; i < 20; i++)
        EXPECT_EQ(zk_spawn(&task[i], NULL, walk_after_sleep, NULL), 0);
    for (int i = 0; i < 20; i++)
        EXPECT_EQ(result_of(task[i]), 0);
}

int main(void)
{
    return zk_test_main(ZK_CASE(backtrace_ends_at_the_base_of_a_task),
                        ZK_CASE(a_task_that_moved_has_the_same_frames));
}
