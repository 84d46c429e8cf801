/* SPDX-License-Identifier: MIT */
/*
 * stream_test.c - the calls on descriptors, over streams of simulated worlds:
 * what they return, in which order they are served, and that no deadline,
 * cancel or close loses or repeats a byte.
 *
 * The same calls on kernel objects are in tests/backend.
 */
#include "core.h"

#include "io/fd_table.h"

enum { CAPACITY = 64 };

#define STREAM_TEST(name, n)                                                   \
    SEEDS_TEST_CONFIG(name, n, .stream_capacity = CAPACITY)

static void stream_open(zk_fd_t fd[2])
{
    EXPECT_EQ(zk_sim_stream(fd), 0);
}

static void stream_close(const zk_fd_t fd[2])
{
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
}

/* One call of a task of its own. */
struct call {
    zk_fd_t fd;
    char *buf;
    size_t len;
    zk_time_t deadline; /* 0: ZK_FOREVER */
    unsigned events;
};

static zk_time_t deadline_of(const struct call *c)
{
    return c->deadline != 0 ? c->deadline : ZK_FOREVER;
}

static int call_read(void *arg)
{
    struct call *c = arg;

    return (int)zk_read(c->fd, c->buf, c->len, deadline_of(c));
}

static int call_read_full(void *arg)
{
    struct call *c = arg;

    return zk_read_full(c->fd, c->buf, c->len, NULL, deadline_of(c));
}

static int call_write(void *arg)
{
    struct call *c = arg;

    return (int)zk_write(c->fd, c->buf, c->len, deadline_of(c));
}

static int call_wait_fd(void *arg)
{
    struct call *c = arg;

    return zk_wait_fd(c->fd, c->events, deadline_of(c));
}

static void fill(zk_fd_t fd)
{
    static const char zeros[CAPACITY];
    size_t done = 0;

    EXPECT_EQ(zk_write_all(fd, zeros, CAPACITY, &done, 0), 0);
    EXPECT_EQ(done, CAPACITY);
    EXPECT_EQ(zk_write(fd, zeros, 1, 0), -ETIMEDOUT);
}

/* ---- results -------------------------------------------------------------------- */

STREAM_TEST(what_is_written_is_read_in_order, 30)
{
    static const char text[] = "one two three four";
    char got[sizeof(text)] = {0};
    size_t done = 0;
    zk_fd_t fd[2];

    stream_open(fd);
    EXPECT_EQ(zk_write_all(fd[0], text, sizeof(text), &done, ZK_FOREVER), 0);
    EXPECT_EQ(done, sizeof(text));
    EXPECT_EQ(zk_read_full(fd[1], got, sizeof(text), &done, ZK_FOREVER), 0);
    EXPECT_EQ(done, sizeof(text));
    EXPECT_STR_EQ(got, text);
    EXPECT_EQ(zk_read(fd[1], got, 1, zk_now()), -ETIMEDOUT);
    EXPECT_EQ(zk_read(fd[0], got, 1, zk_now()), -ETIMEDOUT);
    stream_close(fd);
}

STREAM_TEST(vectors_are_filled_and_drained_in_order, 30)
{
    char a[3] = "abc", b[4] = "defg", sum[8] = {0}, c[2], d[5];
    const struct iovec out[3] = {{a, 3}, {NULL, 0}, {b, 4}};
    const struct iovec in[2] = {{c, sizeof(c)}, {d, sizeof(d)}};
    ssize_t written, n;
    size_t got = 0;
    zk_fd_t fd[2];

    stream_open(fd);
    written = zk_writev(fd[0], out, 3, ZK_FOREVER);
    EXPECT_GE(written, 1);
    EXPECT_LE(written, 7);
    while (got < (size_t)written) {
        n = zk_readv(fd[1], in, 2, ZK_FOREVER);
        if (!EXPECT_GE(n, 1) || !EXPECT_LE(got + (size_t)n, (size_t)written))
            break;
        memcpy(sum + got, c, (size_t)(n < 2 ? n : 2));
        if (n > 2)
            memcpy(sum + got + 2, d, (size_t)n - 2);
        got += (size_t)n;
    }
    EXPECT_EQ(memcmp(sum, "abcdefg", got), 0);
    stream_close(fd);
}

