/* SPDX-License-Identifier: MIT */
/*
 * timers_test.c - the timer queue, against a sorted list and at its edges.
 *
 * Time is a number here: no clock is read but for what is printed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "time/time.h"
#include "utils/rand.h"

#define TICK ((zk_time_t)1 << ZK_WHEEL_SHIFT)
#define DAY ZK_SEC(86400)
#define HEAP_CAP 256u

ZK_WEAK void zk__assert_failed(const char *expr, const char *file, int line)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, expr);
    abort();
}

static struct zk_timers timers;
static struct zk_timer_node *heap[HEAP_CAP];

static zk_time_t tick_up(zk_time_t t)
{
    return (t + TICK - 1) / TICK * TICK;
}

/* Everything that is due at `now`; how many. */
static size_t drain(zk_time_t now)
{
    struct zk_timer_node *n;
    size_t count = 0;

    do {
        while ((n = zk__timers_expire(&timers, now)) != NULL) {
            assert_true(n->expiry <= now);
            assert_false(zk__timer_linked(n));
            count++;
        }
    } while (zk__timers_next(&timers) <= now);
    return count;
}

static size_t list_len(const struct zk_list *head)
{
    size_t n = 0;

    for (const struct zk_list *l = head->next; l != head; l = l->next)
        n++;
    return n;
}

/* Starting points round which digits of the wheel carry. */
static const zk_time_t starts[] = {
    0,
    1,
    TICK - 1,
    63 * TICK,
    4095 * TICK + 5,
    ((zk_time_t)1 << 38) - 1,         /* level 3 is about to carry */
    ((zk_time_t)63 << 44) + 7 * TICK, /* the top is about to wrap */
    ((zk_time_t)1 << 50) - TICK,      /* all levels carry at once */
    ((zk_time_t)1 << 50) + 3,
};

/* ---- edges --------------------------------------------------------------- */

static void a_near_deadline_is_exact(void **state)
{
    struct zk_timer_node n = {.expiry = 0};

    (void)state;
    zk__timers_init(&timers, 1000, heap, HEAP_CAP);
    zk__timers_insert(&timers, &n, 1000 + ZK_US(100));
    assert_int_equal(zk__timers_next(&timers), 1000 + ZK_US(100));
    assert_null(zk__timers_expire(&timers, 1000 + ZK_US(100) - 1));
    assert_ptr_equal(zk__timers_expire(&timers, 1000 + ZK_US(100)), &n);
    assert_int_equal(zk__timers_next(&timers), ZK_FOREVER);
    zk__timers_fini(&timers);
}

static void a_far_deadline_comes_at_its_tick_from_any_start(void **state)
{
    (void)state;
    for (size_t s = 0; s < ZK_ARRAY_LEN(starts); s++)
        for (zk_time_t d = ZK_TIMER_NEAR; d < 40 * DAY; d += d / 3 + 12345) {
            struct zk_timer_node n = {.expiry = 0};
            zk_time_t due = tick_up(starts[s] + d), now = starts[s];
            unsigned turns = 0;

            zk__timers_init(&timers, now, heap, HEAP_CAP);
            zk__timers_insert(&timers, &n, starts[s] + d);
            assert_int_equal(n.heap_index, 0);
            /* Sleep until the queue says so, as a worker does. */
            for (;;) {
                zk_time_t next = zk__timers_next(&timers);

                assert_true(next > now && next <= due);
                now = next;
                if (zk__timers_expire(&timers, now) != NULL)
                    break;
                assert_true(now < due);
                turns++;
            }
            assert_int_equal(now, due);
            /* A look at each level, and each time it was parked. */
            assert_true(turns <= ZK_WHEEL_LEVELS + 40 * DAY / (12 * DAY));
            zk__timers_fini(&timers);
        }
}

