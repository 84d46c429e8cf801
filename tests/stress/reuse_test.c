/* SPDX-License-Identifier: MIT */
/* Descriptors closed while somebody waits on them, and their numbers used again
 * at once; also closed behind zokio's back. */
#include "stress/stress.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { WAITERS = 2 };

/* ---- zk_close() under waiters ---------------------------------------------- */

/* What a waiter does until its descriptor is closed; `fd` lets nothing in or
 * out, so each of these waits. */
enum { HOW_READ, HOW_WRITE, HOW_POLL, N_HOW };

struct contest {
    zk_fd_t fd;
    int how;
    int result;
    int deadline_us; /* 0: none */
};

static int contest_run(void *arg)
{
    struct contest *c = arg;
    zk_time_t deadline = c->deadline_us != 0 ? zk_after(ZK_US(c->deadline_us))
                                             : BOUND;
    char byte = 'w';

    switch (c->how) {
    case HOW_READ:
        return (int)zk_read(c->fd, &byte, 1, deadline);
    case HOW_WRITE:
        return (int)zk_write(c->fd, &byte, 1, deadline);
    default:
        return zk_wait_fd(c->fd, ZK_READABLE, deadline);
    }
}

struct closer {
    zk_fd_t fd;
    int rc;
};

static int close_task(void *arg)
{
    struct closer *c = arg;

    return c->rc = zk_close(c->fd);
}

static void *close_thread(void *arg)
{
    (void)close_task(arg);
    return NULL;
}

static int unix_pair(zk_fd_t fd[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) <
        0)
        return -1;
    EXPECT_EQ(zk_fd_adopt(fd[0]), 0);
    EXPECT_EQ(zk_fd_adopt(fd[1]), 0);
    return 0;
}

