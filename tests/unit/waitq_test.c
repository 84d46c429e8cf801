/* SPDX-License-Identifier: MIT */
/*
 * waitq_test.c - order, wake, deadline, cancel, foreign threads, and that no
 * grant is ever lost (scheduler/waitq.c W1 to W5).
 *
 * Most cases are about a semaphore made of a waitq: a unit that is released is
 * either taken by who was woken for it or is there for the next. Who loses one
 * leaves a task waiting beside a free unit.
 */
#include "core.h"

#include <pthread.h>
#include <sched.h>

struct semaphore {
    struct zk_waitq queue; /* lock of `units` too */
    unsigned units;
};

static int semaphore_take(struct semaphore *s, zk_time_t deadline,
                          unsigned flags)
{
    zk__waitq_lock(&s->queue);
    if (s->units > 0) {
        s->units--;
        zk__waitq_unlock(&s->queue);
        return 0;
    }
    return zk__waitq_wait(&s->queue, ZK_REASON_JOIN, s, deadline, flags);
}

static void semaphore_give(struct semaphore *s)
{
    struct zk_task *task = NULL;
    bool woken;

    zk__waitq_lock(&s->queue);
    woken = zk__waitq_wake(&s->queue, 0, &task);
    if (!woken)
        s->units++;
    zk__waitq_unlock(&s->queue);
    if (task != NULL)
        zk__ready(task);
}

static unsigned queue_length(struct zk_waitq *q)
{
    unsigned n;

    zk__waitq_lock(q);
    n = q->length;
    zk__waitq_unlock(q);
    return n;
}

/* One wait of a task of its own, and in which place it was over. */
struct wait {
    struct zk_waitq *queue;
    zk_time_t deadline;
    unsigned flags;
    int rc, place;
};

static int places;

static int wait_once(void *arg)
{
    struct wait *w = arg;

    zk__waitq_lock(w->queue);
    w->rc = zk__waitq_wait(w->queue, ZK_REASON_JOIN, w, w->deadline, w->flags);
    w->place = places++;
    return w->rc;
}

/* `n` tasks that wait, the first in line first. */
static void spawn_waits(struct zk_waitq *q, struct wait *w, zk_task_t *task,
                        int n)
{
    places = 0;
    for (int i = 0; i < n; i++) {
        w[i].queue = q;
        if (w[i].deadline == 0)
            w[i].deadline = ZK_FOREVER;
        w[i].flags |= ZK_WAITQ_CANCELLABLE;
        task[i] = spawn(wait_once, &w[i]);
        settle();
        EXPECT_EQ(queue_length(q), i + 1);
    }
}

static void wake_one(struct zk_waitq *q, int result)
{
    zk__waitq_lock(q);
    zk__waitq_wake_one(q, result);
}

/* ---- order and results ------------------------------------------------------ */

SEEDS_TEST(waiters_are_woken_in_the_order_they_came, 20)
{
    struct zk_waitq q = {0};
    struct wait w[5] = {{0}};
    zk_task_t task[5];

    spawn_waits(&q, w, task, 5);
    for (int i = 0; i < 5; i++) {
        wake_one(&q, 100 + i);
        EXPECT_EQ(queue_length(&q), 4 - i);
        EXPECT_EQ(result_of(task[i]), 100 + i);
        EXPECT_EQ(w[i].place, i);
    }
    EXPECT_TRUE(q.head == NULL);
}

SEEDS_TEST(wake_one_wakes_one_and_wake_all_wakes_the_rest, 20)
{
    struct zk_waitq q = {0};
    struct wait w[5] = {{0}};
    zk_task_t task[5];

    spawn_waits(&q, w, task, 5);
    wake_one(&q, 7);
    settle();
    EXPECT_EQ(places, 1);
    EXPECT_EQ(w[0].rc, 7);
    zk__waitq_lock(&q);
    zk__waitq_wake_all(&q, -EBADF);
    EXPECT_EQ(queue_length(&q), 0);
    for (int i = 0; i < 5; i++)
        EXPECT_EQ(result_of(task[i]), i == 0 ? 7 : -EBADF);
}

ZK_SIM_TEST(a_wake_finds_nobody_in_an_empty_queue)
{
    struct zk_waitq q = {0};
    struct zk_task *task = (void *)&q;

    zk__waitq_lock(&q);
    EXPECT_FALSE(zk__waitq_wake(&q, 0, &task));
    EXPECT_TRUE(task == (void *)&q);
    zk__waitq_wake_one(&q, 0);
    EXPECT_EQ(q.lock, 0);
    zk__waitq_lock(&q);
    zk__waitq_wake_all(&q, 0);
    EXPECT_EQ(q.lock, 0);
}