static void a_late_owner_gets_it_at_once_and_not_before(void **state)
{
    (void)state;
    for (size_t s = 0; s < ZK_ARRAY_LEN(starts); s++)
        for (zk_time_t d = ZK_TIMER_NEAR; d < 40 * DAY; d += d / 2 + 54321) {
            struct zk_timer_node n = {.expiry = 0};
            zk_time_t due = tick_up(starts[s] + d);

            zk__timers_init(&timers, starts[s], heap, HEAP_CAP);
            zk__timers_insert(&timers, &n, starts[s] + d);
            assert_null(zk__timers_expire(&timers, due - 1));
            assert_true(zk__timer_linked(&n));
            assert_ptr_equal(zk__timers_expire(&timers, due), &n);
            zk__timers_fini(&timers);
        }
}

static void a_deadline_already_past_is_due_at_once(void **state)
{
    struct zk_timer_node n[3];

    (void)state;
    memset(n, 0, sizeof n);
    zk__timers_init(&timers, DAY, NULL, 0);
    zk__timers_insert(&timers, &n[0], DAY);
    zk__timers_insert(&timers, &n[1], 5);
    zk__timers_insert(&timers, &n[2], -5);
    assert_int_equal(zk__timers_next(&timers), DAY);
    assert_int_equal(drain(DAY + TICK), 3);
    zk__timers_fini(&timers);
}

static void forever_never_expires(void **state)
{
    struct zk_timer_node n = {.expiry = 0};

    (void)state;
    zk__timers_init(&timers, 0, heap, HEAP_CAP);
    zk__timers_insert(&timers, &n, ZK_FOREVER);
    for (zk_time_t now = 0; now < ZK_FOREVER - 3000 * DAY; now += 3000 * DAY)
        assert_null(zk__timers_expire(&timers, now));
    assert_null(zk__timers_expire(&timers, ZK_FOREVER - 1));
    zk__timers_remove(&timers, &n);
    zk__timers_fini(&timers);
}

static void the_clock_of_the_queue_never_goes_back(void **state)
{
    struct zk_timer_node n = {.expiry = 0};

    (void)state;
    zk__timers_init(&timers, 0, heap, HEAP_CAP);
    assert_null(zk__timers_expire(&timers, ZK_SEC(10)));
    assert_null(zk__timers_expire(&timers, ZK_SEC(1)));
    assert_int_equal(timers.now, ZK_SEC(10));
    zk__timers_insert(&timers, &n, ZK_SEC(9));
    assert_ptr_equal(zk__timers_expire(&timers, ZK_SEC(2)), &n);
    zk__timers_fini(&timers);
}

static void a_full_heap_lets_the_wheel_take_the_node(void **state)
{
    struct zk_timer_node n[3];
    struct zk_timer_node *room[2];

    (void)state;
    memset(n, 0, sizeof n);
    zk__timers_init(&timers, 0, room, 2);
    for (int i = 0; i < 3; i++)
        zk__timers_insert(&timers, &n[i], ZK_US(300) + i);
    assert_int_equal(timers.heap.len, 2);
    assert_non_null(n[2].link.prev);
    assert_int_equal(drain(ZK_US(300) + 2), 2);
    assert_int_equal(zk__timers_next(&timers), TICK); /* late, never early */
    assert_int_equal(drain(TICK), 1);
    zk__timers_fini(&timers);
}

static void the_earlier_of_heap_and_wheel_comes_first(void **state)
{
    struct zk_timer_node far = {.expiry = 0}, near = {.expiry = 0};

    (void)state;
    zk__timers_init(&timers, 0, heap, HEAP_CAP);
    zk__timers_insert(&timers, &far, 10 * TICK);
    timers.now = 9 * TICK; /* the owner has read the clock */
    zk__timers_insert(&timers, &near, 10 * TICK + 1);
    assert_int_not_equal(near.heap_index, 0);
    assert_ptr_equal(zk__timers_expire(&timers, 11 * TICK), &far);
    assert_ptr_equal(zk__timers_expire(&timers, 11 * TICK), &near);
    zk__timers_fini(&timers);
}

