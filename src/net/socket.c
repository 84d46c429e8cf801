/* SPDX-License-Identifier: MIT */
/* socket.c - options, names and half-close of sockets. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "net/net.h"

enum { KEEPALIVE_PROBES = 5, KEEPALIVE_MAX = 32767 };

static int set_int(int fd, int level, int name, int value)
{
    return zk__sys_setsockopt(fd, level, name, &value, sizeof(value));
}

static int get_int(int fd, int level, int name, int *value)
{
    int got = 0;
    socklen_t size = sizeof(got);
    int rc = zk__sys_getsockopt(fd, level, name, &got, &size);

    if (rc == 0)
        *value = got;
    return rc;
}

static int set_keepalive(int fd, int seconds)
{
    int rc;

    if (seconds < 0 || seconds > KEEPALIVE_MAX)
        return -EINVAL;
    rc = set_int(fd, SOL_SOCKET, SO_KEEPALIVE, seconds > 0);
    if (rc < 0 || seconds == 0)
        return rc;
    rc = set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
    if (rc == 0)
        rc = set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds);
    if (rc == 0)
        rc = set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    return rc;
}

static int get_keepalive(int fd, int *seconds)
{
    int on = 0;
    int rc = get_int(fd, SOL_SOCKET, SO_KEEPALIVE, &on);

    if (rc < 0)
        return rc;
    if (on == 0) {
        *seconds = 0;
        return 0;
    }
    return get_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds);
}

static int set_linger(int fd, int seconds)
{
    struct linger linger = {.l_onoff = seconds >= 0,
                            .l_linger = seconds >= 0 ? seconds : 0};

    if (seconds < -1)
        return -EINVAL;
    return zk__sys_setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger,
                              sizeof(linger));
}

static int get_linger(int fd, int *seconds)
{
    struct linger linger;
    socklen_t size = sizeof(linger);
    int rc = zk__sys_getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size);

    if (rc == 0)
        *seconds = linger.l_onoff ? linger.l_linger : -1;
    return rc;
}

int zk_sock_set(zk_fd_t fd, int option, int value)
{
    switch (option) {
    case ZK_SOCK_NODELAY:
        if (value != 0 && value != 1)
            return -EINVAL;
        return set_int(fd, IPPROTO_TCP, TCP_NODELAY, value);
    case ZK_SOCK_KEEPALIVE:
        return set_keepalive(fd, value);
    case ZK_SOCK_LINGER:
        return set_linger(fd, value);
    case ZK_SOCK_RCVBUF:
    case ZK_SOCK_SNDBUF:
        if (value <= 0)
            return -EINVAL;
        return set_int(fd, SOL_SOCKET,
                       option == ZK_SOCK_RCVBUF ? SO_RCVBUF : SO_SNDBUF, value);
    default:
        return -EINVAL;
    }
}

int zk_sock_get(zk_fd_t fd, int option, int *value)
{
    if (value == NULL)
        return -EINVAL;
    switch (option) {
    case ZK_SOCK_NODELAY:
        return get_int(fd, IPPROTO_TCP, TCP_NODELAY, value);
    case ZK_SOCK_KEEPALIVE:
        return get_keepalive(fd, value);
    case ZK_SOCK_LINGER:
        return get_linger(fd, value);
    case ZK_SOCK_RCVBUF:
        return get_int(fd, SOL_SOCKET, SO_RCVBUF, value);
    case ZK_SOCK_SNDBUF:
        return get_int(fd, SOL_SOCKET, SO_SNDBUF, value);
    case ZK_SOCK_ERROR:
        return get_int(fd, SOL_SOCKET, SO_ERROR, value);
    default:
        return -EINVAL;
    }
}

int zk_shutdown(zk_fd_t fd, int how)
{
    static const int native[] = {[ZK_SHUTDOWN_READ] = SHUT_RD,
                                 [ZK_SHUTDOWN_WRITE] = SHUT_WR,
                                 [ZK_SHUTDOWN_BOTH] = SHUT_RDWR};

    if (how < ZK_SHUTDOWN_READ || how > ZK_SHUTDOWN_BOTH)
        return -EINVAL;
    return zk__sys_shutdown(fd, native[how]);
}

typedef int (*name_fn)(int fd, struct sockaddr *addr, socklen_t *length);

static int socket_name(zk_fd_t fd, zk_addr_t *out, name_fn ask)
{
    zk_addr_t addr = {.length = 0};
    socklen_t length = sizeof(addr.storage);
    int rc;

    if (out == NULL)
        return -EINVAL;
    rc = ask(fd, zk_addr_sockaddr(&addr), &length);
    if (rc < 0)
        return rc;
    addr.length = (uint32_t)length;
    *out = addr;
    return 0;
}

int zk_sock_local(zk_fd_t fd, zk_addr_t *out)
{
    return socket_name(fd, out, zk__sys_getsockname);
}

int zk_sock_peer(zk_fd_t fd, zk_addr_t *out)
{
    return socket_name(fd, out, zk__sys_getpeername);
}
