/* SPDX-License-Identifier: MIT */
/* Workers that a task keeps, by computing or by blocking the thread: what the
 * others of that worker may expect. */
#include "stress/stress.h"

#include <poll.h>

enum { TRIES = 20 };

static int compare_times(const void *a, const void *b)
{
    zk_time_t x = *(const zk_time_t *)a, y = *(const zk_time_t *)b;

    return (x > y) - (x < y);
}

/*
 * Prints some delays. On an idle machine half of them are as good as `limit`;
 * where other programs want the processors too, the monitor is late, so twice
 * and three times that will do. A wake that is missed is later by far.
 */
static void delays_check(const char *what, zk_time_t *delay, int n,
                         zk_time_t limit)
{
    qsort(delay, (size_t)n, sizeof(*delay), compare_times);
    fprintf(stderr, "# %s: quarter %.1f, median %.1f, worst %.1f ms\n", what,
            (double)delay[n / 4] / 1e6, (double)delay[n / 2] / 1e6,
            (double)delay[n - 1] / 1e6);
    EXPECT_LE(delay[n / 10], 2 * limit);
    EXPECT_LE(delay[n / 2], 20 * limit);
}

static void pause_thread(zk_time_t span)
{
    (void)poll(NULL, 0, (int)(span / ZK_MS(1)));
}

/* ---- a worker that computes ---------------------------------------------- */

struct hog {
    atomic_int started;
    atomic_int stop;
};

/* Never gives way; for a second at most. */
static int hog_run(void *arg)
{
    struct hog *hog = arg;
    zk_time_t end = zk_after(ZK_SEC(1));

    atomic_store(&hog->started, 1);
    while (!atomic_load(&hog->stop) && zk_now() < end)
        ;
    return atomic_load(&hog->stop);
}

struct waker {
    struct hog *hog;
    zk_time_t woken;
};

/* On a pool thread: ends the wait of its caller once the hog runs. */
static int wake_late(void *arg)
{
    struct waker *w = arg;

    while (!atomic_load(&w->hog->started))
        sched_yield();
    w->woken = zk_now();
    return 0;
}

/* The hog is next on the worker on which the caller parks. */
RUN_TEST(a_task_is_woken_though_the_worker_it_left_computes)
{
    zk_time_t delay[TRIES];

    for (int i = 0; i < TRIES; i++) {
        struct hog hog = {0, 0};
        struct waker waker = {&hog, 0};
        zk_task_t task;

        EXPECT_EQ(zk_spawn(&task, NULL, hog_run, &hog), 0);
        EXPECT_EQ(zk_blocking(wake_late, &waker, BOUND), 0);
        delay[i] = zk_now() - waker.woken;
        atomic_store(&hog.stop, 1);
        EXPECT_EQ(result_of(task), 1);
    }
    delays_check("woken from outside", delay, TRIES, ZK_MS(20));
}

RUN_TEST(a_deadline_comes_though_the_worker_it_is_kept_by_computes)
{
    zk_time_t delay[TRIES];

    for (int i = 0; i < TRIES; i++) {
        struct hog hog = {0, 0};
        zk_time_t end = zk_after(ZK_MS(2));
        zk_task_t task;

        EXPECT_EQ(zk_spawn(&task, NULL, hog_run, &hog), 0);
        EXPECT_EQ(zk_sleep_until(end), 0);
        delay[i] = zk_now() - end;
        atomic_store(&hog.stop, 1);
        EXPECT_EQ(result_of(task), 1);
    }
    delays_check("woken by a deadline", delay, TRIES, ZK_MS(50));
}

struct victim {
    zk_task_t task;
    struct hog hog;
    zk_time_t cancelled;
};

static int sleep_beside_hog(void *arg)
{
    struct victim *v = arg;
    zk_task_t hog;
    int rc;

    EXPECT_EQ(zk_spawn(&hog, NULL, hog_run, &v->hog), 0);
    rc = zk_sleep_until(zk_after(ZK_SEC(30)));
    v->cancelled = zk_now() - v->cancelled;
    atomic_store(&v->hog.stop, 1);
    EXPECT_EQ(rc, -ECANCELED);
    zk_shield_begin();
    EXPECT_EQ(result_of(hog), 1);
    zk_shield_end();
    return rc;
}

static int cancel_late(void *arg)
{
    struct victim *v = arg;

    while (!atomic_load(&v->hog.started))
        sched_yield();
    pause_thread(ZK_MS(20)); /* until a spare worker has the queues */
    v->cancelled = zk_now();
    return zk_cancel(v->task);
}

