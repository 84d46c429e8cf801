/* SPDX-License-Identifier: MIT */
/* sys_test.c - calls on descriptors. */
#include "layer0.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

static _Atomic uint32_t signals_handled;

static void count_signal(int signo)
{
    (void)signo;
    zk_atomic_add(&signals_handled, 1, release);
}

struct blocked_call {
    _Atomic uint32_t ready;
    ssize_t (*call)(int fd);
    int fd;
    ssize_t result;
};

static void *blocked_run(void *arg)
{
    struct blocked_call *b = arg;

    zk_atomic_store(&b->ready, zk__thread_kernel_id(), release);
    zk__futex_wake(&b->ready, 1);
    b->result = b->call(b->fd);
    return NULL;
}

/* Starts the call, waits until it sleeps in the kernel, interrupts it by a
 * signal whose handler does not ask for a restart, and waits until it sleeps
 * again or has ended. */
static void blocked_start(struct blocked_call *b, zk_thread_t *thread)
{
    struct sigaction sa = {.sa_handler = count_signal};
    uint32_t id;

    assert_int_equal(sigaction(SIGURG, &sa, NULL), 0);
    assert_int_equal(zk__thread_create(thread, blocked_run, b, 0, NULL), 0);
    id = await_ready(&b->ready);
    await_state(id, 'S');
    zk_atomic_store(&signals_handled, 0, relaxed);
    assert_int_equal(zk__thread_signal(*thread, SIGURG), 0);
    while (zk_atomic_load(&signals_handled, acquire) == 0 &&
           zk__thread_state(id) != 0)
        zk__thread_yield();
    await_state(id, 'S');
}

static ssize_t call_read(int fd)
{
    char byte;

    return zk__sys_read(fd, &byte, 1);
}

TEST(an_interrupted_read_goes_on)
{
    struct blocked_call b = {.call = call_read};
    zk_thread_t thread;
    int fd[2];

    assert_int_equal(pipe(fd), 0);
    b.fd = fd[0];
    blocked_start(&b, &thread);
    assert_int_equal(zk__sys_write(fd[1], "x", 1), 1);
    zk__thread_join(thread);
    assert_int_equal(b.result, 1);
    assert_int_equal(zk__sys_close(fd[0]), 0);
    assert_int_equal(zk__sys_close(fd[1]), 0);
}

static ssize_t call_poll(int fd)
{
    return zk__sys_poll(fd, POLLIN, 60000);
}

TEST(an_interrupted_poll_goes_on)
{
    struct blocked_call b = {.call = call_poll};
    zk_thread_t thread;
    int fd[2];

    assert_int_equal(pipe(fd), 0);
    b.fd = fd[0];
    blocked_start(&b, &thread);
    assert_int_equal(zk__sys_write(fd[1], "x", 1), 1);
    zk__thread_join(thread);
    assert_int_equal(b.result, POLLIN);
    close(fd[0]);
    close(fd[1]);
}

static ssize_t call_epoll(int fd)
{
    struct epoll_event ev;

    return zk__sys_epoll_wait(fd, &ev, 1, -1);
}

TEST(an_interrupted_epoll_wait_finds_nothing)
{
    struct blocked_call b = {.call = call_epoll, .result = -1};
    zk_thread_t thread;

    b.fd = zk__sys_epoll_create();
    assert_true(b.fd >= 0);
    blocked_start(&b, &thread);
    zk__thread_join(thread);
    assert_int_equal(b.result, 0);
    zk__sys_close(b.fd);
}

