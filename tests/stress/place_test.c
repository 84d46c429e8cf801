/* SPDX-License-Identifier: MIT */
/*
 * A task that moves must not be shown what belonged to its last thread: a
 * compiler that sees the whole program may keep the address of a thread-local
 * over a call. So this test is of most use in a build with -flto.
 */
#include "stress/stress.h"

#include <sys/syscall.h>

enum { TASKS = 32, WORKERS_MAX = 64 };

/* Thread of each worker; 0: not seen yet. */
static atomic_long thread_of[WORKERS_MAX];
static atomic_long moves;

/* One look at where we are; the parts of it agree. Gives the thread. */
static inline long look(uint64_t id)
{
    int index = zk_worker_index();
    long thread = syscall(SYS_gettid), seen = 0;

    if (index < 0 || index >= WORKERS_MAX)
        return -1;
    if (!atomic_compare_exchange_strong(&thread_of[index], &seen, thread) &&
        seen != thread)
        return -1;
    if (zk_task_id(zk_self()) != id)
        return -1;
    return thread;
}

/* In one function, so that a compiler may join what it takes for the same. */
static int move_and_look(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg | 1;
    uint64_t id = zk_task_id(zk_self());
    long rounds = stress_rounds(4000);

    for (long i = 0; i < rounds; i++) {
        long before = look(id), after;
        int rc;

        if ((stress_random(&random) & 7) == 0)
            rc = zk_sleep_until(zk_after(ZK_US(20)));
        else
            rc = zk_yield();
        after = look(id);
        if (rc != 0 || before < 0 || after < 0)
            return -EXDEV;
        if (before != after)
            atomic_fetch_add(&moves, 1);
    }
    return 0;
}

RUN_TEST(a_task_knows_its_worker_after_each_move)
{
    zk_task_t tasks[TASKS];

    for (int i = 0; i < WORKERS_MAX; i++)
        atomic_store(&thread_of[i], 0);
    atomic_store(&moves, 0);
    for (int i = 0; i < TASKS; i++)
        EXPECT_EQ(zk_spawn(&tasks[i], NULL, move_and_look,
                           (void *)(uintptr_t)(zk_test_seed() * 1000 +
                                               (uint64_t)i * 2)),
                  0);
    for (int i = 0; i < TASKS; i++)
        EXPECT_EQ(result_of(tasks[i]), 0);
    fprintf(stderr, "# %ld moves\n", atomic_load(&moves));
    if (stress_workers() > 1)
        EXPECT_GT(atomic_load(&moves), 0);
}

int main(void)
{
    return zk_test_main(ZK_CASE(a_task_knows_its_worker_after_each_move));
}
