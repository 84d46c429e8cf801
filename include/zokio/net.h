/* SPDX-License-Identifier: MIT */
/*
 * net.h - TCP and addresses.
 *
 * Addresses are text: "127.0.0.1:80", "[::1]:80", "localhost:80", "*:80" (every
 * address of the machine, IPv4 and IPv6 if it has it).
 */
#ifndef ZOKIO_NET_H
#define ZOKIO_NET_H

#include <zokio/base.h>

/** Room for any address as text, with the terminating zero. */
#define ZK_ADDR_TEXT 80

/** A socket address of any family. A plain value. */
typedef struct zk_addr {
    uint32_t length; /**< bytes used of `storage`; 0: none */
    uint32_t private_pad;
    uint64_t storage[15]; /**< a struct sockaddr */
} zk_addr_t;

/** zk_listen_opts_t.flags */
enum zk_listen_flags {
    /** SO_REUSEPORT: several listeners share the port. */
    ZK_LISTEN_REUSEPORT = 1u << 0,
    /** An IPv6 listener takes IPv6 only. */
    ZK_LISTEN_V6ONLY = 1u << 1,
    /** zk_accept() returns -EMFILE, -ENFILE, -ENOBUFS and -ENOMEM instead of
     * waiting until they pass. */
    ZK_ACCEPT_REPORT = 1u << 2,
};

/** How to listen. All zero is the default. */
typedef struct zk_listen_opts {
    uint32_t backlog;     /**< 0: SOMAXCONN */
    uint32_t flags;       /**< enum zk_listen_flags */
    uint64_t reserved[8]; /**< must be zero */
} zk_listen_opts_t;

/** Options of a socket, for zk_sock_set() and zk_sock_get(). */
enum zk_sock_option {
    ZK_SOCK_NODELAY = 1,   /**< 0 or 1; on by default */
    ZK_SOCK_KEEPALIVE = 2, /**< seconds between probes; 0 turns it off */
    ZK_SOCK_LINGER = 3,    /**< seconds; -1 turns it off; 0 resets on close */
    ZK_SOCK_RCVBUF = 4,    /**< bytes */
    ZK_SOCK_SNDBUF = 5,    /**< bytes */
    ZK_SOCK_ERROR = 6,     /**< pending error as an errno value; get only */
};

/** What zk_shutdown() ends. */
enum zk_shutdown_how {
    ZK_SHUTDOWN_READ = 1,
    ZK_SHUTDOWN_WRITE = 2,
    ZK_SHUTDOWN_BOTH = 3,
};

ZK_BEGIN_DECLS

/**
 * Parse an address. Numeric hosts, "localhost" and "*" only: no name is looked
 * up.
 *
 * @param text  "host:port", "[v6]:port", "[v6%scope]:port", "*:port".
 * @param out   receives the address; untouched on failure.
 *
 * @retval 0        parsed.
 * @retval -EINVAL  not an address, or the port is not 0..65535.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API ZK_MUST_CHECK int zk_addr_parse(const char *text, zk_addr_t *out);

/**
 * The text of an address, as zk_addr_parse() reads it.
 *
 * @param text  receives it, ended by a zero; ZK_ADDR_TEXT bytes always suffice.
 * @param size  bytes at `text`.
 *
 * @retval n        length without the zero.
 * @retval -ENOSPC  does not fit; `text` is untouched.
 * @retval -EINVAL  an address of no known family.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_addr_format(const zk_addr_t *addr, char *text, size_t size);

/**
 * Open a listening TCP socket. SO_REUSEADDR is on.
 *
 * @param addr  port 0 takes a free one: zk_sock_local() tells which.
 * @param opts  borrowed for the call; NULL is all defaults.
 *
 * @retval fd          the listener; close it by zk_close().
 * @retval -EINVAL     bad address or options.
 * @retval -EADDRINUSE the port is taken.
 * @retval -ESHUTDOWN  the runtime is going down.
 * @retval -EPERM      not called from a task.
 * @retval -errno      as socket(2), bind(2) and listen(2) say.
 *
 * @context  task only; never switches.
 * @threads  -
 * @memory   may allocate a chunk of the descriptor table.
 * @since    0.1
 */
