/* SPDX-License-Identifier: MIT */
/*
 * TCP calls that cannot finish: deadlines, cancels, closes, resets. Each call
 * is caught before it begins and while it waits.
 */
#include "integration.h"

/* ---- deadlines ---------------------------------------------------------- */

RUN_TEST(a_deadline_in_the_past_is_one_try)
{
    char text[ZK_ADDR_TEXT], buf[4] = "...";
    zk_fd_t fd[2], listener = listen_local(text, 0), extra;
    zk_time_t start = zk_now();

    if (!tcp_pair(fd))
        return;
    EXPECT_EQ(zk_read(fd[1], buf, sizeof(buf), PAST), -ETIMEDOUT);
    EXPECT_EQ(zk_read(fd[1], buf, sizeof(buf), 0), -ETIMEDOUT);
    EXPECT_EQ(zk_read(fd[1], buf, sizeof(buf), INT64_MIN), -ETIMEDOUT);
    EXPECT_EQ(zk_accept(listener, NULL, PAST), -ETIMEDOUT);
    EXPECT_EQ(zk_wait_fd(fd[1], ZK_READABLE, PAST), -ETIMEDOUT);
    EXPECT_EQ(zk_write(fd[0], "abc", 3, PAST), 3);
    EXPECT_EQ(zk_wait_fd(fd[1], ZK_READABLE, BOUND), ZK_READABLE);
    EXPECT_EQ(zk_wait_fd(fd[1], ZK_READABLE, PAST), ZK_READABLE);
    EXPECT_EQ(zk_read(fd[1], buf, sizeof(buf), PAST), 3);
    EXPECT_EQ(memcmp(buf, "abc", 4), 0);
    extra = zk_dial_tcp(text, BOUND);
    EXPECT_EQ(zk_wait_fd(listener, ZK_READABLE, BOUND), ZK_READABLE);
    EXPECT_EQ(zk_close(extra), 0);
    EXPECT_GE(extra = zk_accept(listener, NULL, PAST), 0);
    EXPECT_EQ(zk_close(extra), 0);
    EXPECT_EQ(zk_close(listener), 0);
    pair_close(fd);
    EXPECT_LT(zk_now() - start, ZK_SEC(5));
}

RUN_TEST(a_read_that_timed_out_took_nothing)
{
    static const zk_time_t spans[] = {ZK_NS(1), ZK_US(50), ZK_MS(1), ZK_MS(3),
                                      ZK_MS(12)};
    zk_time_t deadline;
    zk_fd_t fd[2];
    char byte;

    if (!tcp_pair(fd))
        return;
    for (size_t i = 0; i < 10 * sizeof(spans) / sizeof(spans[0]); i++) {
        deadline = zk_after(spans[i % 5]);
        EXPECT_EQ(zk_read(fd[1], &byte, 1, deadline), -ETIMEDOUT);
        EXPECT_GE(zk_now(), deadline);
        byte = (char)i;
        EXPECT_EQ(zk_write(fd[0], &byte, 1, BOUND), 1);
        byte = -1;
        EXPECT_EQ(zk_read(fd[1], &byte, 1, BOUND), 1);
        EXPECT_EQ(byte, (char)i);
    }
    pair_close(fd);
}

/* Bytes that come close to the deadline are read or stay: none is lost. */
static int write_slowly(void *arg)
{
    struct call *c = arg;
    char byte = 0;

    for (size_t i = 0; i < c->len; i++) {
        EXPECT_EQ(zk_sleep_until(zk_after(ZK_US(500))), 0);
        byte = (char)i;
        EXPECT_EQ(zk_write(c->fd, &byte, 1, BOUND), 1);
    }
    return 0;
}

RUN_TEST(data_that_races_with_a_deadline_is_not_lost)
{
    struct call writer;
    char byte, next = 0;
    zk_task_t task;
    zk_fd_t fd[2];
    ssize_t n = 0;

    if (!tcp_pair(fd))
        return;
    writer = (struct call){.fd = fd[0], .len = 100};
    EXPECT_EQ(zk_spawn(&task, NULL, write_slowly, &writer), 0);
    while (next < 100 && (n == 1 || n == -ETIMEDOUT || n == 0)) {
        byte = -1;
        n = zk_read(fd[1], &byte, 1, zk_after(ZK_US(570)));
        if (n == 1 && !EXPECT_EQ(byte, next++))
            break;
    }
    EXPECT_EQ(next, 100);
    EXPECT_EQ(result_of(task), 0);
    pair_close(fd);
}

