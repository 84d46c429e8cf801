/* SPDX-License-Identifier: MIT */
/* The life of runtimes, several at once, and plain threads beside them. How
 * they end is in shutdown_test.c. */
#include "integration.h"

#include <pthread.h>
#include <stdatomic.h>

static int seven(void *arg)
{
    (void)arg;
    return 7;
}

static int minus_seven(void *arg)
{
    (void)arg;
    return -7;
}

static zk_runtime_t *runtime_make(const zk_config_t *cfg)
{
    zk_runtime_t *rt = NULL;

    EXPECT_EQ(zk_runtime_create(&rt, cfg), 0);
    EXPECT_EQ(zk_runtime_start(rt), 0);
    return rt;
}

/* ---- one ---------------------------------------------------------------- */

ZK_TEST(run_gives_the_value_of_the_function)
{
    int fds = zk_test_open_fds();

    for (int i = 0; i < 20; i++) {
        EXPECT_EQ(zk_run(NULL, seven, NULL), 7);
        EXPECT_EQ(zk_run(NULL, minus_seven, NULL), -7);
    }
    EXPECT_EQ(zk_test_open_fds(), fds);
}

ZK_TEST(a_runtime_goes_through_its_states)
{
    int fds = zk_test_open_fds();
    zk_runtime_t *rt = NULL;
    zk_task_t task = {NULL, 0};

    EXPECT_EQ(zk_runtime_create(&rt, NULL), 0);
    EXPECT_EQ(zk_runtime_state(rt), ZK_RUNTIME_INITIALIZING);
    EXPECT_EQ(zk_runtime_spawn(rt, &task, NULL, seven, NULL), -ESHUTDOWN);
    EXPECT_EQ(zk_runtime_block_on(rt, seven, NULL), -ESHUTDOWN);
    EXPECT_EQ(zk_runtime_start(rt), 0);
    EXPECT_EQ(zk_runtime_state(rt), ZK_RUNTIME_RUNNING);
    EXPECT_EQ(zk_runtime_start(rt), -EALREADY);
    EXPECT_EQ(zk_runtime_block_on(rt, minus_seven, NULL), -7);
    EXPECT_EQ(zk_runtime_shutdown(rt, PAST), 0);
    EXPECT_EQ(zk_runtime_state(rt), ZK_RUNTIME_STOPPED);
    EXPECT_EQ(zk_runtime_shutdown(rt, PAST), -EALREADY);
    EXPECT_EQ(zk_runtime_spawn(rt, &task, NULL, seven, NULL), -ESHUTDOWN);
    EXPECT_EQ(zk_runtime_block_on(rt, seven, NULL), -ESHUTDOWN);
    EXPECT_TRUE(task.private_block == NULL);
    EXPECT_EQ(zk_runtime_destroy(rt), 0);
    EXPECT_EQ(zk_runtime_destroy(NULL), 0);
    EXPECT_EQ(zk_test_open_fds(), fds);
}

ZK_TEST(a_runtime_that_never_ran_is_freed)
{
    int fds = zk_test_open_fds();
    zk_runtime_t *rt = NULL;

    EXPECT_EQ(zk_runtime_create(&rt, NULL), 0);
    EXPECT_EQ(zk_runtime_destroy(rt), 0);
    rt = runtime_make(NULL);
    EXPECT_EQ(zk_runtime_destroy(rt), 0); /* shuts it down first */
    EXPECT_EQ(zk_test_open_fds(), fds);
}

static int nest(void *arg)
{
    zk_runtime_t *rt = zk_runtime_current();

    EXPECT_TRUE(rt != NULL);
    EXPECT_EQ(zk_runtime_state(rt), ZK_RUNTIME_RUNNING);
    EXPECT_EQ(zk_run(NULL, seven, NULL), -EDEADLK);
    EXPECT_EQ(zk_runtime_block_on(rt, seven, NULL), -EDEADLK);
    EXPECT_EQ(zk_runtime_shutdown(rt, PAST), -EPERM);
    EXPECT_EQ(zk_runtime_destroy(rt), -EPERM);
    return 0;
}

