/* SPDX-License-Identifier: MIT */
/* tcp.c - listen, accept, dial. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "io/io.h"
#include "net/net.h"
#include "runtime/runtime.h"
#include "zokio/time.h"

/* Pauses of an accept that found no descriptor or memory. */
#define BACKOFF_FIRST ZK_MS(1)
#define BACKOFF_LAST ZK_MS(200)

static int set_int(int fd, int level, int name, int value)
{
    return zk__sys_setsockopt(fd, level, name, &value, sizeof(value));
}

/* ---- listen ------------------------------------------------------------------ */

static int check_listen_options(const zk_listen_opts_t *opts)
{
    const uint32_t known = ZK_LISTEN_REUSEPORT | ZK_LISTEN_V6ONLY |
                           ZK_ACCEPT_REPORT;

    if ((opts->flags & ~known) != 0 || opts->backlog > INT32_MAX)
        return -EINVAL;
    for (size_t i = 0; i < ZK_ARRAY_LEN(opts->reserved); i++)
        if (opts->reserved[i] != 0)
            return -EINVAL;
    return 0;
}

/* Accepted sockets inherit TCP_NODELAY from the listener: set it once. */
static int listen_prepare(int fd, zk_addr_t *addr, const zk_listen_opts_t *opts)
{
    bool v6 = zk_addr_sockaddr(addr)->sa_family == AF_INET6;
    uint32_t backlog = opts->backlog != 0 ? opts->backlog : SOMAXCONN;
    int rc = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);

    if (rc == 0)
        rc = set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (rc == 0 && (opts->flags & ZK_LISTEN_REUSEPORT) != 0)
        rc = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (rc == 0 && v6)
        rc = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY,
                     (opts->flags & ZK_LISTEN_V6ONLY) != 0);
    if (rc == 0)
        rc = zk__sys_bind(fd, zk_addr_sockaddr(addr), addr->length);
    if (rc == 0)
        rc = zk__sys_listen(fd, (int)backlog);
    return rc;
}

static int listen_at(zk_addr_t *addr, const zk_listen_opts_t *opts)
{
    int fd = zk__sys_socket(zk_addr_sockaddr(addr)->sa_family, SOCK_STREAM, 0);
    int rc;

    if (fd < 0)
        return fd;
    rc = listen_prepare(fd, addr, opts);
    if (rc == 0)
        rc = zk__fd_register(fd, ZK_FD_LISTENER);
    if (rc < 0) {
        zk__sys_close(fd);
        return rc;
    }
    if ((opts->flags & ZK_ACCEPT_REPORT) != 0)
        zk_atomic_store(&zk__fd_slot(fd)->accept_report, 1, relaxed);
    return fd;
}

zk_fd_t zk_listen_tcp(const char *text, const zk_listen_opts_t *opts)
{
    static const zk_listen_opts_t defaults;
    enum zk_host_kind kind;
    zk_addr_t addr;
    int rc;

    if (zk__task_current() == NULL)
        return -EPERM;
    if (zk__runtime_closing())
        return -ESHUTDOWN;
    if (opts == NULL)
        opts = &defaults;
    rc = check_listen_options(opts);
    if (rc == 0)
        rc = zk__addr_parse(text, false, &addr, &kind);
    if (rc < 0)
        return rc;
    if (kind == ZK_HOST_ANY) { /* both families in one, if there is IPv6 */
        zk_addr_t any6;

        if (zk__addr_parse(text, true, &any6, &kind) == 0) {
            rc = listen_at(&any6, opts);
            if (rc != -EAFNOSUPPORT && rc != -EADDRNOTAVAIL)
                return rc;
        }
    }
    return listen_at(&addr, opts);
}

/* ---- accept -------------------------------------------------------------------- */

/* The connection died in the queue: take the next. */
static bool is_passing(int rc)
{
    return rc == -ECONNABORTED || rc == -EPROTO;
}

static bool is_shortage(int rc)
{
    return rc == -EMFILE || rc == -ENFILE || rc == -ENOBUFS || rc == -ENOMEM;
}

