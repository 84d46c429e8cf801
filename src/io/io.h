/* SPDX-License-Identifier: MIT */
/*
 * io.h - what runtime, net, process and testing may call.
 */
#ifndef ZK_IO_IO_H
#define ZK_IO_IO_H

#include "io/fd_table.h"
#include "scheduler/scheduler.h"
#include "zokio/io.h"

/* What a runtime asked of its reactors; lives as long as the scheduler. */
struct zk_io_setup {
    const struct zk_backend_ops *ops;
    uint32_t sq_entries, cq_entries;
    uint64_t seed;
    void *sim; /* the simulator's world; NULL elsewhere */
};

/* ---- backends ------------------------------------------------------------ */

/* The reactor as the scheduler drives it. */
extern const struct zk_driver zk__io_driver;

bool zk__io_backend_known(const char *name);
const char *zk__io_backend_names(void); /* "io_uring or epoll" */
/*
 * Choose for a runtime: the one named, or the best that works here (NULL). Its
 * name, or NULL if the named one does not work: `*rc` says why.
 */
const struct zk_backend_ops *zk__io_choose(const char *name, int *rc);
const char *zk__io_backend_name(const struct zk_backend_ops *ops);

/* ---- operations on behalf of other layers --------------------------------- */

/* As zk_wait_fd(), with another reason in reports. */
int zk__io_wait(zk_fd_t fd, unsigned events, zk_time_t deadline,
                enum zk_wait_reason reason);

/* Accept one connection: a descriptor, or -errno as accept(2); -EAGAIN after
 * `deadline` has passed is -ETIMEDOUT. Takes the read turn of the listener. */
int zk__io_accept(zk_fd_t listener, struct sockaddr *addr, socklen_t *length,
                  zk_time_t deadline);

#endif
