/* SPDX-License-Identifier: MIT */
/*
 * stack.c - who has which stack: credits, workers' caches, and giving back.
 *
 * A task takes a credit when it is spawned and a stack when it is first
 * dispatched. The first may fail, the second may not: then the task exists.
 * Mapping address space for every credit is enough for that as long as the
 * free stacks can be reached by whoever needs one; but a worker keeps some to
 * itself, warm, without a lock. So what caches may hold is reserved like
 * credits are.
 *
 * Words, for one class
 *   credits  promises given out: with tasks, or in a worker's cache
 *   room     how many stacks a cache may hold; the pool counts the sum
 *   warm     a free stack that has been used; its first pages are resident
 *   cold     a free stack whose pages were given back; its guard is in place
 *   fresh    never handed out (stack_pool.c)
 *   out      stacks not in the pool: tasks' and in caches
 *
 * Invariants, under the lock of the class
 *   I1  credits + room <= mapped. Credits and room are granted only so far.
 *   I2  A cache holds at most its room; one more while its owner is in
 *       zk__stack_put(), which then still has the credit of that stack.
 *   I3  mapped = out + warm + cold + fresh + in the hands of zk__stack_trim(),
 *       which are counted as room meanwhile.
 *
 * Why get cannot fail: the caller has a credit and no stack. So the tasks that
 * have one are at most credits - 1, the caches and the trimmer hold at most
 * `room`, and by I1 at least one of the mapped is warm, cold or fresh.
 *
 * A cache asks for room when it first has to do with the pool. If the pool has
 * none to give, the cache holds nothing and works through the lock: slower,
 * and never wrong. So a cache needs no set-up that could fail.
 *
 * Giving back: touching a fresh page costs more than everything else here, so
 * nothing is zeroed or discarded when a task ends. The pool remembers the peak
 * of `out`, which decays to the present value by a quarter a second (6% of a
 * spike is left after 10 s). Warm stacks above the peak, counting those out,
 * lose their pages. Only the pool's are looked at: a cache is small. They are
 * taken from the head of the list, hot or not: all are resident, and what has
 * been lying in the pool for seconds is in no cache of the processor.
 *
 * Rejected: mapping on demand in get (fails too late); a stack from another
 * worker's cache (a lock or an atomic on the path of each task).
 *
 * Tests: unit/stack_test.c.
 */
#include "memory/stack_pool.h"

#include <errno.h>

enum { PEAK_DECAY_PART = 4 }; /* of the excess, a step */
#define PEAK_STEP ZK_SEC(1)

struct stack_class {
    ZK_ALIGNED(128) struct zk_mutex_os lock; /* of everything below */
    uint32_t mapped, credits, room, out;
    uint32_t n_warm;
    uint32_t peak;        /* of `out`; >= out */
    zk_time_t decayed_at; /* last step of the decay */
    struct zk_stack *warm, *cold;
};

static struct stack_class stack_classes[ZK_N_STACK_CLASSES];
/* What a cache may hold and takes at once, less for the large classes. */
static const uint32_t class_share[ZK_N_STACK_CLASSES] = {
    [ZK_STACK_64K] = ZK_STACK_CACHE_MAX,
    [ZK_STACK_256K] = ZK_STACK_CACHE_MAX,
    [ZK_STACK_1M] = 16,
    [ZK_STACK_8M] = 4,
};

static struct zk_mutex_os pool_lock; /* of the two below */
static bool pool_ready;
static struct zk_stack_cache *pool_caches; /* linked ones, for statistics */

_Static_assert(ZK_STACK_CACHE_MAX == ZK_CREDIT_BATCH,
               "class_share serves for both");

static struct stack_class *class_lock(unsigned class_index)
{
    struct stack_class *c = &stack_classes[class_index];

    ZK_ASSERT(class_index > 0 && class_index < ZK_N_STACK_CLASSES);
    zk__mutex_lock(&c->lock);
    return c;
}

