/* SPDX-License-Identifier: MIT */
/*
 * fd_table.c - the table of descriptors.
 *
 * Numbers are the kernel's, dense and reused at once, so the table is an array
 * in chunks: a slot is found by two loads and never moves. Chunks are mapped
 * when the first of their numbers is seen and stay.
 *
 * A slot speaks of the descriptor that has the number now. Its generation grows
 * when zokio makes, adopts or closes one; an operation remembers the generation
 * it began with, and an event or a verdict of another one is not for it.
 */
#include "io/fd_table.h"

#include <errno.h>

#include "io/reactor.h"
#include "io/readiness.h"
#include "platform/platform.h"

enum { CHUNK_SLOTS = 256, N_CHUNKS = (ZK_FD_MAX + 1) / CHUNK_SLOTS };

/* Written once each, under table_lock; read by everyone. */
static struct zk_fd_slot *_Atomic chunks[N_CHUNKS];
static struct zk_mutex_os table_lock;

static struct zk_fd_slot *chunk_make(unsigned index)
{
    struct zk_fd_slot *slots;
    void *memory = NULL;

    zk__mutex_lock(&table_lock);
    slots = zk_atomic_load(&chunks[index], relaxed);
    if (slots == NULL &&
        zk__vm_map(&memory, CHUNK_SLOTS * sizeof(*slots), 0, 0) == 0) {
        slots = memory;
        for (unsigned i = 0; i < CHUNK_SLOTS; i++)
            zk_list_init(&slots[i].pollers);
        zk_atomic_store(&chunks[index], slots, release); /* A */
    }
    zk__mutex_unlock(&table_lock);
    return slots;
}

struct zk_fd_slot *zk__fd_slot_peek(int fd)
{
    struct zk_fd_slot *slots;

    if (fd < 0 || fd > ZK_FD_MAX)
        return NULL;
    slots = zk_atomic_load(&chunks[fd / CHUNK_SLOTS], acquire); /* A */
    return slots != NULL ? &slots[fd % CHUNK_SLOTS] : NULL;
}

struct zk_fd_slot *zk__fd_slot(int fd)
{
    struct zk_fd_slot *slot = zk__fd_slot_peek(fd);

    if (zk_likely(slot != NULL))
        return slot;
    if (fd < 0 || fd > ZK_FD_MAX)
        return NULL;
    slot = chunk_make((unsigned)fd / CHUNK_SLOTS);
    return slot != NULL ? &slot[fd % CHUNK_SLOTS] : NULL;
}

/* Those who wait on an older descriptor of the number are asked to leave; their
 * verdict is the changed generation. */
static void evict(struct zk_fd_slot *slot)
{
    struct zk_list *link;

    for (unsigned d = 0; d < 2; d++) {
        struct zk_task *owner = zk__turn_owner(slot, d);

        if (owner != NULL)
            zk__request_cancel(owner);
    }
    if (zk_atomic_load(&slot->n_users, relaxed) == 0)
        return;
    zk__waitq_lock(&slot->pollers_lock);
    for (link = slot->pollers.next; link != &slot->pollers; link = link->next)
        zk__request_cancel(container_of(link, struct zk_op, user)->task);
    zk__waitq_unlock(&slot->pollers_lock);
}

void zk__fd_evict(struct zk_fd_slot *slot)
{
    for (unsigned d = 0; d < 2; d++)
        zk__turn_close(slot, d);
    evict(slot);
}

int zk__fd_register(int fd, enum zk_fd_kind kind)
{
    struct zk_fd_slot *slot = zk__fd_slot(fd);
    uint64_t state;

    if (slot == NULL)
        return -ENOMEM;
    state = zk_atomic_load(&slot->state, relaxed);
    zk_atomic_store(&slot->kind, (uint8_t)kind, relaxed);
    zk_atomic_store(&slot->accept_report, 0, relaxed);
    for (unsigned d = 0; d < 2; d++) {
        uintptr_t ready = ZK_LATCH_READY;

        zk_atomic_store(&slot->hints[d], 0, relaxed);
        /* A task in the latch is of an older descriptor, closed behind our
         * back: it is evicted below, and has the turn until then. */
        zk_atomic_cas(&slot->latch[d], &ready, ZK_LATCH_NIL, acq_rel, relaxed);
    }
    zk_atomic_store(&slot->home, NULL, relaxed);
    zk_atomic_store(&slot->foreign_wakes, 0, relaxed);
    state = ((state & ~(ZK_SLOT_GENERATION - 1)) + ZK_SLOT_GENERATION) |
            ZK_SLOT_OURS;
    zk_atomic_store(&slot->state, state, seq_cst);
    evict(slot);
    return 0;
}

void zk__fd_abandon(int fd)
{
    struct zk_fd_slot *slot = zk__fd_slot_peek(fd);
    uint64_t state;

    if (slot == NULL)
        return;
    for (unsigned d = 0; d < 2; d++) {
        zk_atomic_store(&slot->turn[d].owner, 0, relaxed);
        slot->turn[d].queue.head = NULL;
        slot->turn[d].queue.length = 0;
    }
    slot->closer.head = NULL;
    slot->closer.length = 0;
    zk_list_init(&slot->pollers);
    zk_atomic_store(&slot->n_users, 0, relaxed);
    zk_atomic_store(&slot->kind, ZK_FD_UNKNOWN, relaxed);
    zk_atomic_store(&slot->home, NULL, relaxed);
    state = zk_atomic_load(&slot->state, relaxed) & ~(ZK_SLOT_GENERATION - 1);
    zk_atomic_store(&slot->state, state + ZK_SLOT_GENERATION, release);
}

static void slot_leave(struct zk_fd_slot *slot, struct zk_backend *b)
{
    if (zk_atomic_load(&slot->home, acquire) != b)
        return;
    zk__waitq_lock(&slot->home_lock);
    if (zk_atomic_load(&slot->home, relaxed) == b)
        zk_atomic_store(&slot->home, NULL, release);
    zk__waitq_unlock(&slot->home_lock);
}

void zk__fd_table_leave(struct zk_backend *b)
{
    for (unsigned i = 0; i < N_CHUNKS; i++) {
        struct zk_fd_slot *slots = zk_atomic_load(&chunks[i], acquire); /* A */

        for (unsigned k = 0; slots != NULL && k < CHUNK_SLOTS; k++)
            slot_leave(&slots[k], b);
    }
}