ZK_TEST(a_runtime_inside_a_task_is_a_deadlock)
{
    zk_runtime_t *rt = runtime_make(NULL);

    EXPECT_EQ(zk_run(NULL, nest, NULL), 0);
    EXPECT_EQ(zk_runtime_block_on(rt, nest, NULL), 0);
    EXPECT_EQ(zk_runtime_destroy(rt), 0);
}

RUN_TEST(counters_count)
{
    zk_stats_t before, after;
    const char *backend = getenv("ZK_BACKEND");
    zk_task_t task;

    zk_runtime_stats(zk_runtime_current(), &before);
    for (int i = 0; i < 10; i++) {
        EXPECT_EQ(zk_spawn(&task, NULL, seven, NULL), 0);
        EXPECT_EQ(result_of(task), 7);
    }
    EXPECT_EQ(zk_sleep_until(zk_after(ZK_MS(1))), 0);
    zk_runtime_stats(zk_runtime_current(), &after);
    EXPECT_EQ(after.tasks_started - before.tasks_started, 10);
    EXPECT_EQ(after.tasks_finished - before.tasks_finished, 10);
    EXPECT_GT(after.parks, before.parks);
    EXPECT_GT(after.switches, before.switches);
    EXPECT_GE(after.timers_fired, before.timers_fired + 1);
    EXPECT_GE(after.workers, 1);
    if (backend && *backend)
        EXPECT_STR_EQ(after.backend, backend);
    EXPECT_TRUE(after.backend && *after.backend);
    EXPECT_TRUE(after.guards && *after.guards);
}

/* ---- several ------------------------------------------------------------ */

struct meeting {
    zk_runtime_t *rt;
    char text[ZK_ADDR_TEXT];
    zk_fd_t listener;
};

static int open_meeting(void *arg)
{
    struct meeting *m = arg;

    EXPECT_TRUE(zk_runtime_current() == m->rt);
    m->listener = listen_local(m->text, 0);
    return 0;
}

static int host_meeting(void *arg)
{
    struct meeting *m = arg;
    char buf[5] = "";
    zk_fd_t fd = zk_accept(m->listener, NULL, BOUND);

    EXPECT_TRUE(zk_runtime_current() == m->rt);
    EXPECT_GE(fd, 0);
    EXPECT_EQ(zk_read_full(fd, buf, 5, NULL, BOUND), 0);
    EXPECT_EQ(memcmp(buf, "hello", 5), 0);
    EXPECT_EQ(zk_write_all(fd, "there", 5, NULL, BOUND), 0);
    EXPECT_EQ(zk_close(fd), 0);
    return zk_close(m->listener);
}

static int join_meeting(void *arg)
{
    struct meeting *m = arg;
    char buf[5] = "";
    zk_fd_t fd = zk_dial_tcp(m->text, BOUND);

    EXPECT_TRUE(zk_runtime_current() != m->rt);
    EXPECT_GE(fd, 0);
    EXPECT_EQ(zk_write_all(fd, "hello", 5, NULL, BOUND), 0);
    EXPECT_EQ(zk_read_full(fd, buf, 5, NULL, BOUND), 0);
    EXPECT_EQ(memcmp(buf, "there", 5), 0);
    return zk_close(fd);
}

