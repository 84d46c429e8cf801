/* SPDX-License-Identifier: MIT */
/*
 * conformance_test.c - every backend answers alike.
 *
 * Each scenario runs on each kind of link that the backend of ZK_BACKEND can
 * serve: pairs of sockets, pipes and TCP connections on a real one, ours or
 * made elsewhere; streams in memory in a simulated world for 'sim', which is
 * zk_sim_run()'s and no name that zk_run() takes.
 *
 * Of a link fd[0] reads and fd[1] writes. What a scenario leaves to chance (who
 * comes first at a deadline) it accepts in either way, but no byte may be lost
 * or come twice.
 */
#include "integration/integration.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <zokio/testing.h>

enum { VOLUME = 1 << 18, BIG = 16 << 20 };

/* ---- links ------------------------------------------------------------------------ */

struct link {
    const char *name;
    bool (*open)(zk_fd_t fd[2]);
    bool sim;
};

static bool adopt(zk_fd_t fd[2])
{
    return EXPECT_EQ(zk_fd_adopt(fd[0]), 0) && EXPECT_EQ(zk_fd_adopt(fd[1]), 0);
}

static bool open_sockets_foreign(zk_fd_t fd[2])
{
    return EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
}

static bool open_sockets(zk_fd_t fd[2])
{
    return open_sockets_foreign(fd) && adopt(fd);
}

static bool open_pipe_foreign(zk_fd_t fd[2])
{
    return EXPECT_EQ(pipe2(fd, O_CLOEXEC), 0);
}

static bool open_pipe(zk_fd_t fd[2])
{
    return open_pipe_foreign(fd) && adopt(fd);
}

static bool open_pipe_nonblocking(zk_fd_t fd[2])
{
    return EXPECT_EQ(pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0) && adopt(fd);
}

static bool open_sim(zk_fd_t fd[2])
{
    return EXPECT_EQ(zk_sim_stream(fd), 0);
}

static const struct link links[] = {
    {"sockets", open_sockets, false},
    {"sockets made elsewhere", open_sockets_foreign, false},
    {"pipe", open_pipe, false},
    {"non-blocking pipe", open_pipe_nonblocking, false},
    {"pipe made elsewhere", open_pipe_foreign, false},
    {"tcp", tcp_pair, false},
    {"simulated stream", open_sim, true},
};

/* The one under test, open for each scenario. */
static const struct link *link_now;
static zk_fd_t fd[2];

static char big[BIG];

static void reopen(void)
{
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
    link_now->open(fd);
}

static void put(const char *text)
{
    EXPECT_EQ(zk_write_all(fd[1], text, strlen(text), NULL, BOUND), 0);
}

/* Exactly `text` is there, now or soon. */
static void expect_text(const char *text)
{
    char got[64] = {0};

    EXPECT_EQ(zk_read_full(fd[0], got, strlen(text), NULL, BOUND), 0);
    EXPECT_STR_EQ(got, text);
}

static void expect_empty(void)
{
    char byte;

    EXPECT_EQ(zk_read(fd[0], &byte, 1, PAST), -ETIMEDOUT);
}

static bool broken(ssize_t rc)
{
    return rc == -EPIPE || rc == -ECONNRESET;
}

/* ---- success, part, end, error ----------------------------------------------------- */

static void a_transfer_moves_what_is_there_or_what_fits(void)
{
    char got[16];
    ssize_t n;

    put("abc");
    EXPECT_EQ(zk_wait_fd(fd[0], ZK_READABLE, BOUND), ZK_READABLE);
    n = zk_read(fd[0], got, sizeof(got), BOUND);
    EXPECT_GE(n, 1);
    EXPECT_LE(n, 3);
    expect_text(&"abc"[n]);
    expect_empty();
    n = zk_write(fd[1], big, BIG, BOUND);
    EXPECT_GE(n, 1);
    EXPECT_LT(n, BIG);
    n -= zk_read(fd[0], big, BIG, BOUND);
    while (n > 0)
        n -= zk_read(fd[0], big, (size_t)n, BOUND);
    EXPECT_EQ(n, 0);
    expect_empty();
}

