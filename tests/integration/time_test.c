/* SPDX-License-Identifier: MIT */
/* The clock, and sleeping by it. Lateness is bounded only loosely: a busy
 * machine may be late, but nothing may be early. */
#include "integration.h"

#include <pthread.h>

#define LATE ZK_SEC(3) /* later than this is lost, not late */

RUN_TEST(the_clock_never_goes_back)
{
    zk_time_t last = zk_now(), now;

    for (int i = 0; i < 20000; i++) {
        if (i % 100 == 0)
            EXPECT_EQ(zk_yield(), 0);
        now = zk_now();
        if (!EXPECT_GE(now, last))
            return;
        last = now;
    }
}

RUN_TEST(after_adds_and_saturates)
{
    zk_time_t before = zk_now(), deadline = zk_after(ZK_SEC(1));
    zk_time_t now = zk_after(0), past = zk_after(-1);

    EXPECT_GE(deadline, before + ZK_SEC(1));
    EXPECT_LE(deadline, zk_now() + ZK_SEC(1));
    EXPECT_EQ(zk_after(ZK_FOREVER), ZK_FOREVER);
    EXPECT_EQ(zk_after(ZK_FOREVER - 1), ZK_FOREVER);
    EXPECT_GE(now, before);
    EXPECT_LE(now, zk_now());
    EXPECT_GE(past, before - 1);
    EXPECT_LT(past, zk_now());
    EXPECT_LT(zk_after(INT64_MIN), before);
}

RUN_TEST(units_are_nanoseconds)
{
    EXPECT_EQ(ZK_SEC(2), 2000000000LL);
    EXPECT_EQ(ZK_MS(2), 2000000LL);
    EXPECT_EQ(ZK_US(2), 2000LL);
    EXPECT_EQ(ZK_NS(2), 2LL);
}

static int sleep_span(void *arg)
{
    zk_time_t deadline = zk_after(*(zk_time_t *)arg), now;
    int rc = zk_sleep_until(deadline);

    now = zk_now();
    if (rc < 0)
        return rc;
    return now < deadline ? -ERANGE : now > deadline + LATE ? -ETIME : 0;
}

RUN_TEST(a_sleep_is_never_early)
{
    enum { TASKS = 300 };
    static zk_time_t spans[TASKS];
    static zk_task_t tasks[TASKS];

    /* Under and over the 4 ms where short sleeps end, and odd ones between. */
    for (int i = 0; i < TASKS; i++) {
        spans[i] = ZK_NS((i * 7919LL * 104729) % ZK_MS(60));
        if (i % 3 == 0)
            spans[i] %= ZK_MS(5);
        EXPECT_EQ(zk_spawn(&tasks[i], NULL, sleep_span, &spans[i]), 0);
    }
    for (int i = 0; i < TASKS; i++)
        EXPECT_EQ(result_of(tasks[i]), 0);
}

RUN_TEST(sleeps_go_side_by_side)
{
    enum { TASKS = 200 };
    static zk_task_t tasks[TASKS];
    zk_time_t span = ZK_MS(50), start = zk_now();

    for (int i = 0; i < TASKS; i++)
        EXPECT_EQ(zk_spawn(&tasks[i], NULL, sleep_span, &span), 0);
    for (int i = 0; i < TASKS; i++)
        EXPECT_EQ(result_of(tasks[i]), 0);
    EXPECT_LT(zk_now() - start, TASKS * ZK_MS(50) / 2);
}

RUN_TEST(a_deadline_in_the_past_returns_at_once)
{
    zk_time_t start = zk_now();

    for (int i = 0; i < 1000; i++)
        EXPECT_EQ(zk_sleep_until(PAST), 0);
    EXPECT_EQ(zk_sleep_until(0), 0);
    EXPECT_EQ(zk_sleep_until(INT64_MIN), 0);
    EXPECT_LT(zk_now() - start, LATE);
}

