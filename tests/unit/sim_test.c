/* SPDX-License-Identifier: MIT */
/*
 * sim_test.c - a simulated world: it repeats itself, its clock jumps, a
 * deadlock is reported and leaves nothing behind for the next world.
 */
#include "core.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- same seed, same run ------------------------------------------------------- */

enum { MIXERS = 8, MIX_ROUNDS = 12 };

/* Sleeps, transfers, yields and cancels, as the seed has it. */
struct mix {
    zk_fd_t fd[2];
    struct zk_rand rand;
};

static int mix_some(void *arg)
{
    struct mix *m = arg;
    char bytes[64] = {0};

    for (int i = 0; i < MIX_ROUNDS; i++) {
        zk_time_t deadline = zk_after(ZK_US(draw(&m->rand, 100)));
        size_t len = 1 + draw(&m->rand, sizeof(bytes));

        switch (draw(&m->rand, 4)) {
        case 0:
            zk_sleep_until(deadline);
            break;
        case 1:
            zk_read(m->fd[draw(&m->rand, 2)], bytes, len, deadline);
            break;
        case 2:
            zk_write(m->fd[draw(&m->rand, 2)], bytes, len, deadline);
            break;
        default:
            zk_yield();
        }
    }
    return 0;
}

struct run {
    uint64_t seed, hash;
    zk_time_t end;
};

static int mix_all(void *arg)
{
    struct run *run = arg;
    struct mix m;
    zk_task_t task[MIXERS];

    zk_rand_seed(&m.rand,
                 5); /* the program is the same; only the seed differs */
    EXPECT_EQ(zk_sim_stream(m.fd), 0);
    for (int i = 0; i < MIXERS; i++)
        task[i] = spawn(mix_some, &m);
    zk_sleep_until(zk_after(ZK_US(50)));
    zk_cancel(task[1]);
    for (int i = 0; i < MIXERS; i++)
        EXPECT_EQ(result_of(task[i]), 0);
    EXPECT_EQ(zk_close(m.fd[0]), 0);
    EXPECT_EQ(zk_close(m.fd[1]), 0);
    run->hash = zk_sim_trace_hash();
    run->end = zk_now();
    return 0;
}

static struct run run_mix(uint64_t seed)
{
    const zk_sim_config_t cfg = {.seed = seed, .stream_capacity = 100};
    struct run run = {.seed = seed};

    EXPECT_EQ(zk_sim_run(&cfg, mix_all, &run), 0);
    EXPECT_NE(run.hash, 0);
    return run;
}

ZK_TEST(the_same_seed_gives_the_same_run)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct run a = run_mix(seed), b = run_mix(seed);

        EXPECT_EQ(a.hash, b.hash);
        EXPECT_EQ(a.end, b.end);
    }
}

ZK_TEST(another_seed_gives_another_run)
{
    uint64_t last = run_mix(1000).hash;
    int same = 0;

    for (uint64_t seed = 1001; seed <= 1050; seed++) {
        uint64_t hash = run_mix(seed).hash;

        same += hash == last;
        last = hash;
    }
    EXPECT_EQ(same, 0);
}

ZK_TEST(no_seed_is_seed_one)
{
    struct run none = {0};

    EXPECT_EQ(
        zk_sim_run(&(zk_sim_config_t){.stream_capacity = 100}, mix_all, &none),
        0);
    EXPECT_EQ(none.hash, run_mix(1).hash);
}

/* Tasks that main leaves behind, cancelled by the end of the world. */
enum { LEFT = 20 };

struct leavers {
    int order[LEFT], n;
    uint64_t hash;
};

static struct leavers left;

static int leave(void *arg)
{
    EXPECT_EQ(zk_sleep_until(ZK_FOREVER), -ECANCELED);
    left.order[left.n++] = (int)(intptr_t)arg;
    left.hash = zk_sim_trace_hash();
    return 0;
}

static int leave_all(void *arg)
{
    (void)arg;
    for (intptr_t i = 0; i < LEFT; i++)
        EXPECT_EQ(zk_detach(spawn(leave, (void *)i)), 0);
    settle();
    return 0;
}

static struct leavers run_leavers(uint64_t seed)
{
    memset(&left, 0, sizeof(left));
    EXPECT_EQ(zk_sim_run(&(zk_sim_config_t){.seed = seed}, leave_all, NULL), 0);
    EXPECT_EQ(left.n, LEFT);
    return left;
}

