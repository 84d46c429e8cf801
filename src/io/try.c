/* SPDX-License-Identifier: MIT */
/*
 * try.c - one attempt at an operation that does not wait.
 *
 * How that is asked for depends on the kind of descriptor: sockets take
 * MSG_DONTWAIT; pipes and terminals RWF_NOWAIT, or O_NONBLOCK if their owner
 * set it; files RWF_NOWAIT for what is in the page cache.
 */
#include <errno.h>
#include <poll.h>

#include "io/backend.h"
#include "zokio/io.h"

static int32_t clip(ssize_t n)
{
    return (int32_t)n; /* ZK_IO_MAX fits */
}

static struct iovec plain_vector(const struct zk_op *op)
{
    return (struct iovec){op->data.plain.buf, op->data.plain.len};
}

static int32_t try_socket(struct zk_op *op)
{
    bool vector = (op->flags & ZK_OPF_VECTOR) != 0;

    if (op->opcode == ZK_OP_READ && !vector)
        return clip(
            zk__sys_recv(op->fd, op->data.plain.buf, op->data.plain.len));
    if (op->opcode == ZK_OP_READ)
        return clip(
            zk__sys_recvv(op->fd, op->data.vector.iov, op->data.vector.count));
    if (!vector)
        return clip(
            zk__sys_send(op->fd, op->data.plain.buf, op->data.plain.len));
    return clip(
        zk__sys_sendv(op->fd, op->data.vector.iov, op->data.vector.count));
}

int32_t zk__op_block(struct zk_op *op)
{
    struct iovec plain = plain_vector(op);
    bool vector = (op->flags & ZK_OPF_VECTOR) != 0;
    const struct iovec *iov = vector ? op->data.vector.iov : &plain;
    int count = vector ? op->data.vector.count : 1;

    return clip(op->opcode == ZK_OP_READ ? zk__sys_readv(op->fd, iov, count)
                                         : zk__sys_writev(op->fd, iov, count));
}

/* RWF_NOWAIT; where the object does not know it, -EOPNOTSUPP, unless its owner
 * made it non-blocking. */
static int32_t try_stream(struct zk_op *op)
{
    struct iovec plain = plain_vector(op);
    bool vector = (op->flags & ZK_OPF_VECTOR) != 0;
    const struct iovec *iov = vector ? op->data.vector.iov : &plain;
    int count = vector ? op->data.vector.count : 1;
    ssize_t n;

    n = op->opcode == ZK_OP_READ ? zk__sys_readv_nowait(op->fd, iov, count)
                                 : zk__sys_writev_nowait(op->fd, iov, count);
    if (n != -EOPNOTSUPP)
        return clip(n);
    if (zk__sys_is_nonblocking(op->fd) == 1)
        return zk__op_block(op);
    if (op->kind == ZK_FD_FILE)
        return -EOPNOTSUPP;
    n = zk__sys_poll(op->fd, op->opcode == ZK_OP_READ ? POLLIN : POLLOUT, 0);
    if (n == 0)
        return -EAGAIN;
    return n < 0 ? clip(n) : -EOPNOTSUPP;
}

static int32_t events_of(int revents)
{
    int32_t events = 0;

    if ((revents & POLLIN) != 0)
        events |= ZK_READABLE;
    if ((revents & POLLOUT) != 0)
        events |= ZK_WRITABLE;
    if ((revents & POLLHUP) != 0)
        events |= ZK_HANGUP;
    if ((revents & POLLERR) != 0)
        events |= ZK_FAILED;
    return events;
}

static int32_t try_poll(struct zk_op *op)
{
    short wanted = 0;
    int revents;

    if ((op->events & ZK_READABLE) != 0)
        wanted |= POLLIN;
    if ((op->events & ZK_WRITABLE) != 0)
        wanted |= POLLOUT;
    revents = zk__sys_poll(op->fd, wanted, 0);
    if (revents < 0)
        return revents;
    if ((revents & POLLNVAL) != 0)
        return -EBADF;
    return revents == 0 ? -EAGAIN : events_of(revents);
}

int32_t zk__op_try(struct zk_op *op)
{
    if (op->opcode == ZK_OP_POLL)
        return try_poll(op);
    if (op->kind == ZK_FD_SOCKET)
        return try_socket(op);
    return try_stream(op);
}
