/* SPDX-License-Identifier: MIT */
/*
 * task_test.c - the life of a task block: spawn, join, detach, stale handles,
 * cancel at every stage, shield, limits, what a block records.
 *
 * In simulated worlds, but for limits, which are a real runtime's. Who gets
 * the processor when is in fairness_test.c.
 */
#include "core.h"

/* ---- spawn and join ---------------------------------------------------------- */

static int return_arg(void *arg)
{
    return (int)(intptr_t)arg;
}

static void increment(void *arg)
{
    ++*(int *)arg;
}

SEEDS_TEST(join_gives_the_result_before_and_after_the_end, 10)
{
    zk_task_t early = spawn(return_arg, (void *)(intptr_t)42);
    zk_task_t late = spawn(return_arg, (void *)(intptr_t)-7);
    int result = 1;

    EXPECT_EQ(zk_join(early, &result, ZK_FOREVER), 0);
    EXPECT_EQ(result, 42);
    settle();
    EXPECT_EQ(zk_join(late, &result, zk_now() - 1), 0);
    EXPECT_EQ(result, -7);
    EXPECT_EQ(zk_join(spawn(return_arg, NULL), NULL, ZK_FOREVER), 0);
}

static int sleep_for_ever(void *arg)
{
    (void)arg;
    return zk_sleep_until(ZK_FOREVER);
}

static int sleep_until(void *arg)
{
    return zk_sleep_until(*(zk_time_t *)arg);
}

SEEDS_TEST(a_join_in_vain_leaves_the_handle_valid, 10)
{
    zk_time_t end = zk_after(ZK_MS(2));
    zk_task_t task = spawn(sleep_until, &end);
    int result = 99;

    EXPECT_EQ(zk_join(task, &result, zk_now() - 1), -ETIMEDOUT);
    EXPECT_EQ(zk_join(task, &result, end - ZK_MS(1)), -ETIMEDOUT);
    EXPECT_EQ(zk_now(), end - ZK_MS(1));
    EXPECT_EQ(result, 99);
    EXPECT_EQ(zk_join(task, &result, ZK_FOREVER), 0);
    EXPECT_EQ(result, 0);
    EXPECT_EQ(zk_now(), end);
}

struct join_call {
    zk_task_t task;
    zk_time_t deadline;
};

static int join_it(void *arg)
{
    struct join_call *c = arg;

    return zk_join(c->task, NULL, c->deadline);
}

SEEDS_TEST(a_second_joiner_is_refused_and_a_cancelled_one_leaves, 10)
{
    struct join_call call = {spawn(sleep_for_ever, NULL), ZK_FOREVER};
    zk_task_t joiner = spawn(join_it, &call);
    int result = 0;

    settle();
    EXPECT_EQ(zk_join(call.task, &result, ZK_FOREVER), -EINVAL);
    EXPECT_EQ(zk_detach(call.task), -EINVAL);
    EXPECT_EQ(zk_cancel(joiner), 0);
    EXPECT_EQ(result_of(joiner), -ECANCELED);
    EXPECT_EQ(zk_cancel(call.task), 0);
    EXPECT_EQ(zk_join(call.task, &result, ZK_FOREVER), 0);
    EXPECT_EQ(result, -ECANCELED);
}

static unsigned join_in_time, join_too_late;

/* The child's end and the joiner's deadline are the same moment: the joiner
 * gets the result, or times out and can ask again. */
SEEDS_TEST(a_join_whose_deadline_is_the_end_loses_nothing, 100)
{
    zk_time_t end = zk_after(ZK_MS(1));
    zk_task_t task = spawn(sleep_until, &end);
    int result = 5;
    int rc = zk_join(task, &result, end);

    join_in_time += rc == 0;
    join_too_late += rc == -ETIMEDOUT;
    if (rc == -ETIMEDOUT) {
        EXPECT_EQ(result, 5);
        EXPECT_EQ(zk_join(task, &result, ZK_FOREVER), 0);
    }
    EXPECT_EQ(result, 0);
    EXPECT_EQ(zk_join(task, &result, ZK_FOREVER), -ESRCH);
}

ZK_TEST(both_ends_of_a_join_at_its_deadline_were_seen)
{
    EXPECT_GT(join_in_time, 0);
    EXPECT_GT(join_too_late, 0);
}

