/* SPDX-License-Identifier: MIT */
/* Waits that a wake, a deadline and a cancel race for, from tasks and from plain
 * threads: each ends once, by one of them, and none is lost. */
#include "stress/stress.h"

/* ---- joins ------------------------------------------------------------------ */

enum { PARENTS = 64, CANCELLERS = 2 };

/* Handles that the cancelling threads may shoot at; all may be stale. */
static struct {
    pthread_mutex_t lock;
    zk_task_t task;
} targets[PARENTS] = {
    [0 ... PARENTS - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER}};
static atomic_int storm_over;
static atomic_long storm_timeouts, storm_cancels;

static void target_set(int i, zk_task_t task)
{
    pthread_mutex_lock(&targets[i].lock);
    targets[i].task = task;
    pthread_mutex_unlock(&targets[i].lock);
}

static void *cancel_some(void *arg)
{
    uint64_t random = *(uint64_t *)arg;

    while (!atomic_load(&storm_over)) {
        uint64_t r = stress_random(&random);
        int i = (int)(r % PARENTS), rc;
        zk_task_t task;

        pthread_mutex_lock(&targets[i].lock);
        task = targets[i].task;
        pthread_mutex_unlock(&targets[i].lock);
        rc = zk_cancel(task);
        EXPECT_TRUE(rc == 0 || rc == -ESRCH);
        if ((r >> 32 & 7) == 0)
            sched_yield();
    }
    return NULL;
}

struct child {
    uint64_t random;
};

/* Waits a little in one of several ways; a cancel may cut it short. */
static int child_run(void *arg)
{
    struct child *c = arg;
    uint64_t r = stress_random(&c->random);
    int rc = 0;

    for (uint64_t n = r & 3; n > 0 && rc == 0; n--)
        rc = zk_yield();
    if (rc == 0 && (r >> 8 & 3) == 0)
        rc = zk_sleep_until(zk_after((zk_time_t)(r >> 16 & 0xffff)));
    return rc;
}

static int parent_run(void *arg)
{
    int index = (int)(intptr_t)arg;
    uint64_t random = zk_test_seed() * 1000 + (uint64_t)index + 1;
    long parks = stress_rounds(1000000) / PARENTS;

    for (long i = 0; i < parks; i++) {
        uint64_t r = stress_random(&random);
        struct child child = {r | 1};
        zk_task_t task;
        int rc, result = 1;

        if (!EXPECT_EQ(zk_spawn(&task, NULL, child_run, &child), 0))
            return -1;
        target_set(index, task);
        if ((r & 3) == 0) {
            rc = zk_join(task, &result, zk_after((zk_time_t)(r >> 8 & 0x3fff)));
            if (rc == -ETIMEDOUT) {
                atomic_fetch_add(&storm_timeouts, 1);
                rc = zk_join(task, &result, BOUND);
            }
        } else {
            rc = zk_join(task, &result, BOUND);
        }
        if (!EXPECT_EQ(rc, 0))
            return rc;
        EXPECT_TRUE(result == 0 || result == -ECANCELED);
        if (result == -ECANCELED)
            atomic_fetch_add(&storm_cancels, 1);
    }
    return 0;
}

RUN_TEST(no_wake_of_a_join_is_lost)
{
    zk_task_t parents[PARENTS];
    pthread_t cancellers[CANCELLERS];
    uint64_t seeds[CANCELLERS];
    uint64_t parks = parks_now();

    atomic_store(&storm_over, 0);
    for (int i = 0; i < PARENTS; i++)
        EXPECT_EQ(zk_spawn(&parents[i], NULL, parent_run, (void *)(intptr_t)i),
                  0);
    for (int i = 0; i < CANCELLERS; i++) {
        seeds[i] = zk_test_seed() + 77 + (uint64_t)i;
        EXPECT_EQ(pthread_create(&cancellers[i], NULL, cancel_some, &seeds[i]),
                  0);
    }
    for (int i = 0; i < PARENTS; i++) {
        int result = 1;

        EXPECT_EQ(zk_join(parents[i], &result, ZK_FOREVER), 0);
        EXPECT_EQ(result, 0);
    }
    atomic_store(&storm_over, 1);
    for (int i = 0; i < CANCELLERS; i++)
        EXPECT_EQ(pthread_join(cancellers[i], NULL), 0);
    fprintf(stderr, "# %llu parks, %ld timeouts, %ld cancels\n",
            (unsigned long long)(parks_now() - parks),
            atomic_load(&storm_timeouts), atomic_load(&storm_cancels));
    EXPECT_GE(parks_now() - parks, (uint64_t)stress_rounds(500000));
}

/* ---- many parked at once, woken from outside -------------------------------- */

static int hold(void *arg)
{
    (void)arg;
    return zk_sleep_until(ZK_FOREVER);
}

static int join_one(void *arg)
{
    int result = 1, rc = zk_join(*(zk_task_t *)arg, &result, ZK_FOREVER);

    return rc < 0 ? rc : result;
}

struct range {
    zk_task_t *task;
    int n;
};

static void *cancel_range(void *arg)
{
    const struct range *r = arg;

    for (int i = 0; i < r->n; i++)
        EXPECT_EQ(zk_cancel(r->task[i]), 0);
    return NULL;
}

/* Each of N holders sleeps, each of N joiners waits for one; threads end the
 * holders. */
