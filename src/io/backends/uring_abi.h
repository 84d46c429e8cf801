/* SPDX-License-Identifier: MIT */
/*
 * uring_abi.h - constants of io_uring that the system's headers may not have
 * yet, and what liburing before 2.4 does not export. A kernel that does not
 * know one is found out by behaviour, never by version.
 */
#ifndef ZK_IO_BACKENDS_URING_ABI_H
#define ZK_IO_BACKENDS_URING_ABI_H

#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>

#include "utils/atomic.h"
#include "utils/compiler.h"

/* The kernel writes these flags; a stale answer is found again next time. */
ZK_INLINE unsigned zk_uring_sq_flags(const struct io_uring *ring)
{
    return zk_atomic_load((_Atomic unsigned *)ring->sq.kflags, relaxed);
}

#endif
