/* SPDX-License-Identifier: MIT */
/*
 * latch_test.c - what a descriptor's slot is made of: the latch of readiness
 * (io/readiness.c L1 to L4), the turns (io/turn.c U1 to U3), the table.
 *
 * The latch is driven by hand: a slot, a task that is parked or not, a worker
 * without a thread. After each step the latch, the hints and the worker's ring
 * say what happened.
 */
#include "core.h"

#include <sys/socket.h>
#include <unistd.h>

#include "io/readiness.h"

/* ---- the latch ------------------------------------------------------------------- */

static struct {
    struct zk_scheduler scheduler;
    struct zk_worker worker[2];
    struct zk_backend home, other; /* of worker 0 and 1 */
    struct zk_fd_slot slot;
    ZK_ALIGNED(64) struct zk_task task;
} hand;

static zk_time_t hand_clock(void *arg)
{
    (void)arg;
    return ZK_SEC(1);
}

static struct zk_op *hand_op(void)
{
    return zk_op_of(&hand.task);
}

/* An operation of one of ours that is about to wait on worker 0. */
static void hand_begin(uint8_t opcode)
{
    struct zk_op *op = hand_op();

    memset(&hand, 0, sizeof(hand));
    hand.scheduler.clock = hand_clock;
    hand.scheduler.n_workers = 2;
    hand.scheduler.n_slots = 2;
    hand.scheduler.workers = hand.worker;
    for (unsigned i = 0; i < 2; i++)
        EXPECT_EQ(zk__worker_init(&hand.worker[i], &hand.scheduler, i), 0);
    hand.home.worker = &hand.worker[0];
    hand.other.worker = &hand.worker[1];
    zk_list_init(&hand.slot.pollers);
    zk_atomic_store(&hand.slot.state, ZK_SLOT_GENERATION | ZK_SLOT_OURS,
                    relaxed);
    zk_atomic_store(&hand.task.worker, &hand.worker[0], relaxed);
    zk_atomic_store(&hand.task.state, ZK_PHASE_PARKED, relaxed);
    hand.task.wait_kind = ZK_WAIT_OP;
    op->opcode = opcode;
    op->kind = ZK_FD_SOCKET;
    op->slot = &hand.slot;
    op->generation = hand.slot.state;
    op->task = &hand.task;
    op->backend = &hand.home;
    op->result = 12345;
}

static void hand_end(void)
{
    for (unsigned i = 0; i < 2; i++)
        zk__worker_fini(&hand.worker[i]);
}

/* The task was completed, on worker `i`, once. */
static void expect_ready_on(unsigned i, int32_t result)
{
    struct zk_task *out[2] = {NULL, NULL};

    EXPECT_EQ(zk_phase(hand.task.state), ZK_PHASE_READY);
    EXPECT_EQ(hand_op()->result, result);
    EXPECT_EQ(zk__runq_take(&hand.worker[i].runq, out, 2), 1);
    EXPECT_TRUE(out[0] == &hand.task);
    EXPECT_EQ(zk__runq_len(&hand.worker[1 - i].runq), 0);
}

static void expect_parked(void)
{
    EXPECT_EQ(zk_phase(hand.task.state), ZK_PHASE_PARKED);
    EXPECT_EQ(hand_op()->result, 12345);
    EXPECT_EQ(zk__runq_len(&hand.worker[0].runq), 0);
    EXPECT_EQ(zk__runq_len(&hand.worker[1].runq), 0);
}

#define LATCH(direction) (hand.slot.latch[direction])

ZK_TEST(an_event_without_a_waiter_is_kept_once)
{
    hand_begin(ZK_OP_READ);
    zk__readiness_event(&hand.home, &hand.slot, true, false, false);
    EXPECT_EQ(LATCH(ZK_DIR_READ), ZK_LATCH_READY);
    EXPECT_EQ(LATCH(ZK_DIR_WRITE), ZK_LATCH_NIL);
    zk__readiness_event(&hand.home, &hand.slot, true, true, false);
    EXPECT_EQ(LATCH(ZK_DIR_READ), ZK_LATCH_READY);
    EXPECT_EQ(LATCH(ZK_DIR_WRITE), ZK_LATCH_READY);
    expect_parked();
    hand_end();
}