static void class_unlock(struct stack_class *c)
{
    ZK_ASSERT(c->credits + c->room <= c->mapped); /* I1 */
    ZK_ASSERT(c->out + c->n_warm <= c->mapped);   /* I3 */
    zk__mutex_unlock(&c->lock);
}

static uint32_t class_slack(const struct stack_class *c)
{
    return c->mapped - c->credits - c->room;
}

int zk__stack_pool_init(void)
{
    int rc = 0;

    zk__mutex_lock(&pool_lock);
    if (!pool_ready) {
        rc = zk__stack_guard_init();
        pool_ready = rc == 0;
    }
    zk__mutex_unlock(&pool_lock);
    return rc;
}

/* ---- credits ------------------------------------------------------------- */

int zk__stack_credit_refill(struct zk_stack_cache *cache, unsigned class_index)
{
    struct stack_class *c = class_lock(class_index);
    uint32_t n = cache != NULL ? class_share[class_index] : 1;
    uint32_t slack = class_slack(c);
    int added;

    if (slack < n) {
        /* As much again, so that the caches have their room too. */
        added = zk__stack_chunk_map(class_index, c->mapped, 2 * n);
        if (added > 0)
            c->mapped += (uint32_t)added;
        slack = class_slack(c);
    }
    if (n > slack)
        n = slack;
    c->credits += n;
    class_unlock(c);
    if (n == 0)
        return -ENOMEM;
    if (cache != NULL)
        cache->credits[class_index] += n - 1;
    return 0;
}

void zk__stack_credit_return(unsigned class_index, unsigned n)
{
    struct stack_class *c = class_lock(class_index);

    ZK_ASSERT(n <= c->credits);
    c->credits -= n;
    class_unlock(c);
}

/* ---- caches -------------------------------------------------------------- */

static void cache_link(struct zk_stack_cache *cache)
{
    zk__mutex_lock(&pool_lock);
    cache->next = pool_caches;
    pool_caches = cache;
    cache->linked = true;
    zk__mutex_unlock(&pool_lock);
}

static void cache_unlink(struct zk_stack_cache *cache)
{
    struct zk_stack_cache **at = &pool_caches;

    zk__mutex_lock(&pool_lock);
    while (*at != cache)
        at = &(*at)->next;
    *at = cache->next;
    cache->next = NULL;
    cache->linked = false;
    zk__mutex_unlock(&pool_lock);
}

/* Up to the class's share, as far as I1 allows. */
static void cache_grant(struct stack_class *c, struct zk_stack_cache *cache,
                        unsigned class_index)
{
    uint32_t more = class_share[class_index] - cache->room[class_index];
    uint32_t slack = class_slack(c);

    if (more > slack)
        more = slack;
    c->room += more;
    cache->room[class_index] += more;
}

/* The end of a list of at least one, and its length. */
static struct zk_stack *chain_end(struct zk_stack *chain, uint32_t *length)
{
    uint32_t n = 1;

    while (chain->next != NULL) {
        chain = chain->next;
        n++;
    }
    *length = n;
    return chain;
}

/* Under the lock: stacks that were out come back. */
static void class_take_back(struct stack_class *c, struct zk_stack *first,
                            struct zk_stack *last, uint32_t n)
{
    last->next = c->warm;
    c->warm = first;
    c->n_warm += n;
    ZK_ASSERT(n <= c->out);
    c->out -= n;
}

/* Under the lock: up to `want` warm stacks, or a single other one. */
static struct zk_stack *class_hand_out(struct stack_class *c,
                                       unsigned class_index, uint32_t want,
                                       uint32_t *count)
{
    struct zk_stack *first = c->warm, **end = &c->warm;
    uint32_t n = 0;

    for (; n < want && *end != NULL; n++)
        end = &(*end)->next;
    if (n > 0) {
        c->warm = *end;
        c->n_warm -= n;
        *end = NULL;
    } else {
        first = c->cold;
        if (first != NULL)
            c->cold = first->next;
        else
            first = zk__stack_chunk_take(class_index);
        ZK_ASSERT(first != NULL); /* by I1, if the caller has a credit */
        first->next = NULL;
        n = 1;
    }
    c->out += n;
    if (c->peak < c->out)
        c->peak = c->out;
    *count = n;
    return first;
}

