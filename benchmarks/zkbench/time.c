/* SPDX-License-Identifier: MIT */
/*
 * time.c - sleeping tasks, and the timer queue by itself.
 *
 * `timer` drives the queue of the library from its internal header, on a clock
 * of its own. An operation is arming one timer and cancelling it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "time/time.h"
#include "utils/rand.h"
#include "zkbench.h"

/* ---- sleep --------------------------------------------------------------- */

enum { SLEEP_ROUNDS = 5 };

struct sleeper {
    struct sleep *all;
    zk_time_t late; /* sum over its sleeps, nanoseconds */
    bool failed;    /* woken early, or not by the clock */
};

struct sleep {
    const struct bench_options *options;
    struct latch latch;
    struct sleeper *sleepers;
};

static void sleep_task(void *arg)
{
    struct sleeper *self = arg;
    uint64_t k = (uint64_t)(self - self->all->sleepers);

    for (uint64_t r = 0; r < SLEEP_ROUNDS; r++) {
        uint64_t ms = 1 + (k * 7919 + r * 104729) % 200;
        zk_time_t due = zk_after(ZK_MS(ms));
        int rc = zk_sleep_until(due);
        zk_time_t late = zk_now() - due;

        if (rc < 0 || late < 0)
            self->failed = true;
        self->late += late;
    }
    latch_done(&self->all->latch);
}

static int sleep_start(struct sleep *s)
{
    int rc = latch_open(&s->latch, s->options->n);

    if (rc < 0)
        return workload_fail("latch", rc);
    for (uint64_t k = 0; k < s->options->n; k++) {
        s->sleepers[k] = (struct sleeper){.all = s};
        rc = zk_go(sleep_task, &s->sleepers[k]);
        if (rc < 0)
            return workload_fail("sleep: zk_go", rc);
    }
    rc = latch_wait(&s->latch);
    latch_close(&s->latch);
    return rc;
}

static int sleep_round(struct sleep *s, const char *suffix)
{
    const struct bench_options *o = s->options;
    uint64_t start = bench_now(), cpu = bench_cpu();
    double late = 0;
    char figure[32];
    int rc = sleep_start(s);

    start = bench_now() - start;
    cpu = bench_cpu() - cpu;
    if (rc < 0)
        return rc;
    for (uint64_t k = 0; k < o->n; k++) {
        if (s->sleepers[k].failed)
            return workload_fail("sleep: early or cancelled", -EIO);
        late += (double)s->sleepers[k].late;
    }
    snprintf(figure, sizeof figure, "sleep_wall%s", suffix);
    bench_print(o, figure, (double)start / 1e6, "ms");
    snprintf(figure, sizeof figure, "sleep_cpu%s", suffix);
    bench_print(o, figure, (double)cpu / 1e6, "ms");
    snprintf(figure, sizeof figure, "sleep_late%s", suffix);
    bench_print(o, figure, late / 1e3 / (double)(o->n * SLEEP_ROUNDS), "us");
    return 0;
}

static int sleep_main(void *arg)
{
    struct sleep *s = arg;
    int rc = sleep_round(s, "_first");

    return rc < 0 ? rc : sleep_round(s, "");
}

static int sleep_run(const struct bench_options *options)
{
    struct sleep s = {.options = options};
    int rc;

    s.sleepers = calloc(options->n, sizeof *s.sleepers);
    if (s.sleepers == NULL)
        return workload_fail("sleep", -ENOMEM);
    rc = workload_run(options, sleep_main, &s);
    free(s.sleepers);
    return rc;
}

/* ---- timer --------------------------------------------------------------- */

enum { HEAP_NODES = 4096 };

struct timer_bench {
    const struct bench_options *options;
    struct zk_timers timers;
    struct zk_timer_node *heap[HEAP_NODES];
    struct zk_timer_node *nodes;
    uint32_t *order; /* in which they are cancelled */
    zk_time_t now;
};

/* Timers are armed 250 ns apart: a million of them in a quarter of a second,
 * as reads of many connections would. */
enum { ARM_STEP = 250 };

static void timer_arm(struct timer_bench *b, uint64_t i, zk_time_t span)
{
    b->now += ARM_STEP;
    b->timers.now = b->now;
    zk__timers_insert(&b->timers, &b->nodes[i], b->now + span);
}

