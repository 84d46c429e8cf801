/* SPDX-License-Identifier: MIT */
/*
 * stack_pool.c - address space of stacks: classes, chunks, guards.
 *
 * A class has a stride. Stacks of one class lie one after the other in chunks,
 * each one mapping, which is never unmapped:
 *
 *      | descriptors ... | guard | stack 0 | guard | stack 1 | ... |
 *                        '---- stride -----'
 *
 * A stack grows down into its own guard, whose other side is the end of the
 * next stack (or the descriptors). A chunk is as large as all earlier ones of
 * its class together, so a million stacks are a dozen mappings. Nothing of it
 * costs memory until it is touched, the descriptors included: stacks are first
 * handed out in order of address.
 *
 * The guard is installed when a stack is first handed out and stays. Markers
 * in the page table leave the mapping whole. mprotect guards cut it, so only
 * as many are made as fit half of the system's limit on mappings; later stacks
 * have none, are counted, and the first of them is reported.
 *
 * Colours: the tops of stacks are a power of two apart and would all fall into
 * the same cache sets, so each starts 0 to 7 lines below its end.
 *
 * Invariants
 *   I1  chunk_table[0 .. n_chunks) is complete and constant, but for `used`.
 *   I2  Descriptors 0 .. used of a chunk are complete; top, limit and class do
 *       not change any more.
 *
 * Orderings
 *   A   map: store n_chunks, release  -> locate: load n_chunks, acquire
 *   B   take: store used, release     -> locate: load used, acquire
 * Locate takes no lock, since it runs in the handler of a fault.
 */
#include "memory/stack_pool.h"

#include <errno.h>

#ifndef ZK_STACK_COLOURS
#define ZK_STACK_COLOURS 8
#endif

enum {
    STACK_CHUNKS_MAX = 256,
    STACK_CHUNK_MOST = 1 << 20, /* stacks in one chunk */
    STACK_CHUNK_LEAST = 4,      /* when address space is short */
};

_Static_assert(sizeof(struct zk_stack) <= 40, "a descriptor a stack");
_Static_assert(ZK_STACK_COLOURS *ZK_CACHE_LINE <= 1024,
               "colours leave most of the first page");

struct stack_class_shape {
    size_t stride, guard;
    uint32_t first; /* stacks in the first chunk */
};

static const struct stack_class_shape stack_shape[ZK_N_STACK_CLASSES] = {
    [ZK_STACK_64K] = {64 << 10, 16 << 10, 1024},
    [ZK_STACK_256K] = {256 << 10, 64 << 10, 1024},
    [ZK_STACK_1M] = {1 << 20, 64 << 10, 128},
    [ZK_STACK_8M] = {8 << 20, 64 << 10, 16},
};

struct stack_chunk {
    char *base;              /* the first stride */
    struct zk_stack *stacks; /* descriptor i belongs to stride i */
    size_t stride, guard;
    uint32_t capacity;
    uint32_t class_index;
    _Atomic uint32_t used; /* the class's lock writes; anyone reads, B */
};

static struct stack_chunk chunk_table[STACK_CHUNKS_MAX]; /* I1 */
static _Atomic uint32_t n_chunks; /* chunk_lock writes; anyone reads, A */
static struct zk_mutex_os chunk_lock;
/* No chunk of the class below this one has a stack left; the class's lock. */
static uint32_t chunk_cursor[ZK_N_STACK_CLASSES];

static _Atomic int guard_kind;       /* enum zk_guard_kind */
static _Atomic int64_t guard_budget; /* mprotect guards left */
static _Atomic uint64_t guard_missing;

/* ---- classes ------------------------------------------------------------- */

static size_t shape_guard(unsigned class_index)
{
    size_t page = zk__vm_page_size();
    size_t guard = stack_shape[class_index].guard;

    return guard < page ? page : guard;
}

size_t zk__stack_stride(unsigned class_index)
{
    size_t stride, guard;

    ZK_ASSERT(class_index > 0 && class_index < ZK_N_STACK_CLASSES);
    stride = stack_shape[class_index].stride;
    guard = shape_guard(class_index);
    /* Pages so large that the guard would eat the smallest class. */
    return guard > stride / 2 ? 2 * guard : stride;
}

size_t zk__stack_usable(unsigned class_index)
{
    return zk__stack_stride(class_index) - shape_guard(class_index);
}

/* ---- chunks -------------------------------------------------------------- */

static uint32_t chunk_count(unsigned class_index, uint32_t mapped,
                            uint32_t want)
{
    uint32_t n = stack_shape[class_index].first;

    if (n < mapped)
        n = mapped;
    if (n > STACK_CHUNK_MOST)
        n = STACK_CHUNK_MOST;
    return n < want ? want : n;
}