static bool reports_shortage(zk_fd_t listener)
{
    struct zk_fd_slot *slot = zk__fd_slot_peek(listener);

    return slot == NULL || zk_atomic_load(&slot->accept_report, relaxed) != 0;
}

/*
 * Out of descriptors or memory: pause, and try again. The connection stays in
 * the kernel's queue meanwhile, so none is lost.
 */
static int accept_pause(zk_time_t *pause, zk_time_t deadline)
{
    zk_time_t until = zk_after(*pause);
    int rc;

    if (deadline < until)
        until = deadline;
    rc = zk_sleep_until(until);
    if (rc == 0 && deadline <= zk_now())
        rc = -ETIMEDOUT;
    *pause = *pause * 2 < BACKOFF_LAST ? *pause * 2 : BACKOFF_LAST;
    return rc;
}

zk_fd_t zk_accept(zk_fd_t listener, zk_addr_t *peer, zk_time_t deadline)
{
    zk_time_t pause = BACKOFF_FIRST;
    zk_addr_t addr;
    socklen_t length;
    int rc = 0;

    if (zk__task_current() == NULL)
        return -EPERM;
    for (;;) {
        if (zk__runtime_closing())
            return -ESHUTDOWN;
        memset(&addr, 0, sizeof(addr));
        length = sizeof(addr.storage);
        rc = zk__io_accept(listener, zk_addr_sockaddr(&addr), &length,
                           deadline);
        if (rc >= 0)
            break;
        if (is_shortage(rc) && !reports_shortage(listener))
            rc = accept_pause(&pause, deadline);
        else if (is_passing(rc))
            rc = 0;
        if (rc < 0)
            return rc;
    }
    if (zk__fd_register(rc, ZK_FD_SOCKET) < 0) {
        zk__sys_close(rc);
        return -ENOMEM;
    }
    addr.length = (uint32_t)length;
    if (peer != NULL)
        *peer = addr;
    return rc;
}

/* ---- dial ------------------------------------------------------------------------ */

static int connect_wait(int fd, zk_time_t deadline)
{
    int pending = 0;
    socklen_t size = sizeof(pending);
    int rc = zk__io_wait(fd, ZK_WRITABLE, deadline, ZK_REASON_CONNECT);

    if (rc < 0)
        return rc;
    rc = zk__sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &pending, &size);
    return rc < 0 ? rc : -pending;
}

static int dial_at(zk_addr_t *addr, zk_time_t deadline)
{
    int fd = zk__sys_socket(zk_addr_sockaddr(addr)->sa_family, SOCK_STREAM, 0);
    int rc;

    if (fd < 0)
        return fd;
    rc = set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (rc == 0)
        rc = zk__fd_register(fd, ZK_FD_SOCKET);
    if (rc < 0) {
        zk__sys_close(fd);
        return rc;
    }
    rc = zk__sys_connect(fd, zk_addr_sockaddr(addr), addr->length);
    if (rc == -EINPROGRESS)
        rc = connect_wait(fd, deadline);
    if (rc < 0) {
        zk_close(fd);
        return rc;
    }
    return fd;
}

zk_fd_t zk_dial_tcp(const char *text, zk_time_t deadline)
{
    struct zk_task *self = zk__task_current();
    enum zk_host_kind kind;
    zk_addr_t addr, addr6;
    int rc;

    if (self == NULL)
        return -EPERM;
    if (zk__runtime_closing())
        return -ESHUTDOWN;
    rc = zk__addr_parse(text, false, &addr, &kind);
    if (rc < 0)
        return rc;
    if (kind == ZK_HOST_ANY)
        return -EINVAL;
    if (zk_task_cancelled(self))
        return -ECANCELED;
    if (kind == ZK_HOST_LOCAL &&
        zk__addr_parse(text, true, &addr6, &kind) == 0) {
        rc = dial_at(&addr6, deadline);
        if (rc >= 0 || rc == -ECANCELED || rc == -ETIMEDOUT || rc == -ESHUTDOWN)
            return rc;
    }
    return dial_at(&addr, deadline);
}