RUN_TEST(a_cancel_reaches_a_task_whose_worker_computes)
{
    zk_time_t delay[TRIES];

    for (int i = 0; i < TRIES; i++) {
        struct victim v = {{NULL, 0}, {0, 0}, 0};

        EXPECT_EQ(zk_spawn(&v.task, NULL, sleep_beside_hog, &v), 0);
        EXPECT_EQ(zk_blocking(cancel_late, &v, BOUND), 0);
        EXPECT_EQ(result_of(v.task), -ECANCELED);
        delay[i] = v.cancelled;
    }
    delays_check("cancelled", delay, TRIES, ZK_MS(20));
}

static int hog_politely(void *arg)
{
    atomic_int *stop = arg;
    zk_time_t end = zk_after(ZK_SEC(5));

    while (!atomic_load(stop) && zk_now() < end)
        EXPECT_EQ(zk_yield_if_needed(), 0);
    return 0;
}

static int echo_until_end(void *arg)
{
    zk_fd_t fd = (zk_fd_t)(intptr_t)arg;
    char byte;
    ssize_t n;

    while ((n = zk_read(fd, &byte, 1, BOUND)) == 1)
        EXPECT_EQ(zk_write(fd, &byte, 1, BOUND), 1);
    return (int)n;
}

/* As many hogs as workers, so that no worker is free. */
RUN_TEST(a_round_trip_is_made_beside_tasks_that_yield_if_needed)
{
    static atomic_int stop;
    zk_time_t delay[TRIES];
    zk_task_t hogs[64], echo;
    int workers = stress_workers();
    zk_fd_t fd[2];
    char byte = 'x';

    atomic_store(&stop, 0);
    if (!tcp_pair(fd))
        return;
    EXPECT_EQ(zk_spawn(&echo, NULL, echo_until_end, (void *)(intptr_t)fd[1]),
              0);
    for (int i = 0; i < workers; i++)
        EXPECT_EQ(zk_spawn(&hogs[i], NULL, hog_politely, &stop), 0);
    for (int i = 0; i < TRIES; i++) {
        delay[i] = zk_now();
        EXPECT_EQ(zk_write(fd[0], &byte, 1, BOUND), 1);
        EXPECT_EQ(zk_read(fd[0], &byte, 1, BOUND), 1);
        delay[i] = zk_now() - delay[i];
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < workers; i++)
        EXPECT_EQ(result_of(hogs[i]), 0);
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(result_of(echo), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
    /* Two waits, each until the hog gives way. */
    delays_check("round trip", delay, TRIES, ZK_MS(100));
}

/* ---- a worker whose thread is blocked ------------------------------------ */

struct pipe_wait {
    int fd[2];
    atomic_int done;
    int expected;
};

/* A real read(2), that gives up after five seconds. */
static int read_blocking(void *arg)
{
    struct pipe_wait *p = arg;
    struct pollfd ask = {.fd = p->fd[0], .events = POLLIN};
    char byte;

    if (poll(&ask, 1, 5000) != 1)
        return -ETIMEDOUT;
    return (int)read(p->fd[0], &byte, 1);
}

/* The last of them lets the reader go. */
static int count_and_release(void *arg)
{
    struct pipe_wait *p = arg;

    EXPECT_EQ(zk_sleep_until(zk_after(ZK_MS(1))), 0);
    if (atomic_fetch_add(&p->done, 1) + 1 == p->expected)
        EXPECT_EQ(write(p->fd[1], "x", 1), 1);
    return 0;
}

static int block_with_others_behind(void *arg)
{
    struct pipe_wait *p = arg;
    zk_task_t tasks[16];

    for (int i = 0; i < p->expected; i++)
        EXPECT_EQ(zk_spawn(&tasks[i], NULL, count_and_release, p), 0);
    EXPECT_EQ(read_blocking(p), 1);
    EXPECT_EQ(atomic_load(&p->done), p->expected);
    for (int i = 0; i < p->expected; i++)
        EXPECT_EQ(result_of(tasks[i]), 0);
    return 0;
}

/* In the LIFO slot, in the ring, and asleep on that worker. */
RUN_TEST(those_behind_a_blocked_worker_go_on)
{
    struct pipe_wait waits[4];
    zk_task_t tasks[4];
    zk_stats_t stats;

    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 4; i++) {
            waits[i] = (struct pipe_wait){.expected = 1 + 5 * i};
            EXPECT_EQ(pipe(waits[i].fd), 0);
        }
        for (int i = 0; i < 4; i++) {
            EXPECT_EQ(
                zk_spawn(&tasks[i], NULL, block_with_others_behind, &waits[i]),
                0);
            EXPECT_EQ(result_of(tasks[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
            EXPECT_EQ(close(waits[i].fd[0]), 0);
            EXPECT_EQ(close(waits[i].fd[1]), 0);
        }
    }
    zk_runtime_stats(zk_runtime_current(), &stats);
    EXPECT_GT(stats.adoptions, 0);
    EXPECT_GE(stats.spare_workers, 1);
}

static int sleep_and_measure(void *arg)
{
    zk_time_t *end = arg;
    int rc = zk_sleep_until(*end);

    *end = zk_now() - *end;
    return rc;
}

/* The first time hands the timers of the worker over, the second time must not
 * hand them back to it. */
RUN_TEST(a_deadline_outlives_two_blocked_spells_of_its_worker)
{
    enum { SLEEPERS = 8 };
    zk_time_t late = 0;

    for (int round = 0; round < 3; round++) {
        zk_time_t ends[SLEEPERS];
        zk_task_t sleepers[SLEEPERS];
        zk_time_t until = zk_after(ZK_MS(90));

        for (int i = 0; i < SLEEPERS; i++) {
            ends[i] = until + ZK_MS(i);
            EXPECT_EQ(zk_spawn(&sleepers[i], NULL, sleep_and_measure, &ends[i]),
                      0);
        }
        EXPECT_EQ(zk_sleep_until(zk_after(ZK_MS(1))), 0); /* they sleep */
        pause_thread(ZK_MS(30));
        EXPECT_EQ(zk_sleep_until(zk_after(ZK_MS(10))), 0);
        pause_thread(ZK_MS(250));
        for (int i = 0; i < SLEEPERS; i++) {
            EXPECT_EQ(result_of(sleepers[i]), 0);
            late = ends[i] > late ? ends[i] : late;
        }
    }
    fprintf(stderr, "# two spells: worst %.1f ms late\n", (double)late / 1e6);
    EXPECT_LE(late, ZK_SEC(2));
}

static int pause_twice(void *arg)
{
    zk_time_t start = zk_now();

    (void)arg;
    pause_thread(ZK_MS(40));
    EXPECT_EQ(zk_yield(), 0);
    pause_thread(ZK_MS(40));
    EXPECT_EQ(zk_yield(), 0);
    return (int)((zk_now() - start) / ZK_MS(1));
}

/* More stuck tasks than there are threads, spare ones included. */
RUN_TEST(spare_workers_may_be_blocked_too)
{
    enum { TASKS = 24 };
    zk_task_t tasks[TASKS];
    zk_time_t start = zk_now();

    for (int i = 0; i < TASKS; i++)
        EXPECT_EQ(zk_spawn(&tasks[i], NULL, pause_twice, NULL), 0);
    for (int i = 0; i < TASKS; i++)
        EXPECT_GE(result_of(tasks[i]), 80);
    EXPECT_LT(zk_now() - start, ZK_SEC(5));
}

/* The worker comes back while its spare computes: it must not have to wait. */
RUN_TEST(a_blocked_worker_comes_back_beside_a_busy_spare)
{
    zk_time_t delay[TRIES];
    zk_task_t hogs[64];
    int workers = stress_workers();

    for (int i = 0; i < TRIES / 2; i++) {
        struct hog hog = {0, 0};

        for (int k = 0; k < workers; k++)
            EXPECT_EQ(zk_spawn(&hogs[k], NULL, hog_run, &hog), 0);
        pause_thread(ZK_MS(30)); /* a spare takes a hog */
        for (int k = 0; k < 3; k++) {
            zk_task_t self;

            EXPECT_EQ(zk_spawn(&self, NULL, sleep_for_ever, NULL), 0);
            delay[i] = zk_now();
            pause_thread(ZK_MS(16));
            EXPECT_EQ(zk_cancel(self), 0);
            delay[i] = zk_now() - delay[i] - ZK_MS(16);
            EXPECT_EQ(zk_detach(self), 0);
        }
        atomic_store(&hog.stop, 1);
        for (int k = 0; k < workers; k++)
            EXPECT_EQ(result_of(hogs[k]), 1);
    }
    delays_check("back from a call", delay, TRIES / 2, ZK_MS(100));
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(a_task_is_woken_though_the_worker_it_left_computes),
        ZK_CASE(a_deadline_comes_though_the_worker_it_is_kept_by_computes),
        ZK_CASE(a_cancel_reaches_a_task_whose_worker_computes),
        ZK_CASE(a_round_trip_is_made_beside_tasks_that_yield_if_needed),
        ZK_CASE(those_behind_a_blocked_worker_go_on),
        ZK_CASE(a_deadline_outlives_two_blocked_spells_of_its_worker),
        ZK_CASE(spare_workers_may_be_blocked_too),
        ZK_CASE(a_blocked_worker_comes_back_beside_a_busy_spare));
}
