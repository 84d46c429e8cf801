/* SPDX-License-Identifier: MIT */
/*
 * wheel.c - hierarchical timing wheel, for deadlines that mostly never come.
 *
 * Most timers guard an operation and are removed before they expire. So putting
 * one in and taking it out must cost a few stores, and precision is worth
 * little. A deadline is rounded up to a tick of 2^20 ns and kept in a slot of
 * one of five levels; a slot of level n covers 64^n ticks.
 *
 * Words
 *   tick      the wheel's present: everything up to it has been looked at.
 *   due tick  of a node: its deadline, rounded up.
 *   digit     of a tick at a level: 6 bits, its slot number there.
 *   event     the first tick of an occupied slot: something is to be done.
 *
 * Which slot. Compare the due tick with `tick`: the highest digit in which they
 * differ names the level, the due tick's digit there the slot. So below the top
 * level the slot lies ahead in the same turn of the level, and no index ever
 * wraps. The top level has no digits above it and does wrap: slots are counted
 * from the present one, 1 to 63 ahead, and a due tick beyond (12 days) is
 * parked in the last of these and looked at again when that one comes.
 *
 * Invariants
 *   W1  Below the top level, occupied slots have a number above the present
 *       digit. At the top the present slot is empty.
 *   W2  A node in a slot has a due tick in the range of the slot, or behind it
 *       if it is parked at the top. A node of level 0 is due at that very tick.
 *   W3  `tick` passes no event: it stops at each and empties the slot.
 *   W4  While `moving` is not empty `tick` stays, and the slot the nodes came
 *       from stays empty (W1), so that nothing is moved twice.
 *   W5  No event of a level comes before the last event of the level below.
 *
 * W1 gives W5 and makes the next event a count of trailing zeros: the lowest
 * occupied level has it. Advancing `tick` to anything before the next event
 * keeps W1, because no digit that tells a slot from the present changes.
 *
 * A slot may hold 500,000 nodes. At level 0 all of them are due: the list is
 * appended in one step. At a higher level each must find its new slot; the
 * whole list becomes `moving` and every turn takes some steps of it. A node is
 * unlinked from `due` and `moving` like from a slot: `place` then names a slot
 * it is not in, but the bit that is cleared follows that slot's own emptiness.
 *
 * Rejected: a level by distance instead of by digits, which needs wrapping and
 * a rotated bitmap at each level; moving a whole slot at once, during which no
 * other timer and no descriptor of the worker is looked at.
 *
 * Tests: tests/unit/timers_test.c against a sorted list.
 */
#include "time/time.h"

enum {
    WHEEL_BITS = 6,
    WHEEL_MASK = ZK_WHEEL_SLOTS - 1,
    WHEEL_TOP = ZK_WHEEL_LEVELS - 1,
    WHEEL_TOP_SHIFT = WHEEL_BITS * WHEEL_TOP,
};

_Static_assert(1 << WHEEL_BITS == ZK_WHEEL_SLOTS, "a digit names a slot");
_Static_assert(ZK_WHEEL_SLOTS == 64, "a bitmap is one word");

#define WHEEL_NO_EVENT UINT64_MAX

static uint64_t wheel_due_tick(zk_time_t expiry)
{
    uint64_t ns = expiry > 0 ? (uint64_t)expiry : 0;

    return (ns + (UINT64_C(1) << ZK_WHEEL_SHIFT) - 1) >> ZK_WHEEL_SHIFT;
}

static unsigned wheel_digit(uint64_t tick, unsigned level)
{
    return (unsigned)(tick >> (WHEEL_BITS * level)) & WHEEL_MASK;
}

/* At the end of `list`, in one step; `from` is not empty and is afterwards. */
static void wheel_append(struct zk_list *list, struct zk_list *from)
{
    from->next->prev = list->prev;
    from->prev->next = list;
    list->prev->next = from->next;
    list->prev = from->prev;
    zk_list_init(from);
}

void zk__wheel_init(struct zk_wheel *w, zk_time_t now)
{
    w->tick = (uint64_t)now >> ZK_WHEEL_SHIFT;
    zk_list_init(&w->due);
    zk_list_init(&w->moving);
    for (unsigned l = 0; l < ZK_WHEEL_LEVELS; l++) {
        w->occupied[l] = 0;
        for (unsigned s = 0; s < ZK_WHEEL_SLOTS; s++)
            zk_list_init(&w->slot[l][s]);
    }
}

void zk__wheel_insert(struct zk_wheel *w, struct zk_timer_node *n)
{
    uint64_t due = wheel_due_tick(n->expiry);
    unsigned level, slot;

    if (due <= w->tick) {
        n->place = 0;
        zk_list_push(&w->due, &n->link);
        return;
    }
    level = (63u - (unsigned)__builtin_clzll(due ^ w->tick)) / WHEEL_BITS;
    if (level >= WHEEL_TOP) {
        uint64_t present = w->tick >> WHEEL_TOP_SHIFT;
        uint64_t ahead = (due >> WHEEL_TOP_SHIFT) - present;

        level = WHEEL_TOP;
        if (ahead > WHEEL_MASK)
            ahead = WHEEL_MASK; /* parked */
        slot = (unsigned)(present + ahead) & WHEEL_MASK;
    } else {
        slot = wheel_digit(due, level);
    }
    n->place = level * ZK_WHEEL_SLOTS + slot;
    zk_list_push(&w->slot[level][slot], &n->link);
    w->occupied[level] |= UINT64_C(1) << slot;
}

