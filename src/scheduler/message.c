/* SPDX-License-Identifier: MIT */
/*
 * message.c - asking a worker to do something about a task.
 *
 * Some things only one worker may do: end an operation in its ring, touch a
 * timer in its wheel. Others ask by a message. The message is the task block
 * itself, linked into the worker's inbox, with a set of bits that say what is
 * wanted; so nothing is allocated and any thread, also under memory pressure,
 * can ask.
 *
 * Invariants
 *   M1  A block is in at most one inbox: QUEUED is set by who links it and
 *       cleared by who takes it out. While QUEUED, holds counts one.
 *   M2  The worker that takes a block out handles the bits that are its own and
 *       sends the rest on. A bit is its own if it runs the task's worker (for
 *       CANCEL) or owns the timer's home (for TIMERn).
 *   M3  A wait in a queue, or a sleep, is ended by the canceller itself, by the
 *       CAS of task.h T3: its worker may be stuck. Else CANCEL is handled on the native stack of task->worker. There the task is
 *       not running, so it is PARKED, and is ended, or READY, and then will see
 *       the sticky bit before its next wait, since the bit was set before the
 *       message was sent (F) and the queue that carries the task orders it.
 *       Hence every wait looks at the bit right before it parks, also when the
 *       task has just come out of another one (a turn, then the operation).
 *
 * The hard case: the task moves while the message is under way. The handler
 * reads task->worker after it took the message; if another worker has the task
 * by now, the message goes there. It cannot chase for ever: each move needs the
 * task to run, and a task that runs sees the bit at its next wait.
 *
 * Ordering
 *   F   set cancel, seq_cst -> send (RMW) -> drain (RMW) -> state
 *   G   inbox push, CAS release -> drain, exchange acquire
 */
#include <errno.h>

#include "scheduler/worker.h"

/* Which worker should look at `bits` first. */
static struct zk_worker *message_target(struct zk_task *task, uint32_t bits)
{
    struct zk_timer_home *home = NULL;

    if ((bits & ZK_MESSAGE_TIMER0) != 0)
        home = zk_atomic_load(&task->timer[0].home, acquire);
    else if ((bits & ZK_MESSAGE_TIMER1) != 0)
        home = zk_atomic_load(&task->timer[1].home, acquire);
    if (home != NULL)
        return zk_atomic_load(&home->owner, acquire);
    return zk_atomic_load(&task->worker, relaxed);
}

static void inbox_push(struct zk_worker *w, struct zk_task *task)
{
    struct zk_task *head = zk_atomic_load(&w->inbox, relaxed);

    do
        task->message_next = head;
    while (!zk_atomic_cas(&w->inbox, &head, task, seq_cst, relaxed)); /* G */
    zk__idle_poke(w);
}

void zk__message_send(struct zk_task *task, uint32_t bits)
{
    uint32_t old = zk_atomic_or(&task->message, bits | ZK_MESSAGE_QUEUED,
                                seq_cst);

    if ((old & ZK_MESSAGE_QUEUED) != 0)
        return; /* M1: who takes it out sees the new bits */
    zk_atomic_add(&task->holds, 1, relaxed);
    inbox_push(message_target(task, bits), task);
}

bool zk__message_cancel(struct zk_task *task)
{
    uint64_t state = zk_atomic_load(&task->state, acquire); /* park.c C */

    /* A simulated worker is never stuck, and all of the walk's order would
     * show: there the message does it. */
    if (zk_phase(state) == ZK_PHASE_PARKED &&
        !zk_atomic_load(&task->worker, relaxed)->scheduler->sim &&
        zk_atomic_load(&task->wait_kind, relaxed) == ZK_WAIT_QUEUE &&
        zk_task_cancelled(task) && zk__wake_claim(task, state, -ECANCELED))
        return true;
    zk__message_send(task, ZK_MESSAGE_CANCEL);
    return false;
}

void zk__message_ask_timer(struct zk_worker *w, struct zk_task *task)
{
    bool free_now;

    zk__waitq_lock(&task->life);
    zk_atomic_sub(&task->holds, 1, relaxed);
    if (!task->done) /* else it took its timers out, or asked for that */
        zk__message_send(task, ZK_MESSAGE_TIMER0);
    free_now = task->done && !task->joinable && !zk__message_held(task);
    zk__waitq_unlock(&task->life);
    if (free_now)
        zk__task_recycle(w, task);
}

void zk__request_cancel(struct zk_task *task)
{
    zk__waitq_lock(&task->life);
    if (!task->done)
        zk__message_send(task, ZK_MESSAGE_CANCEL);
    zk__waitq_unlock(&task->life);
}