static void read_back(zk_fd_t fd, size_t count)
{
    char buf[8192];
    size_t sum = 0;
    ssize_t n;

    while (sum < count && (n = zk_read(fd, buf, sizeof(buf), BOUND)) > 0)
        sum += (size_t)n;
    EXPECT_EQ(sum, count);
    EXPECT_EQ(zk_read(fd, buf, 1, PAST), -ETIMEDOUT); /* and not one more */
}

RUN_TEST(a_write_to_a_peer_that_never_reads_times_out)
{
    static char block[1 << 16];
    size_t sum, done = 77;
    zk_time_t deadline;
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    sum = fill(fd[0]);
    EXPECT_GT(sum, 0);
    EXPECT_EQ(zk_write(fd[0], block, 1, PAST), -ETIMEDOUT);
    deadline = zk_after(ZK_MS(20));
    EXPECT_EQ(zk_write_all(fd[0], block, sizeof(block), &done, deadline),
              -ETIMEDOUT);
    EXPECT_GE(zk_now(), deadline);
    EXPECT_LT(done, sizeof(block));
    read_back(fd[1], sum + done);
    pair_close(fd);
}

RUN_TEST(a_deadline_in_the_middle_leaves_the_count)
{
    char buf[10];
    size_t done = 77;
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    EXPECT_EQ(zk_write(fd[0], "1234", 4, BOUND), 4);
    EXPECT_EQ(zk_read_full(fd[1], buf, sizeof(buf), &done, zk_after(ZK_MS(20))),
              -ETIMEDOUT);
    EXPECT_EQ(done, 4);
    EXPECT_EQ(memcmp(buf, "1234", 4), 0);
    pair_close(fd);
    EXPECT_EQ(zk_read_full(fd[1], buf, sizeof(buf), &done, BOUND), -EBADF);
    EXPECT_EQ(done, 0);
    done = 77;
    EXPECT_EQ(zk_write_all(fd[1], buf, sizeof(buf), &done, BOUND), -EBADF);
    EXPECT_EQ(done, 0);
}

/* A listener whose queue is full: whoever dials it now waits. */
static zk_fd_t listen_full(char text[ZK_ADDR_TEXT], zk_fd_t *queued, int *count)
{
    zk_fd_t listener = listen_local(text, 1), fd;

    *count = 0;
    while (*count < 8 && (fd = zk_dial_tcp(text, zk_after(ZK_MS(200)))) >= 0)
        queued[(*count)++] = fd;
    EXPECT_LT(*count, 8);
    return listener;
}

static void full_close(zk_fd_t listener, const zk_fd_t *queued, int count)
{
    EXPECT_EQ(zk_close(listener), 0);
    for (int i = 0; i < count; i++)
        EXPECT_EQ(zk_close(queued[i]), 0);
}

RUN_TEST(a_dial_that_is_not_answered_times_out)
{
    char text[ZK_ADDR_TEXT];
    zk_fd_t queued[8], listener;
    zk_time_t deadline;
    int count, fds;

    listener = listen_full(text, queued, &count);
    fds = zk_test_open_fds();
    deadline = zk_after(ZK_MS(30));
    EXPECT_EQ(zk_dial_tcp(text, deadline), -ETIMEDOUT);
    EXPECT_GE(zk_now(), deadline);
    EXPECT_EQ(zk_test_open_fds(), fds);
    full_close(listener, queued, count);
}

/* ---- cancels ------------------------------------------------------------ */

