/* SPDX-License-Identifier: MIT */
/* sys.c - system calls on descriptors, with their errors as values. */
#include "platform/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "utils/compiler.h"
#include "utils/fault.h"

/* The value of `call`, repeated while a signal interrupts it, or -errno. */
#define SYS_RETRY(call)                                                        \
    __extension__({                                                            \
        ssize_t rc_;                                                           \
        do {                                                                   \
            rc_ = (call);                                                      \
        } while (rc_ < 0 && errno == EINTR);                                   \
        rc_ < 0 ? -errno : rc_;                                                \
    })

enum {
    DEVICE_MEMORY_MAJOR = 1, /* /dev/null, zero, full, random ... */
    DEVICE_KMSG_MINOR = 11,  /* the one among them that can be waited for */
};

ssize_t zk__sys_read(int fd, void *buf, size_t len)
{
    return SYS_RETRY(read(fd, buf, len));
}

ssize_t zk__sys_write(int fd, const void *buf, size_t len)
{
    return SYS_RETRY(write(fd, buf, len));
}

ssize_t zk__sys_readv(int fd, const struct iovec *iov, int count)
{
    return SYS_RETRY(readv(fd, iov, count));
}

ssize_t zk__sys_writev(int fd, const struct iovec *iov, int count)
{
    return SYS_RETRY(writev(fd, iov, count));
}

/* A kernel from before the call cannot do it for any descriptor. */
static ssize_t nowait_result(ssize_t rc)
{
    return rc == -ENOSYS ? -EOPNOTSUPP : rc;
}

/* An offset of -1 means the current position, or none for a stream. */
ssize_t zk__sys_readv_nowait(int fd, const struct iovec *iov, int count)
{
    return nowait_result(SYS_RETRY(preadv2(fd, iov, count, -1, RWF_NOWAIT)));
}

ssize_t zk__sys_writev_nowait(int fd, const struct iovec *iov, int count)
{
    return nowait_result(SYS_RETRY(pwritev2(fd, iov, count, -1, RWF_NOWAIT)));
}

ssize_t zk__sys_recv(int fd, void *buf, size_t len)
{
    return SYS_RETRY(recv(fd, buf, len, MSG_DONTWAIT));
}

ssize_t zk__sys_send(int fd, const void *buf, size_t len)
{
    return SYS_RETRY(send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL));
}

/* The kernel does not write through the vector; the field is not const since
 * both directions share the type. */
static struct msghdr message_of(const struct iovec *iov, int count)
{
    union {
        const struct iovec *from;
        struct iovec *to;
    } vector = {.from = iov};

    return (struct msghdr){.msg_iov = vector.to, .msg_iovlen = (size_t)count};
}

ssize_t zk__sys_recvv(int fd, const struct iovec *iov, int count)
{
    struct msghdr msg = message_of(iov, count);

    return SYS_RETRY(recvmsg(fd, &msg, MSG_DONTWAIT));
}

ssize_t zk__sys_sendv(int fd, const struct iovec *iov, int count)
{
    struct msghdr msg = message_of(iov, count);

    return SYS_RETRY(sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL));
}

int zk__sys_socket(int domain, int type, int protocol)
{
    if (ZK_FAULT(ZK_FAULT_FD))
        return -EMFILE;
    type |= SOCK_CLOEXEC | SOCK_NONBLOCK;
    return (int)SYS_RETRY(socket(domain, type, protocol));
}

int zk__sys_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    return (int)SYS_RETRY(bind(fd, addr, len));
}

int zk__sys_listen(int fd, int backlog)
{
    return (int)SYS_RETRY(listen(fd, backlog));
}

int zk__sys_accept(int fd, struct sockaddr *addr, socklen_t *len)
{
    if (ZK_FAULT(ZK_FAULT_FD))
        return -EMFILE;
    return (int)SYS_RETRY(accept4(fd, addr, len, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

int zk__sys_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    if (connect(fd, addr, len) == 0)
        return 0;
    /* Interrupted, the attempt goes on by itself, and calling again would say
     * EALREADY. So it is what a non-blocking one is: on its way. */
    return errno == EINTR ? -EINPROGRESS : -errno;
}

int zk__sys_shutdown(int fd, int how)
{
    return (int)SYS_RETRY(shutdown(fd, how));
}

int zk__sys_getsockopt(int fd, int level, int name, void *v, socklen_t *n)
{
    return (int)SYS_RETRY(getsockopt(fd, level, name, v, n));
}

int zk__sys_setsockopt(int fd, int level, int name, const void *v, socklen_t n)
{
    return (int)SYS_RETRY(setsockopt(fd, level, name, v, n));
}

int zk__sys_getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
    return (int)SYS_RETRY(getsockname(fd, addr, len));
}

int zk__sys_getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
    return (int)SYS_RETRY(getpeername(fd, addr, len));
}

