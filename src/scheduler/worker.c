/* SPDX-License-Identifier: MIT */
/*
 * worker.c - the loop of a worker, and which task is next.
 *
 * A worker takes its work from these places, in this order:
 *
 *   LIFO slot     the task made runnable last, by a task: its data is warm.
 *                 At most three times in a row, or a pair of tasks that wake
 *                 each other would keep all others out.
 *   fresh stack   unstarted tasks that a newer one pushed out of the LIFO slot,
 *                 newest first, at most 32 times in a row; only while no worker
 *                 is idle. A tree of tasks that join their children is walked
 *                 depth first that way: a few warm stacks instead of thousands
 *                 (docs/decisions.md).
 *   pinned list   tasks bound to this worker; every other time.
 *   claim window  up to eight tasks that one CAS took from the ring.
 *   ring          first in, first out; thieves take from it too.
 *   inject queue  overflow and foreign threads; shared by all.
 *   other rings   half of one, by the holder of the search token.
 *
 * pick() serves the first five and runs on the stack of the task that gives
 * way; the rest, the timers, the messages and the reactor are looked after on
 * the native stack. Every 61 dispatches at the latest, and more often if tasks
 * run long, pick() says NULL with look_round set, and the loop below looks at
 * everything before the next task: no queue and no descriptor waits longer than
 * that for a busy worker.
 *
 * The claim window, the fresh stack and the LIFO slot cannot be stolen from.
 * What they hold, at most 25 tasks, waits if the running task does not give way; the monitor
 * hands them to a spare worker after 10 ms (monitor.c).
 */
#include <errno.h>

#include "context/context.h"
#include "scheduler/worker.h"

enum {
    TICKS_ELAPSED_LOW = 50 * 1000,   /* ns: look round less often */
    TICKS_ELAPSED_HIGH = 200 * 1000, /* ns: more often */
};

/* ---- queues ----------------------------------------------------------------- */

/* The ring is full: half of it and `task` go to the inject queue. */
static ZK_NOINLINE void push_overflow(struct zk_worker *w, struct zk_task *task)
{
    struct zk_task *half[ZK_RUNQ_CAP / 2 + 1];
    unsigned n = zk__runq_take(&w->runq, half, ZK_RUNQ_CAP / 2);

    half[n] = task;
    zk__inject_push_array(w->scheduler, half, n + 1);
}

void zk__worker_push(struct zk_worker *w, struct zk_task *task)
{
    if (zk_unlikely(!zk__runq_push(&w->runq, task)))
        push_overflow(w, task);
}

static bool anybody_idle(struct zk_worker *w)
{
    return zk_atomic_load(&w->scheduler->idle_mask, relaxed) != 0;
}

/* The older half of the fresh stack goes where thieves can have it: in a tree
 * these are the bigger branches. */
static ZK_NOINLINE void share_fresh(struct zk_worker *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        zk__worker_push(w, w->fresh[i]);
    w->n_fresh = (uint8_t)(w->n_fresh - n);
    for (unsigned i = 0; i < w->n_fresh; i++)
        w->fresh[i] = w->fresh[i + n];
    if (w->scheduler->n_slots > 1)
        zk__idle_announce(w->scheduler);
}

void zk__worker_push_lifo(struct zk_worker *w, struct zk_task *task)
{
    struct zk_task *older = w->lifo;

    w->lifo = task;
    if (older == NULL)
        return;
    if (older->sp == NULL && !anybody_idle(w)) {
        if (zk_unlikely(w->n_fresh == ZK_FRESH_MAX))
            share_fresh(w, ZK_FRESH_MAX / 2);
        w->fresh[w->n_fresh++] = older;
        return;
    }
    zk__worker_push(w, older);
    if (w->scheduler->n_slots > 1)
        zk__idle_announce(w->scheduler);
}

void zk__worker_push_yielded(struct zk_worker *w, struct zk_task *task)
{
    struct zk_scheduler *s = w->scheduler;

    if (zk_unlikely(task->pin != 0)) {
        zk__worker_push_pinned(w, task);
        return;
    }
    if (w->claim_next == w->claim_len && zk__runq_len(&w->runq) == 0 &&
        zk_atomic_load(&s->idle_mask, relaxed) == 0 && !s->sim) {
        w->claim[0] = task; /* its place in the ring would be the first */
        w->claim_next = 0;
        w->claim_len = 1;
        return;
    }
    zk__worker_push(w, task);
    if (s->n_slots > 1 && zk_atomic_load(&s->idle_mask, relaxed) != 0)
        zk__idle_announce(s);
}