TEST(epoll_wait_reports_events_and_waits_no_shorter_than_asked)
{
    struct epoll_event ev = {.events = EPOLLIN}, got = {.events = 0};
    int ep = zk__sys_epoll_create(), fd = zk__sys_eventfd();
    uint64_t one = 1;
    zk_time_t start;

    assert_true(ep >= 0 && fd >= 0);
    ev.data.u64 = 77;
    assert_int_equal(zk__sys_epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev), 0);
    assert_int_equal(zk__sys_epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev), -EEXIST);
    assert_int_equal(zk__sys_epoll_wait(ep, &got, 1, 0), 0);
    start = zk__clock_now();
    assert_int_equal(zk__sys_epoll_wait(ep, &got, 1, 1500001), 0);
    assert_true(zk__clock_now() - start >= 1500001);
    assert_int_equal(zk__sys_write(fd, &one, sizeof one), 8);
    assert_int_equal(zk__sys_epoll_wait(ep, &got, 1, -1), 1);
    assert_int_equal(got.events, EPOLLIN);
    assert_int_equal(got.data.u64, 77);
    zk__sys_close(fd);
    zk__sys_close(ep);
}

TEST(reading_without_waiting_says_so_or_is_not_supported)
{
    char byte = 'x';
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    int fd[2];
    ssize_t n;

    assert_int_equal(pipe(fd), 0);
    n = zk__sys_readv_nowait(fd[0], &iov, 1);
    assert_true(n == -EAGAIN || n == -EOPNOTSUPP);
    if (zk__sys_writev_nowait(fd[1], &iov, 1) == -EOPNOTSUPP)
        assert_int_equal(zk__sys_writev(fd[1], &iov, 1), 1);
    byte = 0;
    if (zk__sys_readv_nowait(fd[0], &iov, 1) == -EOPNOTSUPP)
        assert_int_equal(zk__sys_readv(fd[0], &iov, 1), 1);
    assert_int_equal(byte, 'x');
    close(fd[0]);
    close(fd[1]);
}

TEST(sending_to_a_closed_peer_is_an_error_and_not_a_signal)
{
    char byte = 0;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    int fd[2];

    signal(SIGPIPE, SIG_DFL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    assert_int_equal(zk__sys_recv(fd[0], &byte, 1), -EAGAIN);
    assert_int_equal(zk__sys_recvv(fd[0], &iov, 1), -EAGAIN);
    assert_int_equal(zk__sys_send(fd[0], "a", 1), 1);
    assert_int_equal(zk__sys_recvv(fd[1], &iov, 1), 1);
    assert_int_equal(byte, 'a');
    assert_int_equal(zk__sys_sendv(fd[0], &iov, 1), 1);
    assert_int_equal(zk__sys_recv(fd[1], &byte, 1), 1);
    assert_int_equal(zk__sys_shutdown(fd[0], SHUT_RD), 0);
    assert_int_equal(zk__sys_close(fd[1]), 0);
    assert_int_equal(zk__sys_send(fd[0], "a", 1), -EPIPE);
    assert_int_equal(zk__sys_sendv(fd[0], &iov, 1), -EPIPE);
    assert_int_equal(zk__sys_close(fd[0]), 0);
    assert_int_equal(zk__sys_close(fd[0]), -EBADF);
}

static void assert_ours(int fd)
{
    assert_true(fd >= 0);
    assert_int_equal(zk__sys_is_nonblocking(fd), 1);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST(sockets_are_made_non_blocking_and_close_on_exec)
{
    struct sockaddr_in addr = {.sin_family = AF_INET}, peer;
    struct sockaddr *sa = (struct sockaddr *)&addr;
    socklen_t len = sizeof addr, peer_len = sizeof peer;
    int one = 1, error = -1, rc, l, c, s;
    socklen_t error_len = sizeof error;

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    l = zk__sys_socket(AF_INET, SOCK_STREAM, 0);
    assert_ours(l);
    assert_int_equal(
        zk__sys_setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), 0);
    assert_int_equal(zk__sys_bind(l, sa, len), 0);
    assert_int_equal(zk__sys_listen(l, 8), 0);
    assert_int_equal(zk__sys_getsockname(l, sa, &len), 0);
    assert_int_equal(zk__sys_accept(l, NULL, NULL), -EAGAIN);

    c = zk__sys_socket(AF_INET, SOCK_STREAM, 0);
    rc = zk__sys_connect(c, sa, len);
    assert_true(rc == 0 || rc == -EINPROGRESS);
    assert_int_equal(zk__sys_poll(c, POLLOUT, 5000), POLLOUT);
    assert_int_equal(
        zk__sys_getsockopt(c, SOL_SOCKET, SO_ERROR, &error, &error_len), 0);
    assert_int_equal(error, 0);
    assert_int_equal(zk__sys_poll(l, POLLIN, 5000), POLLIN);
    s = zk__sys_accept(l, (struct sockaddr *)&peer, &peer_len);
    assert_ours(s);
    len = sizeof addr;
    assert_int_equal(zk__sys_getpeername(s, sa, &len), 0);
    assert_int_equal(addr.sin_port, peer.sin_port);
    assert_int_equal(zk__sys_poll(s, POLLIN, 1), 0);

    assert_int_equal(zk__sys_kind(l), ZK_FD_LISTENER);
    assert_int_equal(zk__sys_kind(s), ZK_FD_SOCKET);
    zk__sys_close(s);
    zk__sys_close(c);
    zk__sys_close(l);
}

static int kind_of_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), kind;

    assert_true(fd >= 0);
    kind = zk__sys_kind(fd);
    close(fd);
    return kind;
}

