/* SPDX-License-Identifier: MIT */
/*
 * idle.c - putting workers to sleep, and waking enough of them.
 *
 * A task can become runnable on any thread at any time. Waking a worker for
 * each costs a system call and a cold cache; waking none leaves a processor
 * idle beside waiting work. This file promises: if a task is in a ring or in
 * the inject queue while a worker sleeps, then some worker is awake and looking
 * or will look; and a message or mail to a worker is seen by it.
 *
 * Words
 *   asleep   in driver->poll with a wait; its bit in idle_mask is set.
 *   token    `searching`: at most one worker steals at a time, and while one
 *            does nobody wakes another. Its holder wakes the next one before it
 *            runs what it found.
 *   announce called after work became visible to thieves.
 *   poke     called after something was put where only one worker looks.
 *
 * Invariants
 *   S1  The token is held by the worker with has_token, or is on its way to a
 *       worker whose idle bit an announcer has just cleared.
 *   S2  A worker gives the token back before its last look.
 *   S3  Who clears an idle bit by announce has handed the token over with it;
 *       a worker that finds its own bit cleared owns the token.
 *
 * Why no wake is lost: announcer against a worker that gives up
 *
 *      announce                        sleep
 *                                      P1  searching = 0 (if held)
 *      W   push the task               P2  sleep = SLEEPING; set own bit
 *      A1  fence(seq_cst)              P3  fence(seq_cst)
 *      A2  read searching, idle_mask   P4  look into every queue once more
 *
 *   The fences forbid that A2 misses P1 and P2 while P4 misses W. If A2 reads a
 *   token held by another worker, that one has still its own P1..P4 before it,
 *   and A1 orders W before them.
 *
 *   A poke is the same with the target's inbox for the queue and `sleep` for
 *   the mask: the push is a seq_cst RMW, and then `sleep` is read.
 *
 * The wake itself is the driver's: it ends a poll that has begun or will begin,
 * so a wake between P4 and the system call is not lost either.
 *
 * Tried and rejected
 *   - Several searchers: with two processors the second steals back what the
 *     first has just stolen.
 *   - Spinning before the sleep by default: docs/decisions.md.
 */
#include "scheduler/worker.h"

static uint64_t bit_of(const struct zk_worker *w)
{
    return (uint64_t)1 << w->index;
}

/* Ends the target's poll if it sleeps. The target may wake by itself meanwhile,
 * and end; its reactor must be there until the call is through. */
static void notify(struct zk_worker *w)
{
    if (zk_atomic_load(&w->sleep, seq_cst) != ZK_SLEEPING)
        return;
    zk_atomic_add(&w->wakers, 1, seq_cst);
    if (zk_atomic_exchange(&w->sleep, ZK_NOTIFIED, seq_cst) == ZK_SLEEPING)
        w->scheduler->driver->wake(w);
    zk_atomic_sub(&w->wakers, 1, release); /* T */
}

void zk__idle_leave(struct zk_worker *w)
{
    zk_atomic_store(&w->sleep, ZK_AWAKE, seq_cst); /* no further wake begins */
    while (zk_atomic_load(&w->wakers, seq_cst) != 0) /* T */
        zk__thread_yield();
}

void zk__idle_poke(struct zk_worker *w)
{
    zk_atomic_fence(seq_cst);
    notify(w);
}

void zk__idle_announce(struct zk_scheduler *s)
{
    zk_atomic_fence(seq_cst); /* A1 */
    for (;;) {
        uint64_t mask = zk_atomic_load(&s->idle_mask, relaxed); /* A2 */
        uint32_t none = 0;
        uint64_t bit;
        struct zk_worker *w;

        if (mask == 0 || zk_atomic_load(&s->searching, relaxed) != 0)
            return;
        if (!zk_atomic_cas(&s->searching, &none, 1, seq_cst, relaxed))
            return;
        w = &s->workers[__builtin_ctzll(mask)];
        bit = bit_of(w);
        if ((zk_atomic_and(&s->idle_mask, ~bit, seq_cst) & bit) != 0) {
            notify(w); /* S3: the token goes along */
            return;
        }
        zk_atomic_store(&s->searching, 0, seq_cst);
    }
}

