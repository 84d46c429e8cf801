/* SPDX-License-Identifier: MIT */
/*
 * memory.h - heap, task slabs and stacks.
 */
#ifndef ZK_MEMORY_MEMORY_H
#define ZK_MEMORY_MEMORY_H

#include "platform/platform.h"
#include "utils/compiler.h"
#include "zokio/memory.h"
#include "zokio/task.h"

/* ---- heap (heap.c) ------------------------------------------------------- */
/* All of zokio's heap goes through the user's allocator. Any thread. */

void *zk__alloc(size_t size); /* zeroed, aligned to ZK_CACHE_LINE; or NULL */
void zk__free(void *ptr, size_t size); /* NULL is allowed */
uint64_t zk__heap_bytes(void);
/* Runtimes hold the allocator in place while they live. */
void zk__heap_hold(void);
void zk__heap_release(void);

/* ---- blocks (slab.c) ----------------------------------------------------- */
/*
 * Type-stable blocks of one size: a block that was handed out once is readable
 * until the process ends, so a stale handle can always be checked. Mapped in
 * chunks, huge-page advised. Fresh blocks are zero, recycled ones keep what
 * they held, both but for the first word. Any thread; batches, so that callers
 * cache.
 */
struct zk_slab;

struct zk_slab_node {
    struct zk_slab_node *next;
};

/* One slab a process, for task blocks; `size` a multiple of ZK_CACHE_LINE. */
struct zk_slab *zk__slab_create(size_t size);
/* Up to `want` blocks, linked through their first word: how many, 0 without
 * memory. */
unsigned zk__slab_take(struct zk_slab *s, unsigned want,
                       struct zk_slab_node **list);
void zk__slab_give(struct zk_slab *s, struct zk_slab_node *list);
uint64_t zk__slab_blocks(const struct zk_slab *s);
/* Call `fn` for every block ever handed out; stops when it returns false. */
void zk__slab_each(struct zk_slab *s, bool (*fn)(void *block, void *ctx),
                   void *ctx);

/* ---- stacks (stack.c) ---------------------------------------------------- */

enum { ZK_N_STACK_CLASSES = 5 }; /* index 0 is unused */

/* One stack. Descriptors are type-stable, in an array below the stacks. */
struct zk_stack {
    struct zk_stack *next; /* in a free list */
    char *top;             /* end; 16-aligned, coloured */
    char *limit;           /* lowest usable byte: the guard ends here */
    uint32_t class_index;
    uint32_t flags; /* enum zk_stack_flags */
};

enum zk_stack_flags {
    ZK_STACK_SEEN = 1u << 0,    /* was handed out: the guard was tried */
    ZK_STACK_GUARDED = 1u << 1, /* and is in place */
};

enum { ZK_STACK_CACHE_MAX = 64, ZK_CREDIT_BATCH = 64 };

/* A worker's share: owner only, no lock. All zero to begin with; stays where
 * it is until zk__stack_cache_flush(). */
struct zk_stack_cache {
    struct zk_stack *warm[ZK_N_STACK_CLASSES];
    _Atomic uint32_t n_warm[ZK_N_STACK_CLASSES]; /* owner; statistics read */
    uint32_t room[ZK_N_STACK_CLASSES]; /* most that may be warm: stack.c, I1 */
    uint32_t credits[ZK_N_STACK_CLASSES];
    struct zk_stack_cache *next; /* stack.c's list of caches */
    bool linked;                 /* in it */
};

/* Prepared at the first call; 0 or -errno. Any thread. */
int zk__stack_pool_init(void);

/*
 * A credit is the promise of a stack: whoever holds one gets a stack from
 * zk__stack_get() without failing, keeps the credit as long as the stack, puts
 * the stack back first and the credit after it. Taking one may map address
 * space: 0 or -ENOMEM. `cache` NULL: straight from the pool (foreign threads).
 */
int zk__stack_credit_refill(struct zk_stack_cache *cache, unsigned class_index);
void zk__stack_credit_return(unsigned class_index, unsigned n);