RUN_TEST(a_cancelled_read_took_nothing)
{
    char byte = 0;
    struct call reader;
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    reader = (struct call){.fd = fd[1], .buf = &byte, .len = 1};
    for (int i = 0; i < 20; i++) {
        zk_task_t task = spawn_parked(call_read, &reader);

        EXPECT_EQ(cancel_and_join(task), -ECANCELED);
        EXPECT_EQ(zk_write(fd[0], "x", 1, BOUND), 1);
        EXPECT_EQ(zk_read(fd[1], &byte, 1, BOUND), 1);
    }
    pair_close(fd);
}

RUN_TEST(a_cancelled_write_put_nothing)
{
    static char block[100000];
    struct call writer;
    zk_task_t task;
    zk_fd_t fd[2];
    size_t sum;

    if (!tcp_pair(fd))
        return;
    sum = fill(fd[0]);
    writer = (struct call){.fd = fd[0], .buf = block, .len = sizeof(block)};
    task = spawn_parked(call_write, &writer);
    EXPECT_EQ(cancel_and_join(task), -ECANCELED);
    read_back(fd[1], sum);
    pair_close(fd);
}

RUN_TEST(a_cancelled_accept_loses_no_connection)
{
    char text[ZK_ADDR_TEXT];
    struct call acceptor = {.fd = listen_local(text, 0)};
    zk_fd_t peer, fd;

    for (int i = 0; i < 20; i++) {
        zk_task_t task = spawn_parked(call_accept, &acceptor);

        if (i % 2)
            EXPECT_EQ(zk_cancel(task), 0);
        EXPECT_GE(peer = zk_dial_tcp(text, BOUND), 0);
        (void)zk_cancel(task); /* it may have ended: -ESRCH */
        fd = result_of(task);  /* it may have won */
        if (fd < 0) {
            EXPECT_EQ(fd, -ECANCELED);
            EXPECT_GE(fd = zk_accept(acceptor.fd, NULL, BOUND), 0);
        }
        EXPECT_EQ(zk_close(peer), 0);
        EXPECT_EQ(zk_close(fd), 0);
    }
    EXPECT_EQ(zk_close(acceptor.fd), 0);
}

RUN_TEST(a_cancelled_dial_leaves_nothing_open)
{
    char text[ZK_ADDR_TEXT];
    struct call dial = {.addr = text};
    zk_fd_t queued[8], listener;
    zk_task_t task;
    int count, fds;

    listener = listen_full(text, queued, &count);
    fds = zk_test_open_fds();
    task = spawn_parked(call_dial, &dial);
    EXPECT_EQ(cancel_and_join(task), -ECANCELED);
    EXPECT_EQ(zk_test_open_fds(), fds);
    full_close(listener, queued, count);
}

static int call_all_cancelled(void *arg)
{
    struct call *c = arg;
    zk_fd_t fd = c->fd;
    char buf[4];
    struct iovec iov = {buf, sizeof(buf)};

    EXPECT_EQ(zk_cancel(zk_self()), 0);
    EXPECT_EQ(zk_read(fd, buf, sizeof(buf), BOUND), -ECANCELED);
    EXPECT_EQ(zk_write(fd, buf, sizeof(buf), BOUND), -ECANCELED);
    EXPECT_EQ(zk_readv(fd, &iov, 1, BOUND), -ECANCELED);
    EXPECT_EQ(zk_writev(fd, &iov, 1, PAST), -ECANCELED);
    EXPECT_EQ(zk_wait_fd(fd, ZK_WRITABLE, PAST), -ECANCELED);
    EXPECT_EQ(zk_dial_tcp(c->addr, BOUND), -ECANCELED);
    EXPECT_EQ(zk_read_full(fd, buf, 1, NULL, BOUND), -ECANCELED);
    EXPECT_EQ(zk_write_all(fd, buf, 1, NULL, BOUND), -ECANCELED);
    return 0;
}

static int accept_cancelled(void *arg)
{
    EXPECT_EQ(zk_cancel(zk_self()), 0);
    return call_accept(arg);
}

