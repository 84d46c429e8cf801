/* SPDX-License-Identifier: MIT */
/*
 * readiness.c - completion built from readiness.
 *
 * Epoll says that something may be there; an operation wants bytes. So the task
 * tries the system call itself, and only if that would wait does it park in the
 * descriptor's latch. An event then wakes it with RETRY: the system call runs in
 * the task, with its buffer in its cache, on whichever worker takes it.
 *
 * Invariants
 *   L1  A latch is NIL, READY or the task that waits; there is one waiter a
 *       direction, since it has the turn (accept included). Waiters without a
 *       turn (zk_wait_fd) and descriptors that are not ours do not use the
 *       latch but a one-shot registration of their own.
 *   L2  The task enters the latch on the landing side of its switch (commit).
 *       If the latch says READY, an edge has come since the try: the commit
 *       fails, and the task tries again.
 *   L3  Who takes the task out of the latch, by CAS, completes its operation:
 *       the event on the home worker, or the cancel on the task's worker. Until
 *       then the operation may be that of another wait: a cancel takes the task
 *       out first and judges then, and puts it back if there is no reason.
 *   L4  Edges are never lost: registration reports the present state as an edge,
 *       READY is cleared only by a task that then tries, and an event of an
 *       older generation is dropped by its number.
 *
 * A read that returns less than was asked for has emptied the socket; the next
 * read would be told EAGAIN. The hint DRAINED saves that call: the task goes
 * straight to the latch. New data makes a new edge. The end of the stream does
 * too, but it may have come in the same edge as the last data: after a hang-up
 * was seen (HANGUP) every read is tried.
 *
 * Ordering
 *   A   commit CAS, acq_rel  ->  event exchange: the operation is visible.
 */
#include "io/readiness.h"

#include <errno.h>

#include "zokio/io.h"

static bool hint(const struct zk_op *op, unsigned direction, unsigned bit)
{
    return (zk_atomic_load(&op->slot->hints[direction], relaxed) & bit) != 0;
}

static bool uses_latch(const struct zk_op *op)
{
    return (op->generation & ZK_SLOT_OURS) != 0 &&
           (op->flags & ZK_OPF_POLLER) == 0;
}

/* Bytes asked for; vectors are not summed: they always look unfinished. */
static size_t op_length(const struct zk_op *op)
{
    return (op->flags & ZK_OPF_VECTOR) != 0 ? 0 : op->data.plain.len;
}

static void note_drained(struct zk_op *op, unsigned direction, bool drained)
{
    uint8_t hints = zk_atomic_load(&op->slot->hints[direction], relaxed);

    hints = (uint8_t)(drained ? hints | ZK_HINT_DRAINED
                              : hints & ~ZK_HINT_DRAINED);
    zk_atomic_store(&op->slot->hints[direction], hints, relaxed);
}

static bool try_first(const struct zk_op *op, unsigned direction)
{
    if (op->opcode == ZK_OP_POLL) /* in a latch: its user has just tried */
        return (op->flags & ZK_OPF_ONCE) != 0;
    if ((op->flags & (ZK_OPF_ONCE | ZK_OPF_TRY)) != 0 ||
        op->kind != ZK_FD_SOCKET || op->opcode != ZK_OP_READ)
        return true;
    return !hint(op, direction, ZK_HINT_DRAINED) ||
           hint(op, direction, ZK_HINT_HANGUP);
}

enum zk_submit zk__readiness_submit(struct zk_backend *b, struct zk_op *op)
{
    unsigned direction = zk_op_direction(op);
    int32_t n = -EAGAIN;

    (void)b;
    if (!uses_latch(op))
        op->flags |= ZK_OPF_ONESHOT;
    if ((op->flags & ZK_OPF_ONESHOT) != 0 || try_first(op, direction))
        n = zk__op_try(op);
    if (n == -EOPNOTSUPP && op->opcode != ZK_OP_POLL)
        return ZK_SUBMIT_UNSUPPORTED;
    if (n == -EAGAIN && op->kind == ZK_FD_FILE)
        return ZK_SUBMIT_UNSUPPORTED;
    op->result = n;
    if (n != -EAGAIN) {
        if (op->opcode == ZK_OP_READ && (op->flags & ZK_OPF_ONESHOT) == 0)
            note_drained(op, direction, n > 0 && (size_t)n < op_length(op));
        return ZK_SUBMIT_DONE;
    }
    return (op->flags & ZK_OPF_ONCE) != 0 ? ZK_SUBMIT_DONE : ZK_SUBMIT_PENDING;
}

