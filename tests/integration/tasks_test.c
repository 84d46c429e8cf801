/* SPDX-License-Identifier: MIT */
/* Starting, joining, cancelling and naming tasks. */
#include "integration.h"

#include <stdatomic.h>

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

static int worker_count(void)
{
    zk_stats_t stats;

    zk_runtime_stats(zk_runtime_current(), &stats);
    return (int)stats.workers;
}

/* ---- start and join ----------------------------------------------------- */

RUN_TEST(join_takes_the_result)
{
    zk_task_t task;
    int result = -1;

    EXPECT_EQ(zk_spawn(&task, NULL, seven, NULL), 0);
    EXPECT_EQ(zk_join(task, &result, BOUND), 0);
    EXPECT_EQ(result, 7);
    EXPECT_EQ(zk_spawn(&task, NULL, minus_seven, NULL), 0);
    EXPECT_EQ(zk_join(task, &result, BOUND), 0);
    EXPECT_EQ(result, -7);
    EXPECT_EQ(zk_spawn(&task, NULL, seven, NULL), 0);
    EXPECT_EQ(zk_join(task, NULL, BOUND), 0);
}

static void add_one(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

RUN_TEST(go_starts_a_task_that_nobody_joins)
{
    static atomic_int count;
    zk_time_t bound = BOUND;

    for (int i = 0; i < 100; i++)
        EXPECT_EQ(zk_go(add_one, &count), 0);
    while (atomic_load(&count) < 100 && zk_now() < bound)
        EXPECT_EQ(zk_yield(), 0);
    EXPECT_EQ(atomic_load(&count), 100);
}

/* Sum of the leaves of a tree of tasks. */
static int tree(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    zk_task_t branches[4];
    int sum = 0;

    if (depth == 0)
        return 1;
    for (int i = 0; i < 4; i++) {
        if (!EXPECT_EQ(zk_spawn(&branches[i], NULL, tree, (void *)(depth - 1)),
                       0))
            return -1;
    }
    for (int i = 0; i < 4; i++)
        sum += result_of(branches[i]);
    return sum;
}

RUN_TEST(tasks_start_tasks)
{
    EXPECT_EQ(tree((void *)6), 4096);
}

RUN_TEST(a_joined_handle_is_stale)
{
    zk_task_t task, none = {NULL, 0};
    int result = -1;

    EXPECT_EQ(zk_spawn(&task, NULL, seven, NULL), 0);
    EXPECT_EQ(result_of(task), 7);
    /* Its block may serve another task by now. */
    zk_task_t other = spawn_parked(sleep_for_ever, NULL);

    EXPECT_EQ(zk_join(task, &result, BOUND), -ESRCH);
    EXPECT_EQ(zk_cancel(task), -ESRCH);
    EXPECT_EQ(zk_detach(task), -ESRCH);
    EXPECT_EQ(zk_join(none, &result, BOUND), -ESRCH);
    EXPECT_EQ(zk_cancel(none), -ESRCH);
    EXPECT_EQ(zk_detach(none), -ESRCH);
    EXPECT_EQ(result, -1);
    EXPECT_EQ(zk_join(other, &result, PAST), -ETIMEDOUT);
    EXPECT_EQ(cancel_and_join(other), -ECANCELED);
}

RUN_TEST(join_with_a_deadline_leaves_the_task_alone)
{
    zk_task_t task = spawn_parked(sleep_for_ever, NULL);
    zk_time_t deadline;
    int result = -1;

    EXPECT_EQ(zk_join(task, &result, PAST), -ETIMEDOUT);
    deadline = zk_after(ZK_MS(20));
    EXPECT_EQ(zk_join(task, &result, deadline), -ETIMEDOUT);
    EXPECT_GE(zk_now(), deadline);
    EXPECT_EQ(result, -1);
    EXPECT_EQ(cancel_and_join(task), -ECANCELED);
}

RUN_TEST(join_of_an_ended_task_needs_no_time)
{
    zk_time_t bound = BOUND;
    zk_task_t task;
    int rc, result = -1;

    EXPECT_EQ(zk_spawn(&task, NULL, seven, NULL), 0);
    while ((rc = zk_join(task, &result, PAST)) == -ETIMEDOUT &&
           zk_now() < bound)
        EXPECT_EQ(zk_yield(), 0);
    EXPECT_EQ(rc, 0);
    EXPECT_EQ(result, 7);
}

static int join_it(void *arg)
{
    int result = -1, rc = zk_join(*(zk_task_t *)arg, &result, BOUND);

    return rc < 0 ? rc : result;
}

RUN_TEST(a_task_has_one_joiner)
{
    zk_task_t task = spawn_parked(sleep_for_ever, NULL), joiner;
    int result = -1;

    joiner = spawn_parked(join_it, &task);
    EXPECT_EQ(zk_join(task, &result, BOUND), -EINVAL);
    EXPECT_EQ(zk_detach(task), -EINVAL);
    EXPECT_EQ(result, -1);
    EXPECT_EQ(zk_join(zk_self(), &result, BOUND), -EDEADLK);
    EXPECT_EQ(zk_cancel(task), 0);
    EXPECT_EQ(result_of(joiner), -ECANCELED);
}

RUN_TEST(a_cancelled_joiner_leaves_the_task_alone)
{
    zk_task_t task = spawn_parked(sleep_for_ever, NULL), joiner;
    int result = -1;

    joiner = spawn_parked(join_it, &task);
    EXPECT_EQ(cancel_and_join(joiner), -ECANCELED);
    EXPECT_EQ(zk_join(task, &result, PAST), -ETIMEDOUT);
    EXPECT_EQ(cancel_and_join(task), -ECANCELED);
}

/* Ends when the int it is given is not zero. */
static int until_set(void *arg)
{
    while (atomic_load((atomic_int *)arg) == 0) {
        int rc = zk_yield();

        if (rc < 0)
            return rc;
    }
    return 0;
}

static void await_stale(zk_task_t task)
{
    zk_time_t bound = BOUND;
    int rc;

    while ((rc = zk_detach(task)) != -ESRCH && zk_now() < bound)
        EXPECT_EQ(zk_yield(), 0);
    EXPECT_EQ(rc, -ESRCH);
}

RUN_TEST(a_detached_task_cannot_be_joined)
{
    static atomic_int stop;
    zk_task_t task;
    int rc;

    EXPECT_EQ(zk_spawn(&task, NULL, until_set, &stop), 0);
    EXPECT_EQ(zk_detach(task), 0);
    EXPECT_EQ(zk_detach(task), -EINVAL);
    rc = zk_join(task, NULL, BOUND);
    EXPECT_TRUE(rc == -EINVAL || rc == -ESRCH);
    atomic_store(&stop, 1);
    await_stale(task);
    EXPECT_EQ(zk_cancel(task), -ESRCH);
}

RUN_TEST(a_task_can_be_started_detached)
{
    static atomic_int stop;
    const zk_spawn_opts_t opts = {.flags = ZK_TASK_DETACHED};
    zk_task_t task = {NULL, 0};

    EXPECT_EQ(zk_spawn(NULL, &opts, until_set, &stop), 0);
    EXPECT_EQ(zk_spawn(&task, &opts, until_set, &stop), 0);
    EXPECT_EQ(zk_detach(task), -EINVAL);
    EXPECT_EQ(zk_cancel(task), 0);
    await_stale(task);
    atomic_store(&stop, 1);
}

RUN_TEST(bad_options_start_nothing)
{
    zk_spawn_opts_t bad[] = {
        {.stack_class = ZK_STACK_8M + 1},
        {.priority = ZK_PRIORITY_BACKGROUND + 1},
        {.flags = 1u << 31},
        {.pin = ZK_PIN(worker_count())},
        {.reserved = {1}},
        {.reserved = {0, 0, 0, 0, 0, 0, 0, 1}},
    };
    char mark;
    zk_task_t task = {&mark, 5};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        EXPECT_EQ(zk_spawn(&task, &bad[i], seven, NULL), -EINVAL);
    EXPECT_EQ(zk_spawn(&task, NULL, NULL, NULL), -EINVAL);
    EXPECT_EQ(zk_spawn(NULL, NULL, seven, NULL), -EINVAL);
    EXPECT_EQ(zk_go(NULL, NULL), -EINVAL);
    EXPECT_TRUE(task.private_block == &mark && task.private_id == 5);
}

RUN_TEST_CONFIG(more_than_max_tasks_is_refused, .max_tasks = 4)
{
    zk_task_t tasks[3], extra = {NULL, 0};

    for (int i = 0; i < 3; i++)
        EXPECT_EQ(zk_spawn(&tasks[i], NULL, sleep_for_ever, NULL), 0);
    EXPECT_EQ(zk_spawn(&extra, NULL, seven, NULL), -EAGAIN);
    EXPECT_EQ(zk_go(add_one, NULL), -EAGAIN);
    EXPECT_TRUE(extra.private_block == NULL);
    EXPECT_EQ(cancel_and_join(tasks[0]), -ECANCELED);
    EXPECT_EQ(zk_spawn(&extra, NULL, seven, NULL), 0);
    EXPECT_EQ(result_of(extra), 7);
    EXPECT_EQ(cancel_and_join(tasks[1]), -ECANCELED);
    EXPECT_EQ(cancel_and_join(tasks[2]), -ECANCELED);
}

RUN_TEST(ten_thousand_tasks_come_and_go)
{
    enum { ROUNDS = 10, WIDTH = 1000 };
    static zk_task_t tasks[WIDTH];
    int sum = 0;

    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < WIDTH; i++)
            EXPECT_EQ(zk_spawn(&tasks[i], NULL, seven, NULL), 0);
        for (int i = 0; i < WIDTH; i++)
            sum += result_of(tasks[i]);
    }
    EXPECT_EQ(sum, 7 * ROUNDS * WIDTH);
}