/* Although data and room are there. */
RUN_TEST(a_cancelled_task_begins_no_operation)
{
    char text[ZK_ADDR_TEXT], buf[4];
    struct call c = {.addr = text}, acceptor = {.fd = listen_local(text, 0)};
    zk_fd_t peer, fd[2];
    zk_task_t task;

    if (!tcp_pair(fd))
        return;
    c.fd = fd[0];
    EXPECT_EQ(zk_write(fd[1], "data", 4, BOUND), 4);
    EXPECT_EQ(zk_spawn(&task, NULL, call_all_cancelled, &c), 0);
    EXPECT_EQ(result_of(task), 0);
    EXPECT_EQ(zk_read(fd[0], buf, 4, BOUND), 4);
    EXPECT_EQ(zk_read(fd[1], buf, 4, PAST), -ETIMEDOUT);
    EXPECT_GE(peer = zk_dial_tcp(text, BOUND), 0);
    EXPECT_EQ(zk_wait_fd(acceptor.fd, ZK_READABLE, BOUND), ZK_READABLE);
    EXPECT_EQ(zk_spawn(&task, NULL, accept_cancelled, &acceptor), 0);
    EXPECT_EQ(result_of(task), -ECANCELED);
    EXPECT_EQ(zk_close(peer), 0);
    EXPECT_EQ(zk_close(acceptor.fd), 0);
    pair_close(fd);
}

/* ---- close and reset ---------------------------------------------------- */

RUN_TEST(a_close_ends_all_that_wait_there)
{
    static char block[1 << 16];
    char byte, text[ZK_ADDR_TEXT];
    struct call read_call, write_call, wait_call;
    struct call accept_call = {.fd = listen_local(text, 0)};
    zk_task_t tasks[6];
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    (void)fill(fd[1]);
    read_call = (struct call){.fd = fd[1], .buf = &byte, .len = 1};
    write_call = (struct call){.fd = fd[1], .buf = block, .len = sizeof(block)};
    wait_call = (struct call){.fd = fd[1], .events = ZK_READABLE};
    tasks[0] = spawn_parked(call_read, &read_call);
    tasks[1] = spawn_parked(call_read, &read_call); /* in line behind it */
    tasks[2] = spawn_parked(call_write, &write_call);
    tasks[3] = spawn_parked(call_wait_fd, &wait_call);
    tasks[4] = spawn_parked(call_accept, &accept_call);
    tasks[5] = spawn_parked(call_accept, &accept_call);
    EXPECT_EQ(zk_close(fd[1]), 0);
    EXPECT_EQ(zk_close(accept_call.fd), 0);
    for (int i = 0; i < 6; i++)
        EXPECT_EQ(result_of(tasks[i]), -EBADF);
    EXPECT_EQ(zk_close(fd[1]), -EBADF);
    EXPECT_EQ(zk_close(accept_call.fd), -EBADF);
    EXPECT_EQ(zk_close(-1), -EBADF);
    EXPECT_EQ(zk_close(fd[0]), 0);
}

RUN_TEST(a_closed_number_may_be_used_again_at_once)
{
    for (int i = 0; i < 100; i++) {
        zk_fd_t old[2], new[2];
        char byte = 0;
        struct call reader;
        zk_task_t task;

        if (!tcp_pair(old))
            return;
        reader = (struct call){.fd = old[1], .buf = &byte, .len = 1};
        task = spawn_parked(call_read, &reader);
        EXPECT_EQ(zk_close(old[1]), 0);
        EXPECT_EQ(zk_close(old[0]), 0);
        if (!tcp_pair(new)) /* these are the lowest free numbers */
            return;
        EXPECT_EQ(zk_write(new[0], "n", 1, BOUND), 1);
        EXPECT_EQ(result_of(task), -EBADF);
        EXPECT_EQ(zk_read(new[1], &byte, 1, BOUND), 1);
        EXPECT_EQ(zk_read(new[1], &byte, 1, zk_after(ZK_US(100))), -ETIMEDOUT);
        pair_close(new);
    }
}