ZK_TEST(a_commit_after_an_event_fails_and_the_task_tries_again)
{
    hand_begin(ZK_OP_READ);
    zk_atomic_store(&hand.slot.hints[ZK_DIR_READ],
                    ZK_HINT_DRAINED | ZK_HINT_HANGUP, relaxed);
    zk__readiness_event(&hand.home, &hand.slot, true, false, false);
    EXPECT_FALSE(zk__readiness_commit(&hand.task, hand_op()));
    EXPECT_EQ(LATCH(ZK_DIR_READ), ZK_LATCH_NIL);
    EXPECT_EQ(hand_op()->result, ZK_OP_RETRY);
    EXPECT_EQ(hand.slot.hints[ZK_DIR_READ], ZK_HINT_HANGUP);
    hand_op()->result = 12345;
    EXPECT_TRUE(zk__readiness_commit(&hand.task, hand_op()));
    EXPECT_EQ(LATCH(ZK_DIR_READ), (uintptr_t)&hand.task);
    expect_parked();
    hand_end();
}

ZK_TEST(an_event_takes_the_waiter_out_and_has_it_try_again)
{
    hand_begin(ZK_OP_WRITE);
    zk_atomic_store(&hand.slot.hints[ZK_DIR_WRITE], ZK_HINT_DRAINED, relaxed);
    EXPECT_TRUE(zk__readiness_commit(&hand.task, hand_op()));
    zk__readiness_event(&hand.home, &hand.slot, true, false, false);
    EXPECT_EQ(LATCH(ZK_DIR_WRITE), (uintptr_t)&hand.task); /* not its event */
    expect_parked();
    zk__readiness_event(&hand.home, &hand.slot, false, true, false);
    EXPECT_EQ(LATCH(ZK_DIR_WRITE), ZK_LATCH_NIL);
    EXPECT_EQ(hand.slot.hints[ZK_DIR_WRITE], 0);
    expect_ready_on(0, ZK_OP_RETRY);
    zk__readiness_event(&hand.home, &hand.slot, false, true, false);
    EXPECT_EQ(LATCH(ZK_DIR_WRITE), ZK_LATCH_READY);
    hand_end();
}

ZK_TEST(a_poll_in_a_latch_gets_its_event)
{
    hand_begin(ZK_OP_POLL);
    hand_op()->events = ZK_READABLE;
    EXPECT_TRUE(zk__readiness_commit(&hand.task, hand_op()));
    zk__readiness_event(&hand.home, &hand.slot, true, true, false);
    expect_ready_on(0, ZK_READABLE);
    hand_end();

    hand_begin(ZK_OP_POLL);
    hand_op()->events = ZK_WRITABLE;
    zk__readiness_event(&hand.home, &hand.slot, false, true, false);
    EXPECT_FALSE(zk__readiness_commit(&hand.task, hand_op()));
    EXPECT_EQ(hand_op()->result, ZK_WRITABLE);
    hand_end();
}

ZK_TEST(of_a_withdrawal_and_an_event_one_wins)
{
    hand_begin(ZK_OP_READ);
    EXPECT_TRUE(zk__readiness_commit(&hand.task, hand_op()));
    EXPECT_TRUE(zk__readiness_withdraw(hand_op()));
    EXPECT_EQ(LATCH(ZK_DIR_READ), ZK_LATCH_NIL);
    EXPECT_FALSE(zk__readiness_withdraw(hand_op()));
    zk__readiness_event(&hand.home, &hand.slot, true, false, false);
    EXPECT_EQ(LATCH(ZK_DIR_READ), ZK_LATCH_READY);
    expect_parked(); /* its cancel completes it, not the event */
    EXPECT_FALSE(zk__readiness_withdraw(hand_op()));
    EXPECT_EQ(LATCH(ZK_DIR_READ), ZK_LATCH_READY);
    hand_end();

    hand_begin(ZK_OP_READ);
    EXPECT_TRUE(zk__readiness_commit(&hand.task, hand_op()));
    zk__readiness_event(&hand.home, &hand.slot, true, false, false);
    EXPECT_FALSE(zk__readiness_withdraw(hand_op()));
    expect_ready_on(0, ZK_OP_RETRY);
    hand_end();
}

ZK_TEST(a_waiter_of_another_worker_is_readied_at_the_home_and_counted)
{
    hand_begin(ZK_OP_READ);
    for (unsigned i = 1; i <= 3; i++) {
        zk_atomic_store(&hand.task.state, ZK_PHASE_PARKED, relaxed);
        EXPECT_TRUE(zk__readiness_commit(&hand.task, hand_op()));
        zk__readiness_event(&hand.other, &hand.slot, true, false, false);
        expect_ready_on(1, ZK_OP_RETRY);
        EXPECT_EQ(hand.slot.foreign_wakes, i);
    }
    zk_atomic_store(&hand.task.state, ZK_PHASE_PARKED, relaxed);
    EXPECT_TRUE(zk__readiness_commit(&hand.task, hand_op()));
    zk__readiness_event(&hand.home, &hand.slot, true, false, false);
    EXPECT_EQ(hand.slot.foreign_wakes, 0);
    hand_end();
}