ZK_SIM_TEST(a_task_cannot_join_itself)
{
    EXPECT_EQ(zk_join(zk_self(), NULL, ZK_FOREVER), -EDEADLK);
}

/* ---- detach and stale handles -------------------------------------------------- */

static void expect_stale(zk_task_t task)
{
    int result = 77;

    EXPECT_EQ(zk_join(task, &result, ZK_FOREVER), -ESRCH);
    EXPECT_EQ(zk_detach(task), -ESRCH);
    EXPECT_EQ(zk_cancel(task), -ESRCH);
    EXPECT_EQ(result, 77);
}

SEEDS_TEST(a_handle_is_stale_after_join_and_when_its_block_is_used_again, 10)
{
    zk_task_t old = spawn(return_arg, NULL), next = {NULL, 0};

    EXPECT_EQ(result_of(old), 0);
    expect_stale(old);
    for (int i = 0; i < 100 && block_of(next) != block_of(old); i++) {
        next = spawn(return_arg, NULL);
        expect_stale(old);
        EXPECT_NE(zk_task_id(next), zk_task_id(old));
        EXPECT_EQ(result_of(next), 0);
    }
    EXPECT_TRUE(block_of(next) == block_of(old));
    expect_stale((zk_task_t){NULL, 0});
    expect_stale((zk_task_t){NULL, 5});
    EXPECT_EQ(zk_task_id((zk_task_t){NULL, 0}), 0);
}

SEEDS_TEST(a_detached_task_ends_alone_and_its_handle_with_it, 10)
{
    zk_task_t before = spawn(return_arg, NULL);
    zk_task_t after = spawn(return_arg, NULL);

    EXPECT_EQ(zk_detach(before), 0);
    EXPECT_EQ(zk_detach(before), -EINVAL);
    EXPECT_EQ(zk_join(before, NULL, ZK_FOREVER), -EINVAL);
    settle();
    EXPECT_EQ(zk_detach(after), 0);
    expect_stale(before);
    expect_stale(after);
}

SEEDS_TEST(a_done_task_cannot_be_cancelled_but_joined, 10)
{
    zk_task_t task = spawn(return_arg, (void *)(intptr_t)3);

    settle();
    EXPECT_EQ(zk_cancel(task), -ESRCH);
    EXPECT_EQ(result_of(task), 3);
}

SEEDS_TEST(plain_and_detached_tasks_run_once_each, 10)
{
    const zk_spawn_opts_t detached = {.flags = ZK_TASK_DETACHED};
    int count = 0, result = 0;

    for (int i = 0; i < 300; i++) /* more than a ring holds */
        EXPECT_EQ(zk_go(increment, &count), 0);
    settle();
    EXPECT_EQ(count, 300);
    EXPECT_EQ(zk_spawn(NULL, &detached, return_arg, NULL), 0);
    EXPECT_EQ(zk_spawn(NULL, NULL, return_arg, NULL), -EINVAL);
    EXPECT_EQ(result, 0);
}

/* ---- arguments ------------------------------------------------------------------ */

ZK_SIM_TEST(a_bad_option_starts_nothing)
{
    static const zk_spawn_opts_t bad[] = {
        {.stack_class = ZK_STACK_8M + 1},
        {.priority = ZK_PRIORITY_BACKGROUND + 1},
        {.pin = ZK_PIN(1)},
        {.flags = 1u << 2},
        {.reserved = {[0] = 1}},
        {.reserved = {[7] = 1}},
    };
    const uint64_t started = worker_here()->n_started;
    zk_task_t task = {&task, 9};

    for (size_t i = 0; i < ZK_ARRAY_LEN(bad); i++)
        EXPECT_EQ(zk_spawn(&task, &bad[i], return_arg, NULL), -EINVAL);
    EXPECT_EQ(zk_spawn(&task, NULL, NULL, NULL), -EINVAL);
    EXPECT_EQ(zk_go(NULL, NULL), -EINVAL);
    EXPECT_TRUE(task.private_block == &task && task.private_id == 9);
    EXPECT_EQ(worker_here()->n_started, started);
}

