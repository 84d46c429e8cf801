/* SPDX-License-Identifier: MIT */
/* heap.c - 4-ary heap of timer nodes: few, near and exact. */
#include "time/time.h"

#define HEAP_ARITY 4u

void zk__timer_heap_init(struct zk_timer_heap *h, struct zk_timer_node **node,
                         uint32_t cap)
{
    ZK_ASSERT(node != NULL || cap == 0);
    h->node = node;
    h->len = 0;
    h->cap = cap;
}

static void heap_put(struct zk_timer_heap *h, uint32_t i,
                     struct zk_timer_node *n)
{
    h->node[i] = n;
    n->heap_index = i + 1;
}

/* `n` belongs at `i` or nearer to the root. */
static void heap_up(struct zk_timer_heap *h, uint32_t i,
                    struct zk_timer_node *n)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / HEAP_ARITY;

        if (h->node[parent]->expiry <= n->expiry)
            break;
        heap_put(h, i, h->node[parent]);
        i = parent;
    }
    heap_put(h, i, n);
}

/* `n` belongs at `i` or farther from the root. */
static void heap_down(struct zk_timer_heap *h, uint32_t i,
                      struct zk_timer_node *n)
{
    for (;;) {
        uint32_t first = i * HEAP_ARITY + 1, end = first + HEAP_ARITY;
        uint32_t least = first;

        if (first >= h->len)
            break;
        for (uint32_t c = first + 1; c < end && c < h->len; c++)
            if (h->node[c]->expiry < h->node[least]->expiry)
                least = c;
        if (n->expiry <= h->node[least]->expiry)
            break;
        heap_put(h, i, h->node[least]);
        i = least;
    }
    heap_put(h, i, n);
}

bool zk__timer_heap_push(struct zk_timer_heap *h, struct zk_timer_node *n)
{
    if (h->len == h->cap)
        return false;
    heap_up(h, h->len++, n);
    return true;
}

void zk__timer_heap_remove(struct zk_timer_heap *h, struct zk_timer_node *n)
{
    uint32_t i = n->heap_index - 1;
    struct zk_timer_node *last;

    ZK_ASSERT(i < h->len && h->node[i] == n);
    n->heap_index = 0;
    last = h->node[--h->len];
    if (last == n)
        return;
    /* The last one fills the gap; it may belong above it or below. */
    if (last->expiry < n->expiry)
        heap_up(h, i, last);
    else
        heap_down(h, i, last);
}