/* ---- cancel ------------------------------------------------------------- */

struct witness {
    int rc[4];
    int cancelled;
    int reason;
    uint64_t who;
};

static int witness_cancel(void *arg)
{
    struct witness *w = arg;

    w->rc[0] = zk_sleep_until(ZK_FOREVER);
    w->rc[1] = zk_sleep_until(PAST);
    w->rc[2] = zk_yield();
    w->rc[3] = zk_yield_if_needed();
    w->cancelled = zk_cancelled();
    w->reason = (int)zk_cancel_reason(&w->who);
    return 0;
}

static void witness_check(const struct witness *w, uint64_t who)
{
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(w->rc[i], -ECANCELED);
    EXPECT_EQ(w->cancelled, 1);
    EXPECT_EQ(w->reason, ZK_CANCEL_USER);
    EXPECT_EQ(w->who, who);
}

RUN_TEST(a_cancel_is_sticky_and_tells_who)
{
    struct witness w = {.who = 1};
    zk_task_t task = spawn_parked(witness_cancel, &w);

    EXPECT_EQ(zk_cancel(task), 0);
    EXPECT_EQ(zk_cancel(task), 0);
    EXPECT_EQ(result_of(task), 0);
    witness_check(&w, zk_task_id(zk_self()));
}

RUN_TEST(a_task_cancelled_before_it_starts_runs_all_the_same)
{
    for (int i = 0; i < 50; i++) {
        struct witness w = {.who = 1};
        zk_task_t task;

        EXPECT_EQ(zk_spawn(&task, NULL, witness_cancel, &w), 0);
        EXPECT_EQ(zk_cancel(task), 0);
        EXPECT_EQ(result_of(task), 0);
        witness_check(&w, zk_task_id(zk_self()));
    }
}

