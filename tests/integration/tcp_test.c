/* SPDX-License-Identifier: MIT */
/* Addresses, listening, dialling, and data over TCP. What happens when a call
 * cannot finish is in tcp_limits_test.c. */
#include "integration.h"

#include <fcntl.h>
#include <stdio.h>

/* ---- addresses ---------------------------------------------------------- */

ZK_TEST(addresses_are_read_and_printed)
{
    /* text, and how it is printed */
    static const char *const texts[][2] = {
        {"127.0.0.1:80", "127.0.0.1:80"},
        {"0.0.0.0:0", "0.0.0.0:0"},
        {"255.255.255.255:65535", "255.255.255.255:65535"},
        {"[::1]:80", "[::1]:80"},
        {"[::]:1", "[::]:1"},
        {"[0:0:0:0:0:0:0:1]:443", "[::1]:443"},
        {"[2001:DB8::5]:8080", "[2001:db8::5]:8080"},
    };
    char text[ZK_ADDR_TEXT];
    zk_addr_t addr;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int len = (int)strlen(texts[i][1]);

        EXPECT_EQ(zk_addr_parse(texts[i][0], &addr), 0);
        EXPECT_EQ(zk_addr_format(&addr, text, sizeof(text)), len);
        EXPECT_STR_EQ(text, texts[i][1]);
        memset(text, '?', sizeof(text));
        EXPECT_EQ(zk_addr_format(&addr, text, (size_t)len), -ENOSPC);
        EXPECT_EQ(text[0], '?');
        EXPECT_EQ(zk_addr_format(&addr, text, (size_t)len + 1), len);
    }
    EXPECT_EQ(zk_addr_parse("localhost:80", &addr), 0);
    EXPECT_EQ(zk_addr_parse("*:80", &addr), 0);
    addr = (zk_addr_t){0};
    EXPECT_EQ(zk_addr_format(&addr, text, sizeof(text)), -EINVAL);
}

static const char *const no_addresses[] = {
    "",
    ":",
    ":80",
    "127.0.0.1",
    "127.0.0.1:",
    "127.0.0.1:-1",
    "127.0.0.1:65536",
    "127.0.0.1:99999999999999999999",
    "127.0.0.1:80x",
    "127.0.0.1: 80",
    "127.0.0.1:0x50",
    "127.0.0.256:80",
    "127.0.0:80",
    "::1:80",
    "[::1]",
    "[::1]80",
    "[::1:80",
    "[::g]:80",
    "[]:80",
    "[127.0.0.1]:80",
    "a name to look up:80",
    "1111111111111111111111111111111111111111111111111111111111111111111111:1",
};

RUN_TEST(what_is_no_address_is_refused)
{
    for (size_t i = 0; i < sizeof(no_addresses) / sizeof(char *); i++) {
        const char *text = no_addresses[i];
        zk_addr_t addr = {.length = 77};

        if (!EXPECT_EQ(zk_addr_parse(text, &addr), -EINVAL) ||
            !EXPECT_EQ(addr.length, 77) ||
            !EXPECT_EQ(zk_listen_tcp(text, NULL), -EINVAL) ||
            !EXPECT_EQ(zk_dial_tcp(text, BOUND), -EINVAL))
            EXPECT_STR_EQ(text, "refused");
    }
}

/* ---- making connections ------------------------------------------------- */

static void text_of(int rc, const zk_addr_t *addr, char text[ZK_ADDR_TEXT])
{
    EXPECT_EQ(rc, 0);
    EXPECT_GT(zk_addr_format(addr, text, ZK_ADDR_TEXT), 0);
}