/* ---- when a read is tried ------------------------------------------------------------ */

/* One read of `len` over fd[0]; how it went, without waiting. */
static enum zk_submit submit_read(int fd, void *buf, size_t len)
{
    struct zk_op *op = hand_op();

    op->opcode = ZK_OP_READ;
    op->flags = 0;
    op->fd = fd;
    op->data.plain.buf = buf;
    op->data.plain.len = len;
    return zk__readiness_submit(&hand.home, op);
}

ZK_TEST(a_drained_stream_is_not_tried_until_an_event_or_a_hangup)
{
    char buf[8];
    int fd[2];

    hand_begin(ZK_OP_READ);
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    EXPECT_EQ(write(fd[1], "abcdefghijkl", 12), 12);
    EXPECT_EQ(submit_read(fd[0], buf, 8), ZK_SUBMIT_DONE);
    EXPECT_EQ(hand_op()->result, 8); /* full: more may be there */
    EXPECT_EQ(hand.slot.hints[ZK_DIR_READ], 0);
    EXPECT_EQ(submit_read(fd[0], buf, 8), ZK_SUBMIT_DONE);
    EXPECT_EQ(hand_op()->result, 4);
    EXPECT_EQ(hand.slot.hints[ZK_DIR_READ], ZK_HINT_DRAINED);
    EXPECT_EQ(write(fd[1], "m", 1), 1);
    EXPECT_EQ(submit_read(fd[0], buf, 8), ZK_SUBMIT_PENDING); /* untried */
    zk__readiness_event(&hand.home, &hand.slot, true, false, false);
    EXPECT_FALSE(zk__readiness_commit(&hand.task, hand_op()));
    EXPECT_EQ(submit_read(fd[0], buf, 8), ZK_SUBMIT_DONE);
    EXPECT_EQ(hand_op()->result, 1);
    zk__readiness_event(&hand.home, &hand.slot, true, false, true);
    EXPECT_EQ(hand.slot.hints[ZK_DIR_READ], ZK_HINT_DRAINED | ZK_HINT_HANGUP);
    EXPECT_EQ(close(fd[1]), 0);
    EXPECT_EQ(submit_read(fd[0], buf, 8), ZK_SUBMIT_DONE);
    EXPECT_EQ(hand_op()->result, 0);
    EXPECT_EQ(close(fd[0]), 0);
    hand_end();
}

ZK_TEST(one_try_never_waits)
{
    struct zk_op *op = hand_op();
    char buf[8];
    int fd[2];

    hand_begin(ZK_OP_READ);
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    zk_atomic_store(&hand.slot.hints[ZK_DIR_READ], ZK_HINT_DRAINED, relaxed);
    EXPECT_EQ(write(fd[1], "a", 1), 1);
    for (int i = 0; i < 2; i++) { /* drained or not, it is tried */
        op->fd = fd[0];
        op->flags = ZK_OPF_ONCE;
        op->data.plain.buf = buf;
        op->data.plain.len = 8;
        EXPECT_EQ(zk__readiness_submit(&hand.home, op), ZK_SUBMIT_DONE);
        EXPECT_EQ(op->result, i == 0 ? 1 : -EAGAIN);
    }
    EXPECT_EQ(close(fd[0]), 0);
    EXPECT_EQ(close(fd[1]), 0);
    hand_end();
}

ZK_TEST(a_descriptor_that_is_not_ours_does_not_use_the_latch)
{
    struct zk_op *op = hand_op();
    char buf[8];
    int fd[2];

    hand_begin(ZK_OP_READ);
    op->generation = ZK_SLOT_GENERATION;
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    EXPECT_EQ(submit_read(fd[0], buf, 8), ZK_SUBMIT_PENDING);
    EXPECT_NE(op->flags & ZK_OPF_ONESHOT, 0);
    EXPECT_TRUE(zk__readiness_commit(&hand.task, op));
    EXPECT_EQ(LATCH(ZK_DIR_READ), ZK_LATCH_NIL);
    EXPECT_EQ(write(fd[1], "ab", 2), 2);
    EXPECT_EQ(submit_read(fd[0], buf, 8), ZK_SUBMIT_DONE);
    EXPECT_EQ(op->result, 2);
    EXPECT_EQ(hand.slot.hints[ZK_DIR_READ], 0); /* a slot of others */
    EXPECT_EQ(close(fd[0]), 0);
    EXPECT_EQ(close(fd[1]), 0);
    hand_end();
}

