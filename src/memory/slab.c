/* SPDX-License-Identifier: MIT */
/*
 * slab.c - blocks of one size that stay readable for ever.
 *
 * Chunks of 2 MiB, aligned so that a huge page fits, are mapped one after the
 * other and never unmapped. A chunk begins with its header; the slab's own
 * record lies in the first one. Free blocks are linked through their first
 * word; blocks never handed out are not touched at all.
 *
 * Invariants
 *   I1  The first `used` blocks of a chunk have been handed out at least once;
 *       `used` only grows, and only the last chunk's is below `capacity`.
 *   I2  A block is either on `free`, or with who took it.
 *
 * Orderings. All but the walk is under `lock`; the walk takes none, so that
 * its callback may take what it likes.
 *   A   take: store used, release       -> each: load used, acquire
 *   B   grow: store next, release       -> each: load next, acquire
 *       The block that the walk hands out is still zero or already its owner's;
 *       what its fields mean is between the owner and the callback.
 */
#include "memory/memory.h"

#include <errno.h>

enum {
    SLAB_CHUNK = 2 * 1024 * 1024,
    SLAB_ALIGN = 128, /* a pair of cache lines, for sizes that are multiples */
};

struct slab_chunk {
    struct slab_chunk *_Atomic next; /* lock writes; anyone reads, B */
    _Atomic uint32_t used;           /* lock writes; anyone reads, A */
    uint32_t capacity;               /* constant */
    char *blocks;                    /* constant */
};

struct zk_slab {
    size_t size;              /* of a block; constant */
    struct slab_chunk *first; /* constant */
    struct zk_mutex_os lock;
    struct slab_chunk *last;   /* lock */
    struct zk_slab_node *free; /* lock */
    _Atomic uint64_t blocks;   /* lock writes; anyone reads */
};

static size_t slab_round(size_t size)
{
    return (size + SLAB_ALIGN - 1) & ~(size_t)(SLAB_ALIGN - 1);
}

/* A new chunk with `reserve` bytes left free behind its header. */
static struct slab_chunk *slab_chunk_map(size_t size, size_t reserve)
{
    size_t head = slab_round(sizeof(struct slab_chunk) + reserve);
    struct slab_chunk *chunk;
    void *mapped;

    if (zk__vm_map(&mapped, SLAB_CHUNK, SLAB_CHUNK, ZK_VM_HUGE) < 0)
        return NULL;
    chunk = mapped;
    chunk->capacity = (uint32_t)((SLAB_CHUNK - head) / size);
    chunk->blocks = (char *)mapped + head;
    return chunk;
}

struct zk_slab *zk__slab_create(size_t size)
{
    struct slab_chunk *chunk;
    struct zk_slab *s;

    ZK_ASSERT(size > 0 && size % ZK_CACHE_LINE == 0);
    ZK_ASSERT(size <= SLAB_CHUNK / 2);
    chunk = slab_chunk_map(size, sizeof *s);
    if (chunk == NULL)
        return NULL;
    s = (struct zk_slab *)(void *)(chunk + 1);
    s->size = size;
    s->first = chunk;
    s->last = chunk;
    return s;
}

/* Under the lock: a block that was never out, or NULL. */
static struct zk_slab_node *slab_fresh(struct zk_slab *s)
{
    struct slab_chunk *chunk = s->last;
    uint32_t used = zk_atomic_load(&chunk->used, relaxed);

    if (used == chunk->capacity) {
        chunk = slab_chunk_map(s->size, 0);
        if (chunk == NULL)
            return NULL;
        used = 0;
        zk_atomic_store(&s->last->next, chunk, release); /* B */
        s->last = chunk;
    }
    zk_atomic_store(&chunk->used, used + 1, release); /* A, I1 */
    zk_counter_add(&s->blocks, 1);
    return (struct zk_slab_node *)(void *)(chunk->blocks + used * s->size);
}

unsigned zk__slab_take(struct zk_slab *s, unsigned want,
                       struct zk_slab_node **list)
{
    struct zk_slab_node *taken = NULL, *node;
    unsigned n = 0;

    zk__mutex_lock(&s->lock);
    for (; n < want; n++) {
        node = s->free;
        if (node != NULL)
            s->free = node->next;
        else if ((node = slab_fresh(s)) == NULL)
            break;
        node->next = taken;
        taken = node;
    }
    zk__mutex_unlock(&s->lock);
    if (n > 0)
        *list = taken;
    return n;
}

void zk__slab_give(struct zk_slab *s, struct zk_slab_node *list)
{
    struct zk_slab_node *last = list;

    if (list == NULL)
        return;
    while (last->next != NULL)
        last = last->next;
    zk__mutex_lock(&s->lock);
    last->next = s->free;
    s->free = list;
    zk__mutex_unlock(&s->lock);
}

uint64_t zk__slab_blocks(const struct zk_slab *s)
{
    return zk_atomic_load(&s->blocks, relaxed);
}

void zk__slab_each(struct zk_slab *s, bool (*fn)(void *block, void *ctx),
                   void *ctx)
{
    struct slab_chunk *chunk = s->first;

    while (chunk != NULL) {
        uint32_t used = zk_atomic_load(&chunk->used, acquire); /* A */

        for (uint32_t i = 0; i < used; i++) {
            if (!fn(chunk->blocks + i * s->size, ctx))
                return;
        }
        chunk = zk_atomic_load(&chunk->next, acquire); /* B */
    }
}
