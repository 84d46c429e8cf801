/* SPDX-License-Identifier: MIT */
/*
 * platform.h - one contract for what the operating system gives.
 *
 * Only src/platform reads errno: every call here returns a value >= 0 or
 * -errno, and retries EINTR by itself unless it says otherwise. None of them
 * may be inlined into code that switches tasks.
 */
#ifndef ZK_PLATFORM_PLATFORM_H
#define ZK_PLATFORM_PLATFORM_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "utils/atomic.h"
#include "zokio/base.h"

/* ---- clock (clock.c) ----------------------------------------------------- */

zk_time_t zk__clock_now(void); /* CLOCK_MONOTONIC */

/* ---- memory (vm.c) ------------------------------------------------------- */

enum zk_vm_flags {
    ZK_VM_STACK = 1u << 0, /* MAP_STACK | MAP_NORESERVE, NOHUGEPAGE */
    ZK_VM_HUGE = 1u << 1,  /* advise huge pages */
};

enum zk_guard_kind {
    ZK_GUARD_NONE,
    ZK_GUARD_MPROTECT,
    ZK_GUARD_MADVISE,
};

size_t zk__vm_page_size(void);
/* Readable, writable, zeroed, aligned to `align` (a power of two, 0: page). */
int zk__vm_map(void **out, size_t size, size_t align, unsigned flags);
void zk__vm_unmap(void *addr, size_t size);
/* Give pages back; they read as zero afterwards. */
int zk__vm_discard(void *addr, size_t size);
/* Resident bytes of a page-aligned range, by mincore(). */
size_t zk__vm_resident(void *addr, size_t size);
/* Best guard that has an effect here, enum zk_guard_kind; probed once, by its
 * effect. -EMFILE and the like: no descriptor to probe with. */
int zk__vm_guard_probe(void);
/* -EOPNOTSUPP for ZK_GUARD_NONE. */
int zk__vm_guard(enum zk_guard_kind kind, void *addr, size_t size);
/* How many mprotect guards fit under vm.max_map_count; never below 64. */
size_t zk__vm_guard_budget(void);

/* ---- threads (thread.c) -------------------------------------------------- */

typedef struct zk_thread {
    uintptr_t handle;
} zk_thread_t;

typedef void *(*zk_thread_fn)(void *);

/* `stack_size` 0: the system's. `name` up to 15 bytes. All signals but the
 * synchronous ones, SIGPROF and SIGURG are blocked in the new thread. */
int zk__thread_create(zk_thread_t *out, zk_thread_fn fn, void *arg,
                      size_t stack_size, const char *name);
void zk__thread_join(zk_thread_t thread);
zk_thread_t zk__thread_self(void);
int zk__thread_signal(zk_thread_t thread, int signo); /* pthread_kill */
uint32_t zk__thread_kernel_id(void);                  /* gettid */
int zk__thread_timer_slack(uint64_t nanoseconds);
void zk__thread_yield(void);

/* Plain mutex and condition for cold paths. */
struct zk_mutex_os {
    _Atomic uint32_t word; /* 0 free, 1 held, 2 held with waiters */
};
void zk__mutex_lock(struct zk_mutex_os *m);
void zk__mutex_unlock(struct zk_mutex_os *m);

/* Sleep while *word == expected. 0 woken or changed or spurious; -ETIMEDOUT.
 * `deadline` on zk__clock_now(); ZK_FOREVER waits without end. */
int zk__futex_wait(_Atomic uint32_t *word, uint32_t expected,
                   zk_time_t deadline);
void zk__futex_wake(_Atomic uint32_t *word, int count);

/* Every running thread of the process has executed a full barrier when this
 * returns. -ENOSYS where the kernel has none. */
int zk__membarrier_init(void);
int zk__membarrier(void);

/* ---- processors (cpu.c) -------------------------------------------------- */

/* Processors this process may use: affinity mask and cgroup quota. >= 1. */
unsigned zk__cpu_usable(void);
/* Bind the calling thread to the `index`-th processor of the process's mask,
 * modulo their number. */
int zk__cpu_bind(unsigned index);
/* Back to the process's mask. */
int zk__cpu_unbind(void);
/* The narrowest cgroup quota, rounded up; 0: none. The files are those of
 * /proc/self, cgroup and mountinfo. */
unsigned zk__cpu_quota(const char *groups, const char *mounts);
/* "blocked in a system call" or not: the state of a thread of this process,
 * from /proc. 'R', 'S', 'D' ...; 0 if it cannot be told. */
char zk__thread_state(uint32_t kernel_id);
/* Processor time of a thread of this process; 0 if it cannot be told. */
zk_time_t zk__thread_cpu_time(uint32_t kernel_id);

/* ---- environment (env.c) ------------------------------------------------- */

