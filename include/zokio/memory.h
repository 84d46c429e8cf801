/* SPDX-License-Identifier: MIT */
/*
 * memory.h - where zokio's own heap memory comes from.
 *
 * Stacks and task blocks are mapped, not allocated; they are counted in
 * zk_stats_t.
 */
#ifndef ZOKIO_MEMORY_H
#define ZOKIO_MEMORY_H

#include <zokio/base.h>

/** A replacement for malloc. All three are called on any thread. */
typedef struct zk_allocator {
    /** `size` > 0 bytes aligned to `align` (a power of two), or NULL. */
    void *(*alloc)(size_t size, size_t align, void *ctx);
    /** Grow or shrink; `align` as it was allocated. NULL: `ptr` stays valid. */
    void *(*resize)(void *ptr, size_t old_size, size_t size, size_t align,
                    void *ctx);
    /** `ptr` is not NULL; `size` and `align` as it was allocated. */
    void (*free)(void *ptr, size_t size, size_t align, void *ctx);
    void *ctx;
    uint64_t reserved[8]; /**< must be zero */
} zk_allocator_t;

ZK_BEGIN_DECLS

/**
 * Replace the allocator of the process, before the first runtime.
 *
 * @param allocator  copied; NULL restores malloc.
 *
 * @retval 0        set.
 * @retval -EBUSY   a runtime exists or memory is out.
 * @retval -EINVAL  a function is NULL or a reserved field is not zero.
 *
 * @context  plain thread only.
 * @threads  one at a time.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_set_allocator(const zk_allocator_t *allocator);

ZK_END_DECLS

#endif