void zk__worker_push_pinned(struct zk_worker *w, struct zk_task *task)
{
    task->next = NULL;
    if (w->pinned_tail != NULL)
        w->pinned_tail->next = task;
    else
        w->pinned_head = task;
    w->pinned_tail = task;
}

static struct zk_task *pop_pinned(struct zk_worker *w)
{
    struct zk_task *task = w->pinned_head;

    w->pinned_head = task->next;
    if (w->pinned_head == NULL)
        w->pinned_tail = NULL;
    return task;
}

void zk__worker_mail(struct zk_worker *w, struct zk_task *task)
{
    struct zk_task *head = zk_atomic_load(&w->mail, relaxed);

    do
        task->next = head;
    while (!zk_atomic_cas(&w->mail, &head, task, seq_cst, relaxed)); /* H */
    zk__idle_poke(w);
}

static void take_mail(struct zk_worker *w)
{
    struct zk_task *task, *next, *in_order = NULL;

    if (zk_atomic_load(&w->mail, relaxed) == NULL)
        return;
    task = zk_atomic_exchange(&w->mail, NULL, seq_cst); /* H */
    for (; task != NULL; task = next) {
        next = task->next;
        task->next = in_order;
        in_order = task;
    }
    for (task = in_order; task != NULL; task = next) {
        next = task->next;
        zk__worker_push_pinned(w, task);
    }
}

/* ---- who is next ------------------------------------------------------------ */

/*
 * The frame that the claimed task after this one will resume is fetched while
 * this one runs: with many tasks it is in no cache, nor is its page in the TLB,
 * and waiting for it would cost more than the switch.
 */
static void fetch_frame(const struct zk_worker *w)
{
    if (w->claim_next < w->claim_len) {
        const char *sp = w->claim[w->claim_next]->sp;

        __builtin_prefetch(sp);
        __builtin_prefetch(sp + ZK_CACHE_LINE);
    }
}

static struct zk_task *pick_ring(struct zk_worker *w)
{
    unsigned max = ZK_CLAIM_MAX;
    struct zk_task *task;

    if (w->claim_next == w->claim_len) {
        if (anybody_idle(w))
            max = 1; /* somebody is free to take the rest */
        w->claim_next = 0;
        w->claim_len = (uint8_t)zk__runq_take(&w->runq, w->claim, max);
        if (w->claim_len == 0)
            return NULL;
        for (unsigned i = 1; i < w->claim_len; i++)
            __builtin_prefetch(w->claim[i], 1);
    }
    task = w->claim[w->claim_next++];
    fetch_frame(w);
    return task;
}

/* FNV-1a over what happened: which task, counted from the main one, and when. */
static void trace_dispatch(struct zk_worker *w, const struct zk_task *task)
{
    struct zk_scheduler *s = w->scheduler;
    uint64_t step[2] = {
        zk_atomic_load(&task->id, relaxed) - s->first_id,
        (uint64_t)zk__scheduler_now(s),
    };

    for (unsigned i = 0; i < 2; i++)
        s->trace_hash = (s->trace_hash ^ step[i]) * 0x100000001b3u;
}

/* Any of the runnable ones, by the seed: the LIFO slot counts as one more. */
static ZK_NOINLINE struct zk_task *pick_seeded(struct zk_worker *w)
{
    struct zk_task *task = w->lifo;
    unsigned n;

    w->lifo = NULL;
    if (task != NULL)
        zk__worker_push(w, task);
    if (w->n_fresh != 0)
        share_fresh(w, w->n_fresh);
    if (w->pinned_head != NULL)
        zk__worker_push(w, pop_pinned(w));
    n = zk__runq_len(&w->runq);
    if (n == 0)
        return NULL;
    for (n = zk_rand_below(&w->rand, n); n > 0; n--) {
        zk__runq_take(&w->runq, &task, 1);
        zk__worker_push(w, task);
    }
    zk__runq_take(&w->runq, &task, 1);
    trace_dispatch(w, task);
    return task;
}

