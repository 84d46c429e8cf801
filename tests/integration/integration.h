/* SPDX-License-Identifier: MIT */
/*
 * integration.h - what the tests of whole runtimes share.
 *
 * They use the public headers alone, run on the backend and the number of
 * workers of the environment, and leave no descriptor behind. To act on a task
 * "while it waits" they look at the count of parks, so nothing sleeps to give
 * another time. A wait that must end otherwise has BOUND as its deadline: a
 * failure is then an -ETIMEDOUT and not a program that hangs.
 */
#ifndef ZK_INTEGRATION_H
#define ZK_INTEGRATION_H

#include "zk_test.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>

#include <zokio.h>

#define BOUND zk_after(ZK_SEC(10))
#define PAST zk_after(-1)

/* A test that is the main task of a runtime with all defaults. */
#define RUN_TEST(name) RUN_TEST_CONFIG(name, .workers = 0)

/* ... or with fields of zk_config_t. */
#define RUN_TEST_CONFIG(name, ...)                                             \
    static void name##_steps(void);                                            \
    static int name##_task(void *arg)                                          \
    {                                                                          \
        (void)arg;                                                             \
        name##_steps();                                                        \
        return 0;                                                              \
    }                                                                          \
    ZK_TEST(name)                                                              \
    {                                                                          \
        const zk_config_t cfg = {__VA_ARGS__};                                 \
        int fds = zk_test_open_fds();                                          \
                                                                               \
        EXPECT_EQ(zk_run(&cfg, name##_task, NULL), 0);                         \
        EXPECT_EQ(zk_test_open_fds(), fds);                                    \
    }                                                                          \
    static void name##_steps(void)

/* How many waits of tasks of `rt` have really waited. */
static inline uint64_t parks_of(const zk_runtime_t *rt)
{
    zk_stats_t stats;

    zk_runtime_stats(rt, &stats);
    return stats.parks;
}

static inline uint64_t parks_now(void)
{
    return parks_of(zk_runtime_current());
}

/* Until `count` more waits have begun; on a task or a plain thread. */
static inline void parks_await(const zk_runtime_t *rt, uint64_t before,
                               uint64_t count)
{
    zk_time_t bound = BOUND;

    while (parks_of(rt) < before + count && zk_now() < bound) {
        if (zk_yield() < 0)
            sched_yield();
    }
    EXPECT_GE(parks_of(rt), before + count);
}

/* Start a task and return when it waits. */
static inline zk_task_t spawn_parked(int (*fn)(void *), void *arg)
{
    uint64_t before = parks_now();
    zk_task_t task = {NULL, 0};

    EXPECT_EQ(zk_spawn(&task, NULL, fn, arg), 0);
    parks_await(zk_runtime_current(), before, 1);
    return task;
}

/* What a task returned; INT_MIN if it does not end. */
static inline int result_of(zk_task_t task)
{
    int result = INT_MIN;

    EXPECT_EQ(zk_join(task, &result, BOUND), 0);
    return result;
}

static inline int cancel_and_join(zk_task_t task)
{
    EXPECT_EQ(zk_cancel(task), 0);
    return result_of(task);
}

static inline int sleep_for_ever(void *arg)
{
    (void)arg;
    return zk_sleep_until(ZK_FOREVER);
}

/* A listener on a free port of 127.0.0.1, and its address as text. */
static inline zk_fd_t listen_local(char text[ZK_ADDR_TEXT], uint32_t backlog)
{
    zk_listen_opts_t opts = {.backlog = backlog};
    zk_fd_t listener = zk_listen_tcp("127.0.0.1:0", &opts);
    zk_addr_t addr;

    EXPECT_GE(listener, 0);
    EXPECT_EQ(zk_sock_local(listener, &addr), 0);
    EXPECT_GT(zk_addr_format(&addr, text, ZK_ADDR_TEXT), 0);
    return listener;
}

/* Two ends of a TCP connection: fd[0] dialled, fd[1] accepted. */
static inline bool tcp_pair(zk_fd_t fd[2])
{
    char text[ZK_ADDR_TEXT];
    zk_fd_t listener = listen_local(text, 0);

    fd[0] = zk_dial_tcp(text, BOUND);
    fd[1] = zk_accept(listener, NULL, BOUND);
    EXPECT_EQ(zk_close(listener), 0);
    return EXPECT_GE(fd[0], 0) && EXPECT_GE(fd[1], 0);
}

static inline void pair_close(const zk_fd_t fd[2])
{
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
}

/*
 * Write until our buffer and the peer's are full; the bytes that went. The
 * kernel calls a socket writable only when a good part of its buffer is free,
 * so after a wait in vain a single byte may still fit.
 */
static inline size_t fill(zk_fd_t fd)
{
    static const char block[65536];
    size_t sum = 0;
    ssize_t n;

    do {
        while ((n = zk_write(fd, block, sizeof(block), zk_after(ZK_MS(50)))) >
               0)
            sum += (size_t)n;
        EXPECT_EQ(n, -ETIMEDOUT);
        n = zk_write(fd, block, 1, PAST);
        sum += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    EXPECT_EQ(n, -ETIMEDOUT);
    return sum;
}

/* One call of zk_read(), zk_write() ... for a task of its own. */
struct call {
    zk_fd_t fd;
    void *buf;
    size_t len;
    unsigned events;
    const char *addr;
};

static inline int call_read(void *arg)
{
    struct call *c = arg;

    return (int)zk_read(c->fd, c->buf, c->len, BOUND);
}

static inline int call_write(void *arg)
{
    struct call *c = arg;

    return (int)zk_write(c->fd, c->buf, c->len, BOUND);
}

static inline int call_wait_fd(void *arg)
{
    struct call *c = arg;

    return zk_wait_fd(c->fd, c->events, BOUND);
}

static inline int call_accept(void *arg)
{
    struct call *c = arg;

    return zk_accept(c->fd, NULL, BOUND);
}

static inline int call_dial(void *arg)
{
    struct call *c = arg;

    return zk_dial_tcp(c->addr, BOUND);
}

#endif
