/* SPDX-License-Identifier: MIT */
/*
 * waitq.h - the queue of those who wait for one thing.
 *
 * Under join, close, turns at a descriptor, the blocking pool and shutdown;
 * later under every lock and channel. The one place where a wake, a deadline, a
 * cancel and a foreign thread race: see the essay in waitq.c.
 */
#ifndef ZK_SCHEDULER_WAITQ_H
#define ZK_SCHEDULER_WAITQ_H

#include "platform/platform.h"
#include "utils/atomic.h"
#include "utils/compiler.h"

struct zk_task;

struct zk_waiter {
    struct zk_waiter *next, *prev; /* circular; NULL: not in a queue */
    struct zk_task *task;          /* NULL: a plain thread */
    _Atomic uint32_t woken;        /* a thread's futex word */
    int32_t result;                /* a thread's */
};

/* All zero is an empty, unlocked queue. */
struct zk_waitq {
    _Atomic uint32_t lock;
    uint32_t length;
    struct zk_waiter *head; /* first; head->prev is the last */
};

enum zk_waitq_flags {
    ZK_WAITQ_CANCELLABLE = 1u << 0,
};

void zk__waitq_lock_slow(struct zk_waitq *q);

ZK_INLINE void zk__waitq_lock(struct zk_waitq *q)
{
    uint32_t free = 0;

    if (zk_unlikely(!zk_atomic_cas(&q->lock, &free, 1, acquire, relaxed)))
        zk__waitq_lock_slow(q); /* A */
}

ZK_INLINE void zk__waitq_unlock(struct zk_waitq *q)
{
    zk_atomic_store(&q->lock, 0, release); /* A */
}

/*
 * Wait in `q`, which the caller has locked; it is unlocked when this returns,
 * and on a task not before the task's registers are saved. Any context.
 *
 * What the waker passed (>= 0, or its own error), -ETIMEDOUT, or -ECANCELED
 * (only with ZK_WAITQ_CANCELLABLE). After the last two the caller is in the
 * queue no more and got no wake: none was lost.
 */
int zk__waitq_wait(struct zk_waitq *q, unsigned reason, void *object,
                   zk_time_t deadline, unsigned flags);

/*
 * `q` is locked. Take the longest waiter that can still be woken. True if there
 * was one; a thread is awake then, and a task is in *task for the caller to
 * pass to zk__ready() once `q` is unlocked (NULL for a thread).
 */
bool zk__waitq_wake(struct zk_waitq *q, int result, struct zk_task **task);

/* `q` is locked; unlocks it. Wake everyone with `result`. */
void zk__waitq_wake_all(struct zk_waitq *q, int result);

/* `q` is locked; unlocks it. Wake one with `result`, if there is one. */
void zk__waitq_wake_one(struct zk_waitq *q, int result);

#endif
