/* SPDX-License-Identifier: MIT */
/* Tasks that go from worker to worker: with deadlines left behind on each, bound
 * to one of them, and in trees that every worker steals from. */
#include "stress/stress.h"

/* ---- trees ------------------------------------------------------------------ */

struct node {
    long first, size;
};

/* Sum of the numbers of the leaves, ten branches at each node. */
static int skynet(void *arg)
{
    struct node *n = arg, branch[10];
    zk_task_t tasks[10];
    long sum = 0;

    if (n->size == 1) {
        n->size = n->first;
        return 0;
    }
    for (int i = 0; i < 10; i++) {
        branch[i] = (struct node){n->first + i * (n->size / 10), n->size / 10};
        if (!EXPECT_EQ(zk_spawn(&tasks[i], NULL, skynet, &branch[i]), 0))
            return -1;
    }
    for (int i = 0; i < 10; i++) {
        EXPECT_EQ(result_of(tasks[i]), 0);
        sum += branch[i].size;
    }
    n->size = sum;
    return 0;
}

RUN_TEST(a_tree_of_tasks_gives_its_sum)
{
    long leaves = STRESS_TSAN ? 1000 : 100000, rounds = stress_rounds(10);

    for (long i = 0; i < rounds; i++) {
        struct node root = {i, leaves};

        EXPECT_EQ(skynet(&root), 0);
        EXPECT_EQ(root.size, leaves * (leaves - 1) / 2 + leaves * i);
    }
}

static int fib(void *arg)
{
    intptr_t n = (intptr_t)arg;
    zk_task_t less;
    int rest;

    if (n < 2)
        return (int)n;
    if (!EXPECT_EQ(zk_spawn(&less, NULL, fib, (void *)(n - 1)), 0))
        return -1;
    if (n % 3 == 0)
        EXPECT_EQ(zk_yield(), 0); /* let thieves in */
    rest = fib((void *)(n - 2));
    return result_of(less) + rest;
}

RUN_TEST(a_lopsided_tree_gives_its_sum)
{
    long rounds = stress_rounds(10);

    for (long i = 0; i < rounds; i++)
        EXPECT_EQ(fib((void *)(intptr_t)(STRESS_TSAN ? 12 : 20)),
                  STRESS_TSAN ? 144 : 6765);
}

/* ---- deadlines left behind -------------------------------------------------- */

static atomic_long moves;

static int brief(void *arg)
{
    for (intptr_t n = (intptr_t)arg; n > 0; n--)
        EXPECT_EQ(zk_yield(), 0);
    return 0;
}

/*
 * Joins with deadlines that are not reached leave a timer on this worker and
 * one on the last; then, perhaps on a third, comes a deadline that counts.
 */
static int wander(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg | 1;
    long rounds = stress_rounds(2400);
    int last = zk_worker_index();

    for (long i = 0; i < rounds; i++) {
        uint64_t r = stress_random(&random);
        zk_time_t end;
        zk_task_t task;

        EXPECT_EQ(zk_spawn(&task, NULL, brief, (void *)(uintptr_t)(r & 3)), 0);
        EXPECT_EQ(zk_join(task, NULL, zk_after(ZK_MS(4000 + (r >> 8 & 0xfff)))),
                  0);
        if ((r >> 20 & 3) == 0) {
            end = zk_after(ZK_US(r >> 24 & 0xfff));
            EXPECT_EQ(zk_sleep_until(end), 0);
            EXPECT_GE(zk_now(), end);
            EXPECT_LT(zk_now() - end, ZK_SEC(2));
        }
        if (zk_worker_index() != last)
            atomic_fetch_add(&moves, 1);
        last = zk_worker_index();
    }
    return 0;
}

RUN_TEST(a_deadline_is_kept_wherever_earlier_ones_were_left)
{
    enum { TASKS = 100 };
    zk_task_t tasks[TASKS];

    atomic_store(&moves, 0);
    for (int i = 0; i < TASKS; i++)
        EXPECT_EQ(zk_spawn(&tasks[i], NULL, wander,
                           (void *)(uintptr_t)(zk_test_seed() * 1000 +
                                               (uint64_t)i * 2)),
                  0);
    for (int i = 0; i < TASKS; i++) {
        int result = -1;

        EXPECT_EQ(zk_join(tasks[i], &result, zk_after(ZK_SEC(50))), 0);
        EXPECT_EQ(result, 0);
    }
    fprintf(stderr, "# %ld moves\n", atomic_load(&moves));
    if (stress_workers() > 1)
        EXPECT_GT(atomic_load(&moves), 0);
}

/* Tasks that join each other with deadlines: neither can end before the other
 * gives up. Their timers are spread, so the owner of one has to be asked. */
struct couple {
    zk_task_t task[2];
    atomic_int given_up, ready;
};