RUN_TEST(what_is_no_descriptor_is_refused)
{
    zk_fd_t bad[] = {-1, INT_MIN, 1 << 20, INT_MAX, -1};
    zk_addr_t addr;
    zk_fd_t fd[2];
    char buf[4];

    if (!tcp_pair(fd))
        return;
    pair_close(fd);
    bad[4] = fd[0];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        EXPECT_EQ(zk_read(bad[i], buf, 1, BOUND), -EBADF);
        EXPECT_EQ(zk_write(bad[i], buf, 1, BOUND), -EBADF);
        EXPECT_EQ(zk_wait_fd(bad[i], ZK_READABLE, BOUND), -EBADF);
        EXPECT_EQ(zk_accept(bad[i], NULL, BOUND), -EBADF);
        EXPECT_EQ(zk_fd_adopt(bad[i]), -EBADF);
        EXPECT_EQ(zk_close(bad[i]), -EBADF);
        EXPECT_EQ(zk_sock_local(bad[i], &addr), -EBADF);
        EXPECT_EQ(zk_sock_peer(bad[i], &addr), -EBADF);
        EXPECT_EQ(zk_shutdown(bad[i], ZK_SHUTDOWN_BOTH), -EBADF);
    }
}

static void reset_close(zk_fd_t fd)
{
    EXPECT_EQ(zk_sock_set(fd, ZK_SOCK_LINGER, 0), 0);
    EXPECT_EQ(zk_close(fd), 0);
}

RUN_TEST(a_reset_is_told_to_reader_and_writer)
{
    struct call reader;
    zk_task_t task;
    zk_fd_t fd[2];
    char byte;
    int rc;

    if (!tcp_pair(fd))
        return;
    reader = (struct call){.fd = fd[1], .buf = &byte, .len = 1};
    task = spawn_parked(call_read, &reader);
    reset_close(fd[0]);
    EXPECT_EQ(result_of(task), -ECONNRESET);
    EXPECT_EQ(zk_write(fd[1], "x", 1, BOUND), -EPIPE); /* and no SIGPIPE */
    EXPECT_EQ(zk_close(fd[1]), 0);
    if (!tcp_pair(fd))
        return;
    reset_close(fd[0]);
    rc = zk_wait_fd(fd[1], ZK_READABLE, BOUND);
    EXPECT_TRUE(rc > 0 && (rc & (ZK_READABLE | ZK_FAILED)));
    EXPECT_EQ(zk_write_all(fd[1], "x", 1, NULL, BOUND), -ECONNRESET);
    EXPECT_EQ(zk_write_all(fd[1], "x", 1, NULL, BOUND), -EPIPE);
    EXPECT_EQ(zk_close(fd[1]), 0);
}

RUN_TEST(a_reset_ends_a_write_that_waits)
{
    static char block[1 << 16];
    struct call writer;
    zk_task_t task;
    zk_fd_t fd[2];
    int rc;

    if (!tcp_pair(fd))
        return;
    (void)fill(fd[0]);
    writer = (struct call){.fd = fd[0], .buf = block, .len = sizeof(block)};
    task = spawn_parked(call_write, &writer);
    EXPECT_EQ(zk_close(fd[1]), 0); /* with data unread: a reset */
    rc = result_of(task);
    EXPECT_TRUE(rc == -ECONNRESET || rc == -EPIPE);
    EXPECT_EQ(zk_write(fd[0], block, 1, BOUND), -EPIPE);
    EXPECT_EQ(zk_close(fd[0]), 0);
}

/* ---- several on one descriptor ------------------------------------------ */

RUN_TEST(readers_are_served_in_order)
{
    enum { READERS = 5 };
    char bytes[READERS] = "";
    struct call calls[READERS];
    zk_task_t tasks[READERS];
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    for (int i = 0; i < READERS; i++) {
        calls[i] = (struct call){.fd = fd[1], .buf = &bytes[i], .len = 1};
        tasks[i] = spawn_parked(call_read, &calls[i]);
    }
    EXPECT_EQ(cancel_and_join(tasks[1]), -ECANCELED); /* leaves the line */
    EXPECT_EQ(zk_write(fd[0], "0234", 4, BOUND), 4);
    for (int i = 0; i < READERS; i++) {
        if (i != 1) {
            EXPECT_EQ(result_of(tasks[i]), 1);
            EXPECT_EQ(bytes[i], '0' + i);
        }
    }
    pair_close(fd);
}

