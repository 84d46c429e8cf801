/* SPDX-License-Identifier: MIT */
/*
 * turn.c - one reader and one writer at a time, in order.
 *
 * A stream's bytes make sense only if one task reads at a time, and io_uring
 * asks for it. The turn of a direction is a word: 0, or the task that has it.
 * Taking a free turn and passing it on with nobody waiting is one CAS each; the
 * word is also how a closer finds who is using the descriptor.
 *
 *   U1  The word changes 0 -> task by that task, task -> 0 by that task, and
 *       task|WAITERS -> next|WAITERS or 0 by that task under the queue's lock.
 *   U2  WAITERS is set under the lock, by who then waits in the queue. Passing
 *       on with WAITERS set takes the lock.
 *   U3  A turn is taken (seq_cst) and then the slot's state is read; a closer
 *       sets CLOSING (seq_cst) and then reads the word: one of them sees the
 *       other.
 */
#include <errno.h>

#include "io/backend.h"

#define TURN_WAITERS ((uintptr_t)1)

static struct zk_task *task_in(uintptr_t word)
{
    return (struct zk_task *)(word & ~TURN_WAITERS);
}

struct zk_task *zk__turn_owner(struct zk_fd_slot *slot, unsigned direction)
{
    return task_in(zk_atomic_load(&slot->turn[direction].owner, seq_cst));
}

/* The queue is locked. True if the turn was free after all. */
static bool turn_mark(struct zk_turn *turn, struct zk_task *self)
{
    uintptr_t word = zk_atomic_load(&turn->owner, relaxed);

    for (;;) {
        uintptr_t want = word == 0 ? (uintptr_t)self : word | TURN_WAITERS;

        if (zk_atomic_cas(&turn->owner, &word, want, seq_cst, relaxed))
            return word == 0;
    }
}

int zk__turn_wait(struct zk_fd_slot *slot, unsigned direction,
                  struct zk_task *self, zk_time_t deadline)
{
    struct zk_turn *turn = &slot->turn[direction];

    zk__waitq_lock(&turn->queue);
    if ((zk_atomic_load(&slot->state, seq_cst) & ZK_SLOT_CLOSING) != 0) {
        zk__waitq_unlock(&turn->queue);
        return -EBADF;
    }
    if (turn_mark(turn, self)) { /* U2 */
        zk__waitq_unlock(&turn->queue);
        return 0;
    }
    return zk__waitq_wait(&turn->queue, ZK_REASON_FD_TURN, slot, deadline,
                          ZK_WAITQ_CANCELLABLE);
}

/* U1: hand the turn to the first who can still take it. */
static void turn_hand(struct zk_turn *turn)
{
    struct zk_task *next = NULL;
    uintptr_t word = 0;

    zk__waitq_lock(&turn->queue);
    if (zk__waitq_wake(&turn->queue, 0, &next)) {
        word = (uintptr_t)next;
        if (turn->queue.head != NULL)
            word |= TURN_WAITERS;
    }
    zk_atomic_store(&turn->owner, word, seq_cst);
    zk__waitq_unlock(&turn->queue);
    if (next != NULL)
        zk__ready(next);
}

void zk__turn_pass(struct zk_fd_slot *slot, unsigned direction,
                   struct zk_task *self)
{
    struct zk_turn *turn = &slot->turn[direction];
    uintptr_t word = (uintptr_t)self;

    if (zk_unlikely(!zk_atomic_cas(&turn->owner, &word, 0, seq_cst, relaxed))) {
        ZK_ASSERT(task_in(word) == self);
        turn_hand(turn);
    }
    if (zk_unlikely((zk_atomic_load(&slot->state, seq_cst) & ZK_SLOT_CLOSING) !=
                    0))
        zk__slot_left(slot);
}

void zk__turn_close(struct zk_fd_slot *slot, unsigned direction)
{
    struct zk_turn *turn = &slot->turn[direction];

    if (zk_atomic_load(&turn->owner, seq_cst) == 0)
        return;
    zk__waitq_lock(&turn->queue);
    zk__waitq_wake_all(&turn->queue, -EBADF);
}

void zk__slot_left(struct zk_fd_slot *slot)
{
    zk__waitq_lock(&slot->closer);
    zk__waitq_wake_one(&slot->closer, 0);
}