ZK_TEST(runtimes_side_by_side_talk_to_each_other)
{
    int fds = zk_test_open_fds();
    zk_runtime_t *other = runtime_make(NULL);
    struct meeting m = {.rt = runtime_make(NULL)};
    zk_task_t host = {NULL, 0};
    int result = -1;

    EXPECT_EQ(zk_runtime_block_on(m.rt, open_meeting, &m), 0);
    for (int i = 0; i < 2; i++) {
        if (i > 0)
            EXPECT_EQ(zk_runtime_block_on(m.rt, open_meeting, &m), 0);
        EXPECT_EQ(zk_runtime_spawn(m.rt, &host, NULL, host_meeting, &m), 0);
        /* From a runtime of threads, and from one on this very thread. */
        EXPECT_EQ(i ? zk_run(NULL, join_meeting, &m)
                    : zk_runtime_block_on(other, join_meeting, &m),
                  0);
        EXPECT_EQ(zk_join(host, &result, BOUND), 0);
        EXPECT_EQ(result, 0);
    }
    EXPECT_EQ(zk_runtime_destroy(m.rt), 0);
    EXPECT_EQ(zk_runtime_destroy(other), 0);
    EXPECT_EQ(zk_test_open_fds(), fds);
}

struct across {
    zk_runtime_t *there;
    zk_task_t victim;
};

static int act_across(void *arg)
{
    struct across *a = arg;
    zk_task_t task = {NULL, 0};
    int result = -1;

    EXPECT_EQ(zk_runtime_spawn(a->there, &task, NULL, seven, NULL), 0);
    EXPECT_EQ(zk_join(task, &result, BOUND), 0);
    EXPECT_EQ(result, 7);
    EXPECT_EQ(zk_cancel(a->victim), 0);
    EXPECT_EQ(zk_join(a->victim, &result, BOUND), 0);
    EXPECT_EQ(result, -ECANCELED);
    return 0;
}

ZK_TEST(a_task_spawns_joins_and_cancels_in_another_runtime)
{
    struct across a = {.there = runtime_make(NULL)};
    uint64_t before = parks_of(a.there);

    EXPECT_EQ(zk_runtime_spawn(a.there, &a.victim, NULL, sleep_for_ever, NULL),
              0);
    parks_await(a.there, before, 1);
    EXPECT_EQ(zk_run(NULL, act_across, &a), 0);
    EXPECT_EQ(zk_runtime_destroy(a.there), 0);
}

static void *run_on_thread(void *arg)
{
    *(int *)arg = zk_run(NULL, seven, NULL);
    return NULL;
}

ZK_TEST(threads_run_runtimes_of_their_own)
{
    int fds = zk_test_open_fds(), results[4];
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, run_on_thread, &results[i]),
                  0);
    for (int i = 0; i < 4; i++) {
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
        EXPECT_EQ(results[i], 7);
    }
    EXPECT_EQ(zk_test_open_fds(), fds);
}

/* ---- plain threads ------------------------------------------------------ */

#define THREADS 4
#define ROUNDS 200

static void *spawn_and_join(void *arg)
{
    zk_runtime_t *rt = arg;
    intptr_t sum = 0;

    for (int i = 0; i < ROUNDS; i++) {
        zk_task_t task = {NULL, 0};
        int result = 0;

        EXPECT_EQ(zk_runtime_spawn(rt, &task, NULL, seven, NULL), 0);
        EXPECT_EQ(zk_join(task, &result, BOUND), 0);
        EXPECT_EQ(zk_join(task, &result, BOUND), -ESRCH);
        sum += result + zk_runtime_block_on(rt, seven, NULL);
    }
    return (void *)sum;
}

ZK_TEST(threads_spawn_and_join_and_block_on)
{
    zk_runtime_t *rt = runtime_make(NULL);
    pthread_t threads[THREADS];
    void *sum;

    for (int i = 0; i < THREADS; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, spawn_and_join, rt), 0);
    for (int i = 0; i < THREADS; i++) {
        EXPECT_EQ(pthread_join(threads[i], &sum), 0);
        EXPECT_EQ((intptr_t)sum, 14 * ROUNDS);
    }
    EXPECT_EQ(zk_runtime_destroy(rt), 0);
}

static int tell_reason(void *arg)
{
    uint64_t *who = arg;
    int rc = zk_sleep_until(ZK_FOREVER);

    if (rc != -ECANCELED)
        return -EINVAL;
    return (int)zk_cancel_reason(who);
}

