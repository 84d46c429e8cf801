/* SPDX-License-Identifier: MIT */
/*
 * runq.h - one worker's ring of runnable tasks.                      [flow 2]
 *
 * The owner adds at `tail` and takes at `head`; any other worker (a thief)
 * takes at `head` too. First in, first out for everyone, so a task that yields
 * cannot overtake one that was ready before it.
 *
 * Who may call                      owner   thief
 *   zk__runq_push                     x
 *   zk__runq_take                     x
 *   zk__runq_steal(victim)                      x
 *   zk__runq_len (a hint)             x         x
 *
 * Invariants
 *   I1  0 <= tail - head <= ZK_RUNQ_CAP. Both only grow; 64 bits never wrap.
 *   I2  For head <= i < tail, slot[i & MASK] holds a task that is in no other
 *       queue. The holder of a successful CAS on `head` owns what it passed.
 *   I3  Only the owner stores to `tail` and to slots.
 *   I4  A slot is stored again only after `head` has passed it.
 *
 * Orderings
 *   A   push: store tail, release    -> steal: load tail, acquire
 *       the slot and the task's own fields are visible to the thief.
 *   B   CAS on head, acq_rel         -> push: load head, acquire
 *       the reader of a slot is done with it before the owner reuses it (I4).
 *   Slots are read before the CAS, so a thief may read one that the owner is
 *   overwriting. Then `head` has moved, the CAS fails, and the value is thrown
 *   away. Slots are relaxed atomics for that reason and no other.
 *
 * take() claims several tasks with one CAS: the price of the atomic is shared.
 * What is claimed can no longer be stolen, so callers keep the batch small.
 *
 * Overflow is the caller's business: push() refuses, and the scheduler moves
 * half of the ring to the inject queue.
 */
#ifndef ZK_SCHEDULER_RUNQ_H
#define ZK_SCHEDULER_RUNQ_H

#include "utils/atomic.h"
#include "utils/compiler.h"

#ifndef ZK_RUNQ_CAP
#define ZK_RUNQ_CAP 256u
#endif
#define ZK_RUNQ_MASK (ZK_RUNQ_CAP - 1)

_Static_assert((ZK_RUNQ_CAP & ZK_RUNQ_MASK) == 0,
               "the capacity of a run queue is a power of two");

struct zk_task;

struct zk_runq {
    ZK_ALIGNED(128) _Atomic uint64_t head;     /* everyone, by CAS */
    ZK_ALIGNED(128) _Atomic uint64_t tail;     /* owner writes, thieves read */
    struct zk_task *_Atomic slot[ZK_RUNQ_CAP]; /* owner writes (I3) */
};

ZK_INLINE unsigned zk__runq_len(struct zk_runq *q)
{
    uint64_t head = zk_atomic_load(&q->head, relaxed);
    uint64_t tail = zk_atomic_load(&q->tail, relaxed);

    return tail > head ? (unsigned)(tail - head) : 0;
}

/* False if the ring is full; `task` is then still the caller's. */
ZK_INLINE bool zk__runq_push(struct zk_runq *q, struct zk_task *task)
{
    uint64_t tail = zk_atomic_load(&q->tail, relaxed);
    uint64_t head = zk_atomic_load(&q->head, acquire); /* B */

    ZK_ASSERT(tail - head <= ZK_RUNQ_CAP); /* I1 */
    if (zk_unlikely(tail - head == ZK_RUNQ_CAP))
        return false;
    zk_atomic_store(&q->slot[tail & ZK_RUNQ_MASK], task, relaxed);
    zk_atomic_store(&q->tail, tail + 1, release); /* A */
    return true;
}

/* The owner takes up to `max` tasks, oldest first. Returns how many. */
ZK_INLINE unsigned zk__runq_take(struct zk_runq *q, struct zk_task **out,
                                 unsigned max)
{
    uint64_t tail = zk_atomic_load(&q->tail, relaxed);
    uint64_t head = zk_atomic_load(&q->head, relaxed);

    for (;;) {
        uint64_t n = tail - head;

        if (n == 0)
            return 0;
        if (n > max)
            n = max;
        for (unsigned i = 0; i < n; i++)
            out[i] = zk_atomic_load(&q->slot[(head + i) & ZK_RUNQ_MASK],
                                    relaxed);
        if (zk_likely(zk_atomic_cas(&q->head, &head, head + n, acq_rel,
                                    relaxed))) /* B */
            return (unsigned)n;
    }
}

/* A thief takes half of `q`, rounded up, at most `max`; oldest first. */
ZK_INLINE unsigned zk__runq_steal(struct zk_runq *q, struct zk_task **out,
                                  unsigned max)
{
    uint64_t head = zk_atomic_load(&q->head, acquire);

    for (;;) {
        uint64_t tail = zk_atomic_load(&q->tail, acquire); /* A */
        uint64_t len = tail - head;
        unsigned n;

        if (len > ZK_RUNQ_CAP) { /* head is stale: look again */
            head = zk_atomic_load(&q->head, acquire);
            continue;
        }
        n = (unsigned)(len - len / 2);
        if (n > max)
            n = max;
        if (n == 0)
            return 0;
        for (unsigned i = 0; i < n; i++)
            out[i] = zk_atomic_load(&q->slot[(head + i) & ZK_RUNQ_MASK],
                                    relaxed);
        if (zk_atomic_cas(&q->head, &head, head + n, acq_rel, acquire)) /* B */
            return n;
    }
}

#endif
