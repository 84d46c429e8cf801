/* SPDX-License-Identifier: MIT */
/*
 * time.h - timer queue: a data structure, with no idea of tasks.
 *
 * One a worker, owner only, no lock. A node is in at most one queue.
 */
#ifndef ZK_TIME_TIME_H
#define ZK_TIME_TIME_H

#include "platform/platform.h"
#include "utils/compiler.h"
#include "utils/list.h"
#include "zokio/base.h"

/* Deadlines nearer than this go to the heap, which is exact; the others to
 * the wheel, whose tick is 2^20 ns and which never fires early. */
#define ZK_TIMER_NEAR ZK_MS(4)

struct zk_timer_node {
    struct zk_list link; /* wheel slot; prev NULL: not in a slot */
    zk_time_t expiry;    /* when the queue will hand it out */
    uint32_t heap_index; /* place in the heap + 1; 0: not in the heap */
    uint32_t place;      /* wheel: level * 64 + slot */
};

enum { ZK_WHEEL_LEVELS = 5, ZK_WHEEL_SLOTS = 64 };

struct zk_timers {
    zk_time_t now;     /* last zk__timers_advance() */
    uint64_t tick;     /* now >> 20, as far as the wheel has been turned */
    uint64_t occupied[ZK_WHEEL_LEVELS]; /* bit n: slot n is not empty */
    struct zk_list slot[ZK_WHEEL_LEVELS][ZK_WHEEL_SLOTS];
    struct zk_list expired; /* due, not handed out yet */
    struct zk_timer_node **heap; /* 4-ary, by expiry */
    uint32_t heap_len, heap_cap;
    size_t count;      /* nodes in all */
};

void zk__timers_init(struct zk_timers *t, zk_time_t now);
/* No node is left in it. Frees the heap's array. */
void zk__timers_fini(struct zk_timers *t);

/* `node` is in no queue. A deadline already past is due at the next advance.
 * Cannot fail: when the heap cannot grow the wheel takes the node. */
void zk__timers_insert(struct zk_timers *t, struct zk_timer_node *node,
                       zk_time_t expiry);
/* `node` is in `t`. O(1) in the wheel, O(log n) in the heap. */
void zk__timers_remove(struct zk_timers *t, struct zk_timer_node *node);

ZK_INLINE bool zk__timer_linked(const struct zk_timer_node *node)
{
    return node->link.prev != NULL || node->heap_index != 0;
}

/* A lower bound of the next expiry, ZK_FOREVER if empty; not below `now` unless
 * something is due. Sleeping until it and advancing makes progress. */
zk_time_t zk__timers_next(const struct zk_timers *t);

/*
 * Move the queue to `now` and hand out one node that is due (expiry <= now),
 * unlinked; NULL if there is none. Call until NULL or the caller's budget is
 * spent: the work of one call is bounded (a slot of 500,000 nodes is cascaded
 * in pieces).
 */
struct zk_timer_node *zk__timers_expire(struct zk_timers *t, zk_time_t now);

#endif
