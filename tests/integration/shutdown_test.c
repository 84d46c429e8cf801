/* SPDX-License-Identifier: MIT */
/* How runtimes end: phases, tasks blocked in every kind of call, tasks that
 * will not go. */
#include "integration.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include <zokio/process.h>

static zk_runtime_t *runtime_make(const zk_config_t *cfg)
{
    zk_runtime_t *rt = NULL;

    EXPECT_EQ(zk_runtime_create(&rt, cfg), 0);
    EXPECT_EQ(zk_runtime_start(rt), 0);
    return rt;
}

/* Start on `rt` from a plain thread; returns when the task waits. */
static zk_task_t start_parked(zk_runtime_t *rt, int (*fn)(void *), void *arg)
{
    uint64_t before = parks_of(rt);
    zk_task_t task = {NULL, 0};

    EXPECT_EQ(zk_runtime_spawn(rt, &task, NULL, fn, arg), 0);
    parks_await(rt, before, 1);
    return task;
}

static int end_of(zk_task_t task)
{
    int result = INT_MIN;

    EXPECT_EQ(zk_join(task, &result, BOUND), 0);
    return result;
}

/* ---- zk_run ------------------------------------------------------------- */

static atomic_int reason_seen;

static int record_reason(void *arg)
{
    int rc = zk_sleep_until(arg ? zk_after(ZK_MS(100)) : ZK_FOREVER);

    atomic_store(&reason_seen, (int)zk_cancel_reason(NULL));
    return rc;
}

static int leave_one_behind(void *arg)
{
    const zk_spawn_opts_t detached = {.flags = ZK_TASK_DETACHED};
    uint64_t before = parks_now();

    atomic_store(&reason_seen, -1);
    EXPECT_EQ(zk_spawn(NULL, &detached, record_reason, arg), 0);
    parks_await(zk_runtime_current(), before, 1);
    return 5;
}

ZK_TEST(the_end_of_the_main_function_cancels_the_rest)
{
    int fds = zk_test_open_fds();

    EXPECT_EQ(zk_run(NULL, leave_one_behind, NULL), 5);
    EXPECT_EQ(atomic_load(&reason_seen), ZK_CANCEL_SHUTDOWN);
    EXPECT_EQ(zk_test_open_fds(), fds);
}

ZK_TEST(wait_all_waits_and_cancels_nobody)
{
    const zk_config_t cfg = {.flags = ZK_WAIT_ALL};
    zk_time_t start = zk_now();

    EXPECT_EQ(zk_run(&cfg, leave_one_behind, (void *)1), 5);
    EXPECT_EQ(atomic_load(&reason_seen), ZK_CANCEL_NONE);
    EXPECT_GE(zk_now(), start + ZK_MS(100));
}

/* ---- phases ------------------------------------------------------------- */

static int accept_here(void *arg)
{
    char text[ZK_ADDR_TEXT];
    zk_fd_t listener = listen_local(text, 0);
    int rc = zk_accept(listener, NULL, BOUND);

    EXPECT_EQ(zk_accept(listener, NULL, BOUND), -ESHUTDOWN);
    EXPECT_EQ(zk_dial_tcp(text, BOUND), -ESHUTDOWN);
    EXPECT_EQ(zk_listen_tcp("127.0.0.1:0", NULL), -ESHUTDOWN);
    EXPECT_EQ(zk_close(listener), 0);
    return rc;
}

static int wait_shutdown(void *arg)
{
    int rc = zk_shutdown_wait(BOUND);

    EXPECT_EQ(zk_shutdown_wait(PAST), 0);
    EXPECT_EQ(zk_cancelled(), 0); /* there is a grace */
    EXPECT_EQ(zk_sleep_until(zk_after(ZK_MS(20))), 0);
    return rc;
}

static int wait_shutdown_only(void *arg)
{
    return zk_shutdown_wait(ZK_FOREVER);
}

static int begin_shutdown(void *arg)
{
    EXPECT_EQ(zk_shutdown_begin(), 0);
    EXPECT_EQ(zk_shutdown_begin(), 0);
    EXPECT_EQ(zk_runtime_state(zk_runtime_current()), ZK_RUNTIME_SHUTTING_DOWN);
    return zk_shutdown_wait(PAST);
}