/* Whatever a call hands out must be due, and is counted. */
static int timers_turn(struct timer_bench *b, zk_time_t to, uint64_t *fired)
{
    struct zk_timer_node *node;

    while (b->timers.count > 0 && zk__timers_next(&b->timers) <= to) {
        node = zk__timers_expire(&b->timers, to);
        if (node == NULL)
            continue; /* it moved a piece of a slot */
        if (node->expiry > to)
            return workload_fail("timer: early", -EIO);
        ++*fired;
    }
    b->now = to;
    return 0;
}

static int timer_cancel(struct timer_bench *b, const char *figure)
{
    uint64_t n = b->options->n, start = bench_now();

    for (uint64_t i = 0; i < n; i++)
        timer_arm(b, i, ZK_SEC(30));
    for (uint64_t i = 0; i < n; i++)
        zk__timers_remove(&b->timers, &b->nodes[b->order[i]]);
    start = bench_now() - start;
    if (b->timers.count != 0)
        return workload_fail("timer: left over", -EIO);
    bench_print(b->options, figure, (double)start / (double)n, "ns/op");
    return 0;
}

/* Every tenth fires within a second, the clock going on in milliseconds; the
 * others are cancelled. */
static int timer_fire(struct timer_bench *b)
{
    uint64_t n = b->options->n, fired = 0, start = bench_now();
    zk_time_t end;
    int rc = 0;

    for (uint64_t i = 0; i < n; i++)
        timer_arm(b, i,
                  i % 10 == 0 ? ZK_US(1 + b->order[i] % 1000000) : ZK_SEC(30));
    end = b->now + ZK_SEC(2);
    while (rc == 0 && b->now < end)
        rc = timers_turn(b, b->now + ZK_MS(1), &fired);
    for (uint64_t i = 0; i < n; i++)
        if (zk__timer_linked(&b->nodes[b->order[i]]))
            zk__timers_remove(&b->timers, &b->nodes[b->order[i]]);
    start = bench_now() - start;
    if (rc == 0 && (fired != (n + 9) / 10 || b->timers.count != 0))
        rc = workload_fail("timer: wrong number fired", -EIO);
    if (rc == 0)
        bench_print(b->options, "timer_fire", (double)start / (double)n,
                    "ns/op");
    return rc;
}

static void order_shuffle(uint32_t *order, uint64_t n)
{
    struct zk_rand rand;

    zk_rand_seed(&rand, 1);
    for (uint64_t i = n - 1; i > 0; i--) {
        uint32_t j = zk_rand_below(&rand, (uint32_t)i + 1), swap = order[i];

        order[i] = order[j];
        order[j] = swap;
    }
}

static int timer_all(struct timer_bench *b)
{
    uint64_t n = b->options->n;
    int rc;

    for (uint64_t i = 0; i < n; i++)
        b->order[i] = (uint32_t)i;
    b->now = ZK_SEC(1);
    zk__timers_init(&b->timers, b->now, b->heap, HEAP_NODES);
    rc = timer_cancel(b, "timer_first"); /* touches the nodes' pages */
    if (rc == 0)
        rc = timer_cancel(b, "timer");
    order_shuffle(b->order, n);
    if (rc == 0)
        rc = timer_cancel(b, "timer_random");
    if (rc == 0)
        rc = timer_fire(b);
    if (rc == 0)
        zk__timers_fini(&b->timers);
    return rc;
}

static int timer_run(const struct bench_options *options)
{
    static struct timer_bench bench;
    int rc = -ENOMEM;

    if (options->n > UINT32_MAX)
        return workload_fail("timer: --n", -EINVAL);
    bench.options = options;
    bench.nodes = calloc(options->n, sizeof *bench.nodes);
    bench.order = calloc(options->n, sizeof *bench.order);
    if (bench.nodes != NULL && bench.order != NULL)
        rc = timer_all(&bench);
    else
        workload_fail("timer", rc);
    free(bench.order);
    free(bench.nodes);
    return rc;
}

const struct workload time_workloads[] = {
    {"sleep", "n tasks sleep 5 times, 1 to 200 ms; two rounds", 100000,
     sleep_run},
    {"timer", "n timers armed and cancelled: in order, at random, 10 % fire",
     1000000, timer_run},
    {0},
};
