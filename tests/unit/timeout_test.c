/* SPDX-License-Identifier: MIT */
/*
 * timeout_test.c - the deadlines of tasks, which waking never unlinks
 * (scheduler/timeout.c D1 to D3).
 *
 * In simulated worlds where one worker will do. What happens between the timer
 * queues of several workers is played by hand, on workers without threads.
 */
#include "core.h"

static struct zk_timers *timers_here(void)
{
    return &worker_here()->home->timers;
}

static unsigned nodes_linked(const struct zk_task *task)
{
    unsigned n = 0;

    for (int i = 0; i < 2; i++)
        n += zk_atomic_load(&task->timer[i].home, relaxed) != NULL;
    return n;
}

static zk_time_t expiry_linked(const struct zk_task *task)
{
    for (int i = 0; i < 2; i++)
        if (zk_atomic_load(&task->timer[i].home, relaxed) != NULL)
            return task->timer[i].node.expiry;
    return ZK_FOREVER;
}

/* ---- waking never unlinks ----------------------------------------------------- */

enum { READS = 200 };

struct reading {
    zk_fd_t fd;
    zk_time_t first_expiry;
    int wrong;
};

/* Each read waits; each has a deadline of 30 s, later than the one before. */
static int read_with_far_deadlines(void *arg)
{
    struct reading *r = arg;
    struct zk_task *self = zk__task_current();
    char byte;

    for (int i = 0; i < READS; i++) {
        EXPECT_EQ(zk_read(r->fd, &byte, 1, zk_after(ZK_SEC(30))), 1);
        if (i == 0)
            r->first_expiry = expiry_linked(self);
        r->wrong += nodes_linked(self) != 1;
        r->wrong += expiry_linked(self) != r->first_expiry;
    }
    return 0;
}

SEEDS_TEST(reads_with_far_deadlines_keep_one_node_where_it_is, 10)
{
    struct reading r = {.wrong = 0};
    size_t before = timers_here()->count;
    uint64_t fired = worker_here()->n_timers;
    zk_fd_t fd[2];
    zk_task_t task;

    EXPECT_EQ(zk_sim_stream(fd), 0);
    r.fd = fd[0];
    task = spawn(read_with_far_deadlines, &r);
    for (int i = 0; i < READS; i++) {
        settle();
        EXPECT_EQ(timers_here()->count, before + 1);
        EXPECT_EQ(zk_write(fd[1], "x", 1, ZK_FOREVER), 1);
    }
    EXPECT_EQ(result_of(task), 0);
    EXPECT_EQ(r.wrong, 0);
    EXPECT_EQ(worker_here()->n_timers - fired, READS); /* the settling */
    EXPECT_EQ(timers_here()->count, before);
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
}

/* A node is linked for a deadline that is over; the wait has another. */
struct stale {
    zk_time_t first, second;
    zk_fd_t fd;
    int rc;
    zk_time_t ended;
};

static int read_twice(void *arg)
{
    struct stale *s = arg;
    char byte;

    EXPECT_EQ(zk_read(s->fd, &byte, 1, s->first), 1);
    s->rc = (int)zk_read(s->fd, &byte, 1, s->second);
    s->ended = zk_now();
    return 0;
}

/* The first read ends by data; the second has `second` as its deadline. */
static void outlive_first(struct stale *s, zk_time_t first, zk_time_t second,
                          bool wake)
{
    zk_fd_t fd[2];
    zk_task_t task;

    EXPECT_EQ(zk_sim_stream(fd), 0);
    *s = (struct stale){.first = first, .second = second, .fd = fd[0]};
    task = spawn(read_twice, s);
    settle();
    EXPECT_EQ(zk_write(fd[1], "x", 1, ZK_FOREVER), 1);
    settle();
    if (wake) {
        EXPECT_EQ(zk_sleep_until(first + ZK_MS(50)), 0);
        EXPECT_EQ(zk_join(task, NULL, 0), -ETIMEDOUT);
        EXPECT_EQ(nodes_linked(block_of(task)), second != ZK_FOREVER);
        EXPECT_EQ(zk_write(fd[1], "y", 1, ZK_FOREVER), 1);
    }
    EXPECT_EQ(result_of(task), 0);
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
}