RUN_TEST(a_task_begins_the_shutdown_of_its_runtime)
{
    zk_task_t acceptor = spawn_parked(accept_here, NULL), waiter, cancelled;

    waiter = spawn_parked(wait_shutdown, NULL);
    cancelled = spawn_parked(wait_shutdown_only, NULL);
    EXPECT_EQ(cancel_and_join(cancelled), -ECANCELED);
    EXPECT_EQ(zk_shutdown_wait(PAST), -ETIMEDOUT);
    EXPECT_EQ(zk_shutdown_wait(zk_after(ZK_MS(5))), -ETIMEDOUT);
    EXPECT_EQ(begin_shutdown(NULL), 0);
    EXPECT_EQ(result_of(acceptor), -ESHUTDOWN);
    EXPECT_EQ(result_of(waiter), 0);
}

RUN_TEST(a_shutdown_tells_all_who_accept_on_one_listener)
{
    enum { ACCEPTORS = 4 };
    char text[ZK_ADDR_TEXT];
    struct call acceptor = {.fd = listen_local(text, 0)};
    zk_task_t tasks[ACCEPTORS];

    for (int i = 0; i < ACCEPTORS; i++)
        tasks[i] = spawn_parked(call_accept, &acceptor);
    EXPECT_EQ(zk_shutdown_begin(), 0);
    for (int i = 0; i < ACCEPTORS; i++)
        EXPECT_EQ(result_of(tasks[i]), -ESHUTDOWN);
    EXPECT_EQ(zk_close(acceptor.fd), 0);
}

ZK_TEST(a_task_that_ends_within_the_grace_is_not_cancelled)
{
    int fds = zk_test_open_fds();
    zk_runtime_t *rt = runtime_make(NULL);
    zk_time_t start = zk_now();
    zk_task_t waiter = start_parked(rt, wait_shutdown, NULL);
    zk_task_t acceptor = start_parked(rt, accept_here, NULL);

    EXPECT_EQ(zk_runtime_shutdown(rt, BOUND), 0);
    EXPECT_LT(zk_now() - start, ZK_SEC(5)); /* does not sit the grace out */
    EXPECT_EQ(end_of(waiter), 0);
    EXPECT_EQ(end_of(acceptor), -ESHUTDOWN);
    EXPECT_EQ(zk_runtime_destroy(rt), 0);
    EXPECT_EQ(zk_test_open_fds(), fds);
}

ZK_TEST(a_task_that_outlasts_the_grace_is_cancelled)
{
    zk_runtime_t *rt = runtime_make(NULL);
    zk_task_t task = start_parked(rt, record_reason, NULL);
    zk_time_t grace = zk_after(ZK_MS(30));

    atomic_store(&reason_seen, -1);
    EXPECT_EQ(zk_runtime_shutdown(rt, grace), 0);
    EXPECT_GE(zk_now(), grace);
    EXPECT_EQ(end_of(task), -ECANCELED);
    EXPECT_EQ(atomic_load(&reason_seen), ZK_CANCEL_SHUTDOWN);
    EXPECT_EQ(zk_runtime_destroy(rt), 0);
}

ZK_TEST(a_shutdown_that_a_task_began_can_be_completed)
{
    zk_runtime_t *rt = runtime_make(NULL);

    EXPECT_EQ(zk_runtime_block_on(rt, begin_shutdown, NULL), 0);
    EXPECT_EQ(zk_runtime_shutdown(rt, PAST), 0);
    EXPECT_EQ(zk_runtime_state(rt), ZK_RUNTIME_STOPPED);
    EXPECT_EQ(zk_runtime_destroy(rt), 0);
}

/* ---- blocked in every kind of call -------------------------------------- */

struct blocked {
    zk_fd_t pair[2]; /* both of its buffers towards pair[1] are full */
    int pipe[2];     /* never adopted */
    zk_fd_t listener;
    zk_fd_t full; /* a listener that answers no more dials */
    zk_fd_t queued[8];
    int count;
    char full_text[ZK_ADDR_TEXT];
    zk_task_t sleeper;
};

static int blocked_open(void *arg)
{
    struct blocked *b = arg;
    char text[ZK_ADDR_TEXT];
    zk_fd_t fd;

    if (!tcp_pair(b->pair) || !EXPECT_EQ(pipe(b->pipe), 0))
        return -EIO;
    (void)fill(b->pair[0]);
    b->listener = listen_local(text, 0);
    b->full = listen_local(b->full_text, 1);
    b->count = 0;
    while (b->count < 8 &&
           (fd = zk_dial_tcp(b->full_text, zk_after(ZK_MS(200)))) >= 0)
        b->queued[b->count++] = fd;
    return 0;
}