/* Under chunk_lock: fill the next place of the table and publish it. */
static void chunk_publish(unsigned class_index, char *memory, uint32_t n)
{
    uint32_t index = zk_atomic_load(&n_chunks, relaxed);
    struct stack_chunk *chunk = &chunk_table[index];
    size_t page = zk__vm_page_size();
    size_t head = (n * sizeof(struct zk_stack) + page - 1) & ~(page - 1);

    chunk->base = memory + head;
    chunk->stacks = (struct zk_stack *)(void *)memory;
    chunk->stride = zk__stack_stride(class_index);
    chunk->guard = shape_guard(class_index);
    chunk->capacity = n;
    chunk->class_index = class_index;
    zk_atomic_store(&n_chunks, index + 1, release); /* A, I1 */
}

int zk__stack_chunk_map(unsigned class_index, uint32_t mapped, uint32_t want)
{
    size_t stride = zk__stack_stride(class_index), page = zk__vm_page_size();
    uint32_t n = chunk_count(class_index, mapped, want);
    void *memory;
    int rc = -ENOMEM;

    zk__mutex_lock(&chunk_lock);
    if (zk_atomic_load(&n_chunks, relaxed) == STACK_CHUNKS_MAX)
        goto unlock;
    for (; n >= STACK_CHUNK_LEAST; n /= 2) {
        rc = zk__vm_map(&memory, n * (stride + sizeof(struct zk_stack)) + page,
                        0, ZK_VM_STACK);
        if (rc == 0)
            break;
    }
    if (rc == 0) {
        chunk_publish(class_index, memory, n);
        rc = (int)n;
    }
unlock:
    zk__mutex_unlock(&chunk_lock);
    return rc < 0 ? -ENOMEM : rc;
}

struct zk_stack *zk__stack_chunk_take(unsigned class_index)
{
    uint32_t n = zk_atomic_load(&n_chunks, acquire); /* A */

    for (uint32_t *at = &chunk_cursor[class_index]; *at < n; ++*at) {
        struct stack_chunk *chunk = &chunk_table[*at];
        uint32_t i = zk_atomic_load(&chunk->used, relaxed);
        struct zk_stack *stack = &chunk->stacks[i];
        char *low = chunk->base + i * chunk->stride;

        if (chunk->class_index != class_index || i == chunk->capacity)
            continue;
        stack->top = low + chunk->stride -
                     (i % ZK_STACK_COLOURS) * ZK_CACHE_LINE;
        stack->limit = low + chunk->guard;
        stack->class_index = class_index;
        zk_atomic_store(&chunk->used, i + 1, release); /* B, I2 */
        return stack;
    }
    return NULL;
}

enum zk_stack_place zk__stack_locate(uintptr_t address, struct zk_stack **stack)
{
    uint32_t n = zk_atomic_load(&n_chunks, acquire); /* A */

    for (uint32_t i = 0; i < n; i++) {
        struct stack_chunk *chunk = &chunk_table[i];
        uint32_t used = zk_atomic_load(&chunk->used, acquire); /* B */
        uintptr_t offset = address - (uintptr_t)chunk->base;
        uintptr_t index = offset / chunk->stride;

        /* Below the base the offset wraps and the index is too high. */
        if (index >= used)
            continue;
        *stack = &chunk->stacks[index];
        return offset - index * chunk->stride < chunk->guard
                   ? ZK_STACK_PLACE_GUARD
                   : ZK_STACK_PLACE_INSIDE;
    }
    return ZK_STACK_PLACE_NONE;
}

/* ---- guards -------------------------------------------------------------- */

int zk__stack_guard_init(void)
{
    int kind = zk__vm_guard_probe();

    if (kind < 0)
        return kind;
    zk__stack_guard_set((enum zk_guard_kind)kind, zk__vm_guard_budget());
    return 0;
}

void zk__stack_guard_set(enum zk_guard_kind kind, size_t budget)
{
    zk_atomic_store(&guard_kind, (int)kind, relaxed);
    zk_atomic_store(&guard_budget, (int64_t)budget, relaxed);
}

static bool guard_install(struct zk_stack *stack)
{
    enum zk_guard_kind kind = (enum zk_guard_kind)zk_atomic_load(&guard_kind,
                                                                 relaxed);
    size_t guard = shape_guard(stack->class_index);

    if (kind == ZK_GUARD_MPROTECT &&
        zk_atomic_sub(&guard_budget, 1, relaxed) <= 0)
        return false;
    return zk__vm_guard(kind, stack->limit - guard, guard) == 0;
}

void zk__stack_guard(struct zk_stack *stack)
{
    if (guard_install(stack))
        stack->flags |= ZK_STACK_GUARDED;
    else if (zk_atomic_add(&guard_missing, 1, relaxed) == 0)
        zk__stderr_line("zokio: warning: no guard below some task stacks from "
                        "now on; their overflow would go unnoticed (raise "
                        "vm.max_map_count, or use Linux 6.13 or later)");
}

uint64_t zk__stack_unguarded(void)
{
    return zk_atomic_load(&guard_missing, relaxed);
}

int zk__stack_guard_kind(void)
{
    return zk_atomic_load(&guard_kind, relaxed);
}