/* Between the two, other worlds use the task blocks and mix them up. */
ZK_TEST(the_end_of_a_world_repeats_itself_too)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct leavers a = run_leavers(seed), b;

        run_mix(seed + 7);
        b = run_leavers(seed);
        EXPECT_EQ(memcmp(a.order, b.order, sizeof(a.order)), 0);
        EXPECT_EQ(a.hash, b.hash);
    }
}

/* ---- the clock ------------------------------------------------------------------ */

static int sleep_to(void *arg)
{
    return zk_sleep_until(*(zk_time_t *)arg);
}

ZK_SIM_TEST(the_clock_starts_at_a_second_and_jumps_to_the_next_deadline)
{
    zk_time_t day = ZK_SEC(86400), soon;
    zk_task_t task;
    uint64_t sleeps;

    EXPECT_EQ(zk_now(), ZK_SEC(1));
    for (int i = 0; i < 1000; i++)
        EXPECT_EQ(zk_yield(), 0);
    EXPECT_EQ(zk_now(), ZK_SEC(1)); /* work takes no time */
    day += zk_now();
    soon = zk_now() + ZK_MS(1);
    task = spawn(sleep_to, &day);
    EXPECT_EQ(zk_sleep_until(soon), 0);
    EXPECT_EQ(zk_now(), soon);
    sleeps = worker_here()->n_sleeps;
    EXPECT_EQ(result_of(task), 0);
    EXPECT_GE(zk_now(), day);
    EXPECT_LT(zk_now(), day + ZK_MS(2));
    EXPECT_LE(worker_here()->n_sleeps - sleeps, 16); /* not tick by tick */
}

/* ---- context and arguments -------------------------------------------------------- */

static int return_seven(void *arg)
{
    (void)arg;
    return 7;
}

static int run_inside(void *arg)
{
    (void)arg;
    return zk_sim_run(NULL, return_seven, NULL);
}

static int sim_calls_outside(void *arg)
{
    zk_fd_t fd[2] = {-7, -8};

    (void)arg;
    EXPECT_EQ(zk_sim_stream(fd), -EPERM);
    EXPECT_EQ(fd[0], -7);
    EXPECT_EQ(zk_sim_trace_hash(), 0);
    return 0;
}

ZK_TEST(a_world_runs_on_a_plain_thread_and_returns_the_value)
{
    const zk_config_t cfg = {.workers = 1};

    EXPECT_EQ(zk_sim_run(NULL, return_seven, NULL), 7);
    EXPECT_EQ(zk_sim_run(NULL, run_inside, NULL), -EDEADLK);
    EXPECT_EQ(zk_sim_run(&(zk_sim_config_t){.flags = 1}, return_seven, NULL),
              -EINVAL);
    EXPECT_EQ(zk_sim_run(&(zk_sim_config_t){.reserved = {[7] = 1}},
                         return_seven, NULL),
              -EINVAL);
    EXPECT_EQ(zk_sim_run(&(zk_sim_config_t){.stream_capacity = UINT32_MAX},
                         return_seven, NULL),
              -EINVAL);
    EXPECT_EQ(zk_sim_run(NULL, NULL, NULL), -EINVAL);
    sim_calls_outside(NULL);
    EXPECT_EQ(zk_run(&cfg, sim_calls_outside, NULL), 0);
}

static int blocking_here(void *arg)
{
    return zk_blocking(return_seven, arg, ZK_FOREVER);
}

ZK_TEST(a_blocking_call_runs_in_place)
{
    EXPECT_EQ(zk_sim_run(NULL, blocking_here, NULL), 7);
}

/* ---- deadlock ---------------------------------------------------------------------- */