/* ---- deadline and cancel ----------------------------------------------------- */

SEEDS_TEST(a_deadline_ends_the_wait_and_leaves_the_queue_in_order, 20)
{
    struct zk_waitq q = {0};
    struct wait w[3] = {{0}, {.deadline = zk_after(ZK_MS(3))}, {0}};
    zk_time_t deadline = w[1].deadline;
    zk_task_t task[3];

    spawn_waits(&q, w, task, 3);
    EXPECT_EQ(result_of(task[1]), -ETIMEDOUT);
    EXPECT_EQ(zk_now(), deadline);
    EXPECT_EQ(queue_length(&q), 2);
    EXPECT_TRUE(block_of(task[1])->wait.waiter.next == NULL);
    wake_one(&q, 1);
    wake_one(&q, 2);
    EXPECT_EQ(result_of(task[0]), 1);
    EXPECT_EQ(result_of(task[2]), 2);
}

SEEDS_TEST(a_cancel_ends_the_wait_and_leaves_the_queue_in_order, 20)
{
    struct zk_waitq q = {0};
    struct wait w[3] = {{0}};
    zk_task_t task[3];

    spawn_waits(&q, w, task, 3);
    EXPECT_EQ(zk_cancel(task[0]), 0);
    EXPECT_EQ(result_of(task[0]), -ECANCELED);
    EXPECT_EQ(queue_length(&q), 2);
    wake_one(&q, 1);
    wake_one(&q, 2);
    EXPECT_EQ(result_of(task[1]), 1);
    EXPECT_EQ(result_of(task[2]), 2);
}

SEEDS_TEST(a_cancelled_task_does_not_wait_and_unlocks_the_queue, 20)
{
    struct zk_waitq q = {0};
    struct wait w = {
        .queue = &q, .deadline = ZK_FOREVER, .flags = ZK_WAITQ_CANCELLABLE};
    zk_task_t task = spawn(wait_once, &w);

    EXPECT_EQ(zk_cancel(task), 0);
    EXPECT_EQ(result_of(task), -ECANCELED);
    EXPECT_EQ(q.lock, 0);
    EXPECT_TRUE(q.head == NULL);
}

SEEDS_TEST(a_wait_that_is_not_cancellable_is_not_cancelled, 20)
{
    struct zk_waitq q = {0};
    struct wait forever = {.queue = &q, .deadline = ZK_FOREVER};
    struct wait bounded = {.queue = &q, .deadline = zk_after(ZK_MS(2))};
    zk_task_t a = spawn(wait_once, &forever);
    zk_task_t b = spawn(wait_once, &bounded);

    settle();
    EXPECT_EQ(zk_cancel(a), 0);
    EXPECT_EQ(zk_cancel(b), 0);
    EXPECT_EQ(result_of(b), -ETIMEDOUT);
    EXPECT_EQ(queue_length(&q), 1);
    wake_one(&q, 9);
    EXPECT_EQ(result_of(a), 9);
    EXPECT_EQ(q.lock, 0);
}

SEEDS_TEST(a_past_deadline_times_out_without_a_wake, 20)
{
    struct zk_waitq q = {0};
    struct wait w = {.queue = &q, .deadline = zk_now() - 1};
    zk_time_t now = zk_now();

    EXPECT_EQ(result_of(spawn(wait_once, &w)), -ETIMEDOUT);
    EXPECT_EQ(zk_now(), now);
    EXPECT_TRUE(q.head == NULL);
}

/* ---- a wake against a deadline ----------------------------------------------- */

/* Wakes one at `at`; how many were in line then. */
struct waker {
    struct zk_waitq *queue;
    zk_time_t at;
    unsigned found;
    bool woke;
};

static int wake_at(void *arg)
{
    struct waker *w = arg;
    struct zk_task *task = NULL;

    EXPECT_EQ(zk_sleep_until(w->at), 0);
    zk__waitq_lock(w->queue);
    w->found = w->queue->length;
    w->woke = zk__waitq_wake(w->queue, 5, &task);
    zk__waitq_unlock(w->queue);
    if (task != NULL)
        zk__ready(task);
    return 0;
}

/*
 * The waker and the first waiter's deadline come at the same moment. If the
 * waker runs before the waiter has taken its node out, it pops a waiter that
 * has lost already and must go on to the second (W3).
 */
static unsigned popped_a_loser, came_too_late;