static int write_own_letter(void *arg)
{
    struct call *c = arg;
    char line[100];

    memset(line, (int)c->len, sizeof(line));
    for (int i = 0; i < 500; i++) {
        ssize_t n = zk_write(c->fd, line, sizeof(line), BOUND);

        if (n != (ssize_t)sizeof(line))
            return -EIO; /* small ones go whole or wait */
    }
    return 0;
}

RUN_TEST(writers_take_turns_and_do_not_mix)
{
    enum { WRITERS = 4 };
    struct call calls[WRITERS];
    zk_task_t tasks[WRITERS];
    int seen[WRITERS] = {0};
    char line[100];
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    for (int i = 0; i < WRITERS; i++) {
        calls[i] = (struct call){.fd = fd[0], .len = (size_t)('a' + i)};
        EXPECT_EQ(zk_spawn(&tasks[i], NULL, write_own_letter, &calls[i]), 0);
    }
    for (int i = 0; i < WRITERS * 500; i++) {
        if (!EXPECT_EQ(zk_read_full(fd[1], line, 100, NULL, BOUND), 0))
            break;
        for (int k = 1; k < 100; k++)
            EXPECT_EQ(line[k], line[0]);
        seen[(line[0] - 'a') & 3]++;
    }
    for (int i = 0; i < WRITERS; i++) {
        EXPECT_EQ(result_of(tasks[i]), 0);
        EXPECT_EQ(seen[i], 500);
    }
    pair_close(fd);
}

RUN_TEST(a_reader_and_a_writer_go_side_by_side)
{
    static char block[1 << 16], room[1 << 16];
    char byte = 0;
    struct call reader, writer;
    zk_task_t tasks[2];
    zk_fd_t fd[2];
    size_t sum;

    if (!tcp_pair(fd))
        return;
    sum = fill(fd[0]);
    reader = (struct call){.fd = fd[0], .buf = &byte, .len = 1};
    writer = (struct call){.fd = fd[0], .buf = block, .len = sizeof(block)};
    tasks[0] = spawn_parked(call_write, &writer);
    tasks[1] = spawn_parked(call_read, &reader);
    EXPECT_EQ(zk_write(fd[1], "!", 1, BOUND), 1);
    EXPECT_EQ(result_of(tasks[1]), 1); /* though the writer waits */
    EXPECT_EQ(byte, '!');
    while (sum > 0) {
        ssize_t n = zk_read(fd[1], room,
                            sum < sizeof(room) ? sum : sizeof(room), BOUND);

        if (!EXPECT_GT(n, 0))
            break;
        sum -= (size_t)n;
    }
    EXPECT_GT(result_of(tasks[0]), 0);
    pair_close(fd);
}

int main(void)
{
    return zk_test_main(ZK_CASE(a_deadline_in_the_past_is_one_try),
                        ZK_CASE(a_read_that_timed_out_took_nothing),
                        ZK_CASE(data_that_races_with_a_deadline_is_not_lost),
                        ZK_CASE(a_write_to_a_peer_that_never_reads_times_out),
                        ZK_CASE(a_deadline_in_the_middle_leaves_the_count),
                        ZK_CASE(a_dial_that_is_not_answered_times_out),
                        ZK_CASE(a_cancelled_read_took_nothing),
                        ZK_CASE(a_cancelled_write_put_nothing),
                        ZK_CASE(a_cancelled_accept_loses_no_connection),
                        ZK_CASE(a_cancelled_dial_leaves_nothing_open),
                        ZK_CASE(a_cancelled_task_begins_no_operation),
                        ZK_CASE(a_close_ends_all_that_wait_there),
                        ZK_CASE(a_closed_number_may_be_used_again_at_once),
                        ZK_CASE(what_is_no_descriptor_is_refused),
                        ZK_CASE(a_reset_is_told_to_reader_and_writer),
                        ZK_CASE(a_reset_ends_a_write_that_waits),
                        ZK_CASE(readers_are_served_in_order),
                        ZK_CASE(writers_take_turns_and_do_not_mix),
                        ZK_CASE(a_reader_and_a_writer_go_side_by_side));
}