STREAM_TEST(a_closed_end_is_the_end_of_the_stream_and_a_broken_pipe, 30)
{
    char got[8];
    size_t done = 9;
    zk_fd_t fd[2];

    stream_open(fd);
    EXPECT_EQ(zk_write_all(fd[0], "last", 4, NULL, ZK_FOREVER), 0);
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk_write(fd[1], "x", 1, ZK_FOREVER), -EPIPE);
    EXPECT_EQ(zk_write_all(fd[1], "xy", 2, &done, ZK_FOREVER), -EPIPE);
    EXPECT_EQ(done, 0);
    EXPECT_EQ(zk_read_full(fd[1], got, 8, &done, ZK_FOREVER), -ENODATA);
    EXPECT_EQ(done, 4);
    EXPECT_EQ(memcmp(got, "last", 4), 0);
    EXPECT_EQ(zk_read(fd[1], got, 8, ZK_FOREVER), 0);
    EXPECT_EQ(zk_read(fd[1], got, 8, 0), 0);
    EXPECT_EQ(zk_read_full(fd[1], got, 1, &done, ZK_FOREVER), -ENODATA);
    EXPECT_EQ(done, 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
}

STREAM_TEST(who_waits_when_the_peer_closes_is_told, 30)
{
    char byte;
    zk_fd_t fd[2];
    struct call call;
    zk_task_t reader, writer, waiter;

    stream_open(fd);
    fill(fd[0]);
    call = (struct call){
        .fd = fd[0], .buf = &byte, .len = 1, .events = ZK_READABLE};
    reader = spawn(call_read, &call);
    writer = spawn(call_write, &call);
    settle();
    EXPECT_EQ(zk_join(reader, NULL, 0), -ETIMEDOUT);
    EXPECT_EQ(zk_join(writer, NULL, 0), -ETIMEDOUT);
    EXPECT_EQ(zk_close(fd[1]), 0);
    EXPECT_EQ(result_of(reader), 0);
    EXPECT_EQ(result_of(writer), -EPIPE);
    waiter = spawn(call_wait_fd, &call);
    EXPECT_EQ(result_of(waiter), ZK_READABLE | ZK_HANGUP);
    EXPECT_EQ(zk_close(fd[0]), 0);
}

STREAM_TEST(an_empty_transfer_moves_nothing, 5)
{
    char byte;
    size_t done = 5;
    zk_fd_t fd[2];

    stream_open(fd);
    EXPECT_EQ(zk_read(fd[0], NULL, 0, ZK_FOREVER), 0);
    EXPECT_EQ(zk_write(fd[0], NULL, 0, ZK_FOREVER), 0);
    EXPECT_EQ(zk_read_full(fd[0], NULL, 0, &done, ZK_FOREVER), 0);
    EXPECT_EQ(done, 0);
    EXPECT_EQ(zk_write_all(fd[0], NULL, 0, &done, ZK_FOREVER), 0);
    EXPECT_EQ(zk_read(fd[1], &byte, 1, 0), -ETIMEDOUT);
    stream_close(fd);
}

STREAM_TEST(a_bad_argument_is_refused_before_any_effect, 5)
{
    char byte;
    const struct iovec iov = {&byte, 1};
    zk_fd_t fd[2];

    stream_open(fd);
    EXPECT_EQ(zk_read(fd[0], NULL, 1, ZK_FOREVER), -EINVAL);
    EXPECT_EQ(zk_write(fd[0], NULL, 1, ZK_FOREVER), -EINVAL);
    EXPECT_EQ(zk_readv(fd[0], NULL, 1, ZK_FOREVER), -EINVAL);
    EXPECT_EQ(zk_readv(fd[0], &iov, 0, ZK_FOREVER), -EINVAL);
    EXPECT_EQ(zk_writev(fd[0], &iov, -1, ZK_FOREVER), -EINVAL);
    EXPECT_EQ(zk_writev(fd[0], &iov, 1025, ZK_FOREVER), -EINVAL);
    EXPECT_EQ(zk_wait_fd(fd[0], 0, ZK_FOREVER), -EINVAL);
    EXPECT_EQ(zk_wait_fd(fd[0], ZK_HANGUP, ZK_FOREVER), -EINVAL);
    EXPECT_EQ(zk_read(-1, &byte, 1, ZK_FOREVER), -EBADF);
    EXPECT_EQ(zk_read(INT_MAX, &byte, 1, ZK_FOREVER), -EBADF);
    EXPECT_EQ(zk_close(-1), -EBADF);
    EXPECT_EQ(zk_close(INT_MAX), -EBADF);
    stream_close(fd);
    EXPECT_EQ(zk_read(fd[0], &byte, 1, ZK_FOREVER), -EBADF);
    EXPECT_EQ(zk_write(fd[0], &byte, 1, ZK_FOREVER), -EBADF);
    EXPECT_EQ(zk_wait_fd(fd[0], ZK_READABLE, ZK_FOREVER), -EBADF);
    EXPECT_EQ(zk_close(fd[0]), -EBADF);
}