static void the_heap_stays_in_order_whatever_is_removed(void **state)
{
    struct zk_timer_node n[HEAP_CAP];
    struct zk_rand r;

    (void)state;
    zk_rand_seed(&r, 3);
    for (unsigned round = 0; round < 200; round++) {
        size_t left = HEAP_CAP;
        zk_time_t last = 0;

        memset(n, 0, sizeof n);
        zk__timers_init(&timers, 0, heap, HEAP_CAP);
        for (size_t i = 0; i < HEAP_CAP; i++)
            zk__timers_insert(&timers, &n[i], zk_rand_below(&r, 3000));
        for (size_t i = 0; i < HEAP_CAP; i++)
            if (zk_rand_below(&r, 3) == 0) {
                zk__timers_remove(&timers, &n[i]);
                left--;
            }
        for (; left > 0; left--) {
            struct zk_timer_node *first = zk__timers_expire(&timers, 3000);

            assert_non_null(first);
            assert_true(first->expiry >= last);
            last = first->expiry;
        }
        zk__timers_fini(&timers);
    }
}

/* ---- a slot with very many ---------------------------------------------- */

enum { N_SLOT = 20000, N_MANY = 1000000 };

static struct zk_timer_node *nodes_alloc(size_t n)
{
    struct zk_timer_node *nodes = calloc(n, sizeof *nodes);

    assert_non_null(nodes);
    return nodes;
}

static void a_call_moves_a_bounded_piece_of_a_slot(void **state)
{
    struct zk_timer_node *nodes = nodes_alloc(N_SLOT);
    zk_time_t now = 128 * TICK; /* the slot begins, no node of it is due */
    size_t before = N_SLOT, left;

    (void)state;
    zk__timers_init(&timers, 0, heap, HEAP_CAP);
    for (size_t i = 0; i < N_SLOT; i++)
        zk__timers_insert(&timers, &nodes[i], (zk_time_t)(129 + i % 60) * TICK);
    do {
        assert_null(zk__timers_expire(&timers, now));
        left = list_len(&timers.wheel.moving);
        assert_true(left < before && before - left <= 64);
        before = left;
        assert_int_equal(zk__timers_next(&timers), now); /* ask again */
        if (left < N_SLOT / 2)
            now = 200 * TICK; /* late: what was moved is due meanwhile */
    } while (left > 64);
    assert_int_equal(drain(now), N_SLOT);
    zk__timers_fini(&timers);
    free(nodes);
}

static void nodes_can_be_removed_while_their_slot_is_moved(void **state)
{
    enum { N = 3000 };
    struct zk_timer_node *nodes = nodes_alloc(N);
    zk_time_t now = 4096 * TICK; /* two levels at once */
    size_t due = 0;

    (void)state;
    zk__timers_init(&timers, 0, heap, HEAP_CAP);
    for (size_t i = 0; i < N; i++)
        zk__timers_insert(&timers, &nodes[i],
                          (zk_time_t)(4096 + i % 100) * TICK);
    for (size_t i = 0; i < N; i++) {
        if (i % 50 == 0 && zk__timers_expire(&timers, now) != NULL)
            due++;
        if (zk__timer_linked(&nodes[i]))
            zk__timers_remove(&timers, &nodes[i]);
        assert_false(zk__timer_linked(&nodes[i]));
    }
    assert_true(due > 0);
    assert_int_equal(timers.count, 0);
    assert_int_equal(zk__timers_next(&timers), ZK_FOREVER);
    for (unsigned l = 0; l < ZK_WHEEL_LEVELS; l++)
        assert_true(timers.wheel.occupied[l] == 0);
    zk__timers_fini(&timers);
    free(nodes);
}

static double seconds(void)
{
    struct timespec ts; /* of <time.h>: the folder's name hides nothing */

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void shuffle(uint32_t *order, uint32_t n, struct zk_rand *r)
{
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = n - 1; i > 0; i--) {
        uint32_t j = zk_rand_below(r, i + 1), t = order[i];

        order[i] = order[j];
        order[j] = t;
    }
}

