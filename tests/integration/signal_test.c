/* SPDX-License-Identifier: MIT */
/* Signals as something to wait for, and the one that must never kill. */
#include "integration.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <zokio/process.h>

static sigset_t set_of(int signo)
{
    sigset_t set;

    sigemptyset(&set);
    if (signo)
        sigaddset(&set, signo);
    return set;
}

static int wait_for(void *arg)
{
    sigset_t set = set_of((int)(intptr_t)arg);

    return zk_signal_wait(&set, NULL, BOUND);
}

RUN_TEST(a_signal_wakes_who_waits_for_it)
{
    zk_task_t one = spawn_parked(wait_for, (void *)SIGUSR1);
    zk_task_t two = spawn_parked(wait_for, (void *)SIGUSR2);

    EXPECT_EQ(kill(getpid(), SIGUSR2), 0);
    EXPECT_EQ(result_of(two), SIGUSR2);
    EXPECT_EQ(zk_join(one, NULL, PAST), -ETIMEDOUT);
    EXPECT_EQ(kill(getpid(), SIGUSR1), 0);
    EXPECT_EQ(result_of(one), SIGUSR1);
}

RUN_TEST(a_signal_stays_pending_until_somebody_waits)
{
    sigset_t set = set_of(SIGUSR1);
    siginfo_t info;

    sigaddset(&set, SIGUSR2);
    memset(&info, 0, sizeof(info));
    EXPECT_EQ(zk_signal_wait(&set, &info, PAST), -ETIMEDOUT);
    EXPECT_EQ(info.si_signo, 0);
    EXPECT_EQ(kill(getpid(), SIGUSR1), 0);
    EXPECT_EQ(zk_signal_wait(&set, &info, BOUND), SIGUSR1);
    EXPECT_EQ(info.si_signo, SIGUSR1);
    EXPECT_EQ(info.si_pid, getpid());
    EXPECT_EQ(kill(getpid(), SIGUSR2), 0);
    EXPECT_EQ(zk_signal_wait(&set, NULL, PAST), SIGUSR2);
    EXPECT_EQ(zk_signal_wait(&set, NULL, PAST), -ETIMEDOUT);
}

RUN_TEST(no_signal_is_lost_to_a_deadline_or_a_cancel)
{
    sigset_t set = set_of(SIGUSR1);
    zk_time_t deadline = zk_after(ZK_MS(10));
    zk_task_t task;
    int rc;

    EXPECT_EQ(zk_signal_wait(&set, NULL, deadline), -ETIMEDOUT);
    EXPECT_GE(zk_now(), deadline);
    for (int i = 0; i < 20; i++) {
        task = spawn_parked(wait_for, (void *)SIGUSR1);
        if (i % 2)
            EXPECT_EQ(kill(getpid(), SIGUSR1), 0);
        (void)zk_cancel(task); /* it may have ended: -ESRCH */
        if (i % 2 == 0)
            EXPECT_EQ(kill(getpid(), SIGUSR1), 0);
        rc = result_of(task); /* it may have won */
        if (rc != SIGUSR1) {
            EXPECT_EQ(rc, -ECANCELED);
            EXPECT_EQ(zk_signal_wait(&set, NULL, BOUND), SIGUSR1);
        }
    }
    EXPECT_EQ(zk_signal_wait(&set, NULL, PAST), -ETIMEDOUT);
}

RUN_TEST(each_signal_is_taken_by_one_waiter)
{
    zk_task_t tasks[3];
    int taken = 0;

    for (int i = 0; i < 3; i++)
        tasks[i] = spawn_parked(wait_for, (void *)SIGUSR1);
    for (int i = 0; i < 3; i++) {
        zk_time_t bound = BOUND;

        EXPECT_EQ(kill(getpid(), SIGUSR1), 0);
        for (int ended = 0; ended == 0 && zk_now() < bound;) {
            EXPECT_EQ(zk_yield(), 0);
            for (int k = 0; k < 3 && !ended; k++) {
                int result = 0;

                if (tasks[k].private_block &&
                    zk_join(tasks[k], &result, PAST) == 0) {
                    ended = 1;
                    taken += result == SIGUSR1;
                    tasks[k].private_block = NULL;
                }
            }
        }
    }
    EXPECT_EQ(taken, 3);
}

RUN_TEST(a_set_that_waits_for_nothing_is_refused)
{
    sigset_t empty = set_of(0);

    EXPECT_EQ(zk_signal_wait(NULL, NULL, BOUND), -EINVAL);
    EXPECT_EQ(zk_signal_wait(&empty, NULL, BOUND), -EINVAL);
}

ZK_TEST(a_plain_thread_does_not_wait_for_signals)
{
    sigset_t set = set_of(SIGUSR1);

    EXPECT_EQ(zk_signal_wait(&set, NULL, PAST), -EPERM);
}