bool zk__idle_try_search(struct zk_worker *w)
{
    uint32_t none = 0;

    if (w->has_token)
        return true;
    if (zk_atomic_load(&w->scheduler->searching, relaxed) != 0 ||
        !zk_atomic_cas(&w->scheduler->searching, &none, 1, seq_cst, relaxed))
        return false;
    w->has_token = 1;
    return true;
}

void zk__idle_stop_search(struct zk_worker *w)
{
    if (!w->has_token)
        return;
    w->has_token = 0;
    zk_atomic_store(&w->scheduler->searching, 0, seq_cst);
}

/* P4: is there anything to do anywhere? */
static bool anything(struct zk_worker *w)
{
    struct zk_scheduler *s = w->scheduler;

    /* Who ended the last task may not have seen that its end is waited for. */
    if (zk_unlikely(zk_atomic_load(&s->draining, relaxed) != 0))
        zk__drain_check(s);
    if (zk_atomic_load(&w->inbox, relaxed) != NULL ||
        zk_atomic_load(&w->mail, relaxed) != NULL ||
        zk_atomic_load(&w->adopt_from, relaxed) != NULL ||
        zk_atomic_load(&s->stop, relaxed) != 0 || s->driver->pending(w))
        return true;
    if (w->is_spare && !zk__spare_serves(w))
        return false;
    if (zk_atomic_load(&s->inject_len, relaxed) != 0)
        return true;
    for (uint32_t i = 0; i < s->n_slots; i++)
        if (zk__runq_len(&s->workers[i].runq) != 0)
            return true;
    return false;
}

static zk_time_t sleep_deadline(struct zk_worker *w)
{
    zk_time_t next = zk__timers_next(&w->home->timers);
    zk_time_t stop_at = zk_atomic_load(&w->scheduler->stop_at, relaxed);

    if (w->index == 0 && stop_at < next)
        next = stop_at;
    return next;
}

/* Look for work in user space for a while: it saves the sleep's system call
 * and the processor's wake from its halt. Disarmed after three misses. */
static bool spin(struct zk_worker *w)
{
    struct zk_scheduler *s = w->scheduler;
    zk_time_t until;

    if (s->spin_ns == 0 || w->spin_misses >= 3) {
        w->spin_misses = w->spin_misses >= 64 ? 0 : w->spin_misses + 1;
        return false;
    }
    until = zk__clock_now() + s->spin_ns;
    do {
        for (int i = 0; i < 32; i++)
            zk_cpu_relax();
        s->driver->poll(w, 0);
        if (zk__runq_len(&w->runq) != 0 || anything(w)) {
            w->spin_misses = 0;
            return true;
        }
    } while (zk__clock_now() < until);
    w->spin_misses++;
    return false;
}

void zk__idle_sleep(struct zk_worker *w)
{
    struct zk_scheduler *s = w->scheduler;
    uint64_t bit = w->is_spare && !zk__spare_serves(w) ? 0 : bit_of(w);
    zk_time_t deadline = sleep_deadline(w);
    uint64_t old;

    zk__idle_stop_search(w); /* P1 */
    if (!s->sim && spin(w))
        return;
    zk_atomic_store(&w->sleep, ZK_SLEEPING, release); /* notify: its reactor */
    zk_atomic_or(&s->idle_mask, bit, seq_cst);        /* P2 */
    zk_atomic_fence(seq_cst);                         /* P3 */
    if (!anything(w)) {                               /* P4 */
        zk_counter_add(&w->n_sleeps, 1);
        zk__monitor_rest(s);
        s->driver->poll(w, deadline);
        zk__monitor_alert(s);
    }
    if (zk_atomic_load(&w->sleep, relaxed) == ZK_NOTIFIED)
        zk_counter_add(&w->n_wakes, 1);
    zk_atomic_store(&w->sleep, ZK_AWAKE, relaxed);
    old = zk_atomic_and(&s->idle_mask, ~bit, seq_cst);
    w->has_token = bit != 0 && (old & bit) == 0; /* S3 */
}