SEEDS_TEST(a_node_of_an_old_deadline_ends_no_later_wait, 20)
{
    struct stale s;

    outlive_first(&s, zk_after(ZK_MS(2)), ZK_FOREVER, true);
    EXPECT_EQ(s.rc, 1);
    outlive_first(&s, zk_after(ZK_MS(20)), zk_after(ZK_SEC(60)), true);
    EXPECT_EQ(s.rc, 1);
}

SEEDS_TEST(a_later_deadline_than_the_linked_one_is_kept, 20)
{
    struct stale s;
    zk_time_t late = zk_after(ZK_MS(3));

    outlive_first(&s, zk_after(ZK_MS(2)), late, false);
    EXPECT_EQ(s.rc, -ETIMEDOUT);
    EXPECT_EQ(s.ended, late);
    late = zk_after(ZK_SEC(5));
    outlive_first(&s, zk_after(ZK_MS(2)), late, false);
    EXPECT_EQ(s.rc, -ETIMEDOUT);
    EXPECT_GE(s.ended, late);
    EXPECT_LT(s.ended, late + ZK_MS(2)); /* a tick of the wheel */
}

SEEDS_TEST(an_earlier_deadline_than_the_linked_one_is_kept, 20)
{
    struct stale s;
    zk_time_t soon = zk_after(ZK_MS(1));

    outlive_first(&s, zk_after(ZK_SEC(30)), soon, false);
    EXPECT_EQ(s.rc, -ETIMEDOUT);
    EXPECT_EQ(s.ended, soon);
    soon = zk_after(ZK_SEC(1));
    outlive_first(&s, zk_after(ZK_SEC(30)), soon, false);
    EXPECT_EQ(s.rc, -ETIMEDOUT);
    EXPECT_GE(s.ended, soon);
    EXPECT_LT(s.ended, soon + ZK_MS(2));
}

/* ---- end of a task ---------------------------------------------------------------- */

static int read_and_end(void *arg)
{
    char byte;

    EXPECT_EQ(zk_read(*(zk_fd_t *)arg, &byte, 1, zk_after(ZK_SEC(30))), 1);
    EXPECT_EQ(nodes_linked(zk__task_current()), 1);
    return 0;
}

SEEDS_TEST(a_task_that_ends_takes_its_node_along, 20)
{
    size_t before = timers_here()->count;
    zk_fd_t fd[2];
    zk_task_t task;

    EXPECT_EQ(zk_sim_stream(fd), 0);
    for (int i = 0; i < 50; i++) {
        task = spawn(read_and_end, &fd[0]);
        settle();
        EXPECT_EQ(timers_here()->count, before + 1);
        EXPECT_EQ(zk_write(fd[1], "x", 1, ZK_FOREVER), 1);
        EXPECT_EQ(result_of(task), 0);
        EXPECT_EQ(timers_here()->count, before);
    }
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
}

/* ---- never early ----------------------------------------------------------------------- */

enum { SLEEPERS = 40, SLEEPS = 8 };

struct sleepers {
    struct zk_rand rand;
    int early, late;
};

/* Below a tick, some ticks, and far. */
static zk_time_t draw_span(struct zk_rand *rand)
{
    static const uint32_t below[] = {5000, 4000000, 400000000, 2000000000};

    return draw(rand, below[draw(rand, 4)]);
}

static int sleep_often(void *arg)
{
    struct sleepers *s = arg;

    for (int i = 0; i < SLEEPS; i++) {
        zk_time_t span = draw_span(&s->rand);
        zk_time_t deadline = zk_after(span), over;

        EXPECT_EQ(zk_sleep_until(deadline), 0);
        over = zk_now() - deadline;
        s->early += over < 0;
        s->late += over > (span < ZK_TIMER_NEAR ? 0 : ZK_MS(2));
    }
    return 0;
}

SEEDS_TEST(no_sleep_is_early_and_near_ones_are_exact, 100)
{
    struct sleepers s = {.early = 0};
    zk_task_t task[SLEEPERS];

    zk_rand_seed(&s.rand, world_seed);
    for (int i = 0; i < SLEEPERS; i++)
        task[i] = spawn(sleep_often, &s);
    for (int i = 0; i < SLEEPERS; i++)
        EXPECT_EQ(result_of(task[i]), 0);
    EXPECT_EQ(s.early, 0);
    EXPECT_EQ(s.late, 0);
    EXPECT_EQ(timers_here()->count, 0);
}