static int cancel_oneself(void *arg)
{
    uint64_t who = 0;

    (void)arg;
    EXPECT_EQ(zk_cancelled(), 0);
    EXPECT_EQ(zk_cancel_reason(&who), ZK_CANCEL_NONE);
    EXPECT_EQ(who, 0);
    EXPECT_EQ(zk_cancel(zk_self()), 0);
    EXPECT_EQ(zk_cancelled(), 1);
    EXPECT_EQ(zk_cancel_reason(NULL), ZK_CANCEL_USER);
    EXPECT_EQ(zk_cancel_reason(&who), ZK_CANCEL_USER);
    EXPECT_EQ(who, zk_task_id(zk_self()));
    return zk_yield();
}

RUN_TEST(a_task_can_cancel_itself)
{
    zk_task_t task;

    EXPECT_EQ(zk_spawn(&task, NULL, cancel_oneself, NULL), 0);
    EXPECT_EQ(result_of(task), -ECANCELED);
}

static int shielded(void *arg)
{
    atomic_int *phase = arg;
    zk_task_t child;
    int result = -1;

    zk_shield_begin();
    zk_shield_begin();
    atomic_store(phase, 1);
    while (!zk_cancelled()) /* a shield does not hide the request */
        EXPECT_EQ(zk_yield(), 0);
    EXPECT_EQ(zk_sleep_until(zk_after(ZK_MS(1))), 0);
    zk_shield_end();
    EXPECT_EQ(zk_yield(), 0); /* the outer one still holds */
    EXPECT_EQ(zk_spawn(&child, NULL, seven, NULL), 0);
    EXPECT_EQ(zk_join(child, &result, BOUND), 0);
    EXPECT_EQ(result, 7);
    zk_shield_end();
    return zk_sleep_until(ZK_FOREVER);
}