static void vectors_keep_their_order(void)
{
    char a[] = "ab", b[] = "cdef", c[3] = {0}, d[8] = {0}, sum[8] = {0};
    const struct iovec out[2] = {{a, 2}, {b, 4}};
    const struct iovec in[2] = {{c, 3}, {d, 8}};
    ssize_t written = zk_writev(fd[1], out, 2, BOUND);
    size_t got = 0;

    EXPECT_GE(written, 1);
    EXPECT_LE(written, 6);
    while (got < (size_t)written) {
        ssize_t n = zk_readv(fd[0], in, 2, BOUND);

        if (!EXPECT_GE(n, 1) || !EXPECT_LE(got + (size_t)n, 6))
            return;
        memcpy(sum + got, c, (size_t)(n < 3 ? n : 3));
        if (n > 3)
            memcpy(sum + got + 3, d, (size_t)n - 3);
        got += (size_t)n;
    }
    EXPECT_EQ(memcmp(sum, "abcdef", got), 0);
}

static void the_end_comes_after_the_last_byte(void)
{
    char got[4];
    size_t done = 0;

    put("xyz");
    EXPECT_EQ(zk_close(fd[1]), 0);
    EXPECT_EQ(zk_read_full(fd[0], got, 4, &done, BOUND), -ENODATA);
    EXPECT_EQ(done, 3);
    EXPECT_EQ(memcmp(got, "xyz", 3), 0);
    EXPECT_EQ(zk_read(fd[0], got, 4, BOUND), 0);
    EXPECT_EQ(zk_read(fd[0], got, 4, PAST), 0);
    EXPECT_NE(zk_wait_fd(fd[0], ZK_READABLE, BOUND) & (ZK_READABLE | ZK_HANGUP),
              0);
    fd[1] = -1;
}

static void a_write_to_nobody_fails_without_a_signal(void)
{
    ssize_t n = 1;
    size_t done = 9;

    EXPECT_EQ(zk_close(fd[0]), 0);
    fd[0] = -1;
    while (n > 0) /* a TCP peer answers the first */
        n = zk_write(fd[1], "x", 1, BOUND);
    EXPECT_TRUE(broken(n));
    EXPECT_TRUE(broken(zk_write_all(fd[1], "xy", 2, &done, BOUND)));
    EXPECT_EQ(done, 0);
}

static void a_closed_number_is_a_bad_descriptor(void)
{
    zk_fd_t closed = fd[0];
    char byte;

    EXPECT_EQ(zk_close(fd[0]), 0);
    fd[0] = -1;
    EXPECT_EQ(zk_close(closed), -EBADF);
    EXPECT_EQ(zk_read(closed, &byte, 1, BOUND), -EBADF);
    EXPECT_EQ(zk_write(closed, &byte, 1, BOUND), -EBADF);
    EXPECT_EQ(zk_wait_fd(closed, ZK_READABLE, BOUND), -EBADF);
}

static void readiness_is_a_level(void)
{
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(zk_wait_fd(fd[1], ZK_WRITABLE, PAST), ZK_WRITABLE);
        EXPECT_EQ(zk_wait_fd(fd[0], ZK_READABLE, PAST), -ETIMEDOUT);
    }
    put("x");
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(zk_wait_fd(fd[0], ZK_READABLE, BOUND), ZK_READABLE);
    expect_text("x");
    fill(fd[1]);
    EXPECT_EQ(zk_wait_fd(fd[1], ZK_WRITABLE, zk_after(ZK_MS(1))), -ETIMEDOUT);
}

/* ---- waits that end by what they wait for --------------------------------------------- */

static void a_waiting_read_gets_what_comes(void)
{
    char got[8] = {0};
    struct call call = {.fd = fd[0], .buf = got, .len = sizeof(got)};

    for (int i = 0; i < 20; i++) {
        zk_task_t task = spawn_parked(call_read, &call);

        put("z");
        EXPECT_EQ(result_of(task), 1);
        EXPECT_EQ(got[0], 'z');
        got[0] = 0;
    }
    expect_empty();
}