/* ---- a deadline against a wake ------------------------------------------------------------ */

struct writing {
    zk_fd_t fd;
    zk_time_t at;
};

static int write_at(void *arg)
{
    struct writing *w = arg;

    EXPECT_EQ(zk_sleep_until(w->at), 0);
    return (int)zk_write(w->fd, "x", 1, ZK_FOREVER);
}

static unsigned read_at_deadline, timed_out_at_deadline;

/* A read whose data comes `after` the deadline; its result. */
static int read_against(zk_time_t after)
{
    struct writing w;
    zk_time_t deadline = zk_after(ZK_MS(2));
    zk_task_t writer;
    zk_fd_t fd[2];
    char byte = 0;
    int rc;

    EXPECT_EQ(zk_sim_stream(fd), 0);
    w = (struct writing){fd[1], deadline + after};
    writer = spawn(write_at, &w);
    settle();
    rc = (int)zk_read(fd[0], &byte, 1, deadline);
    EXPECT_TRUE(rc == 1 || rc == -ETIMEDOUT);
    EXPECT_LE(zk_now(), deadline);
    EXPECT_EQ(result_of(writer), 1);
    if (rc != 1) /* not lost */
        EXPECT_EQ(zk_read(fd[0], &byte, 1, 0), 1);
    EXPECT_EQ(byte, 'x');
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
    return rc;
}

SEEDS_TEST(data_just_before_the_deadline_is_read, 50)
{
    EXPECT_EQ(read_against(-1), 1);
}

SEEDS_TEST(data_just_after_the_deadline_is_left, 50)
{
    EXPECT_EQ(read_against(1), -ETIMEDOUT);
}

SEEDS_TEST(data_at_the_deadline_is_read_or_left, 50)
{
    int rc = read_against(0);

    read_at_deadline += rc == 1;
    timed_out_at_deadline += rc == -ETIMEDOUT;
}

/*
 * More sleepers are due at once than one expiry hands out, so a task runs
 * between: the first that does cancels all others.
 */
enum { CROWD = ZK_TIMER_BUDGET + 50 };

struct crowd {
    zk_time_t at;
    zk_task_t task[CROWD];
    bool cancelled;
};

static int sleep_and_cancel(void *arg)
{
    struct crowd *c = arg;
    int rc = zk_sleep_until(c->at);

    if (c->cancelled)
        return rc;
    c->cancelled = true;
    for (int i = 0; i < CROWD; i++)
        EXPECT_EQ(zk_cancel(c->task[i]), 0);
    return rc;
}

static unsigned cancelled_when_due, slept_to_the_end;

SEEDS_TEST(many_deadlines_at_once_let_a_task_run_between, 40)
{
    struct crowd c = {.at = zk_after(ZK_MS(2))};
    unsigned cancelled = 0, slept = 0;

    for (int i = 0; i < CROWD; i++)
        c.task[i] = spawn(sleep_and_cancel, &c);
    for (int i = 0; i < CROWD; i++) {
        int rc = result_of(c.task[i]);

        cancelled += rc == -ECANCELED;
        slept += rc == 0;
    }
    EXPECT_EQ(cancelled + slept, CROWD);
    EXPECT_EQ(zk_now(), c.at);
    cancelled_when_due += cancelled;
    slept_to_the_end += slept;
}

ZK_TEST(both_ends_of_a_sleep_were_seen)
{
    EXPECT_GT(cancelled_when_due, 0);
    EXPECT_GT(slept_to_the_end, 0);
    EXPECT_EQ(read_at_deadline + timed_out_at_deadline, 50);
}

/* ---- between the queues of several workers --------------------------------------------------- */

enum { HANDS = 3 };

/* Workers without threads, and a task that is moved among them by hand. */
static struct hand {
    struct zk_scheduler scheduler;
    struct zk_worker worker[HANDS];
    ZK_ALIGNED(64) struct zk_task task;
    zk_time_t now;
} hand;