static void blocked_close(struct blocked *b)
{
    EXPECT_EQ(zk_close(b->pair[0]), 0);
    EXPECT_EQ(zk_close(b->pair[1]), 0);
    EXPECT_EQ(zk_close(b->pipe[0]), 0);
    EXPECT_EQ(zk_close(b->pipe[1]), 0);
    EXPECT_EQ(zk_close(b->listener), 0);
    EXPECT_EQ(zk_close(b->full), 0);
    for (int i = 0; i < b->count; i++)
        EXPECT_EQ(zk_close(b->queued[i]), 0);
}

static int in_read(void *arg)
{
    char byte;

    return (int)zk_read(((struct blocked *)arg)->pair[0], &byte, 1, ZK_FOREVER);
}

static int in_readv(void *arg)
{
    char byte[2];
    struct iovec iov[2] = {{&byte[0], 1}, {&byte[1], 1}};

    return (int)zk_readv(((struct blocked *)arg)->pair[0], iov, 2, ZK_FOREVER);
}

static int in_write(void *arg)
{
    static const char block[1 << 16];

    return zk_write_all(((struct blocked *)arg)->pair[0], block, sizeof(block),
                        NULL, ZK_FOREVER);
}

static int in_wait_fd(void *arg)
{
    return zk_wait_fd(((struct blocked *)arg)->pair[0], ZK_READABLE,
                      ZK_FOREVER);
}

static int in_pipe_read(void *arg)
{
    char byte;

    return (int)zk_read(((struct blocked *)arg)->pipe[0], &byte, 1, ZK_FOREVER);
}

static int in_accept(void *arg)
{
    return zk_accept(((struct blocked *)arg)->listener, NULL, ZK_FOREVER);
}

static int in_dial(void *arg)
{
    return zk_dial_tcp(((struct blocked *)arg)->full_text, ZK_FOREVER);
}

static int in_join(void *arg)
{
    return zk_join(((struct blocked *)arg)->sleeper, NULL, ZK_FOREVER);
}

static int in_signal_wait(void *arg)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    return zk_signal_wait(&set, NULL, ZK_FOREVER);
}

static atomic_int yielding;

static int in_yield(void *arg)
{
    int rc;

    while ((rc = zk_yield()) == 0)
        atomic_store(&yielding, 1);
    return rc;
}

/* It never waits, so it is known by what it stores. */
static zk_task_t start_yielding(zk_runtime_t *rt)
{
    zk_time_t bound = BOUND;
    zk_task_t task = {NULL, 0};

    EXPECT_EQ(zk_runtime_spawn(rt, &task, NULL, in_yield, NULL), 0);
    while (atomic_load(&yielding) == 0 && zk_now() < bound)
        sched_yield();
    return task;
}

ZK_TEST(a_shutdown_ends_tasks_blocked_in_every_kind_of_call)
{
    static int (*const calls[])(void *) = {
        in_read,    in_read,      in_readv, in_write,       in_write,
        in_wait_fd, in_pipe_read, in_join,  in_signal_wait, sleep_for_ever,
        in_accept,  in_accept,    in_dial,
    };
    enum { CALLS = sizeof(calls) / sizeof(calls[0]) };
    int fds = zk_test_open_fds(), rc;
    struct blocked b;
    bool joined = false;
    zk_task_t tasks[CALLS], yielder;
    zk_runtime_t *rt = runtime_make(NULL);

    if (!EXPECT_EQ(zk_runtime_block_on(rt, blocked_open, &b), 0))
        return;
    b.sleeper = start_parked(rt, sleep_for_ever, NULL);
    for (int i = 0; i < CALLS; i++)
        tasks[i] = start_parked(rt, calls[i], &b);
    yielder = start_yielding(rt);
    EXPECT_EQ(zk_runtime_shutdown(rt, PAST), 0);
    for (int i = 0; i < CALLS; i++) {
        rc = end_of(tasks[i]);
        if (calls[i] == in_accept || calls[i] == in_dial)
            EXPECT_TRUE(rc == -ESHUTDOWN || rc == -ECANCELED);
        else if (calls[i] == in_join)
            joined = rc == 0; /* the sleeper may have ended before it did */
        else
            EXPECT_EQ(rc, -ECANCELED);
    }
    EXPECT_EQ(end_of(yielder), -ECANCELED);
    if (!joined)
        EXPECT_EQ(end_of(b.sleeper), -ECANCELED);
    blocked_close(&b);
    EXPECT_EQ(zk_runtime_destroy(rt), 0);
    EXPECT_EQ(zk_test_open_fds(), fds);
}

