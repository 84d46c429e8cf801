/* SPDX-License-Identifier: MIT */
/*
 * readiness.h - completion built from readiness, for epoll and its kin.
 *
 * A descriptor of ours is registered once, edge-triggered, in the instance of
 * one worker (its home), and each direction has a latch:
 *
 *      NIL --event--> READY          NIL --park (commit)--> task
 *      READY --commit fails--> NIL   task --event--> NIL, RETRY to the task
 *
 * See the essay in readiness.c.
 */
#ifndef ZK_IO_READINESS_H
#define ZK_IO_READINESS_H

#include "io/backend.h"

#define ZK_LATCH_NIL ((uintptr_t)0)
#define ZK_LATCH_READY ((uintptr_t)1)

/* Owner, task's stack. The parts of submit(): try, or get ready to wait. The
 * caller registers the descriptor if *registered is false. */
enum zk_submit zk__readiness_submit(struct zk_backend *b, struct zk_op *op);

/* backend->commit */
bool zk__readiness_commit(struct zk_task *task, void *op);

/* backend->cancel for an operation in a latch: true if it was still there. */
bool zk__readiness_withdraw(struct zk_op *op);

/*
 * The worker of `b`, native stack: the wait of `task` in a latch of `slot` ends
 * if there is a reason (zk__op_verdict()). Harmless if it is not there any more.
 */
void zk__readiness_end(struct zk_backend *b, struct zk_fd_slot *slot,
                       struct zk_task *task, zk_time_t now);

/* Poll of `b`: an edge on `slot`. `hangup`: no further edge may follow. */
void zk__readiness_event(struct zk_backend *b, struct zk_fd_slot *slot,
                         bool readable, bool writable, bool hangup);

ZK_INLINE unsigned zk_op_direction(const struct zk_op *op)
{
    if (op->opcode == ZK_OP_POLL)
        return op->events & ZK_WRITABLE ? ZK_DIR_WRITE : ZK_DIR_READ;
    return op->opcode == ZK_OP_READ ? ZK_DIR_READ : ZK_DIR_WRITE;
}

#endif
