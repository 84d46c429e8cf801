/* SPDX-License-Identifier: MIT */
/* Peers that are slow, deaf or rude, and a process out of descriptors. */
#include "integration.h"

#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- slow ------------------------------------------------------------------- */

struct drip {
    zk_fd_t fd;
    int count;
    zk_time_t gap;
};

static int drip_bytes(void *arg)
{
    const struct drip *d = arg;

    for (int i = 0; i < d->count; i++) {
        char byte = (char)('a' + i);

        ssize_t n = zk_write(d->fd, &byte, 1, BOUND);

        if (n != 1)
            return n < 0 ? (int)n : -EIO;
        if (zk_sleep_until(zk_after(d->gap)) < 0)
            return -ECANCELED;
    }
    return 0;
}

RUN_TEST(a_byte_now_and_then_is_read_as_it_comes)
{
    struct drip drip = {.count = 5, .gap = ZK_MS(20)};
    zk_task_t task;
    char buf[5];
    size_t done = 0;
    zk_time_t start = zk_now();
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    drip.fd = fd[0];
    EXPECT_EQ(zk_spawn(&task, NULL, drip_bytes, &drip), 0);
    EXPECT_EQ(zk_read_full(fd[1], buf, sizeof(buf), &done, BOUND), 0);
    EXPECT_GE(zk_now() - start, 4 * drip.gap);
    EXPECT_EQ(done, 5);
    EXPECT_EQ(memcmp(buf, "abcde", 5), 0);
    EXPECT_EQ(result_of(task), 0);
    pair_close(fd);
}

/* Each byte resets nothing: the deadline is for the whole. */
RUN_TEST(a_dripping_peer_does_not_stretch_a_deadline)
{
    struct drip drip = {.count = 1000, .gap = ZK_MS(5)};
    zk_task_t task;
    static char buf[1000];
    size_t done = 0;
    zk_time_t deadline;
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    drip.fd = fd[0];
    EXPECT_EQ(zk_spawn(&task, NULL, drip_bytes, &drip), 0);
    deadline = zk_after(ZK_MS(60));
    EXPECT_EQ(zk_read_full(fd[1], buf, sizeof(buf), &done, deadline),
              -ETIMEDOUT);
    EXPECT_GE(zk_now(), deadline);
    EXPECT_LT(zk_now() - deadline, ZK_SEC(1));
    EXPECT_GE(done, 1);
    EXPECT_LT(done, sizeof(buf));
    EXPECT_EQ(cancel_and_join(task), -ECANCELED);
    pair_close(fd);
}

/* ---- deaf, and rude ---------------------------------------------------------- */

static int write_for_ever(void *arg)
{
    static const char block[65536];
    zk_fd_t fd = (zk_fd_t)(intptr_t)arg;
    int rc;

    do
        rc = zk_write_all(fd, block, sizeof(block), NULL, BOUND);
    while (rc == 0);
    return rc;
}

/* Deaf ones must not hold up the one that listens. */
RUN_TEST(a_peer_that_never_reads_stops_its_own_writer_only)
{
    enum { DEAF = 4 };
    zk_fd_t deaf[DEAF][2], fd[2];
    zk_task_t writers[DEAF];
    char byte = 'x';

    for (int i = 0; i < DEAF; i++) {
        if (!tcp_pair(deaf[i]))
            return;
        EXPECT_EQ(zk_spawn(&writers[i], NULL, write_for_ever,
                           (void *)(intptr_t)deaf[i][0]),
                  0);
    }
    if (!tcp_pair(fd))
        return;
    for (int i = 0; i < 200; i++) {
        EXPECT_EQ(zk_write(fd[0], &byte, 1, BOUND), 1);
        EXPECT_EQ(zk_read(fd[1], &byte, 1, BOUND), 1);
    }
    pair_close(fd);
    for (int i = 0; i < DEAF; i++) {
        EXPECT_EQ(zk_close(deaf[i][0]), 0);
        EXPECT_EQ(result_of(writers[i]), -EBADF);
        EXPECT_EQ(zk_close(deaf[i][1]), 0);
    }
}

RUN_TEST(a_reset_amid_writes_ends_the_writer_with_an_error)
{
    for (int i = 0; i < 50; i++) {
        static char block[65536];
        zk_task_t writer;
        zk_fd_t fd[2];
        int rc;

        if (!tcp_pair(fd))
            return;
        EXPECT_EQ(
            zk_spawn(&writer, NULL, write_for_ever, (void *)(intptr_t)fd[0]),
            0);
        for (int k = i % 5; k > 0; k--)
            EXPECT_GT(zk_read(fd[1], block, sizeof(block), BOUND), 0);
        EXPECT_EQ(zk_sock_set(fd[1], ZK_SOCK_LINGER, 0), 0);
        EXPECT_EQ(zk_close(fd[1]), 0);
        rc = result_of(writer);
        EXPECT_TRUE(rc == -ECONNRESET || rc == -EPIPE);
        EXPECT_EQ(zk_write(fd[0], block, 1, BOUND), -EPIPE);
        EXPECT_EQ(zk_close(fd[0]), 0);
    }
}

