/* SPDX-License-Identifier: MIT */
/* A task that runs off its stack: the report, and who gets the signal next. */
#include "integration/integration.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPORT_MAX = 4096, FRAME = 1024, EXIT_CHAINED = 7 };

/* Takes stack until there is none; the compiler cannot see an end. */
static __attribute__((noinline)) int dive(volatile char *above)
{
    volatile char frame[FRAME];

    frame[0] = above != NULL ? above[0] : 1;
    return frame[0] == 0 ? 0 : dive(frame) + frame[0];
}

static int diver(void *arg)
{
    (void)arg;
    return dive(NULL);
}

static int spawn_diver(void *arg)
{
    zk_spawn_opts_t opts = {.name = "diver", .stack_class = ZK_STACK_64K};
    zk_task_t task;
    int rc = zk_spawn(&task, &opts, diver, arg);

    return rc < 0 ? rc : zk_join(task, NULL, ZK_FOREVER);
}

static void chained(int signo)
{
    (void)signo;
    _exit(EXIT_CHAINED);
}

/* Runs the diver in a child; its standard error into `report`. */
static int run_child(uint32_t flags, bool handler, char report[REPORT_MAX])
{
    zk_config_t cfg = {.flags = flags};
    size_t length = 0;
    int fd[2], status = 0;
    ssize_t n;
    pid_t pid;

    EXPECT_EQ(pipe(fd), 0);
    pid = fork();
    if (pid == 0) {
        dup2(fd[1], STDERR_FILENO);
        signal(SIGSEGV, SIG_DFL);
        if (handler) {
            struct sigaction action = {.sa_handler = chained,
                                       .sa_flags = SA_ONSTACK};

            sigaction(SIGSEGV, &action, NULL);
        }
        _exit(zk_run(&cfg, spawn_diver, NULL) == 0 ? 0 : 1);
    }
    close(fd[1]);
    while (length + 1 < REPORT_MAX &&
           (n = read(fd[0], report + length, REPORT_MAX - 1 - length)) > 0)
        length += (size_t)n;
    report[length] = '\0';
    close(fd[0]);
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

ZK_TEST(an_overflow_names_the_task_and_what_to_raise_and_kills)
{
    char report[REPORT_MAX];
    int status = run_child(0, false, report);

    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), SIGSEGV);
    EXPECT_TRUE(strstr(report, "stack overflow in task") != NULL);
    EXPECT_TRUE(strstr(report, "\"diver\"") != NULL);
    EXPECT_TRUE(strstr(report, "spawned at 0x") != NULL);
    EXPECT_TRUE(strstr(report, "stack of 48 KiB") != NULL);
    EXPECT_TRUE(strstr(report, "ZK_STACK_256K") != NULL);
}

ZK_TEST(the_previous_handler_gets_the_signal_after_the_report)
{
    char report[REPORT_MAX];
    int status = run_child(0, true, report);

    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), EXIT_CHAINED);
    EXPECT_TRUE(strstr(report, "stack overflow in task") != NULL);
}

ZK_TEST(without_the_report_the_guard_kills_all_the_same)
{
    char report[REPORT_MAX];
    int status = run_child(ZK_NO_OVERFLOW_REPORT, false, report);

    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), SIGSEGV);
    EXPECT_TRUE(strstr(report, "stack overflow") == NULL);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(an_overflow_names_the_task_and_what_to_raise_and_kills),
        ZK_CASE(the_previous_handler_gets_the_signal_after_the_report),
        ZK_CASE(without_the_report_the_guard_kills_all_the_same));
}
