/* SPDX-License-Identifier: MIT */
/*
 * fairness_test.c - who gets the processor when: spawn order, yields, the LIFO
 * slot's cap, the budget, pinned tasks, and how few stacks short tasks need.
 *
 * One worker of a real runtime, so that its queues decide and not a seed.
 * Nothing here depends on time: a bound counts rounds of the others.
 */
#include "core.h"

#define ALONE_TEST(name) WORKERS_TEST(name, 1)
#define WORKERS_TEST(name, n)                                                  \
    ZK_TEST_ON_TASK(name,                                                      \
                    zk_run(&(zk_config_t){.workers = (n)}, name##_task, NULL))

static zk_stats_t stats_now(void)
{
    zk_stats_t stats;

    zk_runtime_stats(zk_runtime_current(), &stats);
    return stats;
}

static zk_task_t spawn_pinned(unsigned worker, int (*fn)(void *), void *arg)
{
    const zk_spawn_opts_t opts = {.pin = ZK_PIN(worker)};
    zk_task_t task = {NULL, 0};

    EXPECT_EQ(zk_spawn(&task, &opts, fn, arg), 0);
    return task;
}

/* ---- stacks -------------------------------------------------------------------- */

enum { SHORT_TASKS = 1000000, SHORT_BATCH = 100, FEW_STACKS = 8 };

static void count_up(void *arg)
{
    ++*(uint64_t *)arg;
}

/* Those of a batch are runnable together; each ends before the next begins. */
ALONE_TEST(a_million_short_tasks_run_on_a_handful_of_stacks)
{
    zk_stats_t before = stats_now(), after;
    uint64_t count = 0;
    uint64_t most = 0;

    for (uint64_t started = 0; started < SHORT_TASKS;) {
        for (int i = 0; i < SHORT_BATCH; i++, started++)
            if (!EXPECT_EQ(zk_go(count_up, &count), 0))
                return;
        while (count < started)
            EXPECT_EQ(zk_yield(), 0);
        after = stats_now();
        if (after.stacks_live + after.stacks_cached > most)
            most = after.stacks_live + after.stacks_cached;
    }
    EXPECT_EQ(count, SHORT_TASKS);
    EXPECT_EQ(after.tasks_finished - before.tasks_finished, SHORT_TASKS);
    EXPECT_LE(most, before.stacks_live + before.stacks_cached + FEW_STACKS);
    EXPECT_LE(after.task_blocks, before.task_blocks + 8 * SHORT_BATCH);
}

/* ---- order ---------------------------------------------------------------------- */

struct order {
    char text[16];
    int length;
};

struct letter {
    struct order *order;
    char letter;
};

static void write_letter(void *arg)
{
    struct letter *l = arg;

    l->order->text[l->order->length++] = l->letter;
}

ALONE_TEST(the_newest_task_runs_first_and_every_one_once)
{
    struct order order = {{0}, 0};
    struct letter l[] = {
        {&order, 'a'}, {&order, 'b'}, {&order, 'c'}, {&order, 'd'}};

    for (int i = 0; i < 4; i++)
        EXPECT_EQ(zk_go(write_letter, &l[i]), 0);
    EXPECT_EQ(order.length, 0); /* zk_go() does not switch */
    while (order.length < 4)
        EXPECT_EQ(zk_yield(), 0);
    EXPECT_EQ(order.text[0], 'd');
    for (int i = 0; i < 4; i++)
        EXPECT_TRUE(strchr(order.text, "abcd"[i]) != NULL);
}

enum { YIELDERS = 5, YIELDS = 2000 };

struct yielders {
    int count[YIELDERS], started;
    int widest; /* greatest lead of one over another */
};

struct yielder {
    struct yielders *all;
    int index;
};

static void note_lead(struct yielders *all)
{
    int least = INT_MAX, most = 0;

    for (int i = 0; i < YIELDERS; i++) {
        least = all->count[i] < least ? all->count[i] : least;
        most = all->count[i] > most ? all->count[i] : most;
    }
    if (most - least > all->widest)
        all->widest = most - least;
}

static int yield_often(void *arg)
{
    struct yielder *y = arg;

    y->all->started++;
    while (y->all->started < YIELDERS)
        EXPECT_EQ(zk_yield(), 0);
    while (y->all->count[y->index] < YIELDS) {
        y->all->count[y->index]++;
        note_lead(y->all);
        EXPECT_EQ(zk_yield(), 0);
    }
    return 0;
}

ALONE_TEST(tasks_that_yield_take_turns)
{
    struct yielders all = {.started = 0};
    struct yielder y[YIELDERS];
    zk_task_t task[YIELDERS];

    for (int i = 0; i < YIELDERS; i++) {
        y[i] = (struct yielder){&all, i};
        task[i] = spawn(yield_often, &y[i]);
    }
    for (int i = 0; i < YIELDERS; i++)
        EXPECT_EQ(result_of(task[i]), 0);
    EXPECT_LE(all.widest, 2);
}

ALONE_TEST(a_yield_alone_goes_on_at_once)
{
    uint64_t before = worker_here()->n_switches;

    for (int i = 0; i < 10; i++)
        EXPECT_EQ(zk_yield(), 0);
    EXPECT_LE(worker_here()->n_switches, before + 1); /* one look round */
}

/* ---- the LIFO slot -------------------------------------------------------------- */

enum { ROUNDS_MAX = 20000, SHARE = 500 };

/* Two tasks that wake each other and so pass through the LIFO slot for ever. */
struct pair {
    struct zk_waitq queue[2];
    int units[2];
    int rounds;
    bool over;
};

struct player {
    struct pair *pair;
    int side;
};

static void play_ball(struct pair *p, int to)
{
    zk__waitq_lock(&p->queue[to]);
    if (p->queue[to].head == NULL)
        p->units[to]++;
    zk__waitq_wake_one(&p->queue[to], 0);
}

static void await_ball(struct pair *p, int side)
{
    zk__waitq_lock(&p->queue[side]);
    if (p->units[side] > 0) {
        p->units[side]--;
        zk__waitq_unlock(&p->queue[side]);
        return;
    }
    EXPECT_EQ(zk__waitq_wait(&p->queue[side], ZK_REASON_JOIN, p, ZK_FOREVER, 0),
              0);
}

static int play(void *arg)
{
    struct player *player = arg;
    struct pair *p = player->pair;

    while (!p->over && p->rounds < ROUNDS_MAX) {
        p->rounds++;
        play_ball(p, 1 - player->side);
        await_ball(p, player->side);
    }
    p->over = true;
    play_ball(p, 1 - player->side);
    return 0;
}

struct third {
    struct pair *pair;
    int count;
};

/* Ends the game when it has had its share. */
static int have_share(void *arg)
{
    struct third *t = arg;

    while (t->count < SHARE && !t->pair->over) {
        t->count++;
        EXPECT_EQ(zk_yield(), 0);
    }
    t->pair->over = true;
    return 0;
}

/* A pair plays until `fn`, on worker 0 if pinned, has had SHARE turns. The game
 * begins after `delay` dispatches, so that it meets every phase. */
static void play_beside(bool pinned, int delay)
{
    struct pair pair = {.rounds = 0};
    struct player player[2] = {{&pair, 0}, {&pair, 1}};
    struct third third = {&pair, 0};
    uint64_t count = 0;
    zk_task_t task[3];

    for (int i = 0; i < delay; i++)
        EXPECT_EQ(zk_go(count_up, &count), 0);
    while (count < (uint64_t)delay)
        EXPECT_EQ(zk_yield(), 0);
    task[0] = pinned ? spawn_pinned(0, have_share, &third)
                     : spawn(have_share, &third);
    task[1] = spawn(play, &player[0]);
    task[2] = spawn(play, &player[1]);
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(result_of(task[i]), 0);
    EXPECT_EQ(third.count, SHARE);
    EXPECT_LE(pair.rounds, SHARE * 20);
}

ALONE_TEST(a_pair_that_wakes_each_other_does_not_starve_a_third)
{
    for (int delay = 0; delay < 8; delay++)
        play_beside(false, delay);
}

ALONE_TEST(a_pair_that_wakes_each_other_does_not_starve_a_pinned_task)
{
    for (int delay = 0; delay < 8; delay++)
        play_beside(true, delay);
}

/* ---- new tasks ------------------------------------------------------------------ */

enum { GENERATIONS_MAX = 20000 };

struct chain {
    int generation;
    bool over;
};

static void end_chain(void *arg)
{
    struct chain *c = arg;

    c->over = true;
}

static void leaf(void *arg)
{
    (void)arg;
}

/* Its child and a leaf are newer than whatever was started before. */
static void next_generation(void *arg)
{
    struct chain *c = arg;

    if (c->over || ++c->generation == GENERATIONS_MAX)
        return;
    EXPECT_EQ(zk_go(next_generation, c), 0);
    EXPECT_EQ(zk_go(leaf, c), 0);
}

ALONE_TEST(new_tasks_without_end_do_not_starve_an_older_new_one)
{
    static struct chain c; /* its last tasks may outlive us */

    EXPECT_EQ(zk_go(end_chain, &c), 0);
    EXPECT_EQ(zk_go(next_generation, &c), 0);
    while (!c.over && c.generation < GENERATIONS_MAX)
        EXPECT_EQ(zk_yield(), 0);
    EXPECT_LE(c.generation, 200);
    while (!c.over)
        EXPECT_EQ(zk_yield(), 0);
}

/* ---- budget -------------------------------------------------------------------------- */

struct tick {
    int count;
    bool over;
};

static int tick_and_yield(void *arg)
{
    struct tick *t = arg;

    while (!t->over) {
        t->count++;
        EXPECT_EQ(zk_yield(), 0);
    }
    return 0;
}

ALONE_TEST(the_128th_call_that_does_not_wait_gives_way)
{
    struct tick tick = {0, false};
    zk_task_t task = spawn(tick_and_yield, &tick);

    EXPECT_EQ(zk_yield(), 0); /* a fresh budget */
    for (int round = 1; round <= 5; round++) {
        int before = tick.count;

        for (int i = 1; i < ZK_BUDGET; i++)
            EXPECT_EQ(zk_sleep_until(0), 0);
        EXPECT_EQ(tick.count, before);
        EXPECT_EQ(zk_sleep_until(0), 0);
        EXPECT_GT(tick.count, before);
    }
    tick.over = true;
    EXPECT_EQ(result_of(task), 0);
}

/* The same for reads that find something, in a world, where the next task is
 * one of all by the seed. */
SEEDS_TEST(reads_that_find_something_use_up_the_budget, 20)
{
    static const char bytes[40 * ZK_BUDGET];
    struct tick tick = {0, false};
    zk_task_t task = spawn(tick_and_yield, &tick);
    zk_fd_t fd[2];
    char byte;
    int before;

    EXPECT_EQ(zk_sim_stream(fd), 0);
    EXPECT_EQ(zk_write_all(fd[0], bytes, sizeof(bytes), NULL, ZK_FOREVER), 0);
    before = tick.count;
    for (size_t i = 0; i < sizeof(bytes); i++)
        EXPECT_EQ(zk_read(fd[1], &byte, 1, ZK_FOREVER), 1);
    EXPECT_GE(tick.count - before, 5);
    EXPECT_LE(tick.count - before, 400);
    tick.over = true;
    EXPECT_EQ(result_of(task), 0);
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
}

/* ---- pinned tasks ---------------------------------------------------------------------- */

struct place {
    int worker;
    int elsewhere;
};

static int note_worker(void *arg)
{
    struct place *p = arg;

    for (int i = 0; i < 500; i++) {
        p->elsewhere += zk_worker_index() != p->worker;
        if (i % 50 == 0)
            EXPECT_EQ(zk_sleep_until(zk_after(ZK_US(1))), 0);
        else
            EXPECT_EQ(zk_yield(), 0);
    }
    return 0;
}

WORKERS_TEST(a_pinned_task_runs_on_its_worker_alone, 3)
{
    struct place place[9];
    zk_task_t task[9];

    for (int i = 0; i < 9; i++) {
        place[i] = (struct place){i % 3, 0};
        task[i] = spawn_pinned((unsigned)i % 3, note_worker, &place[i]);
    }
    for (int i = 0; i < 9; i++) {
        EXPECT_EQ(result_of(task[i]), 0);
        EXPECT_EQ(place[i].elsewhere, 0);
    }
}

ALONE_TEST(a_pin_names_a_worker_that_exists)
{
    const zk_spawn_opts_t opts = {.pin = ZK_PIN(1)};
    zk_task_t task;

    EXPECT_EQ(zk_spawn(&task, &opts, note_worker, NULL), -EINVAL);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(a_million_short_tasks_run_on_a_handful_of_stacks),
        ZK_CASE(the_newest_task_runs_first_and_every_one_once),
        ZK_CASE(tasks_that_yield_take_turns),
        ZK_CASE(a_yield_alone_goes_on_at_once),
        ZK_CASE(a_pair_that_wakes_each_other_does_not_starve_a_third),
        ZK_CASE(a_pair_that_wakes_each_other_does_not_starve_a_pinned_task),
        ZK_CASE(new_tasks_without_end_do_not_starve_an_older_new_one),
        ZK_CASE(the_128th_call_that_does_not_wait_gives_way),
        ZK_CASE(reads_that_find_something_use_up_the_budget),
        ZK_CASE(a_pinned_task_runs_on_its_worker_alone),
        ZK_CASE(a_pin_names_a_worker_that_exists));
}
