/* SPDX-License-Identifier: MIT */
/*
 * heap.c - zokio's own heap memory, from malloc or from the user's allocator.
 *
 * The allocator is replaced only while nothing was allocated from the old one
 * and no runtime is there to begin, so the others read it without a lock.
 */
#include "memory/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "utils/fault.h"

static void *system_alloc(size_t size, size_t align, void *ctx)
{
    void *ptr;

    (void)ctx;
    return posix_memalign(&ptr, align, size) == 0 ? ptr : NULL;
}

static void *system_resize(void *ptr, size_t old_size, size_t size,
                           size_t align, void *ctx)
{
    void *to = system_alloc(size, align, ctx);

    if (to == NULL)
        return NULL;
    memcpy(to, ptr, old_size < size ? old_size : size);
    free(ptr);
    return to;
}

static void system_free(void *ptr, size_t size, size_t align, void *ctx)
{
    (void)size;
    (void)align;
    (void)ctx;
    free(ptr);
}

static const zk_allocator_t heap_system = {
    .alloc = system_alloc,
    .resize = system_resize,
    .free = system_free,
};

/* Written by zk_set_allocator() alone, which the header forbids beside any
 * other use. */
static zk_allocator_t heap_allocator = {
    .alloc = system_alloc,
    .resize = system_resize,
    .free = system_free,
};
static _Atomic uint64_t heap_bytes; /* out now */
static _Atomic uint64_t heap_holds; /* runtimes */

int zk_set_allocator(const zk_allocator_t *allocator)
{
    if (allocator == NULL)
        allocator = &heap_system;
    if (allocator->alloc == NULL || allocator->resize == NULL ||
        allocator->free == NULL)
        return -EINVAL;
    for (size_t i = 0; i < ZK_ARRAY_LEN(allocator->reserved); i++) {
        if (allocator->reserved[i] != 0)
            return -EINVAL;
    }
    if (zk_atomic_load(&heap_holds, relaxed) != 0 ||
        zk_atomic_load(&heap_bytes, relaxed) != 0)
        return -EBUSY;
    heap_allocator = *allocator;
    return 0;
}

void *zk__alloc(size_t size)
{
    void *ptr;

    ZK_ASSERT(size > 0);
    if (ZK_FAULT(ZK_FAULT_ALLOC))
        return NULL;
    ptr = heap_allocator.alloc(size, ZK_CACHE_LINE, heap_allocator.ctx);
    if (ptr == NULL)
        return NULL;
    ZK_ASSERT(((uintptr_t)ptr & (ZK_CACHE_LINE - 1)) == 0);
    memset(ptr, 0, size);
    zk_atomic_add(&heap_bytes, size, relaxed);
    return ptr;
}

void zk__free(void *ptr, size_t size)
{
    uint64_t before;

    if (ptr == NULL)
        return;
    heap_allocator.free(ptr, size, ZK_CACHE_LINE, heap_allocator.ctx);
    /* Afterwards: while it counts, the allocator stays. */
    before = zk_atomic_sub(&heap_bytes, size, relaxed);
    ZK_ASSERT(before >= size);
}

uint64_t zk__heap_bytes(void)
{
    return zk_atomic_load(&heap_bytes, relaxed);
}

void zk__heap_hold(void)
{
    zk_atomic_add(&heap_holds, 1, relaxed);
}

void zk__heap_release(void)
{
    uint64_t before = zk_atomic_sub(&heap_holds, 1, relaxed);

    ZK_ASSERT(before > 0);
}