/* ---- order ------------------------------------------------------------------------ */

STREAM_TEST(readers_are_served_in_the_order_they_came, 50)
{
    enum { READERS = 5 };
    char got[READERS] = {0};
    struct call call[READERS];
    zk_task_t task[READERS];
    zk_fd_t fd[2];

    stream_open(fd);
    for (int i = 0; i < READERS; i++) {
        call[i] = (struct call){.fd = fd[0], .buf = &got[i], .len = 1};
        task[i] = spawn(call_read, &call[i]);
        settle();
    }
    EXPECT_EQ(zk_write_all(fd[1], "abcde", READERS, NULL, ZK_FOREVER), 0);
    for (int i = 0; i < READERS; i++)
        EXPECT_EQ(result_of(task[i]), 1);
    EXPECT_EQ(memcmp(got, "abcde", READERS), 0);
    stream_close(fd);
}

STREAM_TEST(writers_are_served_in_the_order_they_came, 50)
{
    enum { WRITERS = 4 };
    char bytes[WRITERS + 1] = "wxyz", got[CAPACITY + WRITERS];
    struct call call[WRITERS];
    zk_task_t task[WRITERS];
    zk_fd_t fd[2];

    stream_open(fd);
    fill(fd[0]);
    for (int i = 0; i < WRITERS; i++) {
        call[i] = (struct call){.fd = fd[0], .buf = &bytes[i], .len = 1};
        task[i] = spawn(call_write, &call[i]);
        settle();
    }
    EXPECT_EQ(zk_read_full(fd[1], got, sizeof(got), NULL, ZK_FOREVER), 0);
    for (int i = 0; i < WRITERS; i++)
        EXPECT_EQ(result_of(task[i]), 1);
    EXPECT_EQ(memcmp(got + CAPACITY, bytes, WRITERS), 0);
    stream_close(fd);
}

STREAM_TEST(who_gives_up_its_turn_is_passed_over, 50)
{
    char got[3] = "---";
    struct call call[3];
    zk_task_t task[3];
    zk_fd_t fd[2];

    stream_open(fd);
    for (int i = 0; i < 3; i++) {
        call[i] = (struct call){.fd = fd[0], .buf = &got[i], .len = 1};
        if (i == 1 && (world_seed & 1) != 0)
            call[i].deadline = zk_after(ZK_MS(1));
        task[i] = spawn(call_read, &call[i]);
        settle();
    }
    if ((world_seed & 1) == 0)
        EXPECT_EQ(zk_cancel(task[1]), 0);
    EXPECT_EQ(result_of(task[1]),
              (world_seed & 1) != 0 ? -ETIMEDOUT : -ECANCELED);
    EXPECT_EQ(zk_write_all(fd[1], "ab", 2, NULL, ZK_FOREVER), 0);
    EXPECT_EQ(result_of(task[0]), 1);
    EXPECT_EQ(result_of(task[2]), 1);
    EXPECT_EQ(memcmp(got, "a-b", 3), 0);
    stream_close(fd);
}

