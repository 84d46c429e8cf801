/* SPDX-License-Identifier: MIT */
/* reactor.h - private to io/: running one operation of the calling task. */
#ifndef ZK_IO_REACTOR_H
#define ZK_IO_REACTOR_H

#include "io/backend.h"
#include "io/io.h"

enum { ZK_DIR_NONE = 2 }; /* an operation that takes no turn */

/*
 * The calling task's operation on `fd`: checks context, cancellation and the
 * descriptor, and waits for its turn in `direction` (enum zk_direction), or
 * enters it among the pollers. 0, or -errno with nothing begun. The caller
 * fills opcode, events and data of `*out`, which lies in the task block, and
 * calls zk__op_end() with the slot.
 */
int zk__op_begin(zk_fd_t fd, unsigned direction, zk_time_t deadline,
                 struct zk_op **out);
void zk__op_end(struct zk_fd_slot *slot, unsigned direction);

/* May it begin? 0, -ECANCELED, or -ESHUTDOWN for accept and connect. */
int zk__op_check(const struct zk_op *op);

/* Run it to its end. The result, or -errno. */
int32_t zk__op_run(struct zk_op *op, zk_time_t deadline,
                   enum zk_wait_reason reason);

/* The state of the slot, once close(2) of an older descriptor of this number is
 * through. */
uint64_t zk__slot_settled(struct zk_fd_slot *slot);

/* The slot's part of zk_close() and of a number that is used again. */
void zk__fd_evict(struct zk_fd_slot *slot);

#endif