ZK_TEST(a_thread_joins_with_a_deadline_cancels_and_detaches)
{
    zk_runtime_t *rt = runtime_make(NULL);
    uint64_t who = 77, before = parks_of(rt);
    zk_spawn_opts_t detached = {.flags = ZK_TASK_DETACHED}, bad = {.flags = 64};
    zk_task_t task = {NULL, 0};
    zk_time_t deadline;
    int result = -1;

    EXPECT_EQ(zk_runtime_spawn(rt, &task, NULL, tell_reason, &who), 0);
    parks_await(rt, before, 1);
    EXPECT_EQ(zk_join(task, &result, PAST), -ETIMEDOUT);
    deadline = zk_after(ZK_MS(20));
    EXPECT_EQ(zk_join(task, &result, deadline), -ETIMEDOUT);
    EXPECT_GE(zk_now(), deadline);
    EXPECT_EQ(zk_cancel(task), 0);
    EXPECT_EQ(zk_join(task, &result, BOUND), 0);
    EXPECT_EQ(result, ZK_CANCEL_USER);
    EXPECT_EQ(who, 0); /* no task asked */
    EXPECT_EQ(zk_cancel(task), -ESRCH);
    EXPECT_EQ(zk_runtime_spawn(rt, NULL, &detached, seven, NULL), 0);
    EXPECT_EQ(zk_runtime_spawn(rt, &task, &bad, seven, NULL), -EINVAL);
    EXPECT_EQ(zk_runtime_spawn(rt, &task, NULL, NULL, NULL), -EINVAL);
    EXPECT_EQ(zk_runtime_spawn(rt, &task, NULL, sleep_for_ever, NULL), 0);
    EXPECT_EQ(zk_detach(task), 0);
    EXPECT_EQ(zk_cancel(task), 0);
    EXPECT_EQ(zk_runtime_destroy(rt), 0);
    EXPECT_EQ(zk_cancel(task), -ESRCH); /* a handle outlives its runtime */
}

static int read_one(void *arg)
{
    zk_fd_t fd = *(zk_fd_t *)arg;
    char byte;

    return (int)zk_read(fd, &byte, 1, BOUND);
}

static int make_pair(void *arg)
{
    return tcp_pair(arg) ? 0 : -EIO;
}

ZK_TEST(a_thread_closes_what_a_task_waits_for)
{
    int fds = zk_test_open_fds(), result = 0;
    zk_runtime_t *rt = runtime_make(NULL);
    zk_task_t task = {NULL, 0};
    zk_fd_t fd[2] = {-1, -1};

    for (int i = 0; i < 50; i++) {
        uint64_t before;

        EXPECT_EQ(zk_runtime_block_on(rt, make_pair, fd), 0);
        before = parks_of(rt);
        EXPECT_EQ(zk_runtime_spawn(rt, &task, NULL, read_one, &fd[1]), 0);
        parks_await(rt, before, 1);
        EXPECT_EQ(zk_close(fd[1]), 0);
        EXPECT_EQ(zk_close(fd[1]), -EBADF);
        EXPECT_EQ(zk_join(task, &result, BOUND), 0);
        EXPECT_EQ(result, -EBADF);
        EXPECT_EQ(zk_close(fd[0]), 0);
    }
    EXPECT_EQ(zk_runtime_destroy(rt), 0);
    EXPECT_EQ(zk_test_open_fds(), fds);
}

/*
 * Three tasks stand in line for the same read; each is cancelled while the turn
 * comes to it from the one before. Neither the cancel nor the turn may be lost.
 */
