/* SPDX-License-Identifier: MIT */
/* Descriptors of every kind: waiting for readiness, adopted ones, ones that
 * were made elsewhere and stay there. */
#include "integration.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Two ends of what moves bytes from fd[1] to fd[0], made without zokio. */
struct channel {
    const char *name;
    int (*make)(int fd[2]);
};

static int make_pipe(int fd[2])
{
    return pipe2(fd, O_CLOEXEC);
}

static int make_pipe_nonblock(int fd[2])
{
    return pipe2(fd, O_CLOEXEC | O_NONBLOCK);
}

static int make_socketpair(int fd[2])
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd);
}

static int make_socketpair_nonblock(int fd[2])
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                      fd);
}

static const struct channel channels[] = {
    {"pipe", make_pipe},
    {"non-blocking pipe", make_pipe_nonblock},
    {"socketpair", make_socketpair},
    {"non-blocking socketpair", make_socketpair_nonblock},
};

#define CHANNELS (sizeof(channels) / sizeof(channels[0]))

/* What every channel must do, adopted or not. */
static void channel_check(const int fd[2])
{
    int flags[2] = {fcntl(fd[0], F_GETFL), fcntl(fd[1], F_GETFL)};
    char byte = 0;
    struct call reader = {.fd = fd[0], .buf = &byte, .len = 1};
    zk_time_t deadline;
    zk_task_t task;
    size_t sum;

    EXPECT_EQ(zk_read(fd[0], &byte, 1, PAST), -ETIMEDOUT);
    deadline = zk_after(ZK_MS(5));
    EXPECT_EQ(zk_read(fd[0], &byte, 1, deadline), -ETIMEDOUT);
    EXPECT_GE(zk_now(), deadline);
    EXPECT_EQ(zk_write(fd[1], "a", 1, PAST), 1);
    EXPECT_EQ(zk_read(fd[0], &byte, 1, BOUND), 1);
    EXPECT_EQ(byte, 'a');
    task = spawn_parked(call_read, &reader);
    EXPECT_EQ(zk_write(fd[1], "b", 1, BOUND), 1);
    EXPECT_EQ(result_of(task), 1);
    EXPECT_EQ(byte, 'b');
    task = spawn_parked(call_read, &reader);
    EXPECT_EQ(cancel_and_join(task), -ECANCELED);
    sum = fill(fd[1]);
    while (sum > 0) {
        char buf[4096];
        ssize_t n = zk_read(fd[0], buf, sizeof(buf), BOUND);

        if (!EXPECT_GT(n, 0))
            break;
        sum -= (size_t)n;
    }
    EXPECT_EQ(zk_read(fd[0], &byte, 1, PAST), -ETIMEDOUT);
    /* The flags are the user's. */
    EXPECT_EQ(fcntl(fd[0], F_GETFL), flags[0]);
    EXPECT_EQ(fcntl(fd[1], F_GETFL), flags[1]);
}

RUN_TEST(adopted_descriptors_read_and_write)
{
    for (size_t i = 0; i < CHANNELS; i++) {
        int fd[2];
        char byte;

        if (!EXPECT_EQ(channels[i].make(fd), 0))
            return;
        for (int twice = 0; twice < 2; twice++) {
            EXPECT_EQ(zk_fd_adopt(fd[0]), 0);
            EXPECT_EQ(zk_fd_adopt(fd[1]), 0);
        }
        channel_check(fd);
        EXPECT_EQ(zk_close(fd[1]), 0);
        EXPECT_EQ(zk_read(fd[0], &byte, 1, BOUND), 0);
        EXPECT_EQ(zk_close(fd[0]), 0);
        EXPECT_EQ(close(fd[0]), -1); /* zk_close did it */
    }
}

RUN_TEST(descriptors_made_elsewhere_read_and_write)
{
    /* Round and round on the same numbers: nothing of an old one may stick. */
    for (size_t i = 0; i < 3 * CHANNELS; i++) {
        int fd[2];
        char byte;

        if (!EXPECT_EQ(channels[i % CHANNELS].make(fd), 0))
            return;
        channel_check(fd);
        EXPECT_EQ(close(fd[1]), 0);
        EXPECT_EQ(zk_read(fd[0], &byte, 1, BOUND), 0);
        EXPECT_EQ(close(fd[0]), 0);
    }
}