/* Listen on `where`, dial `to` with the port that it got, compare addresses. */
static void meet(const char *where, const char *to, const char *prefix)
{
    char bound[ZK_ADDR_TEXT], a[ZK_ADDR_TEXT], b[ZK_ADDR_TEXT], dial[128];
    zk_fd_t listener = zk_listen_tcp(where, NULL), fd[2];
    zk_addr_t addr, peer;

    if (!EXPECT_GE(listener, 0))
        return;
    text_of(zk_sock_local(listener, &addr), &addr, bound);
    EXPECT_NE(strcmp(strrchr(bound, ':'), ":0"), 0);
    snprintf(dial, sizeof(dial), "%s%s", to, strrchr(bound, ':'));
    fd[0] = zk_dial_tcp(dial, BOUND);
    fd[1] = zk_accept(listener, &peer, BOUND);
    if (EXPECT_GE(fd[0], 0) && EXPECT_GE(fd[1], 0)) {
        text_of(0, &peer, a);
        text_of(zk_sock_peer(fd[1], &addr), &addr, b);
        EXPECT_STR_EQ(a, b);
        text_of(zk_sock_local(fd[0], &addr), &addr, b);
        EXPECT_STR_EQ(strrchr(a, ':'), strrchr(b, ':'));
        EXPECT_EQ(strncmp(b, prefix, strlen(prefix)), 0);
        text_of(zk_sock_peer(fd[0], &addr), &addr, a);
        text_of(zk_sock_local(fd[1], &addr), &addr, b);
        EXPECT_STR_EQ(strrchr(a, ':'), strrchr(b, ':'));
        EXPECT_STR_EQ(strrchr(a, ':'), strrchr(bound, ':'));
        pair_close(fd);
    }
    EXPECT_EQ(zk_close(listener), 0);
}

RUN_TEST(peers_know_each_others_addresses)
{
    meet("127.0.0.1:0", "127.0.0.1", "127.0.0.1:");
    meet("[::1]:0", "[::1]", "[::1]:");
    meet("*:0", "127.0.0.1", "127.0.0.1:");
    meet("*:0", "[::1]", "[::1]:");
    meet("127.0.0.1:0", "localhost", "127.0.0.1:");
    meet("[::1]:0", "localhost", "[::1]:");
    meet("localhost:0", "localhost", "");
}

RUN_TEST(new_descriptors_are_ready_for_use)
{
    zk_fd_t fd[2];
    int value = -1;

    if (!tcp_pair(fd))
        return;
    for (int i = 0; i < 2; i++) {
        EXPECT_TRUE(fcntl(fd[i], F_GETFD) & FD_CLOEXEC);
        EXPECT_TRUE(fcntl(fd[i], F_GETFL) & O_NONBLOCK);
        EXPECT_EQ(zk_sock_get(fd[i], ZK_SOCK_NODELAY, &value), 0);
        EXPECT_EQ(value, 1);
    }
    pair_close(fd);
}

RUN_TEST(a_taken_port_is_refused_unless_shared)
{
    const zk_listen_opts_t share = {.flags = ZK_LISTEN_REUSEPORT};
    const zk_listen_opts_t alone = {.flags = ZK_LISTEN_V6ONLY};
    char text[ZK_ADDR_TEXT], v4[ZK_ADDR_TEXT + 16];
    zk_fd_t one = listen_local(text, 0), two;
    zk_addr_t addr;

    EXPECT_EQ(zk_listen_tcp(text, NULL), -EADDRINUSE);
    EXPECT_EQ(zk_close(one), 0);
    one = zk_listen_tcp(text, &share); /* free again, at once */
    EXPECT_GE(one, 0);
    two = zk_listen_tcp(text, &share);
    EXPECT_GE(two, 0);
    EXPECT_EQ(zk_close(one), 0);
    EXPECT_EQ(zk_close(two), 0);
    one = zk_listen_tcp("[::]:0", &alone);
    EXPECT_GE(one, 0);
    text_of(zk_sock_local(one, &addr), &addr, text);
    snprintf(v4, sizeof(v4), "127.0.0.1%s", strrchr(text, ':'));
    EXPECT_EQ(zk_dial_tcp(v4, BOUND), -ECONNREFUSED);
    EXPECT_EQ(zk_close(one), 0);
}

