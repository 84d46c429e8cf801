/* SPDX-License-Identifier: MIT */
/* A kernel that refuses io_uring: seccomp, as containers do it. */
#include "integration/integration.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup 425
#endif

enum { EXIT_GOOD = 0, EXIT_NO_FILTER = 40, EXIT_WRONG = 41 };

/* From now on io_uring_setup(2) fails with `error` in this process. */
static int deny_uring(int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K,
                 SECCOMP_RET_ERRNO | ((uint32_t)error & SECCOMP_RET_DATA)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]),
                                 .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int use_sockets(void *arg)
{
    zk_stats_t stats;
    zk_fd_t fd[2];
    char byte = 0;

    (void)arg;
    zk_runtime_stats(zk_runtime_current(), &stats);
    if (strcmp(stats.backend, "epoll") != 0 || !tcp_pair(fd))
        return EXIT_WRONG;
    if (zk_write(fd[0], "x", 1, BOUND) != 1 ||
        zk_read(fd[1], &byte, 1, BOUND) != 1 || byte != 'x')
        return EXIT_WRONG;
    pair_close(fd);
    return EXIT_GOOD;
}

/* What zk_run() with `backend` gives in a child that may not use io_uring. */
static int run_denied(int error, const char *backend)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        zk_config_t cfg = {.backend = backend, .flags = ZK_NO_ENVIRONMENT};
        int rc;

        if (deny_uring(error) < 0)
            _exit(EXIT_NO_FILTER);
        rc = zk_run(&cfg, use_sockets, NULL);
        _exit(rc < 0 ? -rc : rc);
    }
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFEXITED(status));
    return WEXITSTATUS(status);
}

ZK_TEST(io_uring_denied_by_seccomp_falls_back_to_epoll)
{
    EXPECT_EQ(run_denied(EPERM, NULL), EXIT_GOOD);
}

ZK_TEST(io_uring_unknown_to_the_kernel_falls_back_to_epoll)
{
    EXPECT_EQ(run_denied(ENOSYS, NULL), EXIT_GOOD);
}

ZK_TEST(io_uring_without_memory_falls_back_to_epoll)
{
    EXPECT_EQ(run_denied(ENOMEM, NULL), EXIT_GOOD);
}

ZK_TEST(io_uring_by_name_says_why_it_does_not_work)
{
    zk_config_t cfg = {.backend = "io_uring"};

    if (zk_config_validate(&cfg, NULL, 0) == -EINVAL) { /* not built in */
        EXPECT_EQ(run_denied(EPERM, "io_uring"), EINVAL);
        return;
    }
    EXPECT_EQ(run_denied(EPERM, "io_uring"), EPERM);
    EXPECT_EQ(run_denied(ENOSYS, "io_uring"), ENOSYS);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(io_uring_denied_by_seccomp_falls_back_to_epoll),
        ZK_CASE(io_uring_unknown_to_the_kernel_falls_back_to_epoll),
        ZK_CASE(io_uring_without_memory_falls_back_to_epoll),
        ZK_CASE(io_uring_by_name_says_why_it_does_not_work));
}