struct zk_task *zk__worker_pick(struct zk_worker *w)
{
    struct zk_task *task;

    if (zk_unlikely(--w->ticks <= 0 || w->look_round)) {
        w->look_round = 1;
        return NULL;
    }
    if (zk_unlikely(w->scheduler->sim))
        return pick_seeded(w);
    task = w->lifo;
    if (task != NULL && w->lifo_uses < ZK_LIFO_CAP) {
        w->lifo = NULL;
        w->lifo_uses++;
        return task;
    }
    w->lifo_uses = 0;
    if (w->n_fresh != 0) {
        if (zk_unlikely(anybody_idle(w)))
            share_fresh(w, w->n_fresh);
        else if (w->fresh_uses++ < ZK_FRESH_CAP)
            return w->fresh[--w->n_fresh];
        else
            share_fresh(w, (w->n_fresh + 1u) / 2); /* the oldest get a turn */
    }
    w->fresh_uses = 0;
    /* Not by the parity of ticks: the LIFO cap may keep in step with that. */
    if (zk_unlikely(w->pinned_head != NULL) && (w->pinned_next ^= 1) != 0)
        return pop_pinned(w);
    task = pick_ring(w);
    if (task != NULL)
        return task;
    task = w->lifo;
    w->lifo = NULL;
    if (task == NULL && w->n_fresh != 0)
        task = w->fresh[--w->n_fresh];
    if (task == NULL && w->pinned_head != NULL)
        task = pop_pinned(w);
    return task;
}

/* ---- the native stack ----------------------------------------------------------- */

static void adapt_ticks(struct zk_worker *w, zk_time_t elapsed)
{
    if (elapsed < TICKS_ELAPSED_LOW)
        w->ticks_full = (int16_t)(w->ticks_full * 2);
    else if (elapsed > TICKS_ELAPSED_HIGH)
        w->ticks_full = (int16_t)(w->ticks_full / 2);
    if (w->ticks_full > ZK_TICKS_MAX)
        w->ticks_full = ZK_TICKS_MAX;
    if (w->ticks_full < 2)
        w->ticks_full = 2;
}

/* More than the one task that this worker runs next? */
static bool has_spare_work(struct zk_worker *w)
{
    unsigned n = zk__runq_len(&w->runq);

    return n > 1 || (n == 1 && (w->lifo != NULL || w->pinned_head != NULL ||
                                w->claim_next < w->claim_len));
}

static void look_round(struct zk_worker *w)
{
    struct zk_scheduler *s = w->scheduler;
    zk_time_t now = zk__scheduler_now(s);

    if (w->ticks <= 0)
        adapt_ticks(w, now - w->now);
    w->ticks = w->ticks_full;
    w->look_round = 0;
    w->now = now;
    if (zk_unlikely(zk_atomic_load(&w->adopt_from, relaxed) != NULL))
        zk__worker_adopt(w);
    zk__message_drain(w, w);
    take_mail(w);
    zk__timeout_expire(w, now);
    if (s->driver->due(w, now))
        s->driver->poll(w, 0);
    zk__inject_take(w);
    if (zk_unlikely(w->main_ended)) {
        w->main_ended = 0;
        s->main_ended(s);
    }
    if (zk_unlikely(zk_atomic_load(&s->draining, relaxed) != 0))
        zk__drain_check(s);
    if (w->index == 0 && now >= zk_atomic_load(&s->stop_at, relaxed))
        zk_atomic_store(&s->stop, 1, seq_cst);
    if (s->n_slots > 1 && has_spare_work(w))
        zk__idle_announce(s);
}

/* Half of somebody's ring. The first is run, the others go to our ring. */
static struct zk_task *steal(struct zk_worker *w)
{
    struct zk_scheduler *s = w->scheduler;
    struct zk_task *taken[ZK_RUNQ_CAP / 2];
    uint32_t start = zk_rand_below(&w->rand, s->n_slots);

    for (uint32_t i = 0; i < s->n_slots; i++) {
        struct zk_worker *victim = &s->workers[(start + i) % s->n_slots];
        unsigned n;

        if (victim == w)
            continue;
        n = zk__runq_steal(&victim->runq, taken, ZK_ARRAY_LEN(taken));
        if (n == 0)
            continue;
        zk_counter_add(&w->n_steals, n);
        for (unsigned k = 1; k < n; k++)
            zk__worker_push(w, taken[k]);
        return taken[0];
    }
    return NULL;
}