/* A reader, a writer and any number that wait for readiness, at one end. */
STREAM_TEST(all_who_wait_at_one_end_are_served, 50)
{
    enum { WAITERS = 4 };
    char byte = 0, zero = 0, rest[CAPACITY];
    struct call read, write, wait[WAITERS];
    zk_task_t reader, writer, waiter[WAITERS];
    zk_fd_t fd[2];

    stream_open(fd);
    fill(fd[0]);
    read = (struct call){.fd = fd[0], .buf = &byte, .len = 1};
    write = (struct call){.fd = fd[0], .buf = &zero, .len = 1};
    reader = spawn(call_read, &read);
    settle();
    for (unsigned i = 0; i < WAITERS; i++) {
        wait[i] = (struct call){.fd = fd[0], .events = 1 + i % 3};
        waiter[i] = spawn(call_wait_fd, &wait[i]);
        if (i == 1)
            settle();
    }
    writer = spawn(call_write, &write);
    settle();
    EXPECT_EQ(zk_read_full(fd[1], rest, CAPACITY, NULL, ZK_FOREVER), 0);
    EXPECT_EQ(result_of(writer), 1);
    EXPECT_EQ(result_of(waiter[1]), ZK_WRITABLE);
    EXPECT_EQ(result_of(waiter[2]), ZK_WRITABLE);
    EXPECT_EQ(zk_join(waiter[0], NULL, 0), -ETIMEDOUT);
    EXPECT_EQ(zk_write_all(fd[1], "xy", 2, NULL, ZK_FOREVER), 0);
    EXPECT_EQ(result_of(reader), 1);
    EXPECT_EQ(result_of(waiter[0]), ZK_READABLE);
    EXPECT_EQ(result_of(waiter[3]), ZK_READABLE);
    EXPECT_EQ(byte, 'x');
    stream_close(fd);
}

/* ---- cancel ------------------------------------------------------------------------- */

static unsigned read_first, cancelled_first;

/*
 * Data and a cancel in every order, with the reader given time between them or
 * not. If it was cancelled the byte is still there for the next.
 */
STREAM_TEST(a_cancel_beside_data_loses_no_byte, 100)
{
    bool data_first = (world_seed & 1) != 0, pause = (world_seed & 2) != 0;
    char byte = 0;
    zk_fd_t fd[2];
    struct call call;
    zk_task_t task;
    int rc;

    stream_open(fd);
    call = (struct call){.fd = fd[0], .buf = &byte, .len = 1};
    task = spawn(call_read, &call);
    if ((world_seed & 4) != 0)
        settle();
    if (data_first)
        EXPECT_EQ(zk_write(fd[1], "x", 1, ZK_FOREVER), 1);
    else
        EXPECT_EQ(zk_cancel(task), 0);
    if (pause)
        settle();
    if (data_first)
        EXPECT_EQ(zk_cancel(task), pause ? -ESRCH : 0);
    else
        EXPECT_EQ(zk_write(fd[1], "x", 1, ZK_FOREVER), 1);
    rc = result_of(task);
    EXPECT_TRUE(rc == 1 || rc == -ECANCELED);
    if (pause)
        EXPECT_EQ(rc, data_first ? 1 : -ECANCELED);
    if (rc < 0)
        EXPECT_EQ(zk_read(fd[0], &byte, 1, 0), 1);
    EXPECT_EQ(byte, 'x');
    EXPECT_EQ(zk_read(fd[0], &byte, 1, 0), -ETIMEDOUT);
    read_first += rc == 1;
    cancelled_first += rc == -ECANCELED;
    stream_close(fd);
}

/* ---- no byte is lost ---------------------------------------------------------------------- */

enum { VOLUME = 1500, PIECE = 40 };

/* A stream of known bytes between calls that may fail at any time. */
struct flow {
    zk_fd_t fd[2];
    struct zk_rand rand;
    size_t written, read;
    size_t wrong;
    unsigned timed_out, cancelled;
};

static zk_time_t draw_deadline(struct flow *f)
{
    return zk_after(ZK_US(draw(&f->rand, 30)));
}

static void note_failure(struct flow *f, ssize_t n)
{
    EXPECT_TRUE(n == -ETIMEDOUT || n == -ECANCELED);
    f->timed_out += n == -ETIMEDOUT;
    f->cancelled += n == -ECANCELED;
}

