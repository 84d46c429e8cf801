/* SPDX-License-Identifier: MIT */
/*
 * io.h - reading and writing descriptors without blocking a worker.
 *
 * Every call here looks blocking and suspends only the calling task. Several
 * readers of one descriptor are served in order, and so are several writers;
 * one reader and one writer go side by side. Lengths are capped at
 * ZK_IO_MAX bytes, as the kernel does.
 *
 * A descriptor that zokio made (accept, dial, listen) is ready for use. One
 * made elsewhere works too, at the price of a registration for each wait; with
 * zk_fd_adopt() it becomes as fast as ours, and must then be closed by
 * zk_close(). A descriptor belongs to one runtime at a time.
 */
#ifndef ZOKIO_IO_H
#define ZOKIO_IO_H

#include <sys/types.h>
#include <sys/uio.h>

#include <zokio/base.h>

/** The most one call moves. */
#define ZK_IO_MAX ((size_t)0x7ffff000)

/** Events of zk_wait_fd(). */
enum zk_fd_events {
    ZK_READABLE = 1u << 0, /**< a read would not wait: data, end or error */
    ZK_WRITABLE = 1u << 1, /**< a write would not wait: room or error */
    ZK_HANGUP = 1u << 2,   /**< reported, not asked for */
    ZK_FAILED = 1u << 3,   /**< an error is pending; reported, not asked for */
};

ZK_BEGIN_DECLS

/**
 * Read what is there, waiting until something is.
 *
 * @param fd        stream, pipe, terminal or file.
 * @param buf       room for `len` bytes; the caller's again when this returns.
 * @param deadline  absolute. In the past: one try.
 *
 * @retval n           bytes read, 1..len.
 * @retval 0           end of the stream, or len is 0.
 * @retval -ETIMEDOUT  nothing came before the deadline; nothing was taken.
 * @retval -ECANCELED  the task was cancelled; nothing was taken.
 * @retval -EBADF      not open, or closed by zk_close() while waiting.
 * @retval -EINVAL     buf is NULL with len > 0.
 * @retval -EPERM      not called from a task.
 * @retval -errno      as read(2) says: -ECONNRESET, -EIO ... Never -EINTR or
 *                     -EAGAIN.
 *
 * @context  task only; may switch.
 * @threads  readers of one descriptor are served in order.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API ssize_t zk_read(zk_fd_t fd, void *buf, size_t len, zk_time_t deadline);

/**
 * Write what fits, waiting until something does.
 *
 * @param buf       `len` bytes; not changed by anyone until this returns.
 * @param deadline  absolute. In the past: one try.
 *
 * @retval n           bytes written, 0..len; 0 only if len is 0.
 * @retval -ETIMEDOUT  no room before the deadline; nothing was written.
 * @retval -ECANCELED  the task was cancelled; nothing was written.
 * @retval -EBADF      not open, or closed by zk_close() while waiting.
 * @retval -EPIPE      the peer is gone. No signal is raised.
 * @retval -EINVAL     buf is NULL with len > 0.
 * @retval -EPERM      not called from a task.
 * @retval -errno      as write(2) says. Never -EINTR or -EAGAIN.
 *
 * @context  task only; may switch.
 * @threads  writers of one descriptor are served in order.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API ssize_t zk_write(zk_fd_t fd, const void *buf, size_t len,
                        zk_time_t deadline);

/**
 * zk_read() into several buffers in order.
 *
 * @param iov       `count` buffers; the array too is borrowed for the call.
 * @param count     1..1024.
 * @param deadline  absolute. In the past: one try.
 *
 * @retval n           bytes read in all; 0 is the end of the stream.
 * @retval -EINVAL     count out of range or iov is NULL.
 * @retval -errno      as zk_read().
 *
 * @context  task only; may switch.
 * @threads  readers of one descriptor are served in order.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API ssize_t zk_readv(zk_fd_t fd, const struct iovec *iov, int count,
                        zk_time_t deadline);

/**
 * zk_write() from several buffers in order.
 *
 * @param iov       `count` buffers; the array too is borrowed for the call.
 * @param count     1..1024.
 * @param deadline  absolute. In the past: one try.
 *
 * @retval n           bytes written in all.
 * @retval -EINVAL     count out of range or iov is NULL.
 * @retval -errno      as zk_write().
 *
 * @context  task only; may switch.
 * @threads  writers of one descriptor are served in order.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API ssize_t zk_writev(zk_fd_t fd, const struct iovec *iov, int count,
                         zk_time_t deadline);

/**
 * Write all of a buffer.
 *
 * @param done      receives how many bytes were written, also on failure; may
 *                  be NULL.
 * @param deadline  absolute, for the whole.
 *
 * @retval 0       all written.
 * @retval -errno  as zk_write(); `*done` bytes were written before.
 *
 * @context  task only; may switch.
 * @threads  another writer may come between two of its pieces.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API ZK_MUST_CHECK int zk_write_all(zk_fd_t fd, const void *buf, size_t len,
                                      size_t *done, zk_time_t deadline);

/**
 * Read until a buffer is full.
 *
 * @param done      receives how many bytes were read, also on failure; may be
 *                  NULL.
 * @param deadline  absolute, for the whole.
 *
 * @retval 0        full.
 * @retval -ENODATA the stream ended before; `*done` bytes were read.
 * @retval -errno   as zk_read(); `*done` bytes were read.
 *
 * @context  task only; may switch.
 * @threads  another reader may come between two of its pieces.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API ZK_MUST_CHECK int zk_read_full(zk_fd_t fd, void *buf, size_t len,
                                      size_t *done, zk_time_t deadline);

/**
 * Wait until a descriptor is ready. Level: reports the present state.
 *
 * @param events    ZK_READABLE, ZK_WRITABLE or both.
 * @param deadline  absolute. In the past: asks only.
 *
 * @retval mask        of enum zk_fd_events, not 0.
 * @retval -ETIMEDOUT  not ready before the deadline.
 * @retval -ECANCELED  the task was cancelled.
 * @retval -EBADF      not open, or closed by zk_close() while waiting.
 * @retval -EINVAL     no or unknown events.
 * @retval -EPERM      not called from a task, or a file that is always ready.
 *
 * @context  task only; may switch.
 * @threads  any number of waiters.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_wait_fd(zk_fd_t fd, unsigned events, zk_time_t deadline);

/**
 * Hand a descriptor made elsewhere over to zokio: waiting on it becomes as
 * cheap as on ours. From now on only zk_close() may close it. Its flags are
 * not changed.
 *
 * @retval 0       adopted, now or before.
 * @retval -EBADF  not open.
 * @retval -ENOMEM no memory for its slot.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   may allocate a chunk of the descriptor table.
 * @since    0.1
 */
ZK_API ZK_MUST_CHECK int zk_fd_adopt(zk_fd_t fd);

/**
 * Take a descriptor out of service, end what waits on it (-EBADF there), and
 * close it once nothing uses it. Does not call shutdown(2).
 *
 * @retval 0       closed.
 * @retval -EBADF  not open, or somebody else is closing it.
 * @retval -errno  as close(2); the descriptor is gone all the same.
 *
 * @context  any; on a task it may switch, on a plain thread it may block it.
 * @threads  any; the second closer gets -EBADF.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API ZK_SWITCHES int zk_close(zk_fd_t fd);

ZK_END_DECLS

#endif