SEEDS_TEST(a_waiter_that_timed_out_passes_the_wake_on, 100)
{
    struct zk_waitq q = {0};
    struct wait w[2] = {{.deadline = zk_after(ZK_MS(1))}, {0}};
    struct waker waker = {.queue = &q, .at = w[0].deadline};
    zk_task_t task[2], other = spawn(wake_at, &waker);

    spawn_waits(&q, w, task, 2);
    EXPECT_EQ(result_of(task[0]), -ETIMEDOUT);
    EXPECT_EQ(result_of(task[1]), 5);
    EXPECT_EQ(result_of(other), 0);
    EXPECT_TRUE(waker.woke);
    EXPECT_TRUE(q.head == NULL);
    popped_a_loser += waker.found == 2;
    came_too_late += waker.found == 1;
}

ZK_TEST(both_orders_of_a_wake_and_a_deadline_were_seen)
{
    EXPECT_GT(popped_a_loser, 0);
    EXPECT_GT(came_too_late, 0);
}

SEEDS_TEST(a_wake_just_before_the_deadline_wins, 20)
{
    struct zk_waitq q = {0};
    struct wait w[1] = {{.deadline = zk_after(ZK_MS(1))}};
    struct waker waker = {.queue = &q, .at = w[0].deadline - 1};
    zk_task_t task[1], other = spawn(wake_at, &waker);

    spawn_waits(&q, w, task, 1);
    EXPECT_EQ(result_of(task[0]), 5);
    EXPECT_EQ(zk_now(), waker.at);
    EXPECT_EQ(result_of(other), 0);
}

SEEDS_TEST(a_wake_just_after_the_deadline_finds_nobody, 20)
{
    struct zk_waitq q = {0};
    struct wait w[1] = {{.deadline = zk_after(ZK_MS(1))}};
    struct waker waker = {.queue = &q, .at = w[0].deadline + 1};
    zk_task_t task[1], other = spawn(wake_at, &waker);

    spawn_waits(&q, w, task, 1);
    EXPECT_EQ(result_of(task[0]), -ETIMEDOUT);
    EXPECT_EQ(result_of(other), 0);
    EXPECT_FALSE(waker.woke);
}

/* ---- a cancel against a wake -------------------------------------------------- */

static unsigned cancel_won, cancel_won_late, wake_won;

/* Company for who yields: alone it would go on at once. */
static int yield_until(void *arg)
{
    const bool *over = arg;

    while (!*over)
        EXPECT_EQ(zk_yield(), 0);
    return 0;
}

/*
 * The cancel is a message that the worker looks at after some dispatches; the
 * wake comes after none to many. It may pop a waiter that was ended and has not
 * run yet: then it goes to the next in line.
 */
SEEDS_TEST(a_cancel_and_a_wake_of_one_waiter_have_one_winner, 300)
{
    struct zk_waitq q = {0};
    struct wait w[2] = {{0}};
    zk_task_t task[2], company;
    bool over = false;
    unsigned found;
    int first;

    spawn_waits(&q, w, task, 2);
    company = spawn(yield_until, &over);
    EXPECT_EQ(zk_cancel(task[0]), 0);
    for (uint64_t i = world_seed % 90; i > 0; i--)
        EXPECT_EQ(zk_yield(), 0);
    found = queue_length(&q);
    wake_one(&q, 3);
    over = true;
    first = result_of(task[0]);
    EXPECT_TRUE(first == -ECANCELED || first == 3);
    cancel_won += first == -ECANCELED;
    cancel_won_late += first == -ECANCELED && found == 2;
    wake_won += first == 3;
    if (first == 3)
        wake_one(&q, 3);
    EXPECT_EQ(result_of(task[1]), 3);
    EXPECT_EQ(result_of(company), 0);
    EXPECT_TRUE(q.head == NULL);
}

ZK_TEST(both_winners_of_a_cancel_and_a_wake_were_seen)
{
    EXPECT_GT(cancel_won, 0);
    EXPECT_GT(cancel_won_late, 0);
    EXPECT_GT(wake_won, 0);
}

/* ---- nothing is lost, by the seed --------------------------------------------- */

enum { TAKERS = 12, GIVERS = 4, ROUNDS = 6 };

struct crowd {
    struct semaphore semaphore;
    struct zk_rand rand;
    unsigned taken, timed_out, cancelled, given;
};

static int take_some(void *arg)
{
    struct crowd *c = arg;

    for (int i = 0; i < ROUNDS; i++) {
        zk_time_t span = ZK_US(draw(&c->rand, 50));
        int rc = semaphore_take(&c->semaphore, zk_after(span),
                                ZK_WAITQ_CANCELLABLE);

        c->taken += rc == 0;
        c->timed_out += rc == -ETIMEDOUT;
        if (rc != -ECANCELED)
            continue;
        c->cancelled++;
        break;
    }
    return 0;
}