/* Full, in the direction from `fd`. */
static void stuff(zk_fd_t fd)
{
    static const char block[4096];
    int size = 1;

    EXPECT_EQ(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
    while (send(fd, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        ;
    while (send(fd, block, 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        ;
}

/* The new connection of the number works, and nobody else is in it. */
static void pair_check(zk_fd_t fd[2])
{
    char byte = 0;

    EXPECT_EQ(zk_write(fd[0], "n", 1, BOUND), 1);
    EXPECT_EQ(zk_read(fd[1], &byte, 1, BOUND), 1);
    EXPECT_EQ(byte, 'n');
    EXPECT_EQ(zk_write(fd[1], "m", 1, BOUND), 1);
    EXPECT_EQ(zk_read(fd[0], &byte, 1, BOUND), 1);
    EXPECT_EQ(byte, 'm');
}

static void contest_round(uint64_t *random, bool by_thread)
{
    struct contest c[WAITERS];
    struct closer closer;
    zk_task_t tasks[WAITERS], task;
    zk_fd_t old[2], new[2];
    pthread_t thread;

    if (!EXPECT_EQ(unix_pair(old), 0))
        return;
    stuff(old[0]);
    for (int i = 0; i < WAITERS; i++) {
        uint64_t r = stress_random(random);

        c[i] = (struct contest){.fd = old[0],
                                .how = (int)(r >> 8) % N_HOW,
                                .deadline_us = r & 3 ? 0 : (int)(r >> 16) & 63};
        EXPECT_EQ(zk_spawn(&tasks[i], NULL, contest_run, &c[i]), 0);
    }
    for (int i = 0; i < WAITERS; i++)
        stress_await_park(tasks[i]);
    closer.fd = old[0];
    if (by_thread) {
        EXPECT_EQ(pthread_create(&thread, NULL, close_thread, &closer), 0);
    } else {
        EXPECT_EQ(zk_spawn(&task, NULL, close_task, &closer), 0);
        EXPECT_EQ(result_of(task), 0);
        if (EXPECT_EQ(unix_pair(new), 0)) { /* takes the number */
            pair_check(new);
            pair_close(new);
        }
    }
    for (int i = 0; i < WAITERS; i++) {
        c[i].result = result_of(tasks[i]);
        if (c[i].deadline_us == 0 || c[i].result != -ETIMEDOUT)
            EXPECT_EQ(c[i].result, -EBADF);
    }
    if (by_thread) {
        EXPECT_EQ(pthread_join(thread, NULL), 0);
        EXPECT_EQ(closer.rc, 0);
    }
    EXPECT_EQ(zk_close(old[1]), 0);
}

RUN_TEST(waiters_of_a_closed_descriptor_leave_the_number_to_the_next)
{
    uint64_t random = zk_test_seed();
    long rounds = stress_rounds(12000);

    for (long i = 0; i < rounds; i++)
        contest_round(&random, false);
}

RUN_TEST(a_plain_thread_closes_under_waiters)
{
    uint64_t random = zk_test_seed() + 1;
    long rounds = stress_rounds(2000);

    for (long i = 0; i < rounds; i++)
        contest_round(&random, true);
}

/* Many connections at once, closed by whoever: tasks on all workers compete for
 * the lowest numbers. */
struct churn {
    uint64_t random;
    long rounds;
};

static int churn_run(void *arg)
{
    struct churn *c = arg;

    for (long i = 0; i < c->rounds; i++) {
        struct contest reader;
        int side = (int)(stress_random(&c->random) & 1);
        zk_task_t task;
        zk_fd_t fd[2];

        if (!EXPECT_EQ(unix_pair(fd), 0))
            return -1;
        reader = (struct contest){.fd = fd[0], .how = HOW_READ};
        EXPECT_EQ(zk_spawn(&task, NULL, contest_run, &reader), 0);
        stress_await_park(task);
        EXPECT_EQ(zk_close(fd[side]), 0); /* its own end, or the other */
        EXPECT_EQ(result_of(task), side == 0 ? -EBADF : 0);
        EXPECT_EQ(zk_close(fd[1 - side]), 0);
    }
    return 0;
}

RUN_TEST(numbers_go_round_among_many_tasks)
{
    enum { TASKS = 16 };
    struct churn churn[TASKS];
    zk_task_t tasks[TASKS];

    for (int i = 0; i < TASKS; i++) {
        churn[i] = (struct churn){zk_test_seed() + (uint64_t)i,
                                  stress_rounds(80000) / TASKS};
        EXPECT_EQ(zk_spawn(&tasks[i], NULL, churn_run, &churn[i]), 0);
    }
    for (int i = 0; i < TASKS; i++) {
        int result = -1;

        EXPECT_EQ(zk_join(tasks[i], &result, zk_after(ZK_SEC(50))), 0);
        EXPECT_EQ(result, 0);
    }
}

/* ---- close(2) behind our back ------------------------------------------------ */

static int read_awhile(void *arg)
{
    struct contest *c = arg;
    char byte;

    return (int)zk_read(c->fd, &byte, 1, zk_after(ZK_US(c->deadline_us)));
}

static int dial_plain(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    EXPECT_EQ(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static uint16_t port_of(zk_fd_t listener)
{
    struct sockaddr_in at;
    socklen_t length = sizeof(at);

    EXPECT_EQ(getsockname(listener, (struct sockaddr *)&at, &length), 0);
    return ntohs(at.sin_port);
}

/* The reader waits, its descriptor vanishes, accept gives the number anew. */
RUN_TEST(a_number_closed_behind_our_back_serves_the_next_connection)
{
    char text[ZK_ADDR_TEXT], byte = 0;
    zk_fd_t listener = listen_local(text, 0);
    uint16_t port = port_of(listener);
    long rounds = stress_rounds(300);

    for (long i = 0; i < rounds; i++) {
        struct contest reader = {.deadline_us = i % 2 ? 200000 : 900};
        int peer[2] = {dial_plain(port), -1};
        zk_task_t task;
        zk_fd_t fd;
        int rc;

        reader.fd = zk_accept(listener, NULL, BOUND);
        EXPECT_GE(reader.fd, 0);
        EXPECT_EQ(zk_spawn(&task, NULL, read_awhile, &reader), 0);
        stress_await_park(task);
        /* A queued operation names its descriptor by number until the kernel
         * has it; a worker hands it over before it rests. */
        EXPECT_EQ(zk_sleep_until(zk_after(ZK_US(200))), 0);
        peer[1] = dial_plain(port); /* before: its number is not in the way */
        EXPECT_EQ(close(reader.fd), 0);
        fd = zk_accept(listener, NULL, BOUND);
        EXPECT_EQ(fd, reader.fd);
        EXPECT_EQ(write(peer[1], "y", 1), 1);
        EXPECT_EQ(zk_read(fd, &byte, 1, BOUND), 1);
        EXPECT_EQ(byte, 'y');
        rc = result_of(task);
        EXPECT_TRUE(rc == -EBADF || rc == -ETIMEDOUT);
        EXPECT_EQ(zk_close(fd), 0);
        EXPECT_EQ(close(peer[0]), 0);
        EXPECT_EQ(close(peer[1]), 0);
    }
    EXPECT_EQ(zk_close(listener), 0);
}

/* Not adopted, so close(2) is allowed; a duplicate keeps the pipe alive. */
RUN_TEST(a_wait_on_a_foreign_descriptor_ends_though_it_is_closed)
{
    long rounds = stress_rounds(200);

    for (long i = 0; i < rounds; i++) {
        struct contest waiter = {.how = HOW_POLL, .deadline_us = 2000};
        zk_fd_t pair[2];
        zk_task_t task;
        int fd[2], other, rc;

        EXPECT_EQ(pipe(fd), 0);
        other = dup(fd[0]);
        waiter.fd = fd[0];
        EXPECT_EQ(zk_spawn(&task, NULL, contest_run, &waiter), 0);
        stress_await_park(task);
        EXPECT_EQ(close(fd[0]), 0);
        rc = result_of(task);
        EXPECT_TRUE(rc == -ETIMEDOUT || rc == -EBADF);
        EXPECT_EQ(write(fd[1], "x", 1), 1); /* an event that is nobody's */
        if (EXPECT_EQ(unix_pair(pair), 0)) {
            pair_check(pair);
            EXPECT_EQ(zk_sleep_until(zk_after(ZK_US(100))), 0);
            pair_check(pair);
            pair_close(pair);
        }
        EXPECT_EQ(close(other), 0);
        EXPECT_EQ(close(fd[1]), 0);
    }
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(waiters_of_a_closed_descriptor_leave_the_number_to_the_next),
        ZK_CASE(a_plain_thread_closes_under_waiters),
        ZK_CASE(numbers_go_round_among_many_tasks),
        ZK_CASE(a_number_closed_behind_our_back_serves_the_next_connection),
        ZK_CASE(a_wait_on_a_foreign_descriptor_ends_though_it_is_closed));
}
