/* SPDX-License-Identifier: MIT */
/*
 * runq_test.c - one worker's ring: first in, first out, and with thieves every
 * task is taken exactly once (scheduler/runq.h I1 to I4).
 *
 * runq_small_test.c builds the same with a ring of four, which is full, empty
 * and overwritten all the time.
 */
#include "zk_test.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "scheduler/runq.h"

/* The ring never looks into a task: a number will do. */
static struct zk_task *numbered(uintptr_t n)
{
    return (struct zk_task *)(n + 1);
}

static uintptr_t number_of(const struct zk_task *task)
{
    return (uintptr_t)task - 1;
}

static struct zk_runq ring;

static void ring_reset(void)
{
    memset(&ring, 0, sizeof(ring));
}

/* ---- one thread ---------------------------------------------------------------- */

ZK_TEST(the_owner_takes_in_the_order_it_pushed)
{
    struct zk_task *out[ZK_RUNQ_CAP];
    uintptr_t in = 0, next = 0;

    ring_reset();
    EXPECT_EQ(zk__runq_take(&ring, out, ZK_RUNQ_CAP), 0);
    for (unsigned round = 0; round < 10 * ZK_RUNQ_CAP; round++) {
        unsigned n;

        for (unsigned i = 0; i <= round % ZK_RUNQ_CAP; i++)
            EXPECT_TRUE(zk__runq_push(&ring, numbered(in++)));
        EXPECT_EQ(zk__runq_len(&ring), in - next);
        do {
            n = zk__runq_take(&ring, out, 1 + round % 3);
            EXPECT_LE(n, 1 + round % 3);
            for (unsigned i = 0; i < n; i++)
                EXPECT_EQ(number_of(out[i]), next++);
        } while (n > 0);
        EXPECT_EQ(next, in);
    }
}

ZK_TEST(a_full_ring_refuses_and_keeps_what_it_has)
{
    struct zk_task *out[ZK_RUNQ_CAP];

    ring_reset();
    for (uintptr_t i = 0; i < ZK_RUNQ_CAP; i++)
        EXPECT_TRUE(zk__runq_push(&ring, numbered(i)));
    EXPECT_FALSE(zk__runq_push(&ring, numbered(999)));
    EXPECT_EQ(zk__runq_len(&ring), ZK_RUNQ_CAP);
    EXPECT_EQ(zk__runq_take(&ring, out, 1), 1);
    EXPECT_EQ(number_of(out[0]), 0);
    EXPECT_TRUE(zk__runq_push(&ring, numbered(ZK_RUNQ_CAP)));
    EXPECT_FALSE(zk__runq_push(&ring, numbered(999)));
    EXPECT_EQ(zk__runq_take(&ring, out, ZK_RUNQ_CAP), ZK_RUNQ_CAP);
    for (unsigned i = 0; i < ZK_RUNQ_CAP; i++)
        EXPECT_EQ(number_of(out[i]), i + 1);
}

ZK_TEST(a_thief_takes_the_older_half_rounded_up)
{
    struct zk_task *out[ZK_RUNQ_CAP];

    for (unsigned len = 0; len <= ZK_RUNQ_CAP; len++) {
        unsigned half = len - len / 2;

        ring_reset();
        for (uintptr_t i = 0; i < len; i++)
            EXPECT_TRUE(zk__runq_push(&ring, numbered(i)));
        EXPECT_EQ(zk__runq_steal(&ring, out, ZK_RUNQ_CAP), half);
        for (unsigned i = 0; i < half; i++)
            EXPECT_EQ(number_of(out[i]), i);
        EXPECT_EQ(zk__runq_len(&ring), len - half);
        EXPECT_EQ(zk__runq_steal(&ring, out, 1), len - half > 0);
    }
}

/* ---- an owner and two thieves ------------------------------------------------------ */

/* Rounds of a million, until the thieves had half a million. */
enum { ITEMS = 1000000, ROUNDS = 40, THIEVES = 2, STOLEN_MAX = 8 };

static _Atomic uint8_t taken[ITEMS]; /* in how many rounds */
static _Atomic uint32_t started, over;
static _Atomic uint64_t n_stolen, n_disordered;

/* What one thread takes from one ring comes in the order it was pushed. */
static void note_taken(struct zk_task **out, unsigned n, uintptr_t *last)
{
    for (unsigned i = 0; i < n; i++) {
        uintptr_t number = number_of(out[i]);

        if (number + 1 <= *last) {
            zk_atomic_add(&n_disordered, 1, relaxed);
            continue;
        }
        *last = number + 1;
        zk_atomic_add(&taken[number % ITEMS], 1, relaxed);
    }
}

static void *thief_main(void *arg)
{
    struct zk_task *out[STOLEN_MAX];
    uintptr_t last = 0;
    unsigned misses = 0;

    (void)arg;
    zk_atomic_add(&started, 1, relaxed);
    while (zk_atomic_load(&over, acquire) == 0) {
        unsigned n = zk__runq_steal(&ring, out, STOLEN_MAX);

        note_taken(out, n, &last);
        zk_atomic_add(&n_stolen, n, relaxed);
        if (n == 0 && ++misses % 256 == 0)
            sched_yield(); /* few processors */
    }
    return NULL;
}

/* Pushes and takes the numbers from `in` to `end`. */
static void owner_round(uintptr_t in, uintptr_t end, uintptr_t *last)
{
    struct zk_task *out[STOLEN_MAX];

    while (in < end || zk__runq_len(&ring) > 0) {
        bool full = false;

        for (unsigned i = 0; i < 1 + in % 5 && in < end && !full; i++) {
            full = !zk__runq_push(&ring, numbered(in));
            in += !full;
        }
        if (full || in == end || in % 3 == 0)
            note_taken(out, zk__runq_take(&ring, out, 1 + in % STOLEN_MAX),
                       last);
    }
}

/* How many rounds it were. */
static unsigned owner_run(void)
{
    unsigned rounds = 0;
    uintptr_t last = 0;

    while (zk_atomic_load(&started, relaxed) < THIEVES)
        sched_yield();
    do {
        owner_round((uintptr_t)rounds * ITEMS, (uintptr_t)(rounds + 1) * ITEMS,
                    &last);
        rounds++;
    } while (rounds < ROUNDS && zk_atomic_load(&n_stolen, relaxed) < ITEMS / 2);
    return rounds;
}

ZK_TEST(every_task_is_taken_exactly_once)
{
    pthread_t thief[THIEVES];
    unsigned wrong = 0, rounds;

    ring_reset();
    for (int i = 0; i < THIEVES; i++)
        EXPECT_EQ(pthread_create(&thief[i], NULL, thief_main, NULL), 0);
    rounds = owner_run();
    zk_atomic_store(&over, 1, release);
    for (int i = 0; i < THIEVES; i++)
        pthread_join(thief[i], NULL);
    for (unsigned i = 0; i < ITEMS; i++)
        wrong += taken[i] != rounds;
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(n_disordered, 0);
    EXPECT_GT(n_stolen, 0);
    EXPECT_EQ(zk__runq_len(&ring), 0);
}

int main(void)
{
    return zk_test_main(ZK_CASE(the_owner_takes_in_the_order_it_pushed),
                        ZK_CASE(a_full_ring_refuses_and_keeps_what_it_has),
                        ZK_CASE(a_thief_takes_the_older_half_rounded_up),
                        ZK_CASE(every_task_is_taken_exactly_once));
}