RUN_TEST(zk_close_closes_what_was_never_adopted)
{
    int fd[2];
    char byte;
    struct call reader = {.buf = &byte, .len = 1};
    zk_task_t task;

    if (!EXPECT_EQ(make_pipe(fd), 0))
        return;
    reader.fd = fd[0];
    task = spawn_parked(call_read, &reader);
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(result_of(task), -EBADF);
    EXPECT_EQ(zk_write(fd[1], "x", 1, BOUND), -EPIPE); /* and no SIGPIPE */
    EXPECT_EQ(zk_close(fd[1]), 0);
}

RUN_TEST(the_loss_of_the_reader_is_an_error_and_no_signal)
{
    static char block[1 << 16];

    for (size_t i = 0; i < CHANNELS; i++) {
        struct call writer = {.buf = block, .len = sizeof(block)};
        zk_task_t task;
        int fd[2], rc;

        if (!EXPECT_EQ(channels[i].make(fd), 0))
            return;
        EXPECT_EQ(zk_fd_adopt(fd[1]), 0);
        (void)fill(fd[1]);
        writer.fd = fd[1];
        task = spawn_parked(call_write, &writer);
        EXPECT_EQ(zk_close(fd[0]), 0);
        rc = result_of(task);
        EXPECT_TRUE(rc == -EPIPE || rc == -ECONNRESET);
        EXPECT_EQ(zk_write(fd[1], block, 1, BOUND), -EPIPE);
        EXPECT_EQ(zk_close(fd[1]), 0);
    }
}

/*
 * To close an adopted descriptor behind our back is a mistake, but what waits
 * there with a deadline must end. Then the number goes back to us: the next
 * file gets it, and zk_close() forgets what was known of it.
 */
static void number_return(int number)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    EXPECT_EQ(fd, number);
    EXPECT_EQ(zk_close(fd), 0);
}

static int wait_with_deadline(void *arg)
{
    struct call *c = arg;

    return zk_wait_fd(c->fd, ZK_READABLE, zk_after(ZK_MS(100)));
}

static void close_behind(const struct channel *channel, bool adopt)
{
    struct call waiter;
    zk_task_t task;
    int fd[2], rc;

    if (!EXPECT_EQ(channel->make(fd), 0))
        return;
    if (adopt)
        EXPECT_EQ(zk_fd_adopt(fd[0]), 0);
    waiter = (struct call){.fd = fd[0], .events = ZK_READABLE};
    task = spawn_parked(wait_with_deadline, &waiter);
    EXPECT_EQ(close(fd[0]), 0);
    rc = result_of(task);
    EXPECT_TRUE(rc == -ETIMEDOUT || rc == -EBADF || rc > 0);
    rc = zk_wait_fd(fd[0], ZK_READABLE, zk_after(ZK_MS(20)));
    EXPECT_TRUE(rc == -EBADF || (adopt && rc == -ETIMEDOUT));
    number_return(fd[0]);
    EXPECT_EQ(zk_close(fd[1]), 0);
}

RUN_TEST(a_descriptor_closed_behind_our_back_does_not_hang_a_deadline)
{
    for (size_t i = 0; i < CHANNELS; i++) {
        close_behind(&channels[i], false);
        close_behind(&channels[i], true);
    }
}

static int read_with_deadline(void *arg)
{
    struct call *c = arg;

    return (int)zk_read(c->fd, c->buf, c->len, zk_after(ZK_MS(100)));
}

RUN_TEST(a_read_closed_behind_our_back_ends_by_its_deadline)
{
    for (size_t i = 0; i < CHANNELS; i++) {
        zk_time_t start = zk_now();
        struct call reader;
        char byte;
        zk_task_t task;
        int fd[2], rc;

        if (!EXPECT_EQ(channels[i].make(fd), 0))
            return;
        reader = (struct call){.fd = fd[0], .buf = &byte, .len = 1};
        task = spawn_parked(read_with_deadline, &reader);
        EXPECT_EQ(close(fd[0]), 0);
        rc = result_of(task);
        EXPECT_TRUE(rc == -ETIMEDOUT || rc == -EBADF);
        EXPECT_LT(zk_now() - start, ZK_SEC(5));
        number_return(fd[0]);
        EXPECT_EQ(zk_close(fd[1]), 0);
    }
}

/* ---- other kinds -------------------------------------------------------- */