static int join_partner(void *arg)
{
    uintptr_t tagged = (uintptr_t)arg;
    struct couple *c = (struct couple *)(tagged & ~(uintptr_t)1);

    while (!atomic_load(&c->ready))
        EXPECT_EQ(zk_yield(), 0);
    for (int i = 0; i < 20; i++) {
        EXPECT_EQ(zk_join(c->task[!(tagged & 1)], NULL, zk_after(ZK_US(30))),
                  -ETIMEDOUT);
        EXPECT_EQ(zk_yield(), 0);
    }
    atomic_fetch_add(&c->given_up, 1);
    while (atomic_load(&c->given_up) < 2)
        EXPECT_EQ(zk_yield(), 0);
    return 0;
}

RUN_TEST(tasks_that_join_each_other_give_up_by_their_deadlines)
{
    enum { COUPLES = 16 };
    long rounds = stress_rounds(40);
    static struct couple couples[COUPLES];

    for (long round = 0; round < rounds; round++) {
        for (int i = 0; i < COUPLES; i++) {
            struct couple *c = &couples[i];

            atomic_store(&c->given_up, 0);
            atomic_store(&c->ready, 0);
            for (uintptr_t k = 0; k < 2; k++)
                EXPECT_EQ(zk_spawn(&c->task[k], NULL, join_partner,
                                   (void *)((uintptr_t)c | k)),
                          0);
            atomic_store(&c->ready, 1);
        }
        for (int i = 0; i < COUPLES; i++) {
            while (atomic_load(&couples[i].given_up) < 2)
                EXPECT_EQ(zk_yield(), 0);
            EXPECT_EQ(result_of(couples[i].task[0]), 0);
            EXPECT_EQ(result_of(couples[i].task[1]), 0);
        }
    }
}

/* ---- bound to a worker -------------------------------------------------------- */

struct bound_task {
    int home;
    zk_fd_t fd;
    bool first;
};

/* Waits in each way there is and looks where it wakes. */
static int stay(void *arg)
{
    struct bound_task *b = arg;
    long rounds = stress_rounds(2000);
    char byte = 'b';

    for (long i = 0; i < rounds; i++) {
        zk_task_t child;

        if (b->first)
            EXPECT_EQ(zk_write(b->fd, &byte, 1, BOUND), 1);
        if (zk_worker_index() != b->home)
            return -EXDEV;
        if (!EXPECT_EQ(zk_read(b->fd, &byte, 1, BOUND), 1))
            return -EIO;
        if (zk_worker_index() != b->home)
            return -EXDEV;
        if (!b->first)
            EXPECT_EQ(zk_write(b->fd, &byte, 1, BOUND), 1);
        EXPECT_EQ(zk_spawn(&child, NULL, brief, (void *)1), 0);
        EXPECT_EQ(result_of(child), 0);
        if (zk_worker_index() != b->home)
            return -EXDEV;
        if (i % 8 == 0)
            EXPECT_EQ(zk_sleep_until(zk_after(ZK_US(50))), 0);
        if (zk_worker_index() != b->home)
            return -EXDEV;
        EXPECT_EQ(zk_yield(), 0);
        if (zk_worker_index() != b->home)
            return -EXDEV;
    }
    return 0;
}

RUN_TEST(a_bound_task_wakes_on_its_worker_from_every_wait)
{
    enum { PAIRS = 16 };
    struct bound_task bound[PAIRS][2];
    zk_task_t tasks[PAIRS][2];
    int workers = stress_workers();

    for (int i = 0; i < PAIRS; i++) {
        zk_fd_t fd[2];

        if (!tcp_pair(fd))
            return;
        for (int k = 0; k < 2; k++) {
            zk_spawn_opts_t opts = {.pin = ZK_PIN((i + k) % workers)};

            bound[i][k] = (struct bound_task){(i + k) % workers, fd[k], k == 0};
            EXPECT_EQ(zk_spawn(&tasks[i][k], &opts, stay, &bound[i][k]), 0);
        }
    }
    for (int i = 0; i < PAIRS; i++) {
        for (int k = 0; k < 2; k++) {
            int result = -1;

            EXPECT_EQ(zk_join(tasks[i][k], &result, zk_after(ZK_SEC(40))), 0);
            EXPECT_EQ(result, 0);
        }
        EXPECT_EQ(zk_close(bound[i][0].fd), 0);
        EXPECT_EQ(zk_close(bound[i][1].fd), 0);
    }
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(a_tree_of_tasks_gives_its_sum),
        ZK_CASE(a_lopsided_tree_gives_its_sum),
        ZK_CASE(a_deadline_is_kept_wherever_earlier_ones_were_left),
        ZK_CASE(tasks_that_join_each_other_give_up_by_their_deadlines),
        ZK_CASE(a_bound_task_wakes_on_its_worker_from_every_wait));
}