ZK_TEST(a_plain_thread_has_no_task)
{
    EXPECT_EQ(zk_go(increment, NULL), -EPERM);
    EXPECT_EQ(zk_spawn(NULL, NULL, return_arg, NULL), -EPERM);
    EXPECT_EQ(zk_yield(), -EPERM);
    EXPECT_EQ(zk_yield_if_needed(), -EPERM);
    EXPECT_EQ(zk_sleep_until(0), -EPERM);
    EXPECT_EQ(zk_set_name("x"), -EPERM);
    EXPECT_EQ(zk_worker_index(), -EPERM);
    EXPECT_EQ(zk_cancelled(), 0);
    EXPECT_EQ(zk_cancel_reason(NULL), ZK_CANCEL_NONE);
    EXPECT_TRUE(zk_self().private_block == NULL);
    zk_shield_begin();
    zk_shield_end();
}

/* ---- cancel ---------------------------------------------------------------------- */

struct seen {
    int cancelled, first, second;
    enum zk_cancel_reason reason;
    uint64_t who;
};

static int observe(void *arg)
{
    struct seen *seen = arg;

    seen->cancelled = zk_cancelled();
    seen->reason = zk_cancel_reason(&seen->who);
    seen->first = zk_yield();
    seen->second = zk_sleep_until(0);
    return 11;
}

SEEDS_TEST(a_task_cancelled_before_it_starts_runs_and_sees_why, 10)
{
    struct seen seen = {0};
    zk_task_t task = spawn(observe, &seen);

    EXPECT_EQ(zk_cancel(task), 0);
    EXPECT_EQ(zk_cancel(task), 0);
    EXPECT_EQ(result_of(task), 11);
    EXPECT_EQ(seen.cancelled, 1);
    EXPECT_EQ(seen.reason, ZK_CANCEL_USER);
    EXPECT_EQ(seen.who, zk_task_id(zk_self()));
    EXPECT_EQ(seen.first, -ECANCELED);
    EXPECT_EQ(seen.second, -ECANCELED);
}

static int cancel_self(void *arg)
{
    uint64_t who = 1;

    (void)arg;
    EXPECT_EQ(zk_cancel_reason(&who), ZK_CANCEL_NONE);
    EXPECT_EQ(who, 1);
    EXPECT_EQ(zk_cancel(zk_self()), 0);
    EXPECT_EQ(zk_cancel_reason(&who), ZK_CANCEL_USER);
    EXPECT_EQ(who, zk_task_id(zk_self()));
    EXPECT_EQ(zk_cancel_reason(NULL), ZK_CANCEL_USER);
    return zk_sleep_until(ZK_FOREVER);
}

SEEDS_TEST(a_running_task_sees_its_cancel_at_the_next_wait, 10)
{
    EXPECT_EQ(result_of(spawn(cancel_self, NULL)), -ECANCELED);
}

/* Every wait of a simulated world: a function that waits without end on what
 * `fixture` prepared. */
struct fixture {
    zk_fd_t fd[2];
    zk_task_t other; /* waits for ever too */
    char byte;
};

static int wait_join(void *arg)
{
    struct fixture *f = arg;

    return zk_join(f->other, NULL, ZK_FOREVER);
}

static int wait_read(void *arg)
{
    struct fixture *f = arg;

    return (int)zk_read(f->fd[0], &f->byte, 1, ZK_FOREVER);
}

static int wait_write(void *arg)
{
    struct fixture *f = arg;
    int n;

    do
        n = (int)zk_write(f->fd[0], &f->byte, 1, ZK_FOREVER);
    while (n > 0);
    return n;
}

static int wait_poll(void *arg)
{
    struct fixture *f = arg;

    return zk_wait_fd(f->fd[0], ZK_READABLE, ZK_FOREVER);
}

static int wait_shutdown(void *arg)
{
    (void)arg;
    return zk_shutdown_wait(ZK_FOREVER);
}

static const struct {
    int (*fn)(void *);
    bool turn; /* the other one reads already */
    enum zk_wait_reason reason;
} waits[] = {
    {sleep_for_ever, false, ZK_REASON_SLEEP},
    {wait_join, false, ZK_REASON_JOIN},
    {wait_read, false, ZK_REASON_READ},
    {wait_read, true, ZK_REASON_FD_TURN},
    {wait_write, false, ZK_REASON_WRITE},
    {wait_poll, false, ZK_REASON_POLL},
    {wait_shutdown, false, ZK_REASON_SHUTDOWN},
};