static void a_waiting_write_goes_on_when_there_is_room(void)
{
    char byte = 'w';
    struct call call = {.fd = fd[1], .buf = &byte, .len = 1};
    size_t sum = fill(fd[1]);
    zk_task_t task = spawn_parked(call_write, &call);

    for (; sum > 0; sum--) {
        ssize_t n = zk_read(fd[0], big, sum < BIG ? sum : BIG, BOUND);

        if (!EXPECT_GE(n, 1))
            return;
        sum -= (size_t)n - 1;
    }
    EXPECT_EQ(result_of(task), 1);
    expect_text("w");
}

static void who_waits_for_readiness_is_told(void)
{
    struct call call = {.fd = fd[0], .events = ZK_READABLE};
    zk_task_t task[3];

    for (int i = 0; i < 3; i++)
        task[i] = spawn_parked(call_wait_fd, &call);
    put("x");
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(result_of(task[i]), ZK_READABLE);
    expect_text("x");
}

static void readers_are_served_in_order(void)
{
    enum { READERS = 4 };
    char got[READERS + 1] = {0};
    struct call call[READERS];
    zk_task_t task[READERS];

    for (int i = 0; i < READERS; i++) {
        call[i] = (struct call){.fd = fd[0], .buf = &got[i], .len = 1};
        task[i] = spawn_parked(call_read, &call[i]);
    }
    put("abcd");
    for (int i = 0; i < READERS; i++)
        EXPECT_EQ(result_of(task[i]), 1);
    EXPECT_STR_EQ(got, "abcd");
}

static void who_waits_is_told_when_the_peer_leaves(void)
{
    char byte;
    struct call call = {.fd = fd[0], .buf = &byte, .len = 1};
    zk_task_t task = spawn_parked(call_read, &call);

    EXPECT_EQ(zk_close(fd[1]), 0);
    fd[1] = -1;
    EXPECT_EQ(result_of(task), 0);
}

static void a_waiting_writer_is_told_when_the_peer_leaves(void)
{
    char byte = 'x';
    struct call call = {.fd = fd[1], .buf = &byte, .len = 1};
    zk_task_t task;

    fill(fd[1]);
    task = spawn_parked(call_write, &call);
    EXPECT_EQ(zk_close(fd[0]), 0);
    fd[0] = -1;
    EXPECT_TRUE(broken(result_of(task)));
}

/* ---- deadlines --------------------------------------------------------------------------- */

static void a_past_deadline_is_one_try(void)
{
    char got[4];

    expect_empty();
    put("ab");
    EXPECT_EQ(zk_wait_fd(fd[0], ZK_READABLE, BOUND), ZK_READABLE);
    EXPECT_GE(zk_read(fd[0], got, 1, PAST), 1);
    EXPECT_GE(zk_read(fd[0], got, 1, INT64_MIN), 1);
    expect_empty();
    EXPECT_EQ(zk_write(fd[1], "c", 1, PAST), 1);
    expect_text("c");
    fill(fd[1]);
    EXPECT_EQ(zk_write(fd[1], "c", 1, PAST), -ETIMEDOUT);
}

static void a_deadline_ends_a_wait_and_not_before(void)
{
    zk_time_t deadline = zk_after(ZK_MS(2));
    char byte;

    EXPECT_EQ(zk_read(fd[0], &byte, 1, deadline), -ETIMEDOUT);
    EXPECT_GE(zk_now(), deadline);
    deadline = zk_after(ZK_MS(2));
    EXPECT_EQ(zk_wait_fd(fd[0], ZK_READABLE, deadline), -ETIMEDOUT);
    EXPECT_GE(zk_now(), deadline);
    put("x");
    expect_text("x");
    fill(fd[1]);
    deadline = zk_after(ZK_MS(2));
    EXPECT_EQ(zk_write(fd[1], big, 1 << 16, deadline), -ETIMEDOUT);
    EXPECT_GE(zk_now(), deadline);
}

static int put_at(void *arg)
{
    int rc = zk_sleep_until(*(zk_time_t *)arg);

    return rc < 0 ? rc : (int)zk_write(fd[1], "x", 1, BOUND);
}