static int sleep_in_the_past(void *arg)
{
    (void)arg;
    EXPECT_EQ(zk_cancel(zk_self()), 0);
    return zk_sleep_until(PAST);
}

RUN_TEST(a_cancel_comes_before_a_deadline_in_the_past)
{
    zk_task_t task;

    EXPECT_EQ(zk_spawn(&task, NULL, sleep_in_the_past, NULL), 0);
    EXPECT_EQ(result_of(task), -ECANCELED);
}

static int sleep_an_hour(void *arg)
{
    (void)arg;
    return zk_sleep_until(zk_after(ZK_SEC(3600)));
}

RUN_TEST(a_cancel_ends_a_sleep)
{
    zk_task_t hour = spawn_parked(sleep_an_hour, NULL);
    zk_task_t for_ever = spawn_parked(sleep_for_ever, NULL);

    EXPECT_EQ(cancel_and_join(hour), -ECANCELED);
    EXPECT_EQ(cancel_and_join(for_ever), -ECANCELED);
}

/*
 * A wait that ended well before its deadline leaves a timer behind, which must
 * neither hold back a shorter sleep nor wake a later wait.
 */
RUN_TEST(a_deadline_that_was_not_needed_disturbs_nothing)
{
    zk_time_t span, start;
    zk_fd_t fd[2];
    char byte = 'x';

    if (!tcp_pair(fd))
        return;
    for (int i = 0; i < 30; i++) {
        struct call reader = {.fd = fd[1], .buf = &byte, .len = 1};
        zk_task_t task = spawn_parked(call_read, &reader);

        EXPECT_EQ(zk_write(fd[0], "x", 1, BOUND), 1);
        EXPECT_EQ(result_of(task), 1);
        EXPECT_EQ(zk_read(fd[1], &byte, 1, zk_after(ZK_US(500))), -ETIMEDOUT);
        start = zk_now();
        span = ZK_US(300 * i);
        EXPECT_EQ(sleep_span(&span), 0);
        EXPECT_LT(zk_now() - start, LATE);
    }
    pair_close(fd);
}

/* Read with a far deadline that is never reached, then end at once. */
static int read_and_end(void *arg)
{
    struct call *c = arg;
    char byte;

    return (int)zk_read(c->fd, &byte, 1, zk_after(ZK_SEC(3600)));
}

RUN_TEST(tasks_end_with_their_timers_armed)
{
    zk_time_t start = zk_now();
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    for (int i = 0; i < 200; i++) {
        struct call c = {.fd = fd[1]};
        zk_task_t task = spawn_parked(read_and_end, &c);

        EXPECT_EQ(zk_write(fd[0], "x", 1, BOUND), 1);
        EXPECT_EQ(result_of(task), 1);
    }
    pair_close(fd);
    EXPECT_LT(zk_now() - start, ZK_SEC(30));
}

static void *read_clock(void *arg)
{
    *(zk_time_t *)arg = zk_now();
    return NULL;
}

ZK_TEST(threads_read_the_same_clock)
{
    zk_time_t before = zk_now(), there = 0;
    pthread_t thread;

    EXPECT_EQ(pthread_create(&thread, NULL, read_clock, &there), 0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    EXPECT_GE(there, before);
    EXPECT_LE(there, zk_now());
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(the_clock_never_goes_back), ZK_CASE(after_adds_and_saturates),
        ZK_CASE(units_are_nanoseconds), ZK_CASE(a_sleep_is_never_early),
        ZK_CASE(sleeps_go_side_by_side),
        ZK_CASE(a_deadline_in_the_past_returns_at_once),
        ZK_CASE(a_cancel_comes_before_a_deadline_in_the_past),
        ZK_CASE(a_cancel_ends_a_sleep),
        ZK_CASE(a_deadline_that_was_not_needed_disturbs_nothing),
        ZK_CASE(tasks_end_with_their_timers_armed),
        ZK_CASE(threads_read_the_same_clock));
}