/* ---- plain threads that wait -------------------------------------------- */

static int park_for_ever(void *arg)
{
    return zk_sleep_until(ZK_FOREVER);
}

static void *block_on_it(void *arg)
{
    return (void *)(intptr_t)zk_runtime_block_on(arg, park_for_ever, NULL);
}

ZK_TEST(a_thread_in_block_on_gets_the_result_of_the_cancelled_task)
{
    zk_runtime_t *rt = runtime_make(NULL);
    uint64_t before = parks_of(rt);
    pthread_t thread;
    void *result = NULL;

    EXPECT_EQ(pthread_create(&thread, NULL, block_on_it, rt), 0);
    parks_await(rt, before, 1);
    EXPECT_EQ(zk_runtime_shutdown(rt, PAST), 0);
    EXPECT_EQ(pthread_join(thread, &result), 0);
    EXPECT_EQ((intptr_t)result, -ECANCELED);
    EXPECT_EQ(zk_runtime_destroy(rt), 0);
}

/* ---- who will not go: last, for what they hold is leaked ---------------- */

struct log {
    pthread_mutex_t lock;
    bool named;
};

static void log_look(enum zk_log_level level, const char *text, void *ctx)
{
    struct log *log = ctx;

    pthread_mutex_lock(&log->lock);
    log->named |= strstr(text, "stubborn") != NULL;
    pthread_mutex_unlock(&log->lock);
}

static int stay_for_ever(void *arg)
{
    zk_shield_begin();
    return zk_sleep_until(ZK_FOREVER);
}

static int leave_stubborn(void *arg)
{
    const zk_spawn_opts_t opts = {.name = "stubborn",
                                  .flags = ZK_TASK_DETACHED};
    uint64_t before = parks_now();

    EXPECT_EQ(zk_spawn(NULL, &opts, stay_for_ever, NULL), 0);
    parks_await(zk_runtime_current(), before, 1);
    return 0;
}

/* Of LeakSanitizer, where it is linked. */
extern __attribute__((weak)) void __lsan_disable(void);

/* Leaks on purpose: what the survivors hold. */
ZK_TEST(survivors_are_named_and_bounded_in_time)
{
    static struct log log = {.lock = PTHREAD_MUTEX_INITIALIZER};
    const zk_config_t cfg = {
        .shutdown_ns = ZK_MS(50), .log = log_look, .log_ctx = &log};
    zk_time_t start = zk_now();
    zk_runtime_t *rt;

    if (__lsan_disable != NULL)
        __lsan_disable();
    EXPECT_EQ(zk_run(&cfg, leave_stubborn, NULL), -ETIMEDOUT);
    EXPECT_GE(zk_now() - start, ZK_MS(50));
    EXPECT_LT(zk_now() - start, ZK_SEC(4));
    EXPECT_TRUE(log.named);
    log.named = false;
    rt = runtime_make(&cfg);
    EXPECT_EQ(zk_runtime_block_on(rt, leave_stubborn, NULL), 0);
    EXPECT_EQ(zk_runtime_shutdown(rt, PAST), -ETIMEDOUT);
    EXPECT_TRUE(log.named);
    EXPECT_EQ(zk_runtime_destroy(rt), -ETIMEDOUT);
    /* The process is as able as before. */
    EXPECT_EQ(zk_run(NULL, leave_one_behind, NULL), 5);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(the_end_of_the_main_function_cancels_the_rest),
        ZK_CASE(wait_all_waits_and_cancels_nobody),
        ZK_CASE(a_task_begins_the_shutdown_of_its_runtime),
        ZK_CASE(a_shutdown_tells_all_who_accept_on_one_listener),
        ZK_CASE(a_task_that_ends_within_the_grace_is_not_cancelled),
        ZK_CASE(a_task_that_outlasts_the_grace_is_cancelled),
        ZK_CASE(a_shutdown_that_a_task_began_can_be_completed),
        ZK_CASE(a_shutdown_ends_tasks_blocked_in_every_kind_of_call),
        ZK_CASE(a_thread_in_block_on_gets_the_result_of_the_cancelled_task),
        ZK_CASE(survivors_are_named_and_bounded_in_time));
}