void zk__wheel_remove(struct zk_wheel *w, struct zk_timer_node *n)
{
    unsigned level = n->place / ZK_WHEEL_SLOTS;
    unsigned slot = n->place % ZK_WHEEL_SLOTS;

    ZK_ASSERT(level < ZK_WHEEL_LEVELS && n->link.prev != NULL);
    zk_list_remove(&n->link);
    if (zk_list_empty(&w->slot[level][slot]))
        w->occupied[level] &= ~(UINT64_C(1) << slot);
}

struct zk_timer_node *zk__wheel_any(const struct zk_wheel *w)
{
    const struct zk_list *list = &w->due;

    if (zk_list_empty(list))
        list = &w->moving;
    for (unsigned l = 0; zk_list_empty(list) && l < ZK_WHEEL_LEVELS; l++)
        if (w->occupied[l] != 0)
            list = &w->slot[l][__builtin_ctzll(w->occupied[l])];
    if (zk_list_empty(list))
        return NULL;
    return container_of(list->next, struct zk_timer_node, link);
}

/* The next event at the top, where slots wrap. */
static uint64_t wheel_event_top(const struct zk_wheel *w)
{
    uint64_t present = w->tick >> WHEEL_TOP_SHIFT;
    uint64_t occupied = w->occupied[WHEEL_TOP];
    unsigned digit = (unsigned)present & WHEEL_MASK;
    uint64_t ahead; /* bit n: the slot n ahead of the present one */

    if (occupied == 0)
        return WHEEL_NO_EVENT;
    ahead = occupied >> digit;
    if (digit != 0)
        ahead |= occupied << (ZK_WHEEL_SLOTS - digit);
    return (present + (uint64_t)__builtin_ctzll(ahead)) << WHEEL_TOP_SHIFT;
}

/* The next event and its level, or WHEEL_NO_EVENT (W5). */
static uint64_t wheel_event(const struct zk_wheel *w, unsigned *level)
{
    for (unsigned l = 0; l < WHEEL_TOP; l++) {
        unsigned shift = WHEEL_BITS * l;
        uint64_t turn = (w->tick >> shift) & ~(uint64_t)WHEEL_MASK;

        if (w->occupied[l] == 0)
            continue;
        *level = l;
        return (turn | (uint64_t)__builtin_ctzll(w->occupied[l])) << shift;
    }
    *level = WHEEL_TOP;
    return wheel_event_top(w);
}

/* Spread nodes of `moving`; returns what is left of `steps`. */
static unsigned wheel_spread(struct zk_wheel *w, unsigned steps)
{
    struct zk_list *link;

    while (steps > 0 && (link = zk_list_pop(&w->moving)) != NULL) {
        zk__wheel_insert(w, container_of(link, struct zk_timer_node, link));
        steps--;
    }
    return steps;
}

/* Stop at an event and take its slot (W3). */
static void wheel_stop(struct zk_wheel *w, uint64_t event, unsigned level)
{
    unsigned slot = wheel_digit(event, level);
    struct zk_list *list = &w->slot[level][slot];

    ZK_ASSERT(event > w->tick && !zk_list_empty(list)); /* W1 */
    w->tick = event;
    w->occupied[level] &= ~(UINT64_C(1) << slot);
    wheel_append(level == 0 ? &w->due : &w->moving, list);
}

void zk__wheel_turn(struct zk_wheel *w, zk_time_t now, unsigned steps)
{
    uint64_t end = (uint64_t)now >> ZK_WHEEL_SHIFT;

    while (steps > 0) {
        unsigned level;
        uint64_t event;

        steps = wheel_spread(w, steps);
        if (steps == 0 || !zk_list_empty(&w->due))
            return; /* W4: else `moving` is empty */
        event = wheel_event(w, &level);
        if (event > end) { /* WHEEL_NO_EVENT too */
            if (end > w->tick)
                w->tick = end;
            return;
        }
        wheel_stop(w, event, level);
        steps--;
    }
}

zk_time_t zk__wheel_next(const struct zk_wheel *w)
{
    unsigned level;
    uint64_t event;

    if (!zk_list_empty(&w->due) || !zk_list_empty(&w->moving))
        return 0;
    event = wheel_event(w, &level);
    if (event > (uint64_t)ZK_FOREVER >> ZK_WHEEL_SHIFT)
        return ZK_FOREVER;
    return (zk_time_t)(event << ZK_WHEEL_SHIFT);
}