RUN_TEST(a_shield_holds_a_cancel_back)
{
    static atomic_int phase;
    zk_task_t task;

    EXPECT_EQ(zk_spawn(&task, NULL, shielded, &phase), 0);
    EXPECT_EQ(until_set(&phase), 0);
    EXPECT_EQ(zk_cancel(task), 0);
    EXPECT_EQ(result_of(task), -ECANCELED);
}

static int sleep_shielded(void *arg)
{
    zk_time_t end = *(zk_time_t *)arg;
    int rc;

    zk_shield_begin();
    rc = zk_sleep_until(end);
    zk_shield_end();
    return rc < 0 ? rc : zk_now() >= end ? zk_yield() : -ERANGE;
}

RUN_TEST(a_cancel_does_not_cut_a_shielded_sleep)
{
    zk_time_t end = zk_after(ZK_MS(30));
    zk_task_t task = spawn_parked(sleep_shielded, &end);

    EXPECT_EQ(cancel_and_join(task), -ECANCELED);
    EXPECT_GE(zk_now(), end);
}

/* ---- turns, places, names ----------------------------------------------- */

struct turns {
    atomic_int ready;
    char log[8];
    int len;
};

struct player {
    struct turns *turns;
    char letter;
};

static int play(void *arg)
{
    struct player *p = arg;
    struct turns *t = p->turns;

    atomic_fetch_add(&t->ready, 1);
    while (atomic_load(&t->ready) < 2)
        EXPECT_EQ(zk_yield(), 0);
    for (int i = 0; i < 4; i++) {
        t->log[t->len++] = p->letter; /* both on one worker */
        EXPECT_EQ(zk_yield(), 0);
    }
    return 0;
}

RUN_TEST(yield_lets_the_other_go_first)
{
    static struct turns turns;
    struct player players[2] = {{&turns, 'a'}, {&turns, 'b'}};
    const zk_spawn_opts_t opts = {.pin = ZK_PIN(0)};
    zk_task_t tasks[2];

    for (int i = 0; i < 2; i++)
        EXPECT_EQ(zk_spawn(&tasks[i], &opts, play, &players[i]), 0);
    EXPECT_EQ(result_of(tasks[0]), 0);
    EXPECT_EQ(result_of(tasks[1]), 0);
    EXPECT_EQ(turns.len, 8);
    for (int i = 1; i < 8; i++)
        EXPECT_NE(turns.log[i], turns.log[i - 1]);
}

static int stay(void *arg)
{
    int home = (int)(intptr_t)arg;

    for (int i = 0; i < 20; i++) {
        if (zk_worker_index() != home)
            return -EXDEV;
        EXPECT_EQ(i % 2 ? zk_yield() : zk_sleep_until(zk_after(ZK_US(100))), 0);
    }
    return 0;
}

RUN_TEST(a_pinned_task_stays_on_its_worker)
{
    int workers = worker_count();
    zk_task_t tasks[64];

    for (int i = 0; i < workers; i++) {
        zk_spawn_opts_t opts = {.pin = ZK_PIN(i)};

        EXPECT_EQ(zk_spawn(&tasks[i], &opts, stay, (void *)(intptr_t)i), 0);
    }
    for (int i = 0; i < workers; i++)
        EXPECT_EQ(result_of(tasks[i]), 0);
    EXPECT_GE(zk_worker_index(), 0);
    EXPECT_LT(zk_worker_index(), workers);
}

/* Is given its own id, by and by. */
static int compare_id(void *arg)
{
    _Atomic uint64_t *id = arg;

    while (atomic_load(id) == 0)
        EXPECT_EQ(zk_yield(), 0);
    return zk_task_id(zk_self()) == atomic_load(id) ? 0 : -ENOENT;
}