/* Data comes at the deadline, a little before or after it. */
static void a_read_at_its_deadline_loses_nothing(void)
{
    for (int i = 0; i < 60; i++) {
        zk_time_t deadline = zk_after(ZK_US(300));
        zk_time_t at = deadline + ZK_US(i % 3 - 1) * (i / 3);
        zk_task_t task;
        char byte = 0;
        ssize_t n;

        EXPECT_EQ(zk_spawn(&task, NULL, put_at, &at), 0);
        n = zk_read(fd[0], &byte, 1, deadline);
        EXPECT_TRUE(n == 1 || n == -ETIMEDOUT);
        EXPECT_EQ(result_of(task), 1);
        if (n != 1)
            EXPECT_EQ(zk_read(fd[0], &byte, 1, BOUND), 1);
        EXPECT_EQ(byte, 'x');
    }
    expect_empty();
}

/* ---- cancel ------------------------------------------------------------------------------ */

static void a_cancel_ends_each_wait(void)
{
    char byte = 0, byte2 = 0;
    struct call read = {.fd = fd[0], .buf = &byte, .len = 1};
    struct call turn = {.fd = fd[0], .buf = &byte2, .len = 1};
    struct call poll = {.fd = fd[0], .events = ZK_READABLE};
    struct call write = {.fd = fd[1], .buf = &byte, .len = 1};
    zk_task_t reader = spawn_parked(call_read, &read);
    zk_task_t second = spawn_parked(call_read, &turn);
    zk_task_t poller = spawn_parked(call_wait_fd, &poll);
    zk_task_t writer;

    EXPECT_EQ(cancel_and_join(second), -ECANCELED);
    EXPECT_EQ(cancel_and_join(poller), -ECANCELED);
    EXPECT_EQ(cancel_and_join(reader), -ECANCELED);
    put("x");
    expect_text("x");
    fill(fd[1]);
    writer = spawn_parked(call_write, &write);
    EXPECT_EQ(cancel_and_join(writer), -ECANCELED);
}

/* A success that came first is a success; else the byte waits for the next. */
static void a_cancel_beside_data_loses_nothing(void)
{
    for (int i = 0; i < 100; i++) {
        char byte = 0;
        struct call call = {.fd = fd[0], .buf = &byte, .len = 1};
        zk_task_t task;
        int rc;

        EXPECT_EQ(zk_spawn(&task, NULL, call_read, &call), 0);
        if ((i & 1) != 0)
            zk_yield();
        if ((i & 2) != 0)
            put("x");
        rc = zk_cancel(task);
        EXPECT_TRUE(rc == 0 || rc == -ESRCH);
        if ((i & 2) == 0)
            put("x");
        rc = result_of(task);
        EXPECT_TRUE(rc == 1 || rc == -ECANCELED);
        if (rc != 1)
            EXPECT_EQ(zk_read(fd[0], &byte, 1, BOUND), 1);
        EXPECT_EQ(byte, 'x');
    }
    expect_empty();
}

/* ---- close ------------------------------------------------------------------------------- */

static void close_ends_who_waits_there(void)
{
    char byte[3];
    struct call call[] = {{.fd = fd[0], .buf = &byte[0], .len = 1},
                          {.fd = fd[0], .buf = &byte[1], .len = 1},
                          {.fd = fd[0], .events = ZK_READABLE},
                          {.fd = fd[1], .buf = &byte[2], .len = 1}};
    zk_task_t task[4];

    fill(fd[1]);
    task[3] = spawn_parked(call_write, &call[3]);
    EXPECT_EQ(zk_close(fd[1]), 0);
    EXPECT_EQ(result_of(task[3]), -EBADF);
    EXPECT_EQ(zk_close(fd[0]), 0);
    link_now->open(fd);
    for (int i = 0; i < 3; i++) {
        call[i].fd = fd[0];
        task[i] = spawn_parked(i < 2 ? call_read : call_wait_fd, &call[i]);
    }
    EXPECT_EQ(zk_close(fd[0]), 0);
    fd[0] = -1;
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(result_of(task[i]), -EBADF);
}

/* The number of a closed descriptor comes back at once: who waited on the old
 * one gets nothing of the new, and the other way round. */
