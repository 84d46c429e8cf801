/* SPDX-License-Identifier: MIT */
/* fd.c - reading, writing and waiting on descriptors. */
#include <errno.h>

#include "io/reactor.h"
#include "zokio/io.h"

enum { IOV_COUNT_MAX = 1024 };

struct transfer {
    unsigned direction; /* enum zk_direction */
    uint8_t opcode;
    enum zk_wait_reason reason;
};

static const struct transfer reading = {ZK_DIR_READ, ZK_OP_READ,
                                        ZK_REASON_READ};
static const struct transfer writing = {ZK_DIR_WRITE, ZK_OP_WRITE,
                                        ZK_REASON_WRITE};

static ssize_t transfer_plain(const struct transfer *t, zk_fd_t fd, void *buf,
                              size_t len, zk_time_t deadline)
{
    struct zk_fd_slot *slot;
    struct zk_op *op;
    ssize_t n;
    int rc;

    if (zk_unlikely(buf == NULL && len > 0))
        return -EINVAL;
    rc = zk__op_begin(fd, t->direction, deadline, &op);
    if (zk_unlikely(rc < 0))
        return rc;
    slot = op->slot;
    op->opcode = t->opcode;
    op->data.plain.buf = buf;
    op->data.plain.len = len < ZK_IO_MAX ? len : ZK_IO_MAX;
    n = len > 0 ? zk__op_run(op, deadline, t->reason) : 0;
    zk__op_end(slot, t->direction);
    return n;
}

static ssize_t transfer_vector(const struct transfer *t, zk_fd_t fd,
                               const struct iovec *iov, int count,
                               zk_time_t deadline)
{
    struct zk_fd_slot *slot;
    struct zk_op *op;
    ssize_t n;
    int rc;

    if (iov == NULL || count < 1 || count > IOV_COUNT_MAX)
        return -EINVAL;
    rc = zk__op_begin(fd, t->direction, deadline, &op);
    if (rc < 0)
        return rc;
    slot = op->slot;
    op->opcode = t->opcode;
    op->flags |= ZK_OPF_VECTOR;
    op->data.vector.iov = iov;
    op->data.vector.count = count;
    n = zk__op_run(op, deadline, t->reason);
    zk__op_end(slot, t->direction);
    return n;
}

ssize_t zk_read(zk_fd_t fd, void *buf, size_t len, zk_time_t deadline)
{
    return transfer_plain(&reading, fd, buf, len, deadline);
}

ssize_t zk_write(zk_fd_t fd, const void *buf, size_t len, zk_time_t deadline)
{
    return transfer_plain(&writing, fd, (void *)(uintptr_t)buf, len, deadline);
}

ssize_t zk_readv(zk_fd_t fd, const struct iovec *iov, int count,
                 zk_time_t deadline)
{
    return transfer_vector(&reading, fd, iov, count, deadline);
}

ssize_t zk_writev(zk_fd_t fd, const struct iovec *iov, int count,
                  zk_time_t deadline)
{
    return transfer_vector(&writing, fd, iov, count, deadline);
}

int zk_write_all(zk_fd_t fd, const void *buf, size_t len, size_t *done,
                 zk_time_t deadline)
{
    const char *at = buf;
    size_t written = 0;
    ssize_t n = 0;

    while (written < len && n >= 0) {
        n = zk_write(fd, at + written, len - written, deadline);
        if (n > 0)
            written += (size_t)n;
    }
    if (done != NULL)
        *done = written;
    return n < 0 ? (int)n : 0;
}

int zk_read_full(zk_fd_t fd, void *buf, size_t len, size_t *done,
                 zk_time_t deadline)
{
    char *at = buf;
    size_t got = 0;
    ssize_t n = 1;

    while (got < len && n > 0) {
        n = zk_read(fd, at + got, len - got, deadline);
        if (n > 0)
            got += (size_t)n;
    }
    if (done != NULL)
        *done = got;
    if (n < 0)
        return (int)n;
    return got == len ? 0 : -ENODATA;
}

int zk__io_wait(zk_fd_t fd, unsigned events, zk_time_t deadline,
                enum zk_wait_reason reason)
{
    unsigned direction = reason == ZK_REASON_CONNECT ? ZK_DIR_WRITE
                                                     : ZK_DIR_NONE;
    struct zk_fd_slot *slot;
    struct zk_op *op;
    int rc = zk__op_begin(fd, direction, deadline, &op);

    if (rc < 0)
        return rc;
    slot = op->slot;
    op->opcode = ZK_OP_POLL;
    op->events = (uint8_t)events;
    if (reason == ZK_REASON_CONNECT)
        op->flags |= ZK_OPF_CONNECTS;
    rc = op->kind == ZK_FD_FILE ? -EPERM : zk__op_run(op, deadline, reason);
    zk__op_end(slot, direction);
    return rc;
}

int zk_wait_fd(zk_fd_t fd, unsigned events, zk_time_t deadline)
{
    if (events == 0 || (events & ~(unsigned)(ZK_READABLE | ZK_WRITABLE)) != 0)
        return -EINVAL;
    return zk__io_wait(fd, events, deadline, ZK_REASON_POLL);
}

int zk__io_accept(zk_fd_t listener, struct sockaddr *addr, socklen_t *length,
                  zk_time_t deadline)
{
    struct zk_fd_slot *slot;
    struct zk_op *op;
    int rc = zk__op_begin(listener, ZK_DIR_READ, deadline, &op);

    if (rc < 0)
        return rc;
    slot = op->slot;
    op->opcode = ZK_OP_POLL;
    op->events = ZK_READABLE;
    op->flags |= ZK_OPF_CONNECTS;
    for (;;) {
        rc = zk__op_check(op); /* may have come while it waited its turn */
        if (rc == 0)
            rc = zk__sys_accept(listener, addr, length);
        if (rc != -EAGAIN)
            break;
        rc = zk__op_run(op, deadline, ZK_REASON_ACCEPT);
        if (rc < 0)
            break;
    }
    zk__op_end(slot, ZK_DIR_READ);
    return rc;
}
