/* SPDX-License-Identifier: MIT */
/* Workers bound to processors, tasks bound to workers. */
#include "integration/integration.h"

#include <stdio.h>

/* The processors the calling thread may use, as the kernel says. */
static int allowed_here(void *arg)
{
    char line[256];
    FILE *f = fopen("/proc/thread-self/status", "r");
    char *text = arg;
    int found = -ENOENT;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "Cpus_allowed_list: %63s", text) == 1)
            found = zk_worker_index();
    if (f != NULL)
        fclose(f);
    return found;
}

static int worker_count(void)
{
    zk_stats_t stats;

    zk_runtime_stats(zk_runtime_current(), &stats);
    return (int)stats.workers;
}

RUN_TEST_CONFIG(each_worker_is_bound_to_one_processor, .flags = ZK_PIN_WORKERS)
{
    for (int i = 0; i < worker_count(); i++) {
        zk_spawn_opts_t opts = {.pin = ZK_PIN(i)};
        char text[64] = "";
        zk_task_t task;

        EXPECT_EQ(zk_spawn(&task, &opts, allowed_here, text), 0);
        EXPECT_EQ(result_of(task), i);
        EXPECT_TRUE(text[0] != '\0');
        EXPECT_TRUE(strpbrk(text, ",-") == NULL); /* one number */
    }
}

static int stay(void *arg)
{
    int first = zk_worker_index();

    for (int i = 0; i < 200; i++) {
        int rc = i % 2 ? zk_yield() : zk_sleep_until(zk_after(ZK_US(10)));

        if (rc < 0 || zk_worker_index() != first)
            return -EIO;
    }
    *(int *)arg = first;
    return 0;
}

RUN_TEST(a_pinned_task_never_leaves_its_worker)
{
    enum { TASKS = 40 };
    int workers = worker_count(), at[TASKS];
    zk_task_t task[TASKS];

    for (int i = 0; i < TASKS; i++) {
        zk_spawn_opts_t opts = {.pin = ZK_PIN(i % workers)};

        at[i] = -1;
        EXPECT_EQ(zk_spawn(&task[i], &opts, stay, &at[i]), 0);
    }
    for (int i = 0; i < TASKS; i++) {
        EXPECT_EQ(result_of(task[i]), 0);
        EXPECT_EQ(at[i], i % workers);
    }
}

int main(void)
{
    return zk_test_main(ZK_CASE(each_worker_is_bound_to_one_processor),
                        ZK_CASE(a_pinned_task_never_leaves_its_worker));
}