/* NULL if unset, empty, or the process runs with raised privileges. */
const char *zk__env(const char *name);
/* Seed from the system. */
uint64_t zk__random_seed(void);
void zk__stderr_line(const char *text); /* one write(), newline added */

/* ---- descriptors (sys.c) ------------------------------------------------- */
/* The retry of EINTR is inside. MSG_NOSIGNAL is added to every send. */

ssize_t zk__sys_read(int fd, void *buf, size_t len);
ssize_t zk__sys_write(int fd, const void *buf, size_t len);
ssize_t zk__sys_readv(int fd, const struct iovec *iov, int count);
ssize_t zk__sys_writev(int fd, const struct iovec *iov, int count);
/* RWF_NOWAIT: -EAGAIN instead of waiting, -EOPNOTSUPP where it can't. */
ssize_t zk__sys_readv_nowait(int fd, const struct iovec *iov, int count);
ssize_t zk__sys_writev_nowait(int fd, const struct iovec *iov, int count);
/* MSG_DONTWAIT */
ssize_t zk__sys_recv(int fd, void *buf, size_t len);
ssize_t zk__sys_send(int fd, const void *buf, size_t len);
ssize_t zk__sys_recvv(int fd, const struct iovec *iov, int count);
ssize_t zk__sys_sendv(int fd, const struct iovec *iov, int count);
int zk__sys_socket(int domain, int type, int protocol); /* CLOEXEC, NONBLOCK */
int zk__sys_bind(int fd, const struct sockaddr *addr, socklen_t len);
int zk__sys_listen(int fd, int backlog);
int zk__sys_accept(int fd, struct sockaddr *addr, socklen_t *len);
int zk__sys_connect(int fd, const struct sockaddr *addr, socklen_t len);
int zk__sys_shutdown(int fd, int how);
int zk__sys_getsockopt(int fd, int level, int name, void *v, socklen_t *n);
int zk__sys_setsockopt(int fd, int level, int name, const void *v, socklen_t n);
int zk__sys_getsockname(int fd, struct sockaddr *addr, socklen_t *len);
int zk__sys_getpeername(int fd, struct sockaddr *addr, socklen_t *len);
/* Never retried on EINTR: the descriptor is gone. EINTR counts as 0. */
int zk__sys_close(int fd);
/* POLL* events; `timeout_ms` -1 waits. 0 timed out, > 0 revents, -errno. */
int zk__sys_poll(int fd, short events, int timeout_ms);
/* O_NONBLOCK set? 0, 1 or -errno. */
int zk__sys_is_nonblocking(int fd);

enum zk_fd_kind {
    ZK_FD_UNKNOWN = 0, /* not looked at yet */
    ZK_FD_SOCKET,
    ZK_FD_LISTENER, /* a listening stream socket */
    ZK_FD_PIPE,     /* pipe, fifo, terminal, eventfd, ...: pollable */
    ZK_FD_FILE,     /* regular file, directory, block device: always ready */
    ZK_FD_SIM,      /* a stream of the simulator: no kernel object */
};
/* By fstat() and SO_ACCEPTCONN; or -EBADF. */
int zk__sys_kind(int fd);

int zk__sys_epoll_create(void);
struct epoll_event;
int zk__sys_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev);
/* Not retried: EINTR counts as 0 events. `timeout_ns` -1 waits. By
 * epoll_pwait2() where the kernel has it, else rounded up to milliseconds. */
int zk__sys_epoll_wait(int ep, struct epoll_event *ev, int max,
                       int64_t timeout_ns);
int zk__sys_eventfd(void);  /* CLOEXEC, NONBLOCK */
int zk__sys_dup(int fd);    /* CLOEXEC */
int zk__sys_dup_null(void); /* a descriptor on /dev/null, to hold in reserve */
int zk__sys_signalfd(const sigset_t *set);

/* ---- signals (signal.c) -------------------------------------------------- */

/* Block all but synchronous, SIGPROF and SIGURG in this thread. */
void zk__signal_mask(sigset_t *saved);
/* Take pending SIGPIPE of this thread, then restore. */
void zk__signal_unmask(const sigset_t *saved);
/* A signal stack for the calling thread, >= AT_MINSIGSTKSZ + 32 KiB. */
int zk__sigaltstack_install(void **memory);
void zk__sigaltstack_remove(void *memory);

/*
 * Called on the signal stack with the address that faulted. True if it was
 * ours and has been reported; then the previous handler goes next, which ends
 * the process by default.
 */
typedef bool (*zk_fault_fn)(uintptr_t address, uintptr_t stack_pointer);
/* Counted: several runtimes install it once. */
int zk__fault_handler_install(zk_fault_fn fn);
void zk__fault_handler_remove(void);
/* Text to standard error from a signal handler. */
void zk__signal_write(const char *text, size_t len);

#endif