SEEDS_TEST_CONFIG(a_task_in_any_wait_is_cancelled_alone, 20,
                  .stream_capacity = 16)
{
    for (size_t i = 0; i < ZK_ARRAY_LEN(waits); i++) {
        struct fixture f = {.byte = 'x'};
        zk_task_t task;

        EXPECT_EQ(zk_sim_stream(f.fd), 0);
        f.other = spawn(waits[i].turn ? wait_read : sleep_for_ever, &f);
        settle();
        task = spawn(waits[i].fn, &f);
        settle();
        EXPECT_EQ(block_of(task)->wait_reason, waits[i].reason);
        EXPECT_EQ(zk_cancel(task), 0);
        EXPECT_EQ(result_of(task), -ECANCELED);
        EXPECT_EQ(zk_join(f.other, NULL, 0), -ETIMEDOUT);
        EXPECT_EQ(zk_cancel(f.other), 0);
        EXPECT_EQ(result_of(f.other), -ECANCELED);
        EXPECT_EQ(zk_close(f.fd[0]), 0);
        EXPECT_EQ(zk_close(f.fd[1]), 0);
    }
}

static int cancelled_call(void *arg)
{
    struct fixture *f = arg;

    EXPECT_EQ(zk_read(f->fd[0], &f->byte, 1, ZK_FOREVER), -ECANCELED);
    EXPECT_EQ(zk_write(f->fd[0], &f->byte, 1, ZK_FOREVER), -ECANCELED);
    EXPECT_EQ(zk_wait_fd(f->fd[0], ZK_WRITABLE, ZK_FOREVER), -ECANCELED);
    EXPECT_EQ(zk_join(f->other, NULL, 0), -ECANCELED);
    EXPECT_EQ(zk_shutdown_wait(0), -ECANCELED);
    EXPECT_EQ(zk_blocking(return_arg, NULL, ZK_FOREVER), -ECANCELED);
    EXPECT_EQ(zk_yield_if_needed(), -ECANCELED);
    EXPECT_EQ(zk_close(f->fd[0]), 0); /* is not a cancellation point */
    return 0;
}

SEEDS_TEST(a_cancelled_task_starts_no_operation, 10)
{
    struct fixture f = {.other = spawn(sleep_for_ever, NULL)};
    zk_task_t task = spawn(cancelled_call, &f);

    EXPECT_EQ(zk_sim_stream(f.fd), 0);
    EXPECT_EQ(zk_cancel(task), 0);
    EXPECT_EQ(result_of(task), 0);
    EXPECT_EQ(zk_read(f.fd[1], &f.byte, 1, ZK_FOREVER), 0);
    EXPECT_EQ(zk_close(f.fd[1]), 0);
    EXPECT_EQ(zk_cancel(f.other), 0);
    EXPECT_EQ(result_of(f.other), -ECANCELED);
}

static int shielded(void *arg)
{
    zk_time_t *at = arg;

    zk_shield_begin();
    zk_shield_begin();
    EXPECT_EQ(zk_sleep_until(at[0]), 0);
    EXPECT_EQ(zk_now(), at[0]);
    EXPECT_EQ(zk_cancelled(), 1);
    zk_shield_end();
    EXPECT_EQ(zk_yield(), 0);
    EXPECT_EQ(zk_sleep_until(at[1]), 0);
    EXPECT_EQ(zk_now(), at[1]);
    zk_shield_end();
    EXPECT_EQ(zk_cancelled(), 1);
    return zk_yield();
}

SEEDS_TEST(a_shield_holds_a_cancel_off_until_its_end, 10)
{
    zk_time_t at[2] = {zk_after(ZK_MS(1)), zk_after(ZK_MS(2))};
    zk_task_t task = spawn(shielded, at);

    settle();
    EXPECT_EQ(zk_cancel(task), 0);
    EXPECT_EQ(result_of(task), -ECANCELED);
}