/* ---- turns ----------------------------------------------------------------------------- */

enum { TAKERS = 6 };

struct turns {
    struct zk_fd_slot slot;
    int inside, most, order[TAKERS], n;
};

struct taker {
    struct turns *turns;
    int index;
    zk_time_t deadline, hold;
};

/* As an operation does: take, use for a while, pass on. */
static int take_turn(void *arg)
{
    struct taker *t = arg;
    struct turns *turns = t->turns;
    struct zk_task *self = zk__task_current();
    int rc = zk__turn_wait(&turns->slot, ZK_DIR_READ, self, t->deadline);

    if (rc < 0)
        return rc;
    EXPECT_TRUE(zk__turn_owner(&turns->slot, ZK_DIR_READ) == self);
    turns->inside++;
    turns->most = turns->inside > turns->most ? turns->inside : turns->most;
    turns->order[turns->n++] = t->index;
    EXPECT_EQ(zk_sleep_until(zk_after(t->hold)), 0);
    turns->inside--;
    zk__turn_pass(&turns->slot, ZK_DIR_READ, self);
    return 0;
}

static void spawn_takers(struct turns *turns, struct taker *t, zk_task_t *task)
{
    zk_list_init(&turns->slot.pollers);
    for (int i = 0; i < TAKERS; i++) {
        if (t[i].deadline == 0)
            t[i].deadline = ZK_FOREVER;
        t[i].turns = turns;
        t[i].index = i;
        t[i].hold = ZK_MS(1);
        task[i] = spawn(take_turn, &t[i]);
        settle();
    }
}

SEEDS_TEST(turns_are_taken_in_order_and_one_at_a_time, 20)
{
    struct turns turns = {.n = 0};
    struct taker t[TAKERS] = {{0}};
    zk_task_t task[TAKERS];

    spawn_takers(&turns, t, task);
    for (int i = 0; i < TAKERS; i++) {
        EXPECT_EQ(result_of(task[i]), 0);
        EXPECT_EQ(turns.order[i], i);
    }
    EXPECT_EQ(turns.most, 1);
    EXPECT_EQ(turns.slot.turn[ZK_DIR_READ].owner, 0);
    EXPECT_EQ(turns.slot.turn[ZK_DIR_WRITE].owner, 0);
}

/* The second leaves when its turn comes, by deadline or cancel. */
SEEDS_TEST(a_turn_skips_who_left_the_line, 50)
{
    struct turns turns = {.n = 0};
    struct taker t[TAKERS] = {{0}};
    zk_time_t handed = zk_now() + ZK_MS(1);
    zk_task_t task[TAKERS];
    int second, n = 0;

    if ((world_seed & 1) != 0)
        t[1].deadline = handed; /* the moment the first passes it on */
    spawn_takers(&turns, t, task);
    if ((world_seed & 1) == 0) {
        EXPECT_EQ(zk_sleep_until(handed - 1), 0);
        EXPECT_EQ(zk_cancel(task[1]), 0);
    }
    second = result_of(task[1]);
    EXPECT_TRUE(second == 0 || second == -ETIMEDOUT || second == -ECANCELED);
    for (int i = 0; i < TAKERS; i++) {
        if (i != 1)
            EXPECT_EQ(result_of(task[i]), 0);
        if (i != 1 || second == 0)
            EXPECT_EQ(turns.order[n++], i);
    }
    EXPECT_EQ(turns.n, n);
    EXPECT_EQ(turns.most, 1);
    EXPECT_EQ(turns.slot.turn[ZK_DIR_READ].owner, 0);
}

SEEDS_TEST(a_closing_slot_gives_no_turn, 20)
{
    struct turns turns = {.n = 0};
    struct taker t[TAKERS] = {{0}}, late;
    zk_task_t task[TAKERS];

    spawn_takers(&turns, t, task);
    zk_atomic_or(&turns.slot.state, ZK_SLOT_CLOSING, seq_cst);
    zk__turn_close(&turns.slot, ZK_DIR_READ);
    late = t[0];
    EXPECT_EQ(result_of(spawn(take_turn, &late)), -EBADF);
    EXPECT_EQ(result_of(task[0]), 0); /* it was in; it passes on to nobody */
    for (int i = 1; i < TAKERS; i++)
        EXPECT_EQ(result_of(task[i]), -EBADF);
    EXPECT_EQ(turns.slot.turn[ZK_DIR_READ].owner, 0);
}

/* ---- the table ---------------------------------------------------------------------------- */