static int give_some(void *arg)
{
    struct crowd *c = arg;

    for (int i = 0; i < ROUNDS * 2; i++) {
        EXPECT_EQ(zk_sleep_until(zk_after(ZK_US(draw(&c->rand, 20)))), 0);
        semaphore_give(&c->semaphore);
        c->given++;
    }
    return 0;
}

static unsigned crowd_taken, crowd_timed_out, crowd_cancelled;

SEEDS_TEST(no_grant_is_lost_among_deadlines_and_cancels, 300)
{
    struct crowd c = {.given = 0};
    zk_task_t taker[TAKERS], giver[GIVERS];

    zk_rand_seed(&c.rand, world_seed);
    for (int i = 0; i < TAKERS; i++)
        taker[i] = spawn(take_some, &c);
    for (int i = 0; i < GIVERS; i++)
        giver[i] = spawn(give_some, &c);
    for (int i = 0; i < TAKERS / 3; i++) {
        zk_sleep_until(zk_after(ZK_US(draw(&c.rand, 30))));
        zk_cancel(taker[draw(&c.rand, TAKERS)]);
    }
    for (int i = 0; i < TAKERS; i++)
        EXPECT_EQ(result_of(taker[i]), 0);
    for (int i = 0; i < GIVERS; i++)
        EXPECT_EQ(result_of(giver[i]), 0);
    EXPECT_EQ(c.given, GIVERS * ROUNDS * 2);
    EXPECT_EQ(c.taken + c.semaphore.units, c.given);
    EXPECT_TRUE(c.semaphore.queue.head == NULL);
    crowd_taken += c.taken;
    crowd_timed_out += c.timed_out;
    crowd_cancelled += c.cancelled;
}

ZK_TEST(the_crowd_took_timed_out_and_was_cancelled)
{
    EXPECT_GT(crowd_taken, 1000);
    EXPECT_GT(crowd_timed_out, 1000);
    EXPECT_GT(crowd_cancelled, 100);
}

/* ---- plain threads ------------------------------------------------------------- */

struct thread_wait {
    pthread_t thread;
    struct zk_waitq *queue;
    zk_time_t deadline;
    int rc;
};

static void *thread_wait_main(void *arg)
{
    struct thread_wait *w = arg;

    zk__waitq_lock(w->queue);
    w->rc = zk__waitq_wait(w->queue, ZK_REASON_JOIN, w, w->deadline,
                           ZK_WAITQ_CANCELLABLE);
    return NULL;
}

/* Returns when it is the `length`-th in line. */
static void thread_wait_start(struct thread_wait *w, unsigned length)
{
    EXPECT_EQ(pthread_create(&w->thread, NULL, thread_wait_main, w), 0);
    while (queue_length(w->queue) < length)
        sched_yield();
}

ZK_TEST(threads_wait_in_line_on_a_futex)
{
    struct zk_waitq q = {0};
    struct thread_wait w[3];

    for (unsigned i = 0; i < 3; i++) {
        w[i] = (struct thread_wait){.queue = &q, .deadline = ZK_FOREVER};
        thread_wait_start(&w[i], i + 1);
    }
    for (int i = 0; i < 3; i++) {
        wake_one(&q, 40 + i);
        pthread_join(w[i].thread, NULL);
        EXPECT_EQ(w[i].rc, 40 + i);
        EXPECT_EQ(queue_length(&q), 2u - (unsigned)i);
    }
}

ZK_TEST(wake_all_wakes_every_thread)
{
    struct zk_waitq q = {0};
    struct thread_wait w[3];

    for (unsigned i = 0; i < 3; i++) {
        w[i] = (struct thread_wait){.queue = &q, .deadline = ZK_FOREVER};
        thread_wait_start(&w[i], i + 1);
    }
    zk__waitq_lock(&q);
    zk__waitq_wake_all(&q, -ESHUTDOWN);
    for (int i = 0; i < 3; i++) {
        pthread_join(w[i].thread, NULL);
        EXPECT_EQ(w[i].rc, -ESHUTDOWN);
    }
    EXPECT_TRUE(q.head == NULL);
}