RUN_TEST(an_id_names_one_task_for_ever)
{
    uint64_t last = zk_task_id(zk_self()), id;
    _Atomic uint64_t told;
    zk_task_t task, none = {NULL, 0};

    EXPECT_NE(last, 0);
    EXPECT_EQ(zk_task_id(none), 0);
    for (int i = 0; i < 20; i++) {
        atomic_init(&told, 0);
        EXPECT_EQ(zk_spawn(&task, NULL, compare_id, &told), 0);
        id = zk_task_id(task);
        atomic_store(&told, id);
        EXPECT_NE(id, last);
        EXPECT_EQ(result_of(task), 0);
        EXPECT_EQ(zk_task_id(task), id); /* also when stale */
        last = id;
    }
}

RUN_TEST(a_task_takes_names_of_any_length)
{
    char text[] = "a name that is longer than fifteen bytes";

    EXPECT_EQ(zk_set_name("short"), 0);
    EXPECT_EQ(zk_set_name(text), 0);
    memset(text, 'x', sizeof(text) - 1); /* it was copied */
    EXPECT_EQ(zk_set_name(""), 0);
    EXPECT_EQ(zk_set_name(NULL), 0);
}

RUN_TEST(every_priority_runs)
{
    for (uint32_t p = ZK_PRIORITY_NORMAL; p <= ZK_PRIORITY_BACKGROUND; p++) {
        zk_spawn_opts_t opts = {.priority = p, .name = "prioritised"};
        zk_task_t task;

        EXPECT_EQ(zk_spawn(&task, &opts, seven, NULL), 0);
        EXPECT_EQ(result_of(task), 7);
    }
}

/* ---- outside a task ----------------------------------------------------- */

ZK_TEST(a_plain_thread_is_told_that_it_is_no_task)
{
    zk_task_t task = {NULL, 0};
    uint64_t who = 5;

    EXPECT_EQ(zk_go(add_one, NULL), -EPERM);
    EXPECT_EQ(zk_spawn(&task, NULL, seven, NULL), -EPERM);
    EXPECT_EQ(zk_yield(), -EPERM);
    EXPECT_EQ(zk_yield_if_needed(), -EPERM);
    EXPECT_EQ(zk_sleep_until(PAST), -EPERM);
    EXPECT_EQ(zk_worker_index(), -EPERM);
    EXPECT_EQ(zk_set_name("name"), -EPERM);
    EXPECT_EQ(zk_blocking(seven, NULL, BOUND), -EPERM);
    EXPECT_EQ(zk_shutdown_begin(), -EPERM);
    EXPECT_EQ(zk_shutdown_wait(PAST), -EPERM);
    EXPECT_TRUE(zk_self().private_block == NULL);
    EXPECT_EQ(zk_task_id(zk_self()), 0);
    EXPECT_TRUE(zk_runtime_current() == NULL);
    EXPECT_EQ(zk_cancelled(), 0);
    EXPECT_EQ(zk_cancel_reason(&who), ZK_CANCEL_NONE);
    EXPECT_EQ(who, 5);
    zk_shield_begin();
    zk_shield_end();
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(join_takes_the_result),
        ZK_CASE(go_starts_a_task_that_nobody_joins), ZK_CASE(tasks_start_tasks),
        ZK_CASE(a_joined_handle_is_stale),
        ZK_CASE(join_with_a_deadline_leaves_the_task_alone),
        ZK_CASE(join_of_an_ended_task_needs_no_time),
        ZK_CASE(a_task_has_one_joiner),
        ZK_CASE(a_cancelled_joiner_leaves_the_task_alone),
        ZK_CASE(a_detached_task_cannot_be_joined),
        ZK_CASE(a_task_can_be_started_detached),
        ZK_CASE(bad_options_start_nothing),
        ZK_CASE(more_than_max_tasks_is_refused),
        ZK_CASE(ten_thousand_tasks_come_and_go),
        ZK_CASE(a_cancel_is_sticky_and_tells_who),
        ZK_CASE(a_task_cancelled_before_it_starts_runs_all_the_same),
        ZK_CASE(a_task_can_cancel_itself),
        ZK_CASE(a_shield_holds_a_cancel_back),
        ZK_CASE(a_cancel_does_not_cut_a_shielded_sleep),
        ZK_CASE(yield_lets_the_other_go_first),
        ZK_CASE(a_pinned_task_stays_on_its_worker),
        ZK_CASE(an_id_names_one_task_for_ever),
        ZK_CASE(a_task_takes_names_of_any_length), ZK_CASE(every_priority_runs),
        ZK_CASE(a_plain_thread_is_told_that_it_is_no_task));
}