RUN_TEST(files_are_read_and_written)
{
    char name[] = "/tmp/zokio-io-test-XXXXXX", buf[16] = "";
    int fd = mkostemp(name, O_CLOEXEC);

    if (!EXPECT_GE(fd, 0))
        return;
    EXPECT_EQ(unlink(name), 0);
    EXPECT_EQ(zk_write_all(fd, "contents", 8, NULL, BOUND), 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
    EXPECT_EQ(zk_read(fd, buf, sizeof(buf), BOUND), 8);
    EXPECT_EQ(memcmp(buf, "contents", 8), 0);
    EXPECT_EQ(zk_read(fd, buf, sizeof(buf), BOUND), 0);
    EXPECT_EQ(zk_wait_fd(fd, ZK_READABLE, BOUND), -EPERM);
    EXPECT_EQ(zk_close(fd), 0);
    fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    EXPECT_EQ(zk_write(fd, "gone", 4, BOUND), 4);
    EXPECT_EQ(zk_read(fd, buf, sizeof(buf), BOUND), 0);
    EXPECT_EQ(zk_close(fd), 0);
}

RUN_TEST(wrong_directions_are_the_kernels_errors)
{
    char byte = 0;
    int fd[2];

    if (!EXPECT_EQ(make_pipe(fd), 0))
        return;
    EXPECT_EQ(zk_read(fd[1], &byte, 1, BOUND), -EBADF);
    EXPECT_EQ(zk_write(fd[0], &byte, 1, BOUND), -EBADF);
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
}

RUN_TEST(an_eventfd_wakes_its_reader)
{
    uint64_t one = 1, value = 0;
    struct call reader = {.buf = &value, .len = sizeof(value)};
    zk_task_t task;

    reader.fd = eventfd(0, EFD_CLOEXEC);
    if (!EXPECT_GE(reader.fd, 0))
        return;
    task = spawn_parked(call_read, &reader);
    EXPECT_EQ(zk_write(reader.fd, &one, sizeof(one), BOUND), sizeof(one));
    EXPECT_EQ(result_of(task), sizeof(value));
    EXPECT_EQ(value, 1);
    EXPECT_EQ(zk_close(reader.fd), 0);
}

/* ---- zk_wait_fd --------------------------------------------------------- */

RUN_TEST(waiting_reports_the_present_state)
{
    char byte;
    zk_fd_t fd[2];
    int rc;

    if (!tcp_pair(fd))
        return;
    EXPECT_EQ(zk_wait_fd(fd[0], ZK_WRITABLE, BOUND), ZK_WRITABLE);
    EXPECT_EQ(zk_wait_fd(fd[0], ZK_READABLE | ZK_WRITABLE, BOUND), ZK_WRITABLE);
    EXPECT_EQ(zk_wait_fd(fd[0], ZK_READABLE, zk_after(ZK_MS(5))), -ETIMEDOUT);
    EXPECT_EQ(zk_write(fd[1], "xy", 2, BOUND), 2);
    for (int i = 0; i < 3; i++) /* the same again while it is so */
        EXPECT_EQ(zk_wait_fd(fd[0], ZK_READABLE, BOUND), ZK_READABLE);
    EXPECT_EQ(zk_wait_fd(fd[0], ZK_READABLE | ZK_WRITABLE, BOUND),
              ZK_READABLE | ZK_WRITABLE);
    EXPECT_EQ(zk_read(fd[0], &byte, 1, BOUND), 1);
    EXPECT_EQ(zk_wait_fd(fd[0], ZK_READABLE, PAST), ZK_READABLE);
    EXPECT_EQ(zk_read(fd[0], &byte, 1, BOUND), 1);
    EXPECT_EQ(zk_wait_fd(fd[0], ZK_READABLE, PAST), -ETIMEDOUT);
    EXPECT_EQ(zk_close(fd[1]), 0);
    rc = zk_wait_fd(fd[0], ZK_READABLE, BOUND);
    EXPECT_TRUE(rc > 0 && (rc & ZK_READABLE));
    EXPECT_EQ(zk_read(fd[0], &byte, 1, BOUND), 0);
    EXPECT_EQ(zk_close(fd[0]), 0);
}

RUN_TEST(waiting_reports_a_hangup_unasked)
{
    int fd[2], rc;

    if (!EXPECT_EQ(make_pipe(fd), 0))
        return;
    EXPECT_EQ(close(fd[1]), 0);
    rc = zk_wait_fd(fd[0], ZK_READABLE, BOUND);
    EXPECT_TRUE(rc > 0 && (rc & ZK_HANGUP));
    EXPECT_EQ(zk_close(fd[0]), 0);
    if (!EXPECT_EQ(make_pipe(fd), 0))
        return;
    EXPECT_EQ(close(fd[0]), 0);
    rc = zk_wait_fd(fd[1], ZK_WRITABLE, BOUND);
    EXPECT_TRUE(rc > 0 && (rc & ZK_FAILED));
    EXPECT_EQ(zk_close(fd[1]), 0);
}

RUN_TEST(unknown_events_are_refused)
{
    static const unsigned bad[] = {0, ZK_HANGUP, ZK_FAILED, 1u << 31,
                                   ZK_READABLE | 1u << 30};
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        EXPECT_EQ(zk_wait_fd(fd[0], bad[i], BOUND), -EINVAL);
    pair_close(fd);
}

RUN_TEST(any_number_of_tasks_wait_for_readiness)
{
    enum { WAITERS = 10 };
    struct call waiter, reader;
    zk_task_t tasks[WAITERS], other;
    char byte;
    zk_fd_t fd[2];

    if (!tcp_pair(fd))
        return;
    waiter = (struct call){.fd = fd[0], .events = ZK_READABLE};
    reader = (struct call){.fd = fd[0], .buf = &byte, .len = 1};
    for (int i = 0; i < WAITERS; i++)
        tasks[i] = spawn_parked(call_wait_fd, &waiter);
    EXPECT_EQ(cancel_and_join(tasks[0]), -ECANCELED);
    EXPECT_EQ(zk_write(fd[1], "x", 1, BOUND), 1);
    for (int i = 1; i < WAITERS; i++)
        EXPECT_EQ(result_of(tasks[i]), ZK_READABLE);
    EXPECT_EQ(zk_read(fd[0], &byte, 1, BOUND), 1);
    /* A reader and a waiter beside each other. */
    tasks[0] = spawn_parked(call_wait_fd, &waiter);
    other = spawn_parked(call_read, &reader);
    EXPECT_EQ(zk_write(fd[1], "yz", 2, BOUND), 2);
    EXPECT_EQ(result_of(tasks[0]), ZK_READABLE);
    EXPECT_EQ(result_of(other), 1);
    pair_close(fd);
}

/* ---- outside a task ----------------------------------------------------- */

ZK_TEST(a_plain_thread_may_adopt_and_close_but_not_wait)
{
    int fds = zk_test_open_fds(), fd[2];
    struct iovec iov;
    char byte = 0;

    if (!EXPECT_EQ(make_pipe(fd), 0))
        return;
    iov = (struct iovec){&byte, 1};
    EXPECT_EQ(zk_read(fd[0], &byte, 1, PAST), -EPERM);
    EXPECT_EQ(zk_write(fd[1], &byte, 1, PAST), -EPERM);
    EXPECT_EQ(zk_readv(fd[0], &iov, 1, PAST), -EPERM);
    EXPECT_EQ(zk_writev(fd[1], &iov, 1, PAST), -EPERM);
    EXPECT_EQ(zk_read_full(fd[0], &byte, 1, NULL, PAST), -EPERM);
    EXPECT_EQ(zk_write_all(fd[1], &byte, 1, NULL, PAST), -EPERM);
    EXPECT_EQ(zk_wait_fd(fd[1], ZK_WRITABLE, PAST), -EPERM);
    EXPECT_EQ(zk_accept(fd[0], NULL, PAST), -EPERM);
    EXPECT_EQ(zk_dial_tcp("127.0.0.1:1", PAST), -EPERM);
    EXPECT_EQ(zk_listen_tcp("127.0.0.1:0", NULL), -EPERM);
    EXPECT_EQ(zk_fd_adopt(fd[0]), 0);
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
    EXPECT_EQ(zk_close(fd[1]), -EBADF);
    EXPECT_EQ(zk_test_open_fds(), fds);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(adopted_descriptors_read_and_write),
        ZK_CASE(descriptors_made_elsewhere_read_and_write),
        ZK_CASE(zk_close_closes_what_was_never_adopted),
        ZK_CASE(the_loss_of_the_reader_is_an_error_and_no_signal),
        ZK_CASE(a_descriptor_closed_behind_our_back_does_not_hang_a_deadline),
        ZK_CASE(a_read_closed_behind_our_back_ends_by_its_deadline),
        ZK_CASE(files_are_read_and_written),
        ZK_CASE(wrong_directions_are_the_kernels_errors),
        ZK_CASE(an_eventfd_wakes_its_reader),
        ZK_CASE(waiting_reports_the_present_state),
        ZK_CASE(waiting_reports_a_hangup_unasked),
        ZK_CASE(unknown_events_are_refused),
        ZK_CASE(any_number_of_tasks_wait_for_readiness),
        ZK_CASE(a_plain_thread_may_adopt_and_close_but_not_wait));
}