int zk__sys_close(int fd)
{
    if (close(fd) == 0 || errno == EINTR)
        return 0;
    return -errno;
}

int zk__sys_poll(int fd, short events, int timeout_ms)
{
    zk_time_t end = 0;
    struct pollfd p = {.fd = fd, .events = events};

    if (timeout_ms > 0)
        end = zk__clock_now() + ZK_MS(timeout_ms);
    for (;;) {
        int rc = poll(&p, 1, timeout_ms);

        if (rc >= 0)
            return rc == 0 ? 0 : p.revents;
        if (errno != EINTR)
            return -errno;
        if (timeout_ms > 0) {
            zk_time_t left = end - zk__clock_now();

            timeout_ms = left > 0 ? (int)((left + ZK_MS(1) - 1) / ZK_MS(1)) : 0;
        }
    }
}

int zk__sys_is_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 ? -errno : (flags & O_NONBLOCK) != 0;
}

static int socket_kind(int fd)
{
    int listens = 0;
    socklen_t len = sizeof listens;

    /* Families that do not know the option do not listen either. */
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 &&
        listens)
        return ZK_FD_LISTENER;
    return ZK_FD_SOCKET;
}

int zk__sys_kind(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    switch (st.st_mode & S_IFMT) {
    case S_IFSOCK:
        return socket_kind(fd);
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK: /* opened by O_PATH */
    case S_IFBLK:
        return ZK_FD_FILE;
    case S_IFCHR:
        /* /dev/null and its like never wait, and epoll refuses them. */
        if (major(st.st_rdev) == DEVICE_MEMORY_MAJOR &&
            minor(st.st_rdev) != DEVICE_KMSG_MINOR)
            return ZK_FD_FILE;
        return ZK_FD_PIPE;
    default:
        return ZK_FD_PIPE; /* fifo; eventfd and its kin have no type at all */
    }
}

int zk__sys_epoll_create(void)
{
    if (ZK_FAULT(ZK_FAULT_FD))
        return -EMFILE;
    return (int)SYS_RETRY(epoll_create1(EPOLL_CLOEXEC));
}

int zk__sys_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
    return (int)SYS_RETRY(epoll_ctl(ep, op, fd, ev));
}

/* Nanoseconds, where the kernel has the call; -ENOSYS where it has not. */
static int epoll_wait_exact(int ep, struct epoll_event *ev, int max,
                            int64_t timeout_ns)
{
    struct timespec ts, *timeout = NULL;
    long rc;

    if (timeout_ns >= 0) {
        ts.tv_sec = (time_t)(timeout_ns / 1000000000);
        ts.tv_nsec = (long)(timeout_ns % 1000000000);
        timeout = &ts;
    }
    rc = syscall(SYS_epoll_pwait2, ep, ev, max, timeout, NULL, (size_t)0);
    if (rc >= 0)
        return (int)rc;
    /* Filters older than the call refuse it with EPERM, which it never gives
     * by itself. */
    return errno == EPERM ? -ENOSYS : -errno;
}

static int epoll_wait_rounded(int ep, struct epoll_event *ev, int max,
                              int64_t timeout_ns)
{
    int64_t ms = -1;
    int rc;

    if (timeout_ns >= 0)
        ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    if (ms > INT_MAX)
        ms = INT_MAX;
    rc = epoll_wait(ep, ev, max, (int)ms);
    return rc < 0 ? -errno : rc;
}

int zk__sys_epoll_wait(int ep, struct epoll_event *ev, int max,
                       int64_t timeout_ns)
{
    static _Atomic bool missing; /* the exact call */
    int rc = -ENOSYS;

    if (!zk_atomic_load(&missing, relaxed))
        rc = epoll_wait_exact(ep, ev, max, timeout_ns);
    if (rc == -ENOSYS) {
        zk_atomic_store(&missing, true, relaxed);
        rc = epoll_wait_rounded(ep, ev, max, timeout_ns);
    }
    return rc == -EINTR ? 0 : rc;
}

int zk__sys_eventfd(void)
{
    if (ZK_FAULT(ZK_FAULT_FD))
        return -EMFILE;
    return (int)SYS_RETRY(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int zk__sys_dup(int fd)
{
    if (ZK_FAULT(ZK_FAULT_FD))
        return -EMFILE;
    return (int)SYS_RETRY(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

int zk__sys_dup_null(void)
{
    if (ZK_FAULT(ZK_FAULT_FD))
        return -EMFILE;
    return (int)SYS_RETRY(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

int zk__sys_signalfd(const sigset_t *set)
{
    if (ZK_FAULT(ZK_FAULT_FD))
        return -EMFILE;
    return (int)SYS_RETRY(signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK));
}