static int note_reason(void *arg)
{
    EXPECT_EQ(zk_sleep_until(ZK_FOREVER), -ECANCELED);
    *(enum zk_cancel_reason *)arg = zk_cancel_reason(NULL);
    return 0;
}

static enum zk_cancel_reason at_shutdown;

static int leave_one_behind(void *arg)
{
    (void)arg;
    EXPECT_EQ(zk_detach(spawn(note_reason, &at_shutdown)), 0);
    settle();
    return 0;
}

ZK_TEST(who_is_left_when_main_returns_is_cancelled_by_the_shutdown)
{
    EXPECT_EQ(zk_sim_run(NULL, leave_one_behind, NULL), 0);
    EXPECT_EQ(at_shutdown, ZK_CANCEL_SHUTDOWN);
}

/* ---- what a block records ----------------------------------------------------------- */

static int report_name(void *arg)
{
    struct zk_task *self = zk__task_current();

    (void)arg;
    EXPECT_STR_EQ(zk_task_name(self), "fifteen bytes a");
    EXPECT_EQ(zk_set_name("another name that is long"), 0);
    EXPECT_STR_EQ(zk_task_name(self), "another name th");
    EXPECT_EQ(zk_set_name("ab"), 0);
    EXPECT_STR_EQ(zk_task_name(self), "ab");
    EXPECT_EQ(zk_set_name(NULL), 0);
    EXPECT_STR_EQ(zk_task_name(self), "");
    return self->priority * 100 + self->stack_class;
}

SEEDS_TEST(name_priority_and_stack_are_recorded_and_not_inherited, 5)
{
    const zk_spawn_opts_t opts = {.name = "fifteen bytes and more",
                                  .priority = ZK_PRIORITY_BACKGROUND,
                                  .stack_class = ZK_STACK_64K};
    zk_task_t task, plain;

    EXPECT_EQ(zk_spawn(&task, &opts, report_name, NULL), 0);
    EXPECT_EQ(result_of(task), ZK_PRIORITY_BACKGROUND * 100 + ZK_STACK_64K);
    plain = spawn(sleep_for_ever, NULL);
    settle();
    EXPECT_STR_EQ(zk_task_name(block_of(plain)), "");
    EXPECT_EQ(block_of(plain)->priority, ZK_PRIORITY_NORMAL);
    EXPECT_EQ(block_of(plain)->stack_class, ZK_STACK_256K);
    EXPECT_TRUE(block_of(plain)->site != NULL);
    EXPECT_STR_EQ(zk_task_name(zk__task_current()), "main");
    EXPECT_EQ(zk_cancel(plain), 0);
    EXPECT_EQ(result_of(plain), -ECANCELED);
}

/* Ends with everything set that a successor must not find. */
static int leave_marks(void *arg)
{
    (void)arg;
    EXPECT_EQ(zk_set_name("marked"), 0);
    zk_shield_begin();
    EXPECT_EQ(zk_cancel(zk_self()), 0);
    EXPECT_EQ(zk_sleep_until(zk_after(ZK_MS(1))), 0);
    return -1;
}

static int find_no_marks(void *arg)
{
    struct zk_task *self = zk__task_current();

    (void)arg;
    EXPECT_STR_EQ(zk_task_name(self), "");
    EXPECT_EQ(self->shield, 0);
    EXPECT_EQ(self->priority, ZK_PRIORITY_NORMAL);
    EXPECT_EQ(self->pin, 0);
    EXPECT_EQ(self->flags & ZK_TASKF_FPENV, 0);
    EXPECT_EQ(self->stack_class, ZK_STACK_256K);
    EXPECT_EQ(zk_cancelled(), 0);
    return 0;
}

SEEDS_TEST(a_block_that_is_used_again_starts_afresh, 5)
{
    const zk_spawn_opts_t opts = {.name = "before",
                                  .stack_class = ZK_STACK_64K,
                                  .priority = ZK_PRIORITY_HIGH,
                                  .pin = ZK_PIN(0),
                                  .flags = ZK_TASK_FPENV};
    zk_task_t old, next = {NULL, 0};

    EXPECT_EQ(zk_spawn(&old, &opts, leave_marks, NULL), 0);
    EXPECT_EQ(result_of(old), -1);
    for (int i = 0; i < 100 && block_of(next) != block_of(old); i++) {
        next = spawn(find_no_marks, NULL);
        EXPECT_EQ(result_of(next), 0);
    }
    EXPECT_TRUE(block_of(next) == block_of(old));
}