TEST(the_kind_of_a_descriptor_is_told)
{
    int fd[2], udp, event = zk__sys_eventfd();

    assert_int_equal(pipe(fd), 0);
    assert_int_equal(zk__sys_is_nonblocking(fd[0]), 0);
    udp = zk__sys_socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(zk__sys_kind(udp), ZK_FD_SOCKET);
    assert_int_equal(zk__sys_kind(fd[0]), ZK_FD_PIPE);
    assert_int_equal(zk__sys_kind(event), ZK_FD_PIPE);
    assert_int_equal(kind_of_path("/"), ZK_FD_FILE);
    assert_int_equal(kind_of_path("/proc/self/exe"), ZK_FD_FILE);
    assert_int_equal(kind_of_path("/dev/null"), ZK_FD_FILE);
    close(fd[0]);
    close(fd[1]);
    zk__sys_close(udp);
    zk__sys_close(event);
    assert_int_equal(zk__sys_kind(event), -EBADF);
    assert_int_equal(zk__sys_is_nonblocking(event), -EBADF);
}

TEST(a_descriptor_in_reserve_reads_as_an_empty_file)
{
    char byte;
    int fd = zk__sys_dup_null();

    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(zk__sys_read(fd, &byte, 1), 0);
    zk__sys_close(fd);
}

TEST(a_blocked_signal_arrives_on_its_descriptor)
{
    struct signalfd_siginfo info;
    sigset_t set, saved;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, &saved);
    fd = zk__sys_signalfd(&set);
    assert_ours(fd);
    assert_int_equal(zk__sys_read(fd, &info, sizeof info), -EAGAIN);
    assert_int_equal(zk__thread_signal(zk__thread_self(), SIGUSR1), 0);
    assert_int_equal(zk__sys_read(fd, &info, sizeof info), sizeof info);
    assert_int_equal(info.ssi_signo, SIGUSR1);
    zk__sys_close(fd);
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(an_interrupted_read_goes_on),
        cmocka_unit_test(an_interrupted_poll_goes_on),
        cmocka_unit_test(an_interrupted_epoll_wait_finds_nothing),
        cmocka_unit_test(
            epoll_wait_reports_events_and_waits_no_shorter_than_asked),
        cmocka_unit_test(reading_without_waiting_says_so_or_is_not_supported),
        cmocka_unit_test(sending_to_a_closed_peer_is_an_error_and_not_a_signal),
        cmocka_unit_test(sockets_are_made_non_blocking_and_close_on_exec),
        cmocka_unit_test(the_kind_of_a_descriptor_is_told),
        cmocka_unit_test(a_descriptor_in_reserve_reads_as_an_empty_file),
        cmocka_unit_test(a_blocked_signal_arrives_on_its_descriptor),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
