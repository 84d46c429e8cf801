/* SPDX-License-Identifier: MIT */
/*
 * Thousands of connections from another process, opened, used and ended in every
 * way, round after round: nothing may stay behind.
 */
#include "stress/stress.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { ROUNDS = 5, PLENTY = 9000 };

static int connections;

/* ---- the client: plain blocking sockets --------------------------------------- */

static int client_open(uint16_t port, int number)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)number % 8);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        _exit(2);
    return fd;
}

static void client_use(int fd)
{
    char byte = 'x';

    if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1 || byte != 'x')
        _exit(3);
}

/* By turns: a clean close, half a close and then the rest, a reset, and a close
 * with a reply not read. */
static void client_end(int fd, int number)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    char byte = 'y';

    switch (number % 4) {
    case 0:
        break;
    case 1:
        shutdown(fd, SHUT_WR);
        if (read(fd, &byte, 1) != 0)
            _exit(4);
        break;
    case 2:
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        break;
    case 3:
        if (write(fd, &byte, 1) != 1)
            _exit(5);
        break;
    }
    close(fd);
}

/* A round for each byte that comes; answers when all is closed. */
static void client_main(int commands, uint16_t port)
{
    int *fd = calloc((size_t)connections, sizeof(*fd));
    char command;

    while (fd != NULL && read(commands, &command, 1) == 1) {
        for (int i = 0; i < connections; i++)
            fd[i] = client_open(port, i);
        for (int i = 0; i < connections; i++)
            client_use(fd[i]);
        for (int i = 0; i < connections; i++)
            client_end(fd[i], i);
        if (write(commands, &command, 1) != 1)
            _exit(6);
    }
    _exit(0);
}

/* ---- the server ---------------------------------------------------------------- */

static _Atomic int served;

static void serve(void *arg)
{
    zk_fd_t fd = (zk_fd_t)(intptr_t)arg;
    char buf[256];
    ssize_t n;

    while ((n = zk_read(fd, buf, sizeof(buf), BOUND)) > 0)
        if (zk_write_all(fd, buf, (size_t)n, NULL, BOUND) < 0)
            break;
    EXPECT_EQ(zk_close(fd), 0);
    atomic_fetch_add(&served, 1);
}

static int accept_all(void *arg)
{
    zk_fd_t listener = *(zk_fd_t *)arg, fd;

    while ((fd = zk_accept(listener, NULL, ZK_FOREVER)) >= 0)
        EXPECT_EQ(zk_go(serve, (void *)(intptr_t)fd), 0);
    return fd;
}

struct pipe_pair {
    int commands;
    zk_fd_t listener;
};

/* False: the client has ended, its status says why. */
static bool one_round(struct pipe_pair *p)
{
    zk_time_t bound = zk_after(ZK_SEC(60));
    char byte = 'r';

    atomic_store(&served, 0);
    EXPECT_EQ(zk_write(p->commands, &byte, 1, bound), 1);
    if (!EXPECT_EQ(zk_read(p->commands, &byte, 1, bound), 1))
        return false;
    while (atomic_load(&served) < connections && zk_now() < bound)
        EXPECT_EQ(zk_sleep_until(zk_after(ZK_MS(1))), 0);
    return EXPECT_EQ(atomic_load(&served), connections);
}

static int spares(void)
{
    zk_stats_t stats;

    zk_runtime_stats(zk_runtime_current(), &stats);
    return (int)stats.spare_workers;
}

static int rounds_task(void *arg)
{
    struct pipe_pair *p = arg;
    size_t rss = 0;
    zk_task_t acceptor;
    int fds, spares_before;

    EXPECT_EQ(zk_fd_adopt(p->commands), 0);
    EXPECT_EQ(zk_fd_adopt(p->listener), 0);
    EXPECT_EQ(zk_spawn(&acceptor, NULL, accept_all, &p->listener), 0);
    spares_before = spares();
    fds = zk_test_open_fds();
    for (int i = 0; i < ROUNDS; i++) {
        if (!one_round(p))
            break;
        /* A spare worker, if the monitor started one, has two of its own. */
        EXPECT_EQ(zk_test_open_fds(), fds + 2 * (spares() - spares_before));
        if (i == 1)
            rss = zk_test_rss_bytes();
    }
    fprintf(stderr, "# RSS after round 2: %zu KiB, after round %d: %zu KiB\n",
            rss >> 10, ROUNDS, zk_test_rss_bytes() >> 10);
    /* Sanitizers keep freed memory back for a while. */
    if (!STRESS_TSAN)
        EXPECT_LT(zk_test_rss_bytes(), rss + rss / 10 + (12 << 20));
    EXPECT_EQ(zk_cancel(acceptor), 0);
    EXPECT_EQ(result_of(acceptor), -ECANCELED);
    return 0;
}

static int listen_plain(uint16_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t length = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &length) < 0)
        return -1;
    *port = ntohs(at.sin_port);
    return fd;
}

ZK_TEST(rounds_of_thousands_of_connections_leave_nothing_behind)
{
    struct rlimit limit;
    struct pipe_pair p;
    uint16_t port = 0;
    int pair[2], status = 0;
    pid_t pid;

    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    connections = stress_width(PLENTY);
    if (limit.rlim_cur < (rlim_t)connections + 100)
        connections = (int)limit.rlim_cur - 100;
    p.listener = listen_plain(&port);
    if (!EXPECT_GE(p.listener, 0))
        return;
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid = fork();
    if (pid == 0) {
        close(pair[0]);
        close(p.listener);
        client_main(pair[1], port);
    }
    close(pair[1]);
    p.commands = pair[0];
    EXPECT_EQ(zk_run(NULL, rounds_task, &p), 0);
    zk_close(pair[0]);
    zk_close(p.listener);
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(rounds_of_thousands_of_connections_leave_nothing_behind));
}