ZK_SIM_TEST(ids_are_unique_and_self_is_the_handle)
{
    zk_task_t a = spawn(return_arg, NULL), b = spawn(return_arg, NULL);
    zk_task_t self = zk_self();

    EXPECT_NE(zk_task_id(a), zk_task_id(b));
    EXPECT_NE(zk_task_id(a), 0);
    EXPECT_TRUE(block_of(self) == zk__task_current());
    EXPECT_EQ(zk_task_id(self), zk__task_current()->id);
    EXPECT_EQ(result_of(a) + result_of(b), 0);
}

ZK_TEST(a_block_keeps_to_its_budget)
{
    if (sizeof(struct zk_annotation) == 0)
        EXPECT_LE(sizeof(struct zk_task), 384);
    EXPECT_EQ(sizeof(zk_task_t), 16);
    EXPECT_EQ(offsetof(struct zk_task, next), 0);
    EXPECT_LE(offsetof(struct zk_task, pin), 64);
}

/* ---- limits --------------------------------------------------------------------------- */

static int reach_the_limit(void *arg)
{
    zk_task_t task[5];
    int ended = 0;

    (void)arg;
    for (int i = 0; i < 4; i++)
        task[i] = spawn(sleep_for_ever, NULL);
    EXPECT_EQ(zk_spawn(&task[4], NULL, return_arg, NULL), -EAGAIN);
    EXPECT_EQ(zk_go(increment, &ended), -EAGAIN);
    EXPECT_EQ(zk_cancel(task[0]), 0);
    EXPECT_EQ(result_of(task[0]), -ECANCELED);
    task[0] = spawn(sleep_for_ever, NULL);
    EXPECT_EQ(zk_spawn(&task[4], NULL, return_arg, NULL), -EAGAIN);
    for (int i = 0; i < 4; i++) {
        EXPECT_EQ(zk_cancel(task[i]), 0);
        EXPECT_EQ(result_of(task[i]), -ECANCELED);
    }
    EXPECT_EQ(ended, 0);
    return 0;
}

ZK_TEST(max_tasks_counts_the_living_with_main)
{
    const zk_config_t cfg = {.workers = 1, .max_tasks = 5};

    EXPECT_EQ(zk_run(&cfg, reach_the_limit, NULL), 0);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(join_gives_the_result_before_and_after_the_end),
        ZK_CASE(a_join_in_vain_leaves_the_handle_valid),
        ZK_CASE(a_second_joiner_is_refused_and_a_cancelled_one_leaves),
        ZK_CASE(a_join_whose_deadline_is_the_end_loses_nothing),
        ZK_CASE(both_ends_of_a_join_at_its_deadline_were_seen),
        ZK_CASE(a_task_cannot_join_itself),
        ZK_CASE(a_handle_is_stale_after_join_and_when_its_block_is_used_again),
        ZK_CASE(a_detached_task_ends_alone_and_its_handle_with_it),
        ZK_CASE(a_done_task_cannot_be_cancelled_but_joined),
        ZK_CASE(plain_and_detached_tasks_run_once_each),
        ZK_CASE(a_bad_option_starts_nothing),
        ZK_CASE(a_plain_thread_has_no_task),
        ZK_CASE(a_task_cancelled_before_it_starts_runs_and_sees_why),
        ZK_CASE(a_running_task_sees_its_cancel_at_the_next_wait),
        ZK_CASE(a_task_in_any_wait_is_cancelled_alone),
        ZK_CASE(a_cancelled_task_starts_no_operation),
        ZK_CASE(a_shield_holds_a_cancel_off_until_its_end),
        ZK_CASE(who_is_left_when_main_returns_is_cancelled_by_the_shutdown),
        ZK_CASE(name_priority_and_stack_are_recorded_and_not_inherited),
        ZK_CASE(a_block_that_is_used_again_starts_afresh),
        ZK_CASE(ids_are_unique_and_self_is_the_handle),
        ZK_CASE(a_block_keeps_to_its_budget),
        ZK_CASE(max_tasks_counts_the_living_with_main));
}