static void a_million_cancelled_in_any_order_leave_nothing(void **state)
{
    struct zk_timer_node *nodes = nodes_alloc(N_MANY);
    uint32_t *order = malloc(N_MANY * sizeof *order);
    struct zk_rand r;

    (void)state;
    assert_non_null(order);
    zk_rand_seed(&r, 7);
    shuffle(order, N_MANY, &r);
    for (int random = 0; random < 2; random++) {
        double t0 = seconds(), t1;

        zk__timers_init(&timers, 0, heap, HEAP_CAP);
        for (uint32_t i = 0; i < N_MANY; i++)
            zk__timers_insert(&timers, &nodes[i],
                              ZK_SEC(30) + (zk_time_t)i * ZK_US(1));
        t1 = seconds();
        for (uint32_t i = 0; i < N_MANY; i++)
            zk__timers_remove(&timers, &nodes[random ? order[i] : i]);
        print_message("# 1M timers: arm %.1f ns, cancel %.1f ns each (%s)\n",
                      (t1 - t0) * 1e3, (seconds() - t1) * 1e3,
                      random ? "random order" : "in order");
        assert_int_equal(timers.count, 0);
        assert_int_equal(zk__timers_next(&timers), ZK_FOREVER);
        zk__timers_fini(&timers);
    }
    free(order);
    free(nodes);
}

static void a_million_expire_each_once_and_in_time(void **state)
{
    struct zk_timer_node *nodes = nodes_alloc(N_MANY);
    zk_time_t now = 0;
    size_t count = 0;
    double t0;

    (void)state;
    zk__timers_init(&timers, 0, heap, HEAP_CAP);
    for (size_t i = 0; i < N_MANY; i++)
        zk__timers_insert(&timers, &nodes[i],
                          ZK_SEC(1) + (zk_time_t)i * ZK_US(10));
    t0 = seconds();
    while (count < N_MANY) {
        struct zk_timer_node *n;
        zk_time_t next = zk__timers_next(&timers);

        assert_true(next >= now);
        now = next;
        while ((n = zk__timers_expire(&timers, now)) != NULL) {
            assert_true(n->expiry <= now && now < n->expiry + TICK);
            count++;
        }
    }
    print_message("# 1M timers: expire %.1f ns each\n", (seconds() - t0) * 1e3);
    assert_int_equal(zk__timers_next(&timers), ZK_FOREVER);
    zk__timers_fini(&timers);
    free(nodes);
}

/* ---- the model ----------------------------------------------------------- */

enum { N_MODEL = 1500, N_OPERATIONS = 100000 };

/* The queue's contract in the plainest form: a list sorted by expiry. */
struct model {
    struct zk_timer_node node[N_MODEL];
    struct zk_timer_node *sorted[N_MODEL];
    size_t len;
    zk_time_t now;
    zk_time_t crowd; /* where a third of the deadlines gathers */
    struct zk_rand rand;
};

static size_t model_find(const struct model *m, const struct zk_timer_node *n)
{
    size_t i = 0;

    while (i < m->len && m->sorted[i] != n)
        i++;
    assert_true(i < m->len); /* handed out twice, or never put in */
    return i;
}

static void model_remove(struct model *m, const struct zk_timer_node *n)
{
    size_t i = model_find(m, n);

    memmove(&m->sorted[i], &m->sorted[i + 1],
            (m->len - i - 1) * sizeof m->sorted[0]);
    m->len--;
}

/* A span of any magnitude from nanoseconds to `bits` of them. */
static zk_time_t model_span(struct model *m, unsigned bits)
{
    unsigned magnitude = 1 + zk_rand_below(&m->rand, bits);

    return (zk_time_t)(zk_rand_next(&m->rand) >> (64 - magnitude));
}

static void model_insert(struct model *m)
{
    struct zk_timer_node *n = &m->node[zk_rand_below(&m->rand, N_MODEL)];
    zk_time_t expiry = m->now + model_span(m, 52); /* 52 days, parked too */
    size_t i = m->len;

    if (zk__timer_linked(n))
        return;
    if (zk_rand_below(&m->rand, 3) == 0) /* a crowd: moved in pieces */
        expiry = m->crowd + model_span(m, 24);
    if (zk_rand_below(&m->rand, 20) == 0)
        expiry = m->now - model_span(m, 30);
    if (zk_rand_below(&m->rand, 4) == 0)
        expiry = expiry / TICK * TICK; /* on a tick, exactly */
    while (i > 0 && m->sorted[i - 1]->expiry > expiry) {
        m->sorted[i] = m->sorted[i - 1];
        i--;
    }
    m->sorted[i] = n;
    m->len++;
    zk__timers_insert(&timers, n, expiry);
}