ZK_INLINE int zk__stack_credit_take(struct zk_stack_cache *cache,
                                    unsigned class_index)
{
    if (zk_likely(cache != NULL && cache->credits[class_index] > 0)) {
        cache->credits[class_index]--;
        return 0;
    }
    return zk__stack_credit_refill(cache, class_index);
}

/* Give one up. The cache keeps up to two batches. */
ZK_INLINE void zk__stack_credit_put(struct zk_stack_cache *cache,
                                    unsigned class_index)
{
    if (zk_unlikely(++cache->credits[class_index] > 2 * ZK_CREDIT_BATCH)) {
        cache->credits[class_index] -= ZK_CREDIT_BATCH;
        zk__stack_credit_return(class_index, ZK_CREDIT_BATCH);
    }
}

/* Cache empty: from the pool's warm list, else a fresh one (guarded now).
 * `cache` NULL: one from the pool. */
struct zk_stack *zk__stack_get_slow(struct zk_stack_cache *cache,
                                    unsigned class_index);
/* Cache full: more room, or half of it goes to the pool. */
void zk__stack_cache_spill(struct zk_stack_cache *cache, unsigned class_index);
/* Everything back to the pool: a worker ends. The cache is all zero again. */
void zk__stack_cache_flush(struct zk_stack_cache *cache);

/* The caller holds a credit. Cannot fail. */
ZK_INLINE struct zk_stack *zk__stack_get(struct zk_stack_cache *cache,
                                         unsigned class_index)
{
    struct zk_stack *stack = cache->warm[class_index];

    if (zk_unlikely(stack == NULL))
        return zk__stack_get_slow(cache, class_index);
    cache->warm[class_index] = stack->next;
    zk_counter_add(&cache->n_warm[class_index], -1u);
    return stack;
}

/* The stack goes back; its credit stays with the caller. */
ZK_INLINE void zk__stack_put(struct zk_stack_cache *cache,
                             struct zk_stack *stack)
{
    unsigned class_index = stack->class_index;
    uint32_t n = zk_atomic_load(&cache->n_warm[class_index], relaxed) + 1;

    stack->next = cache->warm[class_index];
    cache->warm[class_index] = stack;
    zk_atomic_store(&cache->n_warm[class_index], n, relaxed);
    if (zk_unlikely(n > cache->room[class_index]))
        zk__stack_cache_spill(cache, class_index);
}

/* Monitor: give the pages of warm stacks above the decayed 10 s peak back, at
 * most `batch` stacks a call. Returns how many were trimmed. Each call takes
 * at most one step of the decay: to be called about once a second. */
unsigned zk__stack_trim(zk_time_t now, unsigned batch);
/* May a later call of zk__stack_trim() find something? */
bool zk__stack_trim_pending(void);

struct zk_stack_stats {
    uint64_t mapped, live, cached, unguarded; /* in stacks */
    uint64_t guard_kind;                      /* enum zk_guard_kind */
};
void zk__stack_stats(struct zk_stack_stats *out);
/* Tests: what kind of guard, and how many if it is ZK_GUARD_MPROTECT, stacks
 * get that were never handed out. After zk__stack_pool_init(). */
void zk__stack_guard_set(enum zk_guard_kind kind, size_t budget);
/* Usable bytes of a class: its stride less the guard. */
size_t zk__stack_usable(unsigned class_index);
/* Stride of a class in bytes. */
size_t zk__stack_stride(unsigned class_index);
/* Bytes from the top to the lowest page ever touched (or since the last trim);
 * asks the system. */
size_t zk__stack_used(const struct zk_stack *stack);

enum zk_stack_place {
    ZK_STACK_PLACE_NONE,   /* not an address of ours */
    ZK_STACK_PLACE_GUARD,  /* in the guard of *stack */
    ZK_STACK_PLACE_INSIDE, /* in the usable part of *stack */
};
/* Async-signal-safe. `*stack` untouched for NONE. */
enum zk_stack_place zk__stack_locate(uintptr_t address,
                                     struct zk_stack **stack);

#endif