ZK_API ZK_MUST_CHECK zk_fd_t zk_listen_tcp(const char *addr,
                                           const zk_listen_opts_t *opts);

/**
 * Take the next connection. Connections that died in the queue are passed over;
 * out of descriptors or memory it waits and tries again, unless the listener
 * has ZK_ACCEPT_REPORT.
 *
 * @param listener  from zk_listen_tcp().
 * @param peer      receives the peer's address; may be NULL; untouched on
 *                  failure.
 * @param deadline  absolute. In the past: one try.
 *
 * @retval fd          the connection, with TCP_NODELAY; close it by zk_close().
 * @retval -ETIMEDOUT  nobody came before the deadline.
 * @retval -ECANCELED  the task was cancelled; no connection was lost.
 * @retval -ESHUTDOWN  the runtime is going down.
 * @retval -EBADF      not open, or closed by zk_close() while waiting.
 * @retval -EPERM      not called from a task.
 * @retval -errno      as accept4(2) says.
 *
 * @context  task only; may switch.
 * @threads  any number of tasks may accept on one listener.
 * @memory   may allocate a chunk of the descriptor table.
 * @since    0.1
 */
ZK_API ZK_MUST_CHECK zk_fd_t zk_accept(zk_fd_t listener, zk_addr_t *peer,
                                       zk_time_t deadline);

/**
 * Connect. "localhost" tries IPv6, then IPv4.
 *
 * @param addr      numeric or localhost.
 * @param deadline  absolute.
 *
 * @retval fd             the connection, with TCP_NODELAY; close it by
 *                        zk_close().
 * @retval -ETIMEDOUT     not connected before the deadline, or the kernel gave
 *                        up.
 * @retval -ECANCELED     the task was cancelled; nothing is left open.
 * @retval -ECONNREFUSED  nobody listens there.
 * @retval -ESHUTDOWN     the runtime is going down.
 * @retval -EINVAL        bad address.
 * @retval -EPERM         not called from a task.
 * @retval -errno         as socket(2) and connect(2) say.
 *
 * @context  task only; may switch.
 * @threads  -
 * @memory   may allocate a chunk of the descriptor table.
 * @since    0.1
 */
ZK_API ZK_MUST_CHECK zk_fd_t zk_dial_tcp(const char *addr, zk_time_t deadline);

/**
 * End one or both directions of a connection; the descriptor stays open.
 *
 * @param how  enum zk_shutdown_how.
 *
 * @retval 0          done.
 * @retval -ENOTCONN  not connected (any more).
 * @retval -EINVAL    unknown `how`.
 * @retval -EBADF     not open.
 * @retval -errno     as shutdown(2) says.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_shutdown(zk_fd_t fd, int how);

/**
 * Set an option.
 *
 * @param option  enum zk_sock_option.
 *
 * @retval 0        set.
 * @retval -EINVAL  unknown or read-only option, or value out of range.
 * @retval -errno   as setsockopt(2) says.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_sock_set(zk_fd_t fd, int option, int value);

/**
 * Read an option.
 *
 * @param value  receives it; untouched on failure.
 *
 * @retval 0        read.
 * @retval -EINVAL  unknown option.
 * @retval -errno   as getsockopt(2) says.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_sock_get(zk_fd_t fd, int option, int *value);

/**
 * The address of this end of a socket.
 *
 * @param out  receives it; untouched on failure.
 *
 * @retval 0       there it is.
 * @retval -errno  as getsockname(2) says.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_sock_local(zk_fd_t fd, zk_addr_t *out);

/**
 * The address of the other end of a connection.
 *
 * @param out  receives it; untouched on failure.
 *
 * @retval 0       there it is.
 * @retval -errno  as getpeername(2) says.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_sock_peer(zk_fd_t fd, zk_addr_t *out);

ZK_END_DECLS

#endif