static void model_cancel(struct model *m)
{
    struct zk_timer_node *n;

    if (m->len == 0)
        return;
    n = m->sorted[zk_rand_below(&m->rand, (uint32_t)m->len)];
    model_remove(m, n);
    zk__timers_remove(&timers, n);
    assert_false(zk__timer_linked(n));
}

/* Take at most `budget`; a worker that has better to do leaves the rest. */
static void model_expire(struct model *m, unsigned budget)
{
    struct zk_timer_node *n;

    while (budget-- > 0) {
        n = zk__timers_expire(&timers, m->now);
        if (n == NULL && zk__timers_next(&timers) > m->now)
            break;
        if (n == NULL)
            continue;
        assert_true(n->expiry <= m->now); /* never early */
        assert_false(zk__timer_linked(n));
        model_remove(m, n);
    }
}

static void model_check(const struct model *m)
{
    zk_time_t next = zk__timers_next(&timers), first;

    assert_int_equal(timers.count, m->len);
    assert_true(next >= m->now || timers.now < m->now);
    if (m->len == 0) {
        assert_true(next == ZK_FOREVER || next == timers.now);
        return;
    }
    first = tick_up(m->sorted[0]->expiry > 0 ? m->sorted[0]->expiry : 0);
    assert_true(next <= (first > timers.now ? first : timers.now));
    if (next > m->now) /* nothing is due: then nothing is late either */
        assert_true(first > m->now - m->now % TICK);
}

static void model_run(struct model *m, uint64_t seed, zk_time_t start,
                      uint32_t cap)
{
    memset(m, 0, sizeof *m);
    zk_rand_seed(&m->rand, seed);
    m->now = start;
    zk__timers_init(&timers, start, heap, cap);
    for (unsigned op = 0; op < N_OPERATIONS; op++) {
        uint32_t dice = zk_rand_below(&m->rand, 100);

        if (dice < 75) {
            model_insert(m);
        } else if (dice < 85) {
            model_cancel(m);
        } else if (dice < 95) {
            m->now += model_span(m, zk_rand_below(&m->rand, 50) ? 30 : 50);
            model_expire(m, 1 + zk_rand_below(&m->rand, 8));
        } else {
            zk_time_t next = zk__timers_next(&timers);

            if (next > m->now && next < ZK_FOREVER)
                m->now = next;
            model_expire(m, UINT32_MAX);
            assert_true(zk__timers_next(&timers) > m->now);
        }
        if (m->crowd <= m->now)
            m->crowd = m->now + model_span(m, 40);
        model_check(m);
    }
    while (m->len > 0)
        model_cancel(m);
    zk__timers_fini(&timers);
}

static void the_queue_agrees_with_a_sorted_list(void **state)
{
    struct model *m = malloc(sizeof *m);

    (void)state;
    assert_non_null(m);
    for (uint64_t s = 0; s < ZK_ARRAY_LEN(starts); s++) {
        print_message("# seed %u\n", (unsigned)s + 1);
        model_run(m, s + 1, starts[s], s % 3 == 0 ? 3 : HEAP_CAP);
    }
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_near_deadline_is_exact),
        cmocka_unit_test(a_far_deadline_comes_at_its_tick_from_any_start),
        cmocka_unit_test(a_late_owner_gets_it_at_once_and_not_before),
        cmocka_unit_test(a_deadline_already_past_is_due_at_once),
        cmocka_unit_test(forever_never_expires),
        cmocka_unit_test(the_clock_of_the_queue_never_goes_back),
        cmocka_unit_test(a_full_heap_lets_the_wheel_take_the_node),
        cmocka_unit_test(the_earlier_of_heap_and_wheel_comes_first),
        cmocka_unit_test(the_heap_stays_in_order_whatever_is_removed),
        cmocka_unit_test(a_call_moves_a_bounded_piece_of_a_slot),
        cmocka_unit_test(nodes_can_be_removed_while_their_slot_is_moved),
        cmocka_unit_test(a_million_cancelled_in_any_order_leave_nothing),
        cmocka_unit_test(a_million_expire_each_once_and_in_time),
        cmocka_unit_test(the_queue_agrees_with_a_sorted_list),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