/* Stacks of `n` come from the pool: the first to the caller, the others to
 * the cache, which was empty. */
static void cache_fill(struct zk_stack_cache *cache, unsigned class_index,
                       struct zk_stack *rest, uint32_t n)
{
    ZK_ASSERT(cache->warm[class_index] == NULL);
    ZK_ASSERT(n <= cache->room[class_index]); /* I2 */
    cache->warm[class_index] = rest;
    zk_atomic_store(&cache->n_warm[class_index], n, relaxed);
}

struct zk_stack *zk__stack_get_slow(struct zk_stack_cache *cache,
                                    unsigned class_index)
{
    struct stack_class *c = class_lock(class_index);
    struct zk_stack *stack;
    uint32_t want = 1, n;

    if (cache != NULL) {
        if (cache->room[class_index] == 0)
            cache_grant(c, cache, class_index);
        want += cache->room[class_index] / 4;
    }
    stack = class_hand_out(c, class_index, want, &n);
    class_unlock(c);
    if (cache != NULL && !cache->linked)
        cache_link(cache);
    if (n > 1)
        cache_fill(cache, class_index, stack->next, n - 1);
    if (n == 1 && !(stack->flags & ZK_STACK_SEEN)) {
        stack->flags |= ZK_STACK_SEEN;
        zk__stack_guard(stack);
    }
    return stack;
}

void zk__stack_cache_spill(struct zk_stack_cache *cache, unsigned class_index)
{
    struct zk_stack **cut = &cache->warm[class_index], *first, *last;
    struct stack_class *c = class_lock(class_index);
    uint32_t keep, n;

    cache_grant(c, cache, class_index);
    keep = cache->room[class_index];
    n = zk_atomic_load(&cache->n_warm[class_index], relaxed);
    if (n > keep) {
        keep /= 2; /* of the newest */
        for (uint32_t i = 0; i < keep; i++)
            cut = &(*cut)->next;
        first = *cut;
        *cut = NULL;
        last = chain_end(first, &n);
        class_take_back(c, first, last, n);
        zk_atomic_store(&cache->n_warm[class_index], keep, relaxed);
    }
    class_unlock(c);
    if (!cache->linked)
        cache_link(cache);
}

void zk__stack_cache_flush(struct zk_stack_cache *cache)
{
    for (unsigned i = 1; i < ZK_N_STACK_CLASSES; i++) {
        struct zk_stack *first = cache->warm[i], *last;
        struct stack_class *c = class_lock(i);
        uint32_t n;

        if (first != NULL) {
            last = chain_end(first, &n);
            class_take_back(c, first, last, n);
        }
        ZK_ASSERT(cache->credits[i] <= c->credits);
        ZK_ASSERT(cache->room[i] <= c->room);
        c->credits -= cache->credits[i];
        c->room -= cache->room[i];
        class_unlock(c);
        cache->warm[i] = NULL;
        zk_atomic_store(&cache->n_warm[i], 0, relaxed);
        cache->room[i] = 0;
        cache->credits[i] = 0;
    }
    if (cache->linked)
        cache_unlink(cache);
}

/* ---- giving pages back --------------------------------------------------- */

static void peak_decay(struct stack_class *c, zk_time_t now)
{
    uint32_t excess = c->peak - c->out;

    if (now - c->decayed_at < PEAK_STEP)
        return;
    /* One step however long nobody called: when in that time the peak was, is
     * not known. */
    c->decayed_at = now;
    c->peak -= (excess + PEAK_DECAY_PART - 1) / PEAK_DECAY_PART;
}

