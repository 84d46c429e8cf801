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

/* ---- heap (heap.c) ---------------------------------------------------- */
/* All of zokio's heap goes through the user's allocator. Any thread. */

void *zk__alloc(size_t size); /* zeroed, aligned to ZK_CACHE_LINE; or NULL */
void zk__free(void *ptr, size_t size); /* NULL is allowed */
uint64_t zk__heap_bytes(void);
/* Runtimes hold the allocator in place while they live. */
void zk__heap_hold(void);
void zk__heap_release(void);

/* ---- blocks (slab.c) --------------------------------------------------- */
/*
 * Type-stable blocks of one size: a block that was handed out once is readable
 * until the process ends, so a stale handle can always be checked. Mapped in
 * chunks, huge-page advised. Fresh blocks are zero; recycled ones keep what
 * they held. Any thread; batches, so that callers cache.
 */
struct zk_slab;

struct zk_slab_node {
    struct zk_slab_node *next;
};

/* One slab a process, for task blocks; `size` a multiple of ZK_CACHE_LINE. */
struct zk_slab *zk__slab_create(size_t size);
/* Up to `want` blocks, linked through their first word; how many, 0 = ENOMEM. */
unsigned zk__slab_take(struct zk_slab *s, unsigned want,
                       struct zk_slab_node **list);
void zk__slab_give(struct zk_slab *s, struct zk_slab_node *list);
uint64_t zk__slab_blocks(const struct zk_slab *s);
/* Call `fn` for every block ever handed out; stops when it returns false. */
void zk__slab_each(struct zk_slab *s, bool (*fn)(void *block, void *ctx),
                   void *ctx);

/* ---- stacks (stack.c) --------------------------------------------------- */

enum { ZK_N_STACK_CLASSES = 5 }; /* index 0 is unused */

/* One stack. Descriptors are type-stable, in an array beside the slab. */
struct zk_stack {
    struct zk_stack *next; /* in a free list */
    char *top;             /* end; 16-aligned, coloured */
    char *limit;           /* lowest usable byte: the guard ends here */
    uint32_t class_index;
    uint32_t flags;        /* stack.c's: guarded, touched */
};

/* The pool of a process: every class, all threads. */
struct zk_stack_pool;

/* A worker's share: owner only, no lock. */
struct zk_stack_cache {
    struct zk_stack *warm[ZK_N_STACK_CLASSES];
    uint32_t n_warm[ZK_N_STACK_CLASSES];
    uint32_t credits[ZK_N_STACK_CLASSES];
};

/* Prepared at the first call; 0 or -errno. Any thread. */
int zk__stack_pool_init(void);

/*
 * A credit is the promise of a stack: whoever holds one gets a stack from
 * zk__stack_get() without failing. Taking one may map address space.
 * `cache` NULL: straight from the pool (foreign threads).
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

/* Cache empty: from the pool's warm list, else a fresh one (guarded now). */
struct zk_stack *zk__stack_get_slow(struct zk_stack_cache *cache,
                                    unsigned class_index);
/* Cache full: half of it goes to the pool. */
void zk__stack_cache_spill(struct zk_stack_cache *cache, unsigned class_index);
/* Everything back to the pool: a worker ends. */
void zk__stack_cache_flush(struct zk_stack_cache *cache);

enum { ZK_STACK_CACHE_MAX = 64, ZK_CREDIT_BATCH = 64 };

/* The caller holds a credit. Cannot fail. */
ZK_INLINE struct zk_stack *zk__stack_get(struct zk_stack_cache *cache,
                                         unsigned class_index)
{
    struct zk_stack *stack = cache->warm[class_index];

    if (zk_unlikely(stack == NULL))
        return zk__stack_get_slow(cache, class_index);
    cache->warm[class_index] = stack->next;
    cache->n_warm[class_index]--;
    return stack;
}

/* The stack goes back; its credit stays with the caller. */
ZK_INLINE void zk__stack_put(struct zk_stack_cache *cache,
                             struct zk_stack *stack)
{
    unsigned class_index = stack->class_index;

    stack->next = cache->warm[class_index];
    cache->warm[class_index] = stack;
    if (zk_unlikely(++cache->n_warm[class_index] > ZK_STACK_CACHE_MAX))
        zk__stack_cache_spill(cache, class_index);
}

/* Monitor: give warm pages above the decayed 10 s peak back, at most `batch`
 * stacks a call. Returns how many were trimmed. */
unsigned zk__stack_trim(zk_time_t now, unsigned batch);

struct zk_stack_stats {
    uint64_t mapped, live, cached, unguarded;
    uint64_t guard_kind; /* enum zk_guard_kind */
};
void zk__stack_stats(struct zk_stack_stats *out);
/* Usable bytes of a class: its stride less the guard. */
size_t zk__stack_usable(unsigned class_index);
/* Stride of a class in bytes. */
size_t zk__stack_stride(unsigned class_index);
/* Bytes of the stack ever touched, from resident pages. */
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