/* ---- out of descriptors ------------------------------------------------------- */

enum { QUEUED = 6 };

struct server {
    zk_fd_t listener;
    zk_fd_t taken[QUEUED];
    atomic_int n;
};

static int accept_all(void *arg)
{
    struct server *s = arg;

    for (int i = 0; i < QUEUED; i++) {
        zk_fd_t fd = zk_accept(s->listener, NULL, BOUND);

        if (fd < 0)
            return fd;
        s->taken[atomic_fetch_add(&s->n, 1)] = fd;
    }
    return 0;
}

/* Descriptors up to the limit; how many. */
static int take_all(int *spent, int max)
{
    int n = 0, fd;

    while (n < max && (fd = dup(STDERR_FILENO)) >= 0)
        spent[n++] = fd;
    EXPECT_LT(n, max);
    EXPECT_EQ(errno, EMFILE);
    return n;
}

static struct rlimit limit_set(rlim_t soft)
{
    struct rlimit old, limit;

    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    limit = (struct rlimit){.rlim_cur = soft, .rlim_max = old.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return old;
}

RUN_TEST(accept_waits_at_the_limit_and_goes_on_below_it)
{
    static struct server server;
    static int spent[256];
    char text[ZK_ADDR_TEXT];
    zk_fd_t peers[QUEUED];
    struct rlimit old;
    zk_task_t task;
    int n;

    atomic_store(&server.n, 0);
    server.listener = listen_local(text, 0);
    for (int i = 0; i < QUEUED; i++)
        EXPECT_GE(peers[i] = zk_dial_tcp(text, BOUND), 0);
    old = limit_set(200);
    n = take_all(spent, 256);
    EXPECT_EQ(zk_spawn(&task, NULL, accept_all, &server), 0);
    EXPECT_EQ(zk_join(task, NULL, zk_after(ZK_MS(50))), -ETIMEDOUT);
    /* The monitor may have held one for a moment: it reads /proc. */
    EXPECT_LE(atomic_load(&server.n), 1);
    for (int k = 0; k < 2; k++) /* room for two */
        EXPECT_EQ(close(spent[--n]), 0);
    while (atomic_load(&server.n) < 2)
        EXPECT_EQ(zk_sleep_until(zk_after(ZK_MS(1))), 0);
    EXPECT_EQ(zk_join(task, NULL, zk_after(ZK_MS(50))), -ETIMEDOUT);
    EXPECT_LE(atomic_load(&server.n), 3);
    while (n > 0)
        EXPECT_EQ(close(spent[--n]), 0);
    EXPECT_EQ(result_of(task), 0);
    EXPECT_EQ(atomic_load(&server.n), QUEUED);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    for (int i = 0; i < QUEUED; i++) {
        EXPECT_EQ(zk_close(peers[i]), 0);
        EXPECT_EQ(zk_close(server.taken[i]), 0);
    }
    EXPECT_EQ(zk_close(server.listener), 0);
}

RUN_TEST(accept_reports_the_limit_if_asked_to)
{
    const zk_listen_opts_t opts = {.flags = ZK_ACCEPT_REPORT};
    static int spent[256];
    zk_fd_t listener, peer, fd;
    char text[ZK_ADDR_TEXT];
    struct rlimit old;
    zk_addr_t addr;
    int n;

    EXPECT_GE(listener = zk_listen_tcp("127.0.0.1:0", &opts), 0);
    EXPECT_EQ(zk_sock_local(listener, &addr), 0);
    EXPECT_GT(zk_addr_format(&addr, text, sizeof(text)), 0);
    EXPECT_GE(peer = zk_dial_tcp(text, BOUND), 0);
    old = limit_set(200);
    n = take_all(spent, 256);
    EXPECT_EQ(zk_accept(listener, NULL, BOUND), -EMFILE);
    EXPECT_EQ(zk_dial_tcp(text, BOUND), -EMFILE);
    while (n > 0)
        EXPECT_EQ(close(spent[--n]), 0);
    EXPECT_GE(fd = zk_accept(listener, NULL, BOUND), 0); /* nothing was lost */
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    EXPECT_EQ(zk_close(fd), 0);
    EXPECT_EQ(zk_close(peer), 0);
    EXPECT_EQ(zk_close(listener), 0);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(a_byte_now_and_then_is_read_as_it_comes),
        ZK_CASE(a_dripping_peer_does_not_stretch_a_deadline),
        ZK_CASE(a_peer_that_never_reads_stops_its_own_writer_only),
        ZK_CASE(a_reset_amid_writes_ends_the_writer_with_an_error),
        ZK_CASE(accept_waits_at_the_limit_and_goes_on_below_it),
        ZK_CASE(accept_reports_the_limit_if_asked_to));
}