/* Warm stacks above the peak, at most `batch`; they count as room until they
 * are back. NULL if there are none. */
static struct zk_stack *class_excess(struct stack_class *c, uint32_t batch,
                                     uint32_t *count)
{
    uint32_t keep = c->peak - c->out;
    uint32_t n = c->n_warm > keep ? c->n_warm - keep : 0;
    struct zk_stack *first = c->warm, **end = &c->warm;

    if (n > batch)
        n = batch;
    if (n > class_slack(c)) /* I1 */
        n = class_slack(c);
    if (n == 0)
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        end = &(*end)->next;
    c->warm = *end;
    *end = NULL;
    c->n_warm -= n;
    c->room += n;
    *count = n;
    return first;
}

static unsigned class_trim(unsigned class_index, zk_time_t now, unsigned batch)
{
    struct stack_class *c = class_lock(class_index);
    struct zk_stack *first, *last = NULL;
    uint32_t n = 0;

    peak_decay(c, now);
    first = class_excess(c, batch, &n);
    class_unlock(c);
    if (first == NULL)
        return 0;
    for (struct zk_stack *s = first; s != NULL; s = s->next) {
        /* Refused for locked memory: then the pages just stay. */
        (void)zk__vm_discard(s->limit, zk__stack_usable(class_index));
        last = s;
    }
    class_lock(class_index);
    last->next = c->cold;
    c->cold = first;
    c->room -= n;
    class_unlock(c);
    return n;
}

unsigned zk__stack_trim(zk_time_t now, unsigned batch)
{
    unsigned n = 0;

    for (unsigned i = 1; i < ZK_N_STACK_CLASSES; i++)
        n += class_trim(i, now, batch - n);
    return n;
}

bool zk__stack_trim_pending(void)
{
    bool pending = false;

    for (unsigned i = 1; i < ZK_N_STACK_CLASSES; i++) {
        struct stack_class *c = class_lock(i);

        pending |= c->n_warm > 0;
        class_unlock(c);
    }
    return pending;
}

/* ---- statistics ---------------------------------------------------------- */

void zk__stack_stats(struct zk_stack_stats *out)
{
    uint64_t mapped = 0, warm = 0, gone = 0, cached = 0;

    for (unsigned i = 1; i < ZK_N_STACK_CLASSES; i++) {
        struct stack_class *c = class_lock(i);

        mapped += c->mapped;
        warm += c->n_warm;
        gone += c->out;
        class_unlock(c);
    }
    zk__mutex_lock(&pool_lock);
    for (struct zk_stack_cache *at = pool_caches; at != NULL; at = at->next) {
        for (unsigned i = 1; i < ZK_N_STACK_CLASSES; i++)
            cached += zk_atomic_load(&at->n_warm[i], relaxed);
    }
    zk__mutex_unlock(&pool_lock);
    out->mapped = mapped;
    /* Two moments: what was put into a cache between them is in both sums. */
    out->live = gone > cached ? gone - cached : 0;
    out->cached = warm + cached;
    out->unguarded = zk__stack_unguarded();
    out->guard_kind = (uint64_t)zk__stack_guard_kind();
}

size_t zk__stack_used(const struct zk_stack *stack)
{
    size_t page = zk__vm_page_size();
    char *low = stack->limit;
    char *high = low + zk__stack_usable(stack->class_index);

    if (zk__vm_resident(low, (size_t)(high - low)) == 0)
        return 0;
    /* The lowest resident page is in [low, high). */
    while ((size_t)(high - low) > page) {
        size_t pages = (size_t)(high - low) / page;
        char *middle = low + pages / 2 * page;

        if (zk__vm_resident(low, (size_t)(middle - low)) > 0)
            high = middle;
        else
            low = middle;
    }
    return (size_t)(stack->top - low);
}