/* Time passes now and then; false if the task was cancelled meanwhile. */
static bool idle_a_while(struct flow *f)
{
    int rc = 0;

    if (draw(&f->rand, 4) == 0)
        rc = zk_sleep_until(draw_deadline(f));
    f->cancelled += rc == -ECANCELED;
    return rc == 0;
}

static char byte_at(size_t i)
{
    return (char)(i * 7 + i / 251);
}

/* Until the volume is through or the task is cancelled. */
static int write_flow(void *arg)
{
    struct flow *f = arg;
    char piece[PIECE];

    while (f->written < VOLUME && idle_a_while(f)) {
        size_t len = 1 + draw(&f->rand, PIECE);
        ssize_t n;

        len = len < VOLUME - f->written ? len : VOLUME - f->written;
        for (size_t i = 0; i < len; i++)
            piece[i] = byte_at(f->written + i);
        n = zk_write(f->fd[0], piece, len, draw_deadline(f));
        if (n >= 0)
            f->written += (size_t)n;
        else
            note_failure(f, n);
        if (n == -ECANCELED)
            break;
    }
    return 0;
}

static int read_flow(void *arg)
{
    struct flow *f = arg;
    char piece[PIECE];

    while (f->read < VOLUME && idle_a_while(f)) {
        size_t len = 1 + draw(&f->rand, PIECE);
        ssize_t n = zk_read(f->fd[1], piece, len, draw_deadline(f));

        for (ssize_t i = 0; i < n; i++)
            f->wrong += piece[i] != byte_at(f->read + (size_t)i);
        if (n > 0)
            f->read += (size_t)n;
        else
            note_failure(f, n);
        if (n == -ECANCELED)
            break;
    }
    return 0;
}

static unsigned flow_timed_out, flow_cancelled;

STREAM_TEST(no_byte_is_lost_among_deadlines_and_cancels, 1000)
{
    struct flow f = {.wrong = 0};
    zk_task_t writer, reader;

    zk_rand_seed(&f.rand, world_seed);
    stream_open(f.fd);
    while (f.read < VOLUME) {
        writer = spawn(write_flow, &f);
        reader = spawn(read_flow, &f);
        if (f.cancelled < 20) { /* in the end they are let finish */
            zk_sleep_until(draw_deadline(&f));
            EXPECT_TRUE(zk_cancel(writer) <= 0);
            zk_sleep_until(draw_deadline(&f));
            EXPECT_TRUE(zk_cancel(reader) <= 0);
        }
        EXPECT_EQ(result_of(writer), 0);
        EXPECT_EQ(result_of(reader), 0);
    }
    EXPECT_EQ(f.written, VOLUME);
    EXPECT_EQ(f.read, VOLUME);
    EXPECT_EQ(f.wrong, 0);
    flow_timed_out += f.timed_out;
    flow_cancelled += f.cancelled;
    stream_close(f.fd);
}

ZK_TEST(successes_cancels_and_deadlines_were_all_seen)
{
    EXPECT_GT(read_first, 0);
    EXPECT_GT(cancelled_first, 0);
    EXPECT_GT(flow_timed_out, 1000);
    EXPECT_GT(flow_cancelled, 1000);
}

/* ---- close ------------------------------------------------------------------------------------ */

/* Two of each kind: one in the operation, one waiting for its turn. */
STREAM_TEST(close_ends_whatever_waits_on_the_descriptor, 50)
{
    enum { WAITERS = 8 };
    int (*const fn[WAITERS])(void *) = {
        call_read,    call_read,    call_write,     call_write,
        call_wait_fd, call_wait_fd, call_read_full, call_write};
    char bytes[WAITERS];
    struct call call[WAITERS];
    zk_task_t task[WAITERS];
    zk_fd_t fd[2];

    stream_open(fd);
    fill(fd[0]);
    for (int i = 0; i < WAITERS; i++) {
        call[i] = (struct call){
            .fd = fd[0], .buf = &bytes[i], .len = 1, .events = ZK_READABLE};
        if ((i & 1) != 0)
            call[i].deadline = zk_after(ZK_SEC(30));
        task[i] = spawn(fn[i], &call[i]);
    }
    settle();
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk__fd_slot(fd[0])->n_users, 0); /* all have left */
    EXPECT_TRUE(zk__turn_owner(zk__fd_slot(fd[0]), ZK_DIR_READ) == NULL);
    EXPECT_TRUE(zk__turn_owner(zk__fd_slot(fd[0]), ZK_DIR_WRITE) == NULL);
    for (int i = 0; i < WAITERS; i++)
        EXPECT_EQ(result_of(task[i]), -EBADF);
    EXPECT_EQ(zk_close(fd[1]), 0);
}

