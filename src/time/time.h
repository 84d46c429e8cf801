/* SPDX-License-Identifier: MIT */
/*
 * time.h - timer queue: a data structure, with no idea of tasks.
 *
 * One a worker, owner only, no lock, no allocation. A node is in at most one
 * queue. Near deadlines are in a heap and exact, all others in a wheel and
 * rounded up to its tick: nothing is handed out early.
 */
#ifndef ZK_TIME_TIME_H
#define ZK_TIME_TIME_H

#include "utils/compiler.h"
#include "utils/list.h"
#include "zokio/base.h"

/* Deadlines nearer than this go to the heap. */
#define ZK_TIMER_NEAR ZK_MS(4)

struct zk_timer_node {
    struct zk_list link; /* in the wheel; prev NULL: not there */
    zk_time_t expiry;    /* when the queue will hand it out */
    uint32_t heap_index; /* place in the heap + 1; 0: not in the heap */
    uint32_t place;      /* the wheel's: where `link` was put */
};

/* ---- heap (heap.c) ------------------------------------------------------- */

struct zk_timer_heap {
    struct zk_timer_node **node; /* 4-ary, by expiry; the caller's array */
    uint32_t len, cap;
};

void zk__timer_heap_init(struct zk_timer_heap *h, struct zk_timer_node **node,
                         uint32_t cap);
/* False if it is full: `n` is then still the caller's. */
bool zk__timer_heap_push(struct zk_timer_heap *h, struct zk_timer_node *n);
/* `n` is in `h`. */
void zk__timer_heap_remove(struct zk_timer_heap *h, struct zk_timer_node *n);

/* ---- wheel (wheel.c) ----------------------------------------------------- */

enum {
    ZK_WHEEL_SHIFT = 20, /* a tick is 2^20 ns: 1.05 ms */
    ZK_WHEEL_LEVELS = 5,
    ZK_WHEEL_SLOTS = 64,
};

struct zk_wheel {
    uint64_t tick; /* as far as the wheel has been turned */
    uint64_t occupied[ZK_WHEEL_LEVELS]; /* bit n: slot n is not empty */
    struct zk_list due;                 /* expired, not handed out yet */
    struct zk_list moving; /* a slot that is being spread over lower levels */
    struct zk_list slot[ZK_WHEEL_LEVELS][ZK_WHEEL_SLOTS];
};

void zk__wheel_init(struct zk_wheel *w, zk_time_t now);
void zk__wheel_insert(struct zk_wheel *w, struct zk_timer_node *n);
void zk__wheel_remove(struct zk_wheel *w, struct zk_timer_node *n);
/* Some node, still in the wheel; NULL if it is empty. */
struct zk_timer_node *zk__wheel_any(const struct zk_wheel *w);
/* Turn towards `now`, at most as far as something gets due and in at most
 * `steps` moves of nodes or slots. */
void zk__wheel_turn(struct zk_wheel *w, zk_time_t now, unsigned steps);
/* When the next turn has something to do; 0: now. ZK_FOREVER if empty. */
zk_time_t zk__wheel_next(const struct zk_wheel *w);

/* ---- queue (timers.c) ---------------------------------------------------- */

struct zk_timers {
    /* Last zk__timers_expire(). The owner may raise it when it has read the
     * clock: what is near is judged by it. */
    zk_time_t now;
    size_t count; /* nodes in all */
    struct zk_timer_heap heap;
    struct zk_wheel wheel;
};

/* `heap` has room for `cap` nodes and stays the caller's; it may be NULL if
 * `cap` is 0. `now` is not negative. */
void zk__timers_init(struct zk_timers *t, zk_time_t now,
                     struct zk_timer_node **heap, uint32_t cap);
/* No node is left in it. */
void zk__timers_fini(struct zk_timers *t);

/* `node` is in no queue. A deadline already past is due at the next expire.
 * Cannot fail: when the heap is full the wheel takes the node. */
void zk__timers_insert(struct zk_timers *t, struct zk_timer_node *node,
                       zk_time_t expiry);
/* Some node of `t`, still in it; NULL if it is empty. */
struct zk_timer_node *zk__timers_any(const struct zk_timers *t);
/* `node` is in `t`. O(1) in the wheel, O(log n) in the heap. */
void zk__timers_remove(struct zk_timers *t, struct zk_timer_node *node);

ZK_INLINE bool zk__timer_linked(const struct zk_timer_node *node)
{
    return node->link.prev != NULL || node->heap_index != 0;
}

/*
 * Nothing will be handed out before this; ZK_FOREVER if empty. Never below
 * t->now, which it is when something is due or half moved. Sleeping until it
 * and expiring makes progress.
 */
zk_time_t zk__timers_next(const struct zk_timers *t);

/*
 * Move the queue to `now` and hand out one node that is due (expiry <= now),
 * unlinked, or NULL. The work of one call is bounded: a slot of 500,000 nodes
 * is spread in pieces. So NULL means "nothing yet", and zk__timers_next() says
 * when to ask again; it may be at once.
 */
struct zk_timer_node *zk__timers_expire(struct zk_timers *t, zk_time_t now);

#endif