static zk_time_t hand_clock(void *arg)
{
    (void)arg;
    return hand.now;
}

static void hand_begin(void)
{
    memset(&hand, 0, sizeof(hand));
    hand.now = ZK_SEC(1);
    hand.scheduler.clock = hand_clock;
    hand.scheduler.n_workers = HANDS;
    hand.scheduler.n_slots = HANDS;
    hand.scheduler.workers = hand.worker;
    for (unsigned i = 0; i < HANDS; i++)
        EXPECT_EQ(zk__worker_init(&hand.worker[i], &hand.scheduler, i), 0);
    hand.task.timer[1].index = 1;
}

static void hand_end(void)
{
    for (unsigned i = 0; i < HANDS; i++)
        zk__worker_fini(&hand.worker[i]); /* asserts that no node is left */
}

/* The task runs on worker `i`. */
static void hand_run(unsigned i)
{
    zk_atomic_store(&hand.task.worker, &hand.worker[i], relaxed);
    zk_atomic_store(&hand.task.state,
                    zk_state_with(hand.task.state, ZK_PHASE_RUNNING), relaxed);
}

/* ... arms a deadline as a park does ... */
static void hand_arm(zk_time_t deadline)
{
    struct zk_worker *w = hand.task.worker;

    hand.task.wait_kind = ZK_WAIT_QUEUE;
    zk_atomic_store(&hand.task.deadline, deadline, relaxed);
    zk__timeout_arm(w, &hand.task, deadline);
}

/* ... and has left its stack. */
static void hand_commit(void)
{
    struct zk_worker *w = hand.task.worker;
    bool ask = w->timer_message != 0;

    w->timer_message = 0;
    zk_atomic_store(
        &hand.task.state,
        zk_state_with(hand.task.state + ZK_PARK_GENERATION, ZK_PHASE_PARKED),
        release);
    if (!ask)
        return;
    zk__waitq_lock(&hand.task.life);
    zk__message_send(&hand.task, ZK_MESSAGE_TIMER0);
    zk__waitq_unlock(&hand.task.life);
}

static void hand_park(unsigned i, zk_time_t deadline)
{
    hand_run(i);
    hand_arm(deadline);
    hand_commit();
}

static void hand_look_round(unsigned i)
{
    struct zk_worker *w = &hand.worker[i];

    w->now = hand.now;
    zk__message_drain(w, w);
    zk__timeout_expire(w, hand.now);
}

static void hand_look_round_all(void)
{
    for (int round = 0; round < 3; round++)
        for (unsigned i = 0; i < HANDS; i++)
            hand_look_round(i);
}

static bool hand_timed_out(void)
{
    return zk_phase(hand.task.state) == ZK_PHASE_READY &&
           hand.task.wake_result == -ETIMEDOUT;
}

/* D2 by its effect: at the deadline, and not before, the wait ends. */
static void expect_ends_at(zk_time_t deadline)
{
    hand.now = deadline - 1;
    hand_look_round_all();
    EXPECT_FALSE(hand_timed_out());
    hand.now = deadline + ZK_MS(2); /* a tick of the wheel */
    hand_look_round_all();
    EXPECT_TRUE(hand_timed_out());
    hand.now += ZK_SEC(100);
    hand_look_round_all();
    EXPECT_EQ(nodes_linked(&hand.task), 0);
}

ZK_TEST(a_task_that_moved_uses_its_second_node)
{
    zk_time_t deadline;

    hand_begin();
    deadline = hand.now + ZK_SEC(1);
    hand_park(0, hand.now + ZK_SEC(30));
    hand_park(1, deadline);
    EXPECT_EQ(nodes_linked(&hand.task), 2);
    EXPECT_EQ(hand.worker[0].home->timers.count, 1);
    EXPECT_EQ(hand.worker[1].home->timers.count, 1);
    hand_park(0, deadline - ZK_MS(500)); /* back: its node there is moved */
    EXPECT_EQ(nodes_linked(&hand.task), 2);
    expect_ends_at(deadline - ZK_MS(500));
    hand_end();
}