RUN_TEST(bad_listen_options_are_refused)
{
    const zk_listen_opts_t bad[] = {
        {.flags = 1u << 31},
        {.reserved = {1}},
        {.reserved = {0, 0, 0, 0, 0, 0, 0, 1}},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        EXPECT_EQ(zk_listen_tcp("127.0.0.1:0", &bad[i]), -EINVAL);
}

RUN_TEST(nobody_listening_is_a_refusal)
{
    char text[ZK_ADDR_TEXT];
    zk_fd_t listener = listen_local(text, 0);

    EXPECT_EQ(zk_close(listener), 0);
    for (int i = 0; i < 20; i++)
        EXPECT_EQ(zk_dial_tcp(text, BOUND), -ECONNREFUSED);
}

RUN_TEST(many_tasks_accept_on_one_listener)
{
    enum { PEERS = 20 };
    char text[ZK_ADDR_TEXT];
    struct call acceptor = {.fd = listen_local(text, 0)};
    zk_task_t tasks[PEERS];
    zk_fd_t peers[PEERS], fd;

    for (int i = 0; i < PEERS; i++)
        tasks[i] = spawn_parked(call_accept, &acceptor);
    for (int i = 0; i < PEERS; i++)
        EXPECT_GE(peers[i] = zk_dial_tcp(text, BOUND), 0);
    for (int i = 0; i < PEERS; i++) {
        EXPECT_GE(fd = result_of(tasks[i]), 0);
        EXPECT_EQ(zk_close(fd), 0);
        EXPECT_EQ(zk_close(peers[i]), 0);
    }
    EXPECT_EQ(zk_close(acceptor.fd), 0);
}

/* ---- data --------------------------------------------------------------- */

static int echo(void *arg)
{
    zk_fd_t fd = *(zk_fd_t *)arg;
    char buf[1000];
    ssize_t n;
    int rc = 0;

    while (rc == 0 && (n = zk_read(fd, buf, sizeof(buf), BOUND)) > 0)
        rc = zk_write_all(fd, buf, (size_t)n, NULL, BOUND);
    return rc < 0 ? rc : (int)n;
}

RUN_TEST(what_is_written_is_read)
{
    char out[3000], in[3000];
    size_t done = 0;
    zk_task_t task;
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    EXPECT_EQ(zk_spawn(&task, NULL, echo, &fd[1]), 0);
    for (size_t len = 1; len <= sizeof(out); len += 1 + len / 3) {
        memset(out, (int)('a' + len % 26), len);
        EXPECT_EQ(zk_write_all(fd[0], out, len, &done, BOUND), 0);
        EXPECT_EQ(done, len);
        EXPECT_EQ(zk_read_full(fd[0], in, len, &done, BOUND), 0);
        EXPECT_EQ(done, len);
        EXPECT_EQ(memcmp(in, out, len), 0);
    }
    EXPECT_EQ(zk_shutdown(fd[0], ZK_SHUTDOWN_WRITE), 0);
    EXPECT_EQ(result_of(task), 0);
    pair_close(fd);
}

RUN_TEST(vectors_are_gathered_and_scattered_in_order)
{
    char a[3], b[1], c[8] = "........";
    struct iovec out[3] = {{(void *)(uintptr_t) "one", 3},
                           {NULL, 0},
                           {(void *)(uintptr_t) "two!", 4}};
    struct iovec in[3] = {{a, 3}, {b, 1}, {c, 8}};
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    EXPECT_EQ(zk_writev(fd[0], out, 3, BOUND), 7);
    EXPECT_EQ(zk_readv(fd[1], in, 3, BOUND), 7);
    EXPECT_EQ(memcmp(a, "one", 3), 0);
    EXPECT_EQ(b[0], 't');
    EXPECT_EQ(memcmp(c, "wo!.....", 8), 0);
    pair_close(fd);
}

RUN_TEST(bad_buffers_are_refused_and_empty_ones_do_nothing)
{
    struct iovec iov[1] = {{NULL, 0}};
    char byte = 'x';
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    EXPECT_EQ(zk_read(fd[0], NULL, 1, BOUND), -EINVAL);
    EXPECT_EQ(zk_write(fd[0], NULL, 1, BOUND), -EINVAL);
    EXPECT_EQ(zk_readv(fd[0], NULL, 1, BOUND), -EINVAL);
    EXPECT_EQ(zk_writev(fd[0], NULL, 1, BOUND), -EINVAL);
    for (int count = 0; count < 2000; count += 1025) {
        EXPECT_EQ(zk_readv(fd[0], iov, count, BOUND), -EINVAL);
        EXPECT_EQ(zk_writev(fd[0], iov, count, BOUND), -EINVAL);
    }
    EXPECT_EQ(zk_readv(fd[0], iov, -1, BOUND), -EINVAL);
    EXPECT_EQ(zk_writev(fd[0], iov, -1, BOUND), -EINVAL);
    EXPECT_EQ(zk_read(fd[0], &byte, 0, BOUND), 0);
    EXPECT_EQ(zk_read(fd[0], NULL, 0, BOUND), 0);
    EXPECT_EQ(zk_write(fd[0], &byte, 0, BOUND), 0);
    EXPECT_EQ(zk_write_all(fd[0], NULL, 0, NULL, BOUND), 0);
    EXPECT_EQ(zk_read_full(fd[0], NULL, 0, NULL, BOUND), 0);
    EXPECT_EQ(zk_read(fd[1], &byte, 1, PAST), -ETIMEDOUT); /* none arrived */
    pair_close(fd);
}

#define BULK ((size_t)8 << 20)

static char bulk_byte(size_t at)
{
    return (char)(at * 2654435761u >> 13);
}

static int send_bulk(void *arg)
{
    char *data = malloc(BULK);
    size_t done = 0;
    int rc;

    for (size_t i = 0; i < BULK; i++)
        data[i] = bulk_byte(i);
    rc = zk_write_all(*(zk_fd_t *)arg, data, BULK, &done, BOUND);
    EXPECT_EQ(done, BULK);
    free(data);
    return rc;
}

static int receive_bulk(void *arg)
{
    zk_fd_t fd = *(zk_fd_t *)arg;
    char buf[5000];
    size_t sum = 0;
    ssize_t n;

    while (sum < BULK && (n = zk_read(fd, buf, sizeof(buf), BOUND)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (buf[i] != bulk_byte(sum + (size_t)i))
                return -EILSEQ;
        }
        sum += (size_t)n;
    }
    return sum == BULK ? 0 : -ENODATA;
}

RUN_TEST(both_directions_carry_bulk_side_by_side)
{
    zk_task_t tasks[4];
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    EXPECT_EQ(zk_spawn(&tasks[0], NULL, send_bulk, &fd[0]), 0);
    EXPECT_EQ(zk_spawn(&tasks[1], NULL, send_bulk, &fd[1]), 0);
    EXPECT_EQ(zk_spawn(&tasks[2], NULL, receive_bulk, &fd[0]), 0);
    EXPECT_EQ(zk_spawn(&tasks[3], NULL, receive_bulk, &fd[1]), 0);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(result_of(tasks[i]), 0);
    pair_close(fd);
}

RUN_TEST(the_end_of_a_stream_stays_the_end)
{
    char buf[10] = "";
    size_t done = 99;
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    EXPECT_EQ(zk_write(fd[0], "last", 4, BOUND), 4);
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk_read_full(fd[1], buf, sizeof(buf), &done, BOUND), -ENODATA);
    EXPECT_EQ(done, 4);
    EXPECT_EQ(memcmp(buf, "last", 4), 0);
    EXPECT_EQ(zk_read(fd[1], buf, sizeof(buf), BOUND), 0);
    EXPECT_EQ(zk_read(fd[1], buf, sizeof(buf), PAST), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
}

RUN_TEST(a_half_closed_connection_carries_the_answer)
{
    struct call reader;
    char buf[10] = "";
    zk_task_t task;
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    reader = (struct call){.fd = fd[1], .buf = buf, .len = sizeof(buf)};
    task = spawn_parked(call_read, &reader);
    EXPECT_EQ(zk_shutdown(fd[0], ZK_SHUTDOWN_WRITE), 0);
    EXPECT_EQ(result_of(task), 0);
    EXPECT_EQ(zk_write(fd[0], "x", 1, BOUND), -EPIPE);
    EXPECT_EQ(zk_write(fd[1], "answer", 6, BOUND), 6);
    EXPECT_EQ(zk_read(fd[0], buf, sizeof(buf), BOUND), 6);
    EXPECT_EQ(zk_shutdown(fd[1], ZK_SHUTDOWN_BOTH), 0);
    EXPECT_EQ(zk_read(fd[0], buf, sizeof(buf), BOUND), 0);
    pair_close(fd);
}

RUN_TEST(shutdown_names_its_errors)
{
    char text[ZK_ADDR_TEXT];
    zk_fd_t listener = listen_local(text, 0), fd[2];

    if (!tcp_pair(fd))
        return;
    EXPECT_EQ(zk_shutdown(fd[0], 0), -EINVAL);
    EXPECT_EQ(zk_shutdown(fd[0], 4), -EINVAL);
    EXPECT_EQ(zk_shutdown(-1, ZK_SHUTDOWN_BOTH), -EBADF);
    pair_close(fd);
    EXPECT_EQ(zk_shutdown(fd[0], ZK_SHUTDOWN_BOTH), -EBADF);
    EXPECT_EQ(zk_close(listener), 0);
    listener = zk_listen_tcp("127.0.0.1:0", NULL);
    EXPECT_EQ(zk_sock_peer(listener, &(zk_addr_t){0}), -ENOTCONN);
    EXPECT_EQ(zk_close(listener), 0);
}

/* ---- options ------------------------------------------------------------ */

static void option_check(zk_fd_t fd, int option, int value)
{
    int now = INT_MIN;

    EXPECT_EQ(zk_sock_set(fd, option, value), 0);
    EXPECT_EQ(zk_sock_get(fd, option, &now), 0);
    EXPECT_EQ(now, value);
}

RUN_TEST(options_are_set_and_read)
{
    zk_fd_t fd[2];
    int value = 5;

    if (!tcp_pair(fd))
        return;
    option_check(fd[0], ZK_SOCK_NODELAY, 0);
    option_check(fd[0], ZK_SOCK_NODELAY, 1);
    option_check(fd[0], ZK_SOCK_KEEPALIVE, 30);
    option_check(fd[0], ZK_SOCK_KEEPALIVE, 0);
    option_check(fd[0], ZK_SOCK_LINGER, 3);
    option_check(fd[0], ZK_SOCK_LINGER, 0);
    option_check(fd[0], ZK_SOCK_LINGER, -1);
    EXPECT_EQ(zk_sock_set(fd[0], ZK_SOCK_RCVBUF, 20000), 0);
    EXPECT_EQ(zk_sock_get(fd[0], ZK_SOCK_RCVBUF, &value), 0);
    EXPECT_GE(value, 20000);
    EXPECT_EQ(zk_sock_set(fd[0], ZK_SOCK_SNDBUF, 20000), 0);
    EXPECT_EQ(zk_sock_get(fd[0], ZK_SOCK_ERROR, &value), 0);
    EXPECT_EQ(value, 0);
    value = 5;
    EXPECT_EQ(zk_sock_set(fd[0], ZK_SOCK_ERROR, 0), -EINVAL);
    EXPECT_EQ(zk_sock_set(fd[0], 0, 0), -EINVAL);
    EXPECT_EQ(zk_sock_set(fd[0], 99, 0), -EINVAL);
    EXPECT_EQ(zk_sock_get(fd[0], 99, &value), -EINVAL);
    EXPECT_EQ(zk_sock_set(fd[0], ZK_SOCK_NODELAY, 2), -EINVAL);
    EXPECT_EQ(zk_sock_set(fd[0], ZK_SOCK_KEEPALIVE, -1), -EINVAL);
    EXPECT_EQ(zk_sock_set(fd[0], ZK_SOCK_LINGER, -2), -EINVAL);
    pair_close(fd);
    EXPECT_EQ(zk_sock_set(fd[0], ZK_SOCK_NODELAY, 1), -EBADF);
    EXPECT_EQ(zk_sock_get(fd[0], ZK_SOCK_NODELAY, &value), -EBADF);
    EXPECT_EQ(value, 5);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(addresses_are_read_and_printed),
        ZK_CASE(what_is_no_address_is_refused),
        ZK_CASE(peers_know_each_others_addresses),
        ZK_CASE(new_descriptors_are_ready_for_use),
        ZK_CASE(a_taken_port_is_refused_unless_shared),
        ZK_CASE(bad_listen_options_are_refused),
        ZK_CASE(nobody_listening_is_a_refusal),
        ZK_CASE(many_tasks_accept_on_one_listener),
        ZK_CASE(what_is_written_is_read),
        ZK_CASE(vectors_are_gathered_and_scattered_in_order),
        ZK_CASE(bad_buffers_are_refused_and_empty_ones_do_nothing),
        ZK_CASE(both_directions_carry_bulk_side_by_side),
        ZK_CASE(the_end_of_a_stream_stays_the_end),
        ZK_CASE(a_half_closed_connection_carries_the_answer),
        ZK_CASE(shutdown_names_its_errors), ZK_CASE(options_are_set_and_read));
}