static void a_number_that_comes_back_is_another_descriptor(void)
{
    for (int i = 0; i < 30; i++) {
        char old = 'o', new = 'n';
        struct call was = {.fd = fd[0], .buf = &old, .len = 1};
        struct call is = {.buf = &new, .len = 1};
        zk_task_t reader = spawn_parked(call_read, &was), next;
        int rc;

        if ((i & 1) != 0)
            put("x");
        reopen();
        is.fd = fd[0];
        next = spawn_parked(call_read, &is);
        put("y");
        EXPECT_EQ(result_of(next), 1);
        EXPECT_EQ(new, 'y');
        rc = result_of(reader);
        EXPECT_TRUE(rc == -EBADF || ((i & 1) != 0 && rc == 1));
        EXPECT_EQ(old, rc == 1 ? 'x' : 'o');
        expect_empty();
    }
}

/* ---- volume ------------------------------------------------------------------------------- */

static char byte_at(size_t i)
{
    return (char)(i * 11 + i / 509);
}

/* Deadlines that often pass; pieces of every size. */
static int write_volume(void *arg)
{
    static char piece[5000];
    size_t at = 0;

    (void)arg;
    for (unsigned i = 0; at < VOLUME; i++) {
        size_t len = 1 + (i * 7919u) % sizeof(piece);
        ssize_t n;

        len = len < VOLUME - at ? len : VOLUME - at;
        for (size_t k = 0; k < len; k++)
            piece[k] = byte_at(at + k);
        n = zk_write(fd[1], piece, len, zk_after(ZK_US(i % 50)));
        if (n > 0)
            at += (size_t)n;
        else if (!EXPECT_EQ(n, -ETIMEDOUT))
            return (int)n;
    }
    return 0;
}

static void no_byte_is_lost_or_comes_twice(void)
{
    static char piece[3001];
    size_t at = 0, wrong = 0;
    zk_task_t writer;

    EXPECT_EQ(zk_spawn(&writer, NULL, write_volume, NULL), 0);
    for (unsigned i = 0; at < VOLUME; i++) {
        size_t len = 1 + (i * 104729u) % sizeof(piece);
        ssize_t n = zk_read(fd[0], piece, len, zk_after(ZK_US(i % 30)));

        for (ssize_t k = 0; k < n; k++)
            wrong += piece[k] != byte_at(at + (size_t)k);
        if (n > 0)
            at += (size_t)n;
        else if (!EXPECT_EQ(n, -ETIMEDOUT))
            break;
    }
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(at, VOLUME);
    EXPECT_EQ(result_of(writer), 0);
    expect_empty();
}

/* ---- plain threads --------------------------------------------------------------------------- */

/* What a thread does once `parks` waits have begun: every worker sleeps. */
struct outside {
    zk_runtime_t *rt;
    uint64_t parks;
    zk_task_t task;
    void (*act)(struct outside *o);
    int rc;
};

static void *outside_main(void *arg)
{
    struct outside *o = arg;

    parks_await(o->rt, o->parks, 1);
    o->act(o);
    return NULL;
}

static void outside_write(struct outside *o)
{
    o->rc = (int)write(fd[1], "t", 1);
}

static void outside_cancel(struct outside *o)
{
    o->rc = zk_cancel(o->task);
}

static void outside_close(struct outside *o)
{
    o->rc = zk_close(fd[0]);
}

/* A reader waits, then main for the reader, and then the thread acts. */
static int read_against(void (*act)(struct outside *o), int *rc)
{
    char byte;
    struct call call = {.fd = fd[0], .buf = &byte, .len = 1};
    struct outside o = {.rt = zk_runtime_current(), .act = act};
    pthread_t thread;
    int result;

    o.task = spawn_parked(call_read, &call);
    o.parks = parks_now();
    EXPECT_EQ(pthread_create(&thread, NULL, outside_main, &o), 0);
    result = result_of(o.task);
    pthread_join(thread, NULL);
    *rc = o.rc;
    return result;
}

static void a_thread_wakes_who_waits(void)
{
    int rc;

    for (int i = 0; i < 20; i++) {
        EXPECT_EQ(read_against(outside_write, &rc), 1);
        EXPECT_EQ(rc, 1);
        EXPECT_EQ(read_against(outside_cancel, &rc), -ECANCELED);
        EXPECT_EQ(rc, 0);
    }
    EXPECT_EQ(read_against(outside_close, &rc), -EBADF);
    EXPECT_EQ(rc, 0);
    fd[0] = -1;
}