ZK_TEST(a_task_with_both_nodes_elsewhere_asks_for_an_earlier_expiry)
{
    hand_begin();
    hand_park(0, hand.now + ZK_SEC(30));
    hand_park(1, hand.now + ZK_SEC(40));
    hand_park(2, hand.now + ZK_SEC(2));
    EXPECT_EQ(hand.task.holds, 1);
    EXPECT_TRUE(zk__worker_current() == NULL);
    hand_look_round_all();
    EXPECT_EQ(hand.task.holds, 0);
    EXPECT_EQ(nodes_linked(&hand.task), 2);
    expect_ends_at(hand.now + ZK_SEC(2));
    hand_end();
}

/*
 * The owner of a node drops it, because it sees the task run, while the task is
 * about to rely on it: the request must not be lost with it.
 */
ZK_TEST(a_deadline_is_kept_though_its_node_is_dropped_as_it_is_asked_for)
{
    hand_begin();
    hand_park(0, hand.now + ZK_MS(10));
    hand_park(1, hand.now + ZK_SEC(40));
    hand_run(2);
    hand_arm(hand.now + ZK_SEC(2));
    hand.now += ZK_MS(20);
    hand_look_round(0); /* drops node 0: the task is not parked */
    hand_commit();
    hand_look_round_all();
    expect_ends_at(ZK_SEC(1) + ZK_SEC(2));
    hand_end();
}

ZK_TEST(a_deadline_is_kept_though_its_node_is_dropped_after_it_was_asked_for)
{
    hand_begin();
    hand_park(0, hand.now + ZK_MS(10));
    hand_park(1, hand.now + ZK_SEC(40));
    hand_run(2);
    hand_arm(hand.now + ZK_SEC(2));
    hand_commit();
    hand.now += ZK_MS(20);
    zk__timeout_expire(&hand.worker[0], hand.now); /* before its inbox */
    hand_look_round_all();
    expect_ends_at(ZK_SEC(1) + ZK_SEC(2));
    hand_end();
}

ZK_TEST(the_nodes_of_a_task_that_ends_are_taken_out_by_their_owners)
{
    hand_begin();
    hand_park(0, hand.now + ZK_SEC(30));
    hand_park(1, hand.now + ZK_SEC(40));
    hand_run(2);
    zk__waitq_lock(&hand.task.life);
    zk__timeout_leave(&hand.worker[2], &hand.task);
    hand.task.done = 1;
    hand.task.joinable = 1; /* the block is not the slab's */
    zk_atomic_store(&hand.task.state,
                    zk_state_with(hand.task.state, ZK_PHASE_DONE), relaxed);
    zk__waitq_unlock(&hand.task.life);
    EXPECT_EQ(hand.task.holds, 1);
    hand_look_round_all();
    EXPECT_EQ(nodes_linked(&hand.task), 0);
    EXPECT_EQ(hand.task.holds, 0);
    hand_end();
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(reads_with_far_deadlines_keep_one_node_where_it_is),
        ZK_CASE(a_node_of_an_old_deadline_ends_no_later_wait),
        ZK_CASE(a_later_deadline_than_the_linked_one_is_kept),
        ZK_CASE(an_earlier_deadline_than_the_linked_one_is_kept),
        ZK_CASE(a_task_that_ends_takes_its_node_along),
        ZK_CASE(no_sleep_is_early_and_near_ones_are_exact),
        ZK_CASE(data_just_before_the_deadline_is_read),
        ZK_CASE(data_just_after_the_deadline_is_left),
        ZK_CASE(data_at_the_deadline_is_read_or_left),
        ZK_CASE(many_deadlines_at_once_let_a_task_run_between),
        ZK_CASE(both_ends_of_a_sleep_were_seen),
        ZK_CASE(a_task_that_moved_uses_its_second_node),
        ZK_CASE(a_task_with_both_nodes_elsewhere_asks_for_an_earlier_expiry),
        ZK_CASE(
            a_deadline_is_kept_though_its_node_is_dropped_as_it_is_asked_for),
        ZK_CASE(
            a_deadline_is_kept_though_its_node_is_dropped_after_it_was_asked_for),
        ZK_CASE(the_nodes_of_a_task_that_ends_are_taken_out_by_their_owners));
}