static int call_close(void *arg)
{
    return zk_close(((struct call *)arg)->fd);
}

STREAM_TEST(of_two_closers_one_closes, 50)
{
    char byte;
    struct call call;
    zk_task_t reader, closer[2];
    zk_fd_t fd[2];
    int a, b;

    stream_open(fd);
    call = (struct call){.fd = fd[0], .buf = &byte, .len = 1};
    reader = spawn(call_read, &call);
    if ((world_seed & 1) != 0)
        settle();
    closer[0] = spawn(call_close, &call);
    closer[1] = spawn(call_close, &call);
    a = result_of(closer[0]);
    b = result_of(closer[1]);
    EXPECT_EQ(a + b, -EBADF);
    EXPECT_TRUE(a == 0 || b == 0);
    EXPECT_EQ(result_of(reader), -EBADF);
    EXPECT_EQ(zk_read(fd[1], &byte, 1, ZK_FOREVER), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
}

/* A cancelled task still closes; who waits for its users ignores a cancel. */
STREAM_TEST(a_number_is_used_again_at_once_and_nothing_old_reaches_it, 100)
{
    char old = 'o', new = 'n';
    struct call was, is;
    zk_task_t reader, next;
    zk_fd_t fd[2], again[2];

    stream_open(fd);
    was = (struct call){
        .fd = fd[0], .buf = &old, .len = 1, .deadline = zk_after(ZK_MS(3))};
    reader = spawn(call_read, &was);
    settle();
    EXPECT_EQ(zk_write(fd[1], "x", 1, ZK_FOREVER), 1); /* it is due */
    EXPECT_EQ(zk_close(fd[0]), 0);
    EXPECT_EQ(zk_close(fd[1]), 0);
    stream_open(again);
    EXPECT_EQ(again[0], fd[0]);
    EXPECT_EQ(again[1], fd[1]);
    is = (struct call){.fd = again[0], .buf = &new, .len = 1};
    next = spawn(call_read, &is);
    EXPECT_EQ(zk_sleep_until(zk_after(ZK_MS(10))), 0);
    EXPECT_EQ(zk_join(next, NULL, 0), -ETIMEDOUT);
    EXPECT_EQ(zk_write(again[1], "y", 1, ZK_FOREVER), 1);
    EXPECT_EQ(result_of(next), 1);
    EXPECT_EQ(new, 'y');
    if (result_of(reader) == 1)
        EXPECT_EQ(old, 'x');
    else
        EXPECT_EQ(old, 'o');
    stream_close(again);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(what_is_written_is_read_in_order),
        ZK_CASE(vectors_are_filled_and_drained_in_order),
        ZK_CASE(a_closed_end_is_the_end_of_the_stream_and_a_broken_pipe),
        ZK_CASE(who_waits_when_the_peer_closes_is_told),
        ZK_CASE(an_empty_transfer_moves_nothing),
        ZK_CASE(a_bad_argument_is_refused_before_any_effect),
        ZK_CASE(readers_are_served_in_the_order_they_came),
        ZK_CASE(writers_are_served_in_the_order_they_came),
        ZK_CASE(who_gives_up_its_turn_is_passed_over),
        ZK_CASE(all_who_wait_at_one_end_are_served),
        ZK_CASE(a_cancel_beside_data_loses_no_byte),
        ZK_CASE(no_byte_is_lost_among_deadlines_and_cancels),
        ZK_CASE(successes_cancels_and_deadlines_were_all_seen),
        ZK_CASE(close_ends_whatever_waits_on_the_descriptor),
        ZK_CASE(of_two_closers_one_closes),
        ZK_CASE(a_number_is_used_again_at_once_and_nothing_old_reaches_it));
}
