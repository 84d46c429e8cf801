/* SPDX-License-Identifier: MIT */
/*
 * timers.c - the timer queue: a heap for what is near, a wheel for the rest.
 *
 * A sleep of 100 us must not be rounded to a tick of a millisecond, and a 30 s
 * deadline must not cost a walk through a heap of a million. So the distance at
 * the time of insertion decides, once: a node in the wheel stays there until it
 * expires. The heap's array is given by the owner and does not grow; when it is
 * full the wheel takes over and the deadline is up to a tick late.
 *
 * Invariants
 *   T1  A node is in the heap (heap_index != 0), or in the wheel (link.prev !=
 *       NULL), or in neither, and then not in the queue.
 *   T2  What is handed out has expiry <= now. The wheel rounds deadlines up and
 *       the clock down; the heap compares.
 *   T3  `now` never decreases.
 *   T4  zk__timers_next() <= now as long as a call of zk__timers_expire() with
 *       the same `now` would hand out or move a node.
 *
 * Tests: tests/unit/timers_test.c.
 */
#include "time/time.h"

/* Moves of nodes a call: some microseconds. */
#define TIMERS_STEPS 64u

void zk__timers_init(struct zk_timers *t, zk_time_t now,
                     struct zk_timer_node **heap, uint32_t cap)
{
    ZK_ASSERT(now >= 0);
    t->now = now;
    t->count = 0;
    zk__timer_heap_init(&t->heap, heap, cap);
    zk__wheel_init(&t->wheel, now);
}

void zk__timers_fini(struct zk_timers *t)
{
    ZK_ASSERT(t->count == 0);
    ZK_ASSERT(t->heap.len == 0);
}

void zk__timers_insert(struct zk_timers *t, struct zk_timer_node *node,
                       zk_time_t expiry)
{
    bool near = expiry < ZK_TIMER_NEAR || expiry - ZK_TIMER_NEAR < t->now;

    ZK_ASSERT(!zk__timer_linked(node)); /* T1 */
    node->expiry = expiry;
    t->count++;
    if (!near || !zk__timer_heap_push(&t->heap, node))
        zk__wheel_insert(&t->wheel, node);
}

struct zk_timer_node *zk__timers_any(const struct zk_timers *t)
{
    if (t->heap.len > 0) /* the last: nothing has to move up for it */
        return t->heap.node[t->heap.len - 1];
    return zk__wheel_any(&t->wheel);
}

void zk__timers_remove(struct zk_timers *t, struct zk_timer_node *node)
{
    ZK_ASSERT(zk__timer_linked(node));
    t->count--;
    if (node->heap_index != 0)
        zk__timer_heap_remove(&t->heap, node);
    else
        zk__wheel_remove(&t->wheel, node);
}

zk_time_t zk__timers_next(const struct zk_timers *t)
{
    zk_time_t next = zk__wheel_next(&t->wheel);

    if (t->heap.len > 0 && t->heap.node[0]->expiry < next)
        next = t->heap.node[0]->expiry;
    return next > t->now ? next : t->now;
}

/* Whichever is earlier of the heap's first and the wheel's, if it is due. */
static struct zk_timer_node *timers_due(const struct zk_timers *t)
{
    struct zk_timer_node *wheel = NULL, *heap = NULL;

    if (!zk_list_empty(&t->wheel.due))
        wheel = container_of(t->wheel.due.next, struct zk_timer_node, link);
    if (t->heap.len > 0 && t->heap.node[0]->expiry <= t->now)
        heap = t->heap.node[0];
    if (heap == NULL || (wheel != NULL && wheel->expiry <= heap->expiry))
        return wheel;
    return heap;
}

struct zk_timer_node *zk__timers_expire(struct zk_timers *t, zk_time_t now)
{
    struct zk_timer_node *node;

    if (now > t->now) /* T3 */
        t->now = now;
    zk__wheel_turn(&t->wheel, t->now, TIMERS_STEPS);
    node = timers_due(t);
    if (node == NULL)
        return NULL;
    ZK_ASSERT(node->expiry <= t->now); /* T2 */
    zk__timers_remove(t, node);
    return node;
}
