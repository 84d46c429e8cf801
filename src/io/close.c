/* SPDX-License-Identifier: MIT */
/*
 * close.c - adopting and closing descriptors.
 *
 * close(2) under somebody who waits is the classic mistake: io_uring holds a
 * reference and the peer never sees the end; epoll forgets the waiter; and the
 * number comes back at once for another connection. So zk_close()
 *
 *   C1  sets CLOSING: no operation begins any more, a second closer is told
 *       -EBADF;
 *   C2  wakes those who wait for a turn, asks for an end of what is pending,
 *       and waits until nobody uses the slot (they get -EBADF);
 *   C3  makes the backend forget the descriptor;
 *   C4  sets FREEING, calls close(2), and opens the slot for the next owner of
 *       the number. The number can come back between close(2) and that last
 *       step: if zokio itself made the new descriptor, registering it has
 *       changed the state and the CAS here leaves it alone; if it was made
 *       elsewhere, its first operation, its adoption or its close finds FREEING
 *       and waits it out.
 */
#include <errno.h>

#include "io/reactor.h"
#include "zokio/io.h"

static bool slot_busy(struct zk_fd_slot *slot)
{
    return zk__turn_owner(slot, ZK_DIR_READ) != NULL ||
           zk__turn_owner(slot, ZK_DIR_WRITE) != NULL ||
           zk_atomic_load(&slot->n_users, seq_cst) != 0;
}

/* C2. Not a cancellation point: the descriptor is half closed already. */
static void slot_drain(struct zk_fd_slot *slot)
{
    zk__fd_evict(slot);
    zk__waitq_lock(&slot->closer);
    while (slot_busy(slot)) {
        zk__waitq_wait(&slot->closer, ZK_REASON_FD_CLOSE, slot, ZK_FOREVER, 0);
        zk__waitq_lock(&slot->closer);
    }
    zk__waitq_unlock(&slot->closer);
}

/* C3. The lock keeps the home's runtime from ending meanwhile. */
static void slot_forget(struct zk_fd_slot *slot, int fd)
{
    struct zk_backend *home;

    if (zk_atomic_load(&slot->home, acquire) == NULL)
        return;
    zk__waitq_lock(&slot->home_lock);
    home = zk_atomic_load(&slot->home, relaxed);
    if (home != NULL)
        home->ops->forget(slot, fd);
    zk_atomic_store(&slot->home, NULL, release);
    zk__waitq_unlock(&slot->home_lock);
}

static int slot_free(struct zk_fd_slot *slot, int fd, uint64_t state)
{
    uint64_t next = (state & ~(ZK_SLOT_GENERATION - 1)) + ZK_SLOT_GENERATION;
    bool is_sim = zk_atomic_load(&slot->kind, relaxed) == ZK_FD_SIM;
    int rc = 0;

    zk_atomic_store(&slot->kind, ZK_FD_UNKNOWN, relaxed);
    state |= ZK_SLOT_CLOSING | ZK_SLOT_FREEING;
    zk_atomic_store(&slot->state, state, seq_cst);
    if (!is_sim)
        rc = zk__sys_close(fd);
    zk_atomic_cas(&slot->state, &state, next, seq_cst, relaxed); /* C4 */
    return rc;
}

int zk_close(zk_fd_t fd)
{
    struct zk_fd_slot *slot = zk__fd_slot(fd);
    uint64_t state;

    if (slot == NULL)
        return -EBADF;
    (void)zk__slot_settled(slot);                                 /* C4 */
    state = zk_atomic_or(&slot->state, ZK_SLOT_CLOSING, seq_cst); /* C1 */
    if ((state & ZK_SLOT_CLOSING) != 0)
        return -EBADF;
    if (zk_unlikely(slot_busy(slot)))
        slot_drain(slot);
    slot_forget(slot, fd);
    return slot_free(slot, fd, state);
}

int zk_fd_adopt(zk_fd_t fd)
{
    struct zk_fd_slot *slot = zk__fd_slot(fd);
    int kind;

    if (slot == NULL)
        return fd < 0 || fd > ZK_FD_MAX ? -EBADF : -ENOMEM;
    kind = zk__sys_kind(fd);
    if (kind < 0)
        return kind;
    if ((zk__slot_settled(slot) & ZK_SLOT_OURS) != 0)
        return 0;
    return zk__fd_register(fd, (enum zk_fd_kind)kind);
}