/* ---- SIGPIPE, whose default action ends the process --------------------- */

RUN_TEST(writing_to_nobody_raises_no_signal)
{
    sigset_t set = set_of(SIGPIPE);
    struct iovec iov = {(void *)(uintptr_t) "x", 1};

    for (int kind = 0; kind < 2; kind++) {
        int fd[2];

        EXPECT_EQ(kind ? pipe(fd) : socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
        EXPECT_EQ(close(fd[0]), 0);
        EXPECT_EQ(zk_write(fd[1], "x", 1, BOUND), -EPIPE);
        EXPECT_EQ(zk_writev(fd[1], &iov, 1, BOUND), -EPIPE);
        EXPECT_EQ(zk_write_all(fd[1], "x", 1, NULL, BOUND), -EPIPE);
        EXPECT_EQ(close(fd[1]), 0);
    }
    (void)zk_signal_wait(&set, NULL, PAST); /* a pipe may leave one pending */
}

static int raise_sigpipe(void *arg)
{
    int fd[2];

    EXPECT_EQ(pipe(fd), 0);
    EXPECT_EQ(close(fd[0]), 0);
    for (int i = 0; i < 20; i++) {
        EXPECT_EQ(write(fd[1], "x", 1), -1); /* not ours: a foreign library */
        EXPECT_EQ(zk_write(fd[1], "x", 1, BOUND), -EPIPE);
        EXPECT_EQ(pthread_kill(pthread_self(), SIGPIPE), 0);
        EXPECT_EQ(zk_yield(), 0);
    }
    EXPECT_EQ(close(fd[1]), 0);
    return 0;
}

static int raise_sigpipe_on_worker_0(void *arg)
{
    const zk_spawn_opts_t opts = {.pin = ZK_PIN(0)};
    zk_task_t task;

    EXPECT_EQ(zk_spawn(&task, &opts, raise_sigpipe, arg), 0);
    return result_of(task);
}

ZK_TEST(a_pending_sigpipe_does_not_kill_after_the_run)
{
    sigset_t set = set_of(SIGPIPE), pending;

    EXPECT_TRUE(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    EXPECT_EQ(zk_run(NULL, raise_sigpipe_on_worker_0, NULL), 0);
    EXPECT_EQ(sigpending(&pending), 0);
    EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
    EXPECT_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
    EXPECT_TRUE(getpid() > 0); /* still here */
}

/* ---- the mask ----------------------------------------------------------- */

static int mask_check(void *arg)
{
    sigset_t mask;

    EXPECT_EQ(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
    EXPECT_EQ(sigismember(&mask, SIGTERM), 1);
    EXPECT_EQ(sigismember(&mask, SIGUSR1), 1);
    EXPECT_EQ(sigismember(&mask, SIGSEGV), 0);
    EXPECT_EQ(sigismember(&mask, SIGPROF), 0);
    EXPECT_EQ(sigismember(&mask, SIGURG), 0);
    return 0;
}

static bool mask_equal(const sigset_t *a, const sigset_t *b)
{
    for (int signo = 1; signo < 65; signo++) {
        if (sigismember(a, signo) != sigismember(b, signo))
            return false;
    }
    return true;
}

ZK_TEST(the_callers_mask_is_restored)
{
    sigset_t mine = set_of(SIGUSR2), before, after;

    EXPECT_EQ(pthread_sigmask(SIG_BLOCK, &mine, NULL), 0);
    EXPECT_EQ(pthread_sigmask(SIG_BLOCK, NULL, &before), 0);
    EXPECT_EQ(zk_run(NULL, mask_check, NULL), 0);
    EXPECT_EQ(pthread_sigmask(SIG_BLOCK, NULL, &after), 0);
    EXPECT_TRUE(mask_equal(&before, &after));
    EXPECT_EQ(sigismember(&after, SIGUSR2), 1);
    EXPECT_EQ(sigismember(&after, SIGTERM), 0);
    EXPECT_EQ(pthread_sigmask(SIG_UNBLOCK, &mine, NULL), 0);
}

int main(void)
{
    return zk_test_main(ZK_CASE(a_signal_wakes_who_waits_for_it),
                        ZK_CASE(a_signal_stays_pending_until_somebody_waits),
                        ZK_CASE(no_signal_is_lost_to_a_deadline_or_a_cancel),
                        ZK_CASE(each_signal_is_taken_by_one_waiter),
                        ZK_CASE(a_set_that_waits_for_nothing_is_refused),
                        ZK_CASE(a_plain_thread_does_not_wait_for_signals),
                        ZK_CASE(writing_to_nobody_raises_no_signal),
                        ZK_CASE(a_pending_sigpipe_does_not_kill_after_the_run),
                        ZK_CASE(the_callers_mask_is_restored));
}