/* What an edge means to who waits: its event, or that it should try again. */
static int32_t edge_result(const struct zk_op *op)
{
    return op->opcode == ZK_OP_POLL ? op->events : ZK_OP_RETRY;
}

bool zk__readiness_commit(struct zk_task *task, void *arg)
{
    struct zk_op *op = arg;
    unsigned direction = zk_op_direction(op);
    _Atomic uintptr_t *latch = &op->slot->latch[direction];
    uintptr_t found = ZK_LATCH_NIL;

    if ((op->flags & ZK_OPF_ONESHOT) != 0)
        return true; /* registered already: its event comes to this worker */
    if (zk_likely(zk_atomic_cas(latch, &found, (uintptr_t)task, acq_rel,
                                acquire))) /* A */
        return true;
    ZK_ASSERT(found == ZK_LATCH_READY); /* L1 */
    zk_atomic_store(latch, ZK_LATCH_NIL, relaxed);
    zk_atomic_store(&op->slot->hints[direction],
                    zk_atomic_load(&op->slot->hints[direction], relaxed) &
                        (uint8_t)~ZK_HINT_DRAINED,
                    relaxed);
    op->result = edge_result(op); /* L2 */
    return false;
}

bool zk__readiness_withdraw(struct zk_op *op)
{
    uintptr_t self = (uintptr_t)op->task;

    return zk_atomic_cas(&op->slot->latch[zk_op_direction(op)], &self,
                         ZK_LATCH_NIL, acq_rel, relaxed); /* L3 */
}

/* L3 */
void zk__readiness_end(struct zk_backend *b, struct zk_fd_slot *slot,
                       struct zk_task *task, zk_time_t now)
{
    for (unsigned d = 0; d < 2; d++) {
        uintptr_t found = (uintptr_t)task, none = ZK_LATCH_NIL;
        struct zk_op *op = zk_op_of(task);

        if (!zk_atomic_cas(&slot->latch[d], &found, ZK_LATCH_NIL, acq_rel,
                           relaxed)) /* A */
            continue;
        if (zk__op_verdict(op, now) != 0) {
            zk__op_complete(b, op, -ECANCELED);
        } else if (!zk_atomic_cas(&slot->latch[d], &none, (uintptr_t)task,
                                  acq_rel, relaxed)) { /* an edge came */
            zk_atomic_store(&slot->latch[d], ZK_LATCH_NIL, relaxed);
            zk__op_complete(b, op, edge_result(op));
        }
        return;
    }
}

/* L3, L4: hand the edge to who waits, or leave it for who will try. */
static void latch_fire(struct zk_backend *b, struct zk_fd_slot *slot,
                       unsigned direction)
{
    _Atomic uintptr_t *latch = &slot->latch[direction];
    uintptr_t found = zk_atomic_load(latch, acquire);

    for (;;) {
        uintptr_t next = ZK_LATCH_NIL;

        if (found == ZK_LATCH_READY)
            return;
        if (found == ZK_LATCH_NIL)
            next = ZK_LATCH_READY;
        if (zk_atomic_cas(latch, &found, next, acq_rel, acquire)) /* A */
            break;
    }
    if (found != ZK_LATCH_NIL) {
        struct zk_task *task = (struct zk_task *)found;
        struct zk_op *op = zk_op_of(task);
        uint8_t foreign = zk_atomic_load(&slot->foreign_wakes, relaxed);

        foreign = op->backend == b ? 0 : (uint8_t)(foreign + 1);
        zk_atomic_store(&slot->foreign_wakes, foreign, relaxed);
        zk_atomic_store(&slot->hints[direction],
                        zk_atomic_load(&slot->hints[direction], relaxed) &
                            (uint8_t)~ZK_HINT_DRAINED,
                        relaxed);
        zk__op_complete(b, op, edge_result(op));
    }
}

void zk__readiness_event(struct zk_backend *b, struct zk_fd_slot *slot,
                         bool readable, bool writable, bool hangup)
{
    if (hangup)
        zk_atomic_or(&slot->hints[ZK_DIR_READ], ZK_HINT_HANGUP, relaxed);
    if (readable)
        latch_fire(b, slot, ZK_DIR_READ);
    if (writable)
        latch_fire(b, slot, ZK_DIR_WRITE);
}