bool zk__message_end_wait(struct zk_worker *w, struct zk_task *task)
{
    uint64_t state = zk_atomic_load(&task->state, acquire); /* park.c C */
    zk_time_t deadline;

    if (zk_atomic_load(&task->worker, relaxed) != w)
        return false; /* it went elsewhere, and so must the message */
    if (zk_phase(state) != ZK_PHASE_PARKED)
        return true;
    if (zk_atomic_load(&task->wait_kind, relaxed) != ZK_WAIT_QUEUE) {
        w->scheduler->driver->cancel(w, task);
        return true;
    }
    deadline = zk_atomic_load(&task->deadline, relaxed);
    if (zk_task_cancelled(task)) {
        if (zk__wake_claim(task, state, -ECANCELED))
            zk__ready(task);
    } else if (deadline <= w->now) {
        if (zk__wake_claim(task, state, -ETIMEDOUT))
            zk__ready(task);
    }
    return true;
}

/* M2: handle what is ours; what is left for others. */
static uint32_t message_handle(struct zk_worker *w, struct zk_task *task,
                               uint32_t bits)
{
    static const uint32_t timer_bit[2] = {ZK_MESSAGE_TIMER0, ZK_MESSAGE_TIMER1};

    for (int i = 0; i < 2; i++) {
        struct zk_timer_home *home;

        if ((bits & timer_bit[i]) == 0)
            continue;
        home = zk_atomic_load(&task->timer[i].home, acquire);
        if (home == w->home)
            zk__timeout_revisit(w, task, i);
        else if (home == NULL)
            zk__timeout_relink(w, task, i);
        if (home == w->home || home == NULL)
            bits &= ~timer_bit[i];
    }
    if ((bits & ZK_MESSAGE_CANCEL) != 0 &&
        zk__message_end_wait(w, task)) /* M3 */
        bits &= ~(uint32_t)ZK_MESSAGE_CANCEL;
    return bits;
}

static void message_take(struct zk_worker *w, struct zk_task *task)
{
    uint32_t bits = zk_atomic_exchange(&task->message, 0, seq_cst);
    bool free_now;

    zk__waitq_lock(&task->life);
    if (task->done) /* nothing to end any more */
        bits &= ~(uint32_t)ZK_MESSAGE_CANCEL;
    zk__waitq_unlock(&task->life);
    /* The hold of this message lasts until it is handled. */
    bits = message_handle(w, task, bits & ~(uint32_t)ZK_MESSAGE_QUEUED);
    zk__waitq_lock(&task->life);
    if (task->done)
        bits &= ~(uint32_t)ZK_MESSAGE_CANCEL;
    zk_atomic_sub(&task->holds, 1, relaxed);
    if (bits != 0)
        zk__message_send(task, bits);
    free_now = task->done && !task->joinable && !zk__message_held(task);
    zk__waitq_unlock(&task->life);
    if (free_now)
        zk__task_recycle(w, task);
}

static struct zk_task *merge_by_id(struct zk_task *a, struct zk_task *b)
{
    struct zk_task *first = NULL, **last = &first;

    while (a != NULL && b != NULL) {
        struct zk_task **less = zk_atomic_load(&a->id, relaxed) <=
                                        zk_atomic_load(&b->id, relaxed)
                                    ? &a
                                    : &b;

        *last = *less;
        last = &(*less)->message_next;
        *less = *last;
    }
    *last = a != NULL ? a : b;
    return first;
}

/* Who cancels all tasks walks their blocks as they lie in memory; a simulated
 * world must not depend on that. */
static struct zk_task *sort_by_id(struct zk_task *list)
{
    struct zk_task *half = list, *end, *rest;

    if (list == NULL || list->message_next == NULL)
        return list;
    for (end = list->message_next; end != NULL && end->message_next != NULL;
         end = end->message_next->message_next)
        half = half->message_next;
    rest = half->message_next;
    half->message_next = NULL;
    return merge_by_id(sort_by_id(list), sort_by_id(rest));
}

void zk__message_drain(struct zk_worker *w, struct zk_worker *owner)
{
    struct zk_task *task, *next, *in_order = NULL;

    if (zk_atomic_load(&owner->inbox, relaxed) == NULL)
        return;
    task = zk_atomic_exchange(&owner->inbox, NULL, seq_cst); /* G */
    for (; task != NULL; task = next) {                      /* oldest first */
        next = task->message_next;
        task->message_next = in_order;
        in_order = task;
    }
    if (zk_unlikely(w->scheduler->sim))
        in_order = sort_by_id(in_order);
    for (task = in_order; task != NULL; task = next) {
        next = task->message_next;
        message_take(w, task);
    }
}