/* ---- scenarios times links ------------------------------------------------------------------- */

struct scenario {
    const char *name;
    void (*run)(void);
    bool real; /* needs threads or a kernel */
};

#define SCENARIO(fn)                                                           \
    {                                                                          \
#fn, fn, false                                                         \
    }

static const struct scenario scenarios[] = {
    SCENARIO(a_transfer_moves_what_is_there_or_what_fits),
    SCENARIO(vectors_keep_their_order),
    SCENARIO(the_end_comes_after_the_last_byte),
    SCENARIO(a_write_to_nobody_fails_without_a_signal),
    SCENARIO(a_closed_number_is_a_bad_descriptor),
    SCENARIO(readiness_is_a_level),
    SCENARIO(a_waiting_read_gets_what_comes),
    SCENARIO(a_waiting_write_goes_on_when_there_is_room),
    SCENARIO(who_waits_for_readiness_is_told),
    SCENARIO(readers_are_served_in_order),
    SCENARIO(who_waits_is_told_when_the_peer_leaves),
    SCENARIO(a_waiting_writer_is_told_when_the_peer_leaves),
    SCENARIO(a_past_deadline_is_one_try),
    SCENARIO(a_deadline_ends_a_wait_and_not_before),
    SCENARIO(a_read_at_its_deadline_loses_nothing),
    SCENARIO(a_cancel_ends_each_wait),
    SCENARIO(a_cancel_beside_data_loses_nothing),
    SCENARIO(close_ends_who_waits_there),
    SCENARIO(a_number_that_comes_back_is_another_descriptor),
    SCENARIO(no_byte_is_lost_or_comes_twice),
    {"a_thread_wakes_who_waits", a_thread_wakes_who_waits, true},
};

enum {
    N_SCENARIOS = sizeof(scenarios) / sizeof(scenarios[0]),
    N_LINKS = sizeof(links) / sizeof(links[0]),
};

struct meeting {
    const struct scenario *scenario;
    const struct link *link;
    char name[128];
};

static bool simulated(void)
{
    const char *backend = getenv("ZK_BACKEND");

    return backend != NULL && strcmp(backend, "sim") == 0;
}

static int meet_on_task(void *arg)
{
    const struct meeting *m = arg;

    link_now = m->link;
    if (!link_now->open(fd))
        return -EIO;
    m->scenario->run();
    for (int i = 0; i < 2; i++)
        if (fd[i] >= 0)
            EXPECT_EQ(zk_close(fd[i]), 0);
    return 0;
}

static void meet(void **state)
{
    struct meeting *m = *state;
    zk_sim_config_t sim = {.stream_capacity = 20000};
    int fds = zk_test_open_fds();

    zk_test_begin();
    if (m->link->sim) {
        for (sim.seed = zk_test_seed(); sim.seed < zk_test_seed() + 20;
             sim.seed++)
            EXPECT_EQ(zk_sim_run(&sim, meet_on_task, m), 0);
    } else {
        EXPECT_EQ(zk_run(NULL, meet_on_task, m), 0);
    }
    EXPECT_EQ(zk_test_open_fds(), fds);
    zk_test_end();
}

int main(void)
{
    static struct meeting meetings[N_SCENARIOS * N_LINKS];
    static struct CMUnitTest cases[N_SCENARIOS * N_LINKS];
    size_t n = 0;

    for (size_t i = 0; i < N_SCENARIOS * N_LINKS; i++) {
        struct meeting *m = &meetings[n];

        m->scenario = &scenarios[i / N_LINKS];
        m->link = &links[i % N_LINKS];
        if (m->link->sim != simulated() || (m->link->sim && m->scenario->real))
            continue;
        snprintf(m->name, sizeof(m->name), "%s: %s", m->scenario->name,
                 m->link->name);
        cases[n] = (struct CMUnitTest){
            .name = m->name, .test_func = meet, .initial_state = m};
        n++;
    }
    return zk_test_run(cases, n);
}