static struct zk_task *find_work(struct zk_worker *w)
{
    struct zk_scheduler *s = w->scheduler;
    struct zk_task *task;

    if (w->is_spare && !zk__spare_serves(w))
        return NULL;
    if (zk__inject_take(w) != 0)
        return s->sim ? pick_seeded(w) : pick_ring(w);
    if (s->n_slots == 1 || !zk__idle_try_search(w))
        return NULL;
    task = steal(w);
    return task;
}

/* [flow 3] The worker takes a task from its queue and switches to it. */
void zk__worker_run(struct zk_worker *w)
{
    struct zk_scheduler *s = w->scheduler;

    while (zk_atomic_load(&s->stop, relaxed) == 0) {
        struct zk_task *task;

        if (w->look_round || w->ticks <= 1)
            look_round(w);
        task = zk__worker_pick(w);
        if (task == NULL && w->look_round)
            continue;
        if (task == NULL)
            task = find_work(w);
        if (task == NULL) {
            zk__idle_sleep(w);
            w->look_round = 1;
            continue;
        }
        if (w->has_token) { /* S: the next one searches while we run this */
            zk__idle_stop_search(w);
            zk__idle_announce(s);
        }
        zk__dispatch_native(w, task);
    }
}

/* ---- life --------------------------------------------------------------------------- */

int zk__worker_init(struct zk_worker *w, struct zk_scheduler *s, unsigned index)
{
    w->home = zk__alloc(sizeof(*w->home));
    if (w->home == NULL)
        return -ENOMEM;
    zk_atomic_store(&w->home->owner, w, relaxed);
    w->scheduler = s;
    w->index = (uint16_t)index;
    w->is_spare = index >= s->n_workers;
    w->ticks_full = ZK_TICKS_MAX;
    w->look_round = 1;
    w->now = zk__scheduler_now(s);
    zk__timers_init(&w->home->timers, w->now, w->home->heap, ZK_TIMER_HEAP);
    zk_rand_seed(&w->rand, s->seed + index);
    zk_atomic_store(&w->run_seq, 2, relaxed); /* inside: the native stack */
    return 0;
}

void zk__worker_fini(struct zk_worker *w)
{
    if (w->home == NULL)
        return;
    zk__timers_fini(&w->home->timers);
    zk__free(w->home, sizeof(*w->home));
    w->home = NULL;
}

int zk__worker_open(struct zk_worker *w)
{
    int rc = zk__sigaltstack_install(&w->signal_stack);

    if (rc < 0)
        return rc;
    zk__thread_timer_slack(1000);
    if ((w->scheduler->flags & ZK_PIN_WORKERS) != 0 && !w->is_spare)
        zk__cpu_bind(w->index);
    zk_atomic_store(&w->kernel_id, zk__thread_kernel_id(), release);
    zk_annotate_thread(&w->annotation);
    w->native_fpenv = zk__context_fpenv_get();
    zk_exception_save(&w->native_exceptions);
    zk__worker_set_current(w);
    rc = w->scheduler->driver->init(w);
    if (rc < 0) {
        zk__worker_set_current(NULL);
        zk_exception_restore(&w->native_exceptions);
        zk__sigaltstack_remove(w->signal_stack);
    }
    return rc;
}

void zk__worker_give_blocks(struct zk_worker *w)
{
    if (w->blocks != NULL)
        zk__slab_give(zk__task_slab(), w->blocks);
    w->blocks = NULL;
    w->n_blocks = 0;
}

void zk__worker_close(struct zk_worker *w)
{
    zk__idle_leave(w);
    w->scheduler->driver->fini(w);
    zk__stack_cache_flush(&w->stacks);
    zk__worker_give_blocks(w);
    if ((w->scheduler->flags & ZK_PIN_WORKERS) != 0 && !w->is_spare)
        zk__cpu_unbind();
    zk__worker_set_current(NULL);
    zk_exception_restore(&w->native_exceptions);
    zk__sigaltstack_remove(w->signal_stack);
    zk_atomic_store(&w->kernel_id, 0, release);
}