/* What `fn` makes of a world, with what it printed in `text`. */
static int run_and_listen(int (*fn)(void *), char *text, size_t size)
{
    int saved = dup(STDERR_FILENO);
    int fd = memfd_create("stderr", MFD_CLOEXEC);
    ssize_t n;
    int rc;

    fflush(stderr);
    dup2(fd, STDERR_FILENO);
    rc = zk_sim_run(NULL, fn, NULL);
    dup2(saved, STDERR_FILENO);
    n = pread(fd, text, size - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    close(fd);
    close(saved);
    return rc;
}

/* A world that came to a halt keeps what its tasks hold. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:run_into_deadlock";
}

static ZK_NOINLINE void run_into_deadlock(int (*fn)(void *), char *text,
                                          size_t size)
{
    EXPECT_EQ(run_and_listen(fn, text, size), -EDEADLK);
}

static zk_fd_t stuck_fd[2];

static int read_for_ever(void *arg)
{
    char byte;

    (void)arg;
    zk_set_name("reader");
    return (int)zk_read(stuck_fd[0], &byte, 1, ZK_FOREVER);
}

static int poll_for_ever(void *arg)
{
    (void)arg;
    zk_set_name("poller");
    return zk_wait_fd(stuck_fd[0], ZK_READABLE, ZK_FOREVER);
}

/* Main waits for a reader, another reader for its turn, and a poller. */
static int get_stuck(void *arg)
{
    zk_task_t task[3];

    (void)arg;
    EXPECT_EQ(zk_sim_stream(stuck_fd), 0);
    for (int i = 0; i < 2; i++)
        task[i] = spawn(read_for_ever, NULL);
    task[2] = spawn(poll_for_ever, NULL);
    EXPECT_EQ(zk_sleep_until(zk_after(ZK_SEC(9))), 0);
    return result_of(task[0]);
}

ZK_TEST(a_deadlock_is_reported_with_who_waits_for_what)
{
    char text[2048];

    run_into_deadlock(get_stuck, text, sizeof(text));
    EXPECT_TRUE(strstr(text, "\"main\"") != NULL);
    EXPECT_TRUE(strstr(text, "waits for join") != NULL);
    EXPECT_TRUE(strstr(text, "\"reader\"") != NULL);
    EXPECT_TRUE(strstr(text, "waits for read") != NULL);
    EXPECT_TRUE(strstr(text, "waits for turn at a descriptor") != NULL);
    EXPECT_TRUE(strstr(text, "\"poller\"") != NULL);
    EXPECT_TRUE(strstr(text, "waits for readiness") != NULL);
}

static int use_streams(void *arg)
{
    char byte = 0;
    zk_fd_t fd[2];

    (void)arg;
    EXPECT_EQ(zk_sim_stream(fd), 0);
    EXPECT_EQ(fd[0], stuck_fd[0]); /* the number that others are stuck on */
    EXPECT_EQ(zk_write(fd[1], "x", 1, zk_after(ZK_SEC(1))), 1);
    EXPECT_EQ(zk_wait_fd(fd[0], ZK_READABLE, zk_after(ZK_SEC(1))), ZK_READABLE);
    EXPECT_EQ(zk_read(fd[0], &byte, 1, zk_after(ZK_SEC(1))), 1);
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
    return 0;
}

ZK_TEST(a_world_after_a_deadlock_is_as_good_as_new)
{
    char text[2048];

    run_into_deadlock(get_stuck, text, sizeof(text));
    EXPECT_EQ(run_and_listen(use_streams, text, sizeof(text)), 0);
    EXPECT_STR_EQ(text, "");
}

static int leave_open(void *arg)
{
    zk_fd_t fd[2];

    (void)arg;
    EXPECT_EQ(zk_sim_stream(fd), 0);
    EXPECT_EQ(zk_write_all(fd[0], "old", 3, NULL, ZK_FOREVER), 0);
    return 0;
}

static int find_empty(void *arg)
{
    char byte;
    zk_fd_t fd[2];

    (void)arg;
    EXPECT_EQ(zk_sim_stream(fd), 0);
    EXPECT_EQ(zk_read(fd[0], &byte, 1, 0), -ETIMEDOUT);
    EXPECT_EQ(zk_read(fd[1], &byte, 1, 0), -ETIMEDOUT);
    return 0;
}

ZK_TEST(streams_that_were_left_open_end_with_their_world)
{
    uint64_t bytes = zk__heap_bytes();

    EXPECT_EQ(zk_sim_run(NULL, leave_open, NULL), 0);
    EXPECT_EQ(zk_sim_run(NULL, find_empty, NULL), 0);
    EXPECT_EQ(zk__heap_bytes(), bytes);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(the_same_seed_gives_the_same_run),
        ZK_CASE(another_seed_gives_another_run), ZK_CASE(no_seed_is_seed_one),
        ZK_CASE(the_end_of_a_world_repeats_itself_too),
        ZK_CASE(the_clock_starts_at_a_second_and_jumps_to_the_next_deadline),
        ZK_CASE(a_world_runs_on_a_plain_thread_and_returns_the_value),
        ZK_CASE(a_blocking_call_runs_in_place),
        ZK_CASE(a_deadlock_is_reported_with_who_waits_for_what),
        ZK_CASE(a_world_after_a_deadlock_is_as_good_as_new),
        ZK_CASE(streams_that_were_left_open_end_with_their_world));
}