ZK_TEST(a_slot_is_found_by_number_and_never_moves)
{
    struct zk_fd_slot *first = zk__fd_slot(ZK_FD_MAX);

    EXPECT_TRUE(first != NULL);
    EXPECT_TRUE(zk__fd_slot(ZK_FD_MAX) == first);
    EXPECT_TRUE(zk__fd_slot_peek(ZK_FD_MAX) == first);
    EXPECT_TRUE(zk__fd_slot(ZK_FD_MAX - 1) == first - 1);
    EXPECT_TRUE(zk__fd_slot(ZK_FD_MAX + 1) == NULL);
    EXPECT_TRUE(zk__fd_slot(-1) == NULL);
    EXPECT_TRUE(zk__fd_slot(INT_MIN) == NULL);
    EXPECT_TRUE(zk__fd_slot_peek(INT_MAX) == NULL);
    EXPECT_TRUE(zk__fd_slot_peek(ZK_FD_MAX / 2 + 5) == NULL); /* never used */
    EXPECT_TRUE(zk_list_empty(&first->pollers));
}

ZK_TEST(a_registration_starts_a_new_generation)
{
    const int fd = ZK_FD_MAX - 2;
    struct zk_fd_slot *slot = zk__fd_slot(fd);
    uint64_t before = slot->state;

    EXPECT_EQ(before & ZK_SLOT_OURS, 0);
    EXPECT_EQ(zk__fd_register(fd, ZK_FD_PIPE), 0);
    EXPECT_EQ(slot->kind, ZK_FD_PIPE);
    EXPECT_EQ(slot->state, (before + ZK_SLOT_GENERATION) | ZK_SLOT_OURS);
    for (unsigned d = 0; d < 2; d++) {
        zk_atomic_store(&slot->hints[d], 0xff, relaxed);
        zk_atomic_store(&slot->latch[d], ZK_LATCH_READY, relaxed);
    }
    zk_atomic_store(&slot->accept_report, 1, relaxed);
    zk_atomic_store(&slot->home, &hand.home, relaxed);
    slot->foreign_wakes = 7;
    zk_atomic_or(&slot->state, ZK_SLOT_CLOSING, relaxed);
    EXPECT_EQ(zk__fd_register(fd, ZK_FD_SOCKET), 0);
    EXPECT_EQ(slot->state, (before + 2 * ZK_SLOT_GENERATION) | ZK_SLOT_OURS);
    EXPECT_EQ(slot->kind, ZK_FD_SOCKET);
    EXPECT_EQ(slot->hints[0] | slot->hints[1], 0);
    EXPECT_EQ(slot->latch[0] | slot->latch[1], ZK_LATCH_NIL);
    EXPECT_EQ(slot->accept_report, 0);
    EXPECT_EQ(slot->foreign_wakes, 0);
    EXPECT_TRUE(slot->home == NULL);
    EXPECT_EQ(zk__fd_register(-1, ZK_FD_SOCKET), -ENOMEM);
}

ZK_TEST(a_backend_that_ends_is_nobodys_home)
{
    struct zk_fd_slot *mine = zk__fd_slot(ZK_FD_MAX - 3);
    struct zk_fd_slot *others = zk__fd_slot(ZK_FD_MAX - 4);

    zk_atomic_store(&mine->home, &hand.home, relaxed);
    zk_atomic_store(&others->home, &hand.other, relaxed);
    zk__fd_table_leave(&hand.home);
    EXPECT_TRUE(mine->home == NULL);
    EXPECT_TRUE(others->home == &hand.other);
    zk__fd_table_leave(&hand.other);
    EXPECT_TRUE(others->home == NULL);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(an_event_without_a_waiter_is_kept_once),
        ZK_CASE(a_commit_after_an_event_fails_and_the_task_tries_again),
        ZK_CASE(an_event_takes_the_waiter_out_and_has_it_try_again),
        ZK_CASE(a_poll_in_a_latch_gets_its_event),
        ZK_CASE(of_a_withdrawal_and_an_event_one_wins),
        ZK_CASE(a_waiter_of_another_worker_is_readied_at_the_home_and_counted),
        ZK_CASE(a_drained_stream_is_not_tried_until_an_event_or_a_hangup),
        ZK_CASE(one_try_never_waits),
        ZK_CASE(a_descriptor_that_is_not_ours_does_not_use_the_latch),
        ZK_CASE(turns_are_taken_in_order_and_one_at_a_time),
        ZK_CASE(a_turn_skips_who_left_the_line),
        ZK_CASE(a_closing_slot_gives_no_turn),
        ZK_CASE(a_slot_is_found_by_number_and_never_moves),
        ZK_CASE(a_registration_starts_a_new_generation),
        ZK_CASE(a_backend_that_ends_is_nobodys_home));
}
