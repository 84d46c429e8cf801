/* SPDX-License-Identifier: MIT */
/* zk_blocking(): calls that block a thread, on threads made for that. */
#include "integration.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static int seven(void *arg)
{
    (void)arg;
    return 7;
}

static int minus_seven(void *arg)
{
    (void)arg;
    return -7;
}

RUN_TEST(the_result_of_the_function_comes_back)
{
    EXPECT_EQ(zk_blocking(seven, NULL, ZK_FOREVER), 7);
    EXPECT_EQ(zk_blocking(minus_seven, NULL, BOUND), -7);
    EXPECT_EQ(zk_blocking(NULL, NULL, BOUND), -EINVAL);
}

static int look_around(void *arg)
{
    *(pthread_t *)arg = pthread_self();
    EXPECT_TRUE(zk_self().private_block == NULL);
    EXPECT_EQ(zk_yield(), -EPERM);
    EXPECT_EQ(zk_blocking(seven, NULL, PAST), -EPERM);
    return 0;
}

RUN_TEST(the_function_runs_on_a_thread_of_its_own)
{
    const pthread_t none = 0;
    pthread_t thread = none; /* on the stack of the caller: allowed */

    EXPECT_EQ(zk_blocking(look_around, &thread, BOUND), 0);
    EXPECT_FALSE(pthread_equal(thread, none));
    EXPECT_FALSE(pthread_equal(thread, pthread_self()));
}

static int deep_stack(void *arg)
{
    volatile char block[200000];

    memset((void *)(uintptr_t)block, 1, sizeof(block));
    return block[100000] + block[sizeof(block) - 1];
}

RUN_TEST(the_function_has_a_big_stack)
{
    EXPECT_EQ(zk_blocking(deep_stack, NULL, BOUND), 2);
}

/* A function that blocks until a byte comes through a pipe. */
struct job {
    int fd[2];
    atomic_int started;
    int result;
};

static int job_run(void *arg)
{
    struct job *job = arg;
    struct pollfd p = {.fd = job->fd[0], .events = POLLIN};
    char byte = 0;

    atomic_fetch_add(&job->started, 1);
    if (poll(&p, 1, 10000) != 1 || read(job->fd[0], &byte, 1) != 1)
        return -EIO;
    return byte;
}

static int job_call(void *arg)
{
    return zk_blocking(job_run, arg, BOUND);
}

/* Start it and return when it runs. */
static zk_task_t job_start(struct job *job)
{
    zk_time_t bound = BOUND;
    zk_task_t task = {NULL, 0};

    EXPECT_EQ(pipe(job->fd), 0);
    atomic_init(&job->started, 0);
    EXPECT_EQ(zk_spawn(&task, NULL, job_call, job), 0);
    while (atomic_load(&job->started) == 0 && zk_now() < bound)
        EXPECT_EQ(zk_yield(), 0);
    EXPECT_EQ(atomic_load(&job->started), 1);
    return task;
}

static void job_end(struct job *job, zk_task_t task)
{
    EXPECT_EQ(write(job->fd[1], "j", 1), 1);
    EXPECT_EQ(result_of(task), 'j');
    EXPECT_EQ(close(job->fd[0]), 0);
    EXPECT_EQ(close(job->fd[1]), 0);
}

RUN_TEST_CONFIG(other_tasks_go_on_meanwhile, .workers = 1)
{
    struct job job;
    zk_task_t task = job_start(&job);

    for (int i = 0; i < 100; i++)
        EXPECT_EQ(zk_yield(), 0);
    EXPECT_EQ(zk_sleep_until(zk_after(ZK_MS(2))), 0);
    EXPECT_EQ(zk_join(task, NULL, PAST), -ETIMEDOUT);
    job_end(&job, task);
}

static int count_up(void *arg)
{
    return atomic_fetch_add((atomic_int *)arg, 1);
}

RUN_TEST_CONFIG(a_deadline_in_the_queue_leaves_the_function_out,
                .blocking_threads = 1)
{
    static atomic_int count;
    struct job job;
    zk_task_t task = job_start(&job);
    zk_time_t deadline = zk_after(ZK_MS(20));

    EXPECT_EQ(zk_blocking(count_up, &count, deadline), -ETIMEDOUT);
    EXPECT_GE(zk_now(), deadline);
    EXPECT_EQ(zk_blocking(count_up, &count, PAST), -ETIMEDOUT);
    job_end(&job, task);
    EXPECT_EQ(atomic_load(&count), 0);
    EXPECT_EQ(zk_blocking(count_up, &count, BOUND), 0); /* the pool lives on */
    EXPECT_EQ(atomic_load(&count), 1);
}