ZK_TEST(a_cancel_that_meets_the_turn_to_read_is_not_lost)
{
    zk_runtime_t *rt = runtime_make(NULL);
    zk_fd_t fd[2] = {-1, -1};
    zk_task_t tasks[3] = {{NULL, 0}};
    volatile int spin;
    bool lost = false;

    EXPECT_EQ(zk_runtime_block_on(rt, make_pair, fd), 0);
    for (int i = 0; i < 3000 && !lost; i++) {
        for (int k = 0; k < 3; k++) {
            uint64_t before = parks_of(rt);

            EXPECT_EQ(zk_runtime_spawn(rt, &tasks[k], NULL, read_one, &fd[1]),
                      0);
            parks_await(rt, before, 1);
        }
        for (int k = 0; k < 3; k++) {
            EXPECT_EQ(zk_cancel(tasks[k]), 0);
            for (spin = 0; spin < i % 300 * 40;)
                spin++;
        }
        for (int k = 0; k < 3; k++) {
            int result = 0;

            EXPECT_EQ(zk_join(tasks[k], &result, BOUND), 0);
            lost |= !EXPECT_EQ(result, -ECANCELED);
        }
    }
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
    EXPECT_EQ(zk_runtime_destroy(rt), 0);
}

struct race {
    zk_runtime_t *rt;
    atomic_int go;
    zk_task_t task;
    atomic_int closed;
    zk_fd_t fd;
};

static void *cancel_and_close(void *arg)
{
    struct race *race = arg;
    int rc;

    while (atomic_load(&race->go) == 0)
        sched_yield();
    rc = zk_cancel(race->task);
    EXPECT_TRUE(rc == 0 || rc == -ESRCH);
    rc = zk_close(race->fd);
    EXPECT_TRUE(rc == 0 || rc == -EBADF);
    atomic_fetch_add(&race->closed, rc == 0);
    return NULL;
}

ZK_TEST(threads_race_to_cancel_and_close_and_one_wins)
{
    zk_runtime_t *rt = runtime_make(NULL);
    int fds = zk_test_open_fds(), result = 0;

    for (int i = 0; i < 50; i++) {
        struct race race = {.rt = rt};
        pthread_t threads[2];
        zk_fd_t fd[2] = {-1, -1};

        EXPECT_EQ(zk_runtime_block_on(rt, make_pair, fd), 0);
        race.fd = fd[1];
        EXPECT_EQ(zk_runtime_spawn(rt, &race.task, NULL, read_one, &fd[1]), 0);
        for (int k = 0; k < 2; k++)
            EXPECT_EQ(
                pthread_create(&threads[k], NULL, cancel_and_close, &race), 0);
        atomic_store(&race.go, 1);
        for (int k = 0; k < 2; k++)
            EXPECT_EQ(pthread_join(threads[k], NULL), 0);
        EXPECT_EQ(zk_join(race.task, &result, BOUND), 0);
        EXPECT_TRUE(result == -ECANCELED || result == -EBADF);
        EXPECT_EQ(atomic_load(&race.closed), 1);
        EXPECT_EQ(zk_close(fd[0]), 0);
    }
    EXPECT_EQ(zk_test_open_fds(), fds);
    EXPECT_EQ(zk_runtime_destroy(rt), 0);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(run_gives_the_value_of_the_function),
        ZK_CASE(a_runtime_goes_through_its_states),
        ZK_CASE(a_runtime_that_never_ran_is_freed),
        ZK_CASE(a_runtime_inside_a_task_is_a_deadlock), ZK_CASE(counters_count),
        ZK_CASE(runtimes_side_by_side_talk_to_each_other),
        ZK_CASE(a_task_spawns_joins_and_cancels_in_another_runtime),
        ZK_CASE(threads_run_runtimes_of_their_own),
        ZK_CASE(threads_spawn_and_join_and_block_on),
        ZK_CASE(a_thread_joins_with_a_deadline_cancels_and_detaches),
        ZK_CASE(a_thread_closes_what_a_task_waits_for),
        ZK_CASE(a_cancel_that_meets_the_turn_to_read_is_not_lost),
        ZK_CASE(threads_race_to_cancel_and_close_and_one_wins));
}