RUN_TEST(a_storm_of_wakes_from_threads_reaches_all)
{
    enum { THREADS = 3 };
    int width = stress_width(9000) / THREADS * THREADS;
    long rounds = stress_rounds(20);
    zk_task_t *holders = calloc((size_t)width, sizeof(*holders));
    zk_task_t *joiners = calloc((size_t)width, sizeof(*joiners));

    for (long round = 0; round < rounds; round++) {
        struct range ranges[THREADS];
        pthread_t threads[THREADS];

        for (int i = 0; i < width; i++) {
            EXPECT_EQ(zk_spawn(&holders[i], NULL, hold, NULL), 0);
            EXPECT_EQ(zk_spawn(&joiners[i], NULL, join_one, &holders[i]), 0);
        }
        for (int i = 0; i < THREADS; i++) {
            ranges[i] = (struct range){holders + i * (width / THREADS),
                                       width / THREADS};
            EXPECT_EQ(
                pthread_create(&threads[i], NULL, cancel_range, &ranges[i]), 0);
        }
        for (int i = 0; i < width; i++)
            EXPECT_EQ(result_of(joiners[i]), -ECANCELED);
        for (int i = 0; i < THREADS; i++)
            EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    }
    free(holders);
    free(joiners);
}

/* ---- plain threads --------------------------------------------------------- */

struct outsider {
    zk_runtime_t *rt;
    uint64_t random;
    long rounds;
    long timeouts;
};

static int short_life(void *arg)
{
    uint64_t r = (uint64_t)(uintptr_t)arg;

    for (uint64_t n = r & 7; n > 0; n--)
        EXPECT_EQ(zk_yield(), 0);
    if ((r >> 4 & 3) == 0)
        EXPECT_EQ(zk_sleep_until(zk_after((zk_time_t)(r >> 8 & 0xffff))), 0);
    return (int)(r & 0x7fff);
}

static void *spawn_and_join(void *arg)
{
    struct outsider *o = arg;

    for (long i = 0; i < o->rounds; i++) {
        uint64_t r = stress_random(&o->random);
        zk_task_t task;
        int rc, result = -1;

        if (!EXPECT_EQ(zk_runtime_spawn(o->rt, &task, NULL, short_life,
                                        (void *)(uintptr_t)r),
                       0))
            return NULL;
        rc = zk_join(task, &result, zk_after((zk_time_t)(r >> 20 & 0x7fff)));
        if (rc == -ETIMEDOUT) {
            o->timeouts++;
            rc = zk_join(task, &result, BOUND);
        }
        EXPECT_EQ(rc, 0);
        EXPECT_EQ(result, (int)(r & 0x7fff));
    }
    return NULL;
}

ZK_TEST(threads_start_and_join_tasks)
{
    enum { THREADS = 4 };
    struct outsider outsiders[THREADS];
    pthread_t threads[THREADS];
    long timeouts = 0;
    zk_runtime_t *rt;

    if (!EXPECT_EQ(zk_runtime_create(&rt, NULL), 0))
        return;
    EXPECT_EQ(zk_runtime_start(rt), 0);
    for (int i = 0; i < THREADS; i++) {
        outsiders[i] = (struct outsider){rt, zk_test_seed() + (uint64_t)i + 5,
                                         stress_rounds(40000) / THREADS, 0};
        EXPECT_EQ(
            pthread_create(&threads[i], NULL, spawn_and_join, &outsiders[i]),
            0);
    }
    for (int i = 0; i < THREADS; i++) {
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
        timeouts += outsiders[i].timeouts;
    }
    fprintf(stderr, "# %ld deadlines of threads passed\n", timeouts);
    EXPECT_EQ(zk_runtime_shutdown(rt, BOUND), 0);
    EXPECT_EQ(zk_runtime_destroy(rt), 0);
}

/* ---- the end of a runtime ---------------------------------------------------- */

/* Ends by itself or by the cancel of the shutdown. */
static int end_soon(void *arg)
{
    uint64_t r = (uint64_t)(uintptr_t)arg;
    int rc = 0;

    for (uint64_t n = r & 7; n > 0 && rc == 0; n--)
        rc = zk_yield();
    return rc == 0 ? zk_sleep_until(zk_after(ZK_US(r & 15))) : rc;
}

static int leave_some_behind(void *arg)
{
    long n = (long)(intptr_t)arg;
    zk_spawn_opts_t opts = {.flags = ZK_TASK_DETACHED};

    for (long i = 0; i < n; i++)
        EXPECT_EQ(
            zk_spawn(NULL, &opts, i & 1 ? hold : end_soon, (void *)(intptr_t)i),
            0);
    return 0;
}

/* Whoever ends last must tell: else a shutdown waits for its bound. */
ZK_TEST(every_shutdown_sees_the_end_of_the_last_task)
{
    long rounds = stress_rounds(400);

    for (long i = 0; i < rounds; i++) {
        zk_time_t start = zk_now();

        EXPECT_EQ(zk_run(NULL, leave_some_behind, (void *)(intptr_t)(i % 20)),
                  0);
        if (!EXPECT_LT(zk_now() - start, ZK_SEC(3)))
            return;
    }
}

int main(void)
{
    return zk_test_main(ZK_CASE(no_wake_of_a_join_is_lost),
                        ZK_CASE(a_storm_of_wakes_from_threads_reaches_all),
                        ZK_CASE(threads_start_and_join_tasks),
                        ZK_CASE(every_shutdown_sees_the_end_of_the_last_task));
}