static int count_up_call(void *arg)
{
    return zk_blocking(count_up, arg, BOUND);
}

RUN_TEST_CONFIG(a_cancel_in_the_queue_leaves_the_function_out,
                .blocking_threads = 1)
{
    static atomic_int count;
    struct job job;
    zk_task_t task = job_start(&job), queued;

    queued = spawn_parked(count_up_call, &count);
    EXPECT_EQ(cancel_and_join(queued), -ECANCELED);
    job_end(&job, task);
    EXPECT_EQ(zk_blocking(seven, NULL, BOUND), 7);
    EXPECT_EQ(atomic_load(&count), 0);
}

static int count_up_cancelled(void *arg)
{
    EXPECT_EQ(zk_cancel(zk_self()), 0);
    return zk_blocking(count_up, arg, BOUND);
}

RUN_TEST(a_cancelled_task_starts_nothing)
{
    static atomic_int count;
    zk_task_t task;

    EXPECT_EQ(zk_spawn(&task, NULL, count_up_cancelled, &count), 0);
    EXPECT_EQ(result_of(task), -ECANCELED);
    EXPECT_EQ(atomic_load(&count), 0);
}

RUN_TEST(a_started_function_is_awaited_in_spite_of_a_cancel)
{
    struct job job;
    zk_task_t task = job_start(&job);

    EXPECT_EQ(zk_cancel(task), 0);
    EXPECT_EQ(zk_join(task, NULL, zk_after(ZK_MS(10))), -ETIMEDOUT);
    job_end(&job, task); /* its result, not -ECANCELED */
}

static int job_call_deadline(void *arg)
{
    return zk_blocking(job_run, arg, zk_after(ZK_MS(500)));
}

RUN_TEST(a_started_function_is_awaited_past_the_deadline)
{
    struct job job;
    zk_time_t bound = BOUND;
    zk_task_t task;

    EXPECT_EQ(pipe(job.fd), 0);
    atomic_init(&job.started, 0);
    EXPECT_EQ(zk_spawn(&task, NULL, job_call_deadline, &job), 0);
    while (atomic_load(&job.started) == 0 && zk_now() < bound)
        EXPECT_EQ(zk_yield(), 0);
    EXPECT_EQ(zk_join(task, NULL, zk_after(ZK_MS(600))), -ETIMEDOUT);
    job_end(&job, task);
}

RUN_TEST_CONFIG(many_calls_share_few_threads, .blocking_threads = 3)
{
    enum { CALLS = 200 };
    static atomic_int count;
    static zk_task_t tasks[CALLS];
    zk_stats_t stats;

    for (int i = 0; i < CALLS; i++)
        EXPECT_EQ(zk_spawn(&tasks[i], NULL, count_up_call, &count), 0);
    for (int i = 0; i < CALLS; i++)
        EXPECT_GE(result_of(tasks[i]), 0);
    EXPECT_EQ(atomic_load(&count), CALLS);
    zk_runtime_stats(zk_runtime_current(), &stats);
    EXPECT_LE(stats.blocking_threads, 3);
}

static int add_errno(void *arg)
{
    errno = ENOTTY; /* of the pool's thread: nobody's business */
    return count_up(arg);
}

RUN_TEST(each_call_gets_its_own_result)
{
    static atomic_int count;

    for (int i = 0; i < 500; i++)
        EXPECT_EQ(zk_blocking(add_errno, &count, BOUND), i);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(the_result_of_the_function_comes_back),
        ZK_CASE(the_function_runs_on_a_thread_of_its_own),
        ZK_CASE(the_function_has_a_big_stack),
        ZK_CASE(other_tasks_go_on_meanwhile),
        ZK_CASE(a_deadline_in_the_queue_leaves_the_function_out),
        ZK_CASE(a_cancel_in_the_queue_leaves_the_function_out),
        ZK_CASE(a_cancelled_task_starts_nothing),
        ZK_CASE(a_started_function_is_awaited_in_spite_of_a_cancel),
        ZK_CASE(a_started_function_is_awaited_past_the_deadline),
        ZK_CASE(many_calls_share_few_threads),
        ZK_CASE(each_call_gets_its_own_result));
}