ZK_TEST(a_thread_times_out_and_leaves_the_line)
{
    struct zk_waitq q = {0};
    struct thread_wait past = {.queue = &q, .deadline = 1};
    struct thread_wait soon = {.queue = &q,
                               .deadline = zk__clock_now() + ZK_MS(2)};

    thread_wait_main(&past);
    EXPECT_EQ(past.rc, -ETIMEDOUT);
    thread_wait_main(&soon);
    EXPECT_EQ(soon.rc, -ETIMEDOUT);
    EXPECT_GE(zk__clock_now(), soon.deadline);
    EXPECT_TRUE(q.head == NULL);
    EXPECT_EQ(q.length, 0);
    EXPECT_EQ(q.lock, 0);
}

/* ---- threads and tasks race ----------------------------------------------------- */

enum { RACERS = 8, RACING_THREADS = 2, RACES = 3000 };

static struct semaphore raced;
static _Atomic uint32_t race_taken, race_given, race_over;

static zk_time_t race_deadline(struct zk_rand *rand)
{
    return zk_now() + ZK_US(zk_rand_below(rand, 20));
}

static void race(uint64_t seed, unsigned flags)
{
    struct zk_rand rand;

    zk_rand_seed(&rand, seed);
    for (int i = 0; i < RACES; i++) {
        if ((zk_rand_next(&rand) & 1) != 0) {
            semaphore_give(&raced);
            zk_atomic_add(&race_given, 1, relaxed);
        } else if (semaphore_take(&raced, race_deadline(&rand), flags) == 0) {
            zk_atomic_add(&race_taken, 1, relaxed);
        }
    }
    zk_atomic_add(&race_over, 1, relaxed);
}

static int race_task(void *arg)
{
    race((uintptr_t)arg, ZK_WAITQ_CANCELLABLE);
    return 0;
}

static void *race_thread(void *arg)
{
    race((uintptr_t)arg, 0);
    return NULL;
}

static int race_main(void *arg)
{
    zk_task_t task[RACERS];

    (void)arg;
    for (uintptr_t i = 0; i < RACERS; i++)
        task[i] = spawn(race_task, (void *)(i + 1));
    for (int i = 0; i < RACERS; i++)
        EXPECT_EQ(result_of(task[i]), 0);
    return 0;
}

ZK_TEST(threads_and_tasks_lose_no_grant_in_a_race)
{
    const zk_config_t cfg = {.workers = 2};
    pthread_t thread[RACING_THREADS];

    for (uintptr_t i = 0; i < RACING_THREADS; i++)
        EXPECT_EQ(
            pthread_create(&thread[i], NULL, race_thread, (void *)(i + 100)),
            0);
    EXPECT_EQ(zk_run(&cfg, race_main, NULL), 0);
    for (int i = 0; i < RACING_THREADS; i++)
        pthread_join(thread[i], NULL);
    EXPECT_EQ(race_over, RACERS + RACING_THREADS);
    EXPECT_GT(race_taken, 0);
    EXPECT_EQ(race_taken + raced.units, race_given);
    EXPECT_TRUE(raced.queue.head == NULL);
    EXPECT_EQ(raced.queue.length, 0);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(waiters_are_woken_in_the_order_they_came),
        ZK_CASE(wake_one_wakes_one_and_wake_all_wakes_the_rest),
        ZK_CASE(a_wake_finds_nobody_in_an_empty_queue),
        ZK_CASE(a_deadline_ends_the_wait_and_leaves_the_queue_in_order),
        ZK_CASE(a_cancel_ends_the_wait_and_leaves_the_queue_in_order),
        ZK_CASE(a_cancelled_task_does_not_wait_and_unlocks_the_queue),
        ZK_CASE(a_wait_that_is_not_cancellable_is_not_cancelled),
        ZK_CASE(a_past_deadline_times_out_without_a_wake),
        ZK_CASE(a_waiter_that_timed_out_passes_the_wake_on),
        ZK_CASE(both_orders_of_a_wake_and_a_deadline_were_seen),
        ZK_CASE(a_wake_just_before_the_deadline_wins),
        ZK_CASE(a_wake_just_after_the_deadline_finds_nobody),
        ZK_CASE(a_cancel_and_a_wake_of_one_waiter_have_one_winner),
        ZK_CASE(both_winners_of_a_cancel_and_a_wake_were_seen),
        ZK_CASE(no_grant_is_lost_among_deadlines_and_cancels),
        ZK_CASE(the_crowd_took_timed_out_and_was_cancelled),
        ZK_CASE(threads_wait_in_line_on_a_futex),
        ZK_CASE(wake_all_wakes_every_thread),
        ZK_CASE(a_thread_times_out_and_leaves_the_line),
        ZK_CASE(threads_and_tasks_lose_no_grant_in_a_race));
}
