/* SPDX-License-Identifier: MIT */
/*
 * reactor.c - the life of an operation, and the scheduler's driver.
 *
 *   begin    the calling task, its block's operation, the descriptor's slot;
 *   submit   the backend of the worker the task runs on now: done, or pending;
 *   park     the task is gone from the worker until
 *   complete the backend returns the operation, always on the worker that
 *            submitted it or, through a latch, on the home of the descriptor.
 *
 * Invariants
 *   R1  A pending operation is returned by its backend exactly once, and until
 *       then the task does not run: nobody writes into a dead frame.
 *   R2  Deadline, cancel and close only ask (cancel below). Whether they were
 *       heard is in the result: a success that won is returned as a success.
 *   R3  When an operation ends by -ECANCELED the verdict says why, in this
 *       order: the descriptor is closed, the task is cancelled, the deadline
 *       passed. A request may be stale by the time it arrives (it was for an
 *       earlier wait of the task); then there is no verdict and it is dropped.
 */
#include "io/reactor.h"

#include <errno.h>

#include "io/readiness.h"
#include "scheduler/worker.h"
#include "zokio/time.h"

/* ---- driver ----------------------------------------------------------------- */

static struct zk_backend *backend_of(struct zk_worker *w)
{
    return w->io;
}

static void driver_poll(struct zk_worker *w, zk_time_t deadline)
{
    struct zk_backend *b = backend_of(w);

    b->ops->poll(b, deadline);
}

static bool driver_pending(struct zk_worker *w)
{
    struct zk_backend *b = backend_of(w);

    return b->ops->pending(b);
}

static bool driver_due(struct zk_worker *w, zk_time_t now)
{
    struct zk_backend *b = backend_of(w);

    return b->ops->due != NULL ? b->ops->due(b, now) : b->ops->pending(b);
}

static void driver_wake(struct zk_worker *w)
{
    struct zk_backend *b = backend_of(w);

    b->ops->wake(b);
}

/* R2, R3. An operation of ours ends on this worker only; a wait in a latch may
 * be ending on another one at this moment. */
static void driver_cancel(struct zk_worker *w, struct zk_task *task)
{
    uint64_t state = zk_atomic_load(&task->state, acquire); /* park.c C */
    uint8_t kind = zk_atomic_load(&task->wait_kind, relaxed);
    struct zk_fd_slot *slot = zk_atomic_load(&task->wait_object, relaxed);
    struct zk_op *op = zk_op_of(task);

    zk_atomic_fence(acquire); /* all of one park, as timeout.c D3 */
    if (zk_phase(state) != ZK_PHASE_PARKED ||
        state != zk_atomic_load(&task->state, relaxed))
        return;
    if (kind == ZK_WAIT_LATCH) {
        zk__readiness_end(backend_of(w), slot, task,
                          zk__scheduler_now(w->scheduler));
        return;
    }
    if ((op->flags & ZK_OPF_CANCELLED) != 0 ||
        zk__op_verdict(op, zk__scheduler_now(w->scheduler)) == 0)
        return;
    op->flags |= ZK_OPF_CANCELLED;
    op->backend->ops->cancel(op->backend, op);
}

static int driver_init(struct zk_worker *w)
{
    const struct zk_io_setup *setup = w->scheduler->driver_setup;
    struct zk_backend *b = NULL;
    int rc = setup->ops->init(&b, w, setup);

    if (rc < 0)
        return rc;
    b->ops = setup->ops;
    b->worker = w;
    w->io = b;
    return 0;
}

static void driver_fini(struct zk_worker *w)
{
    struct zk_backend *b = backend_of(w);

    w->io = NULL;
    b->ops->fini(b);
}

const struct zk_driver zk__io_driver = {
    .init = driver_init,
    .fini = driver_fini,
    .poll = driver_poll,
    .pending = driver_pending,
    .due = driver_due,
    .wake = driver_wake,
    .cancel = driver_cancel,
};

/* ---- operations --------------------------------------------------------------- */

static bool runtime_closing(const struct zk_task *task)
{
    struct zk_worker *w = zk_atomic_load(&task->worker, relaxed);

    return zk_atomic_load(&w->scheduler->phase, acquire) >=
           ZK_RUNTIME_SHUTTING_DOWN;
}

/* A cancelled task starts no operation, and it may have been cancelled while it
 * waited for its turn: then no message is under way any more (message.c M3). */
int zk__op_check(const struct zk_op *op)
{
    if (zk_task_cancelled(op->task))
        return -ECANCELED;
    if ((op->flags & ZK_OPF_CONNECTS) != 0 && runtime_closing(op->task))
        return -ESHUTDOWN;
    return 0;
}

int zk__op_verdict(const struct zk_op *op, zk_time_t now)
{
    uint64_t state = zk_atomic_load(&op->slot->state, acquire);
    int refused = zk__op_check(op);

    if (state != op->generation)
        return -EBADF;
    if (refused < 0)
        return refused;
    if (zk_atomic_load(&op->task->deadline, relaxed) <= now)
        return -ETIMEDOUT;
    return 0;
}

/* [flow 6] The result is in; the task may run. */
void zk__op_complete(struct zk_backend *b, struct zk_op *op, int32_t result)
{
    op->result = result;
    zk__ready_op(b->worker, op->task);
}

/* close(2) of an older descriptor of this number is under way: wait it out. */
uint64_t zk__slot_settled(struct zk_fd_slot *slot)
{
    uint64_t state = zk_atomic_load(&slot->state, seq_cst);

    while (zk_unlikely((state & ZK_SLOT_FREEING) != 0)) {
        zk__thread_yield();
        state = zk_atomic_load(&slot->state, seq_cst);
    }
    return state;
}

/* Kind of `fd` now: what we know of ours, what the kernel says of others. */
static int slot_kind(struct zk_fd_slot *slot, uint64_t state, int fd)
{
    if (zk_likely((state & ZK_SLOT_OURS) != 0))
        return zk_atomic_load(&slot->kind, relaxed);
    return zk__sys_kind(fd);
}

/* U3: the turn is ours; is the descriptor still in service? */
static int turn_take(struct zk_fd_slot *slot, unsigned direction,
                     struct zk_task *self, zk_time_t deadline)
{
    uintptr_t none = 0;

    if (zk_likely(zk_atomic_cas(&slot->turn[direction].owner, &none,
                                (uintptr_t)self, seq_cst, relaxed)))
        return 0;
    return zk__turn_wait(slot, direction, self, deadline);
}

static void poller_enter(struct zk_fd_slot *slot, struct zk_op *op)
{
    zk_atomic_add(&slot->n_users, 1, seq_cst);
    zk__waitq_lock(&slot->pollers_lock);
    zk_list_push(&slot->pollers, &op->user);
    zk__waitq_unlock(&slot->pollers_lock);
}

static void poller_leave(struct zk_fd_slot *slot, struct zk_op *op)
{
    zk__waitq_lock(&slot->pollers_lock);
    zk_list_remove(&op->user);
    zk__waitq_unlock(&slot->pollers_lock);
    zk_atomic_sub(&slot->n_users, 1, seq_cst);
    if ((zk_atomic_load(&slot->state, seq_cst) & ZK_SLOT_CLOSING) != 0)
        zk__slot_left(slot);
}

void zk__op_end(struct zk_fd_slot *slot, unsigned direction)
{
    struct zk_task *self = zk__task_current();

    if (direction == ZK_DIR_NONE)
        poller_leave(slot, zk_op_of(self));
    else
        zk__turn_pass(slot, direction, self);
}

int zk__op_begin(zk_fd_t fd, unsigned direction, zk_time_t deadline,
                 struct zk_op **out)
{
    struct zk_task *self = zk__task_current();
    struct zk_fd_slot *slot;
    struct zk_op *op;
    uint64_t state;
    int rc;

    if (zk_unlikely(self == NULL))
        return -EPERM;
    slot = zk__fd_slot(fd);
    if (zk_unlikely(slot == NULL))
        return fd < 0 || fd > ZK_FD_MAX ? -EBADF : -ENOMEM;
    if (zk_task_cancelled(self))
        return -ECANCELED;
    state = zk__slot_settled(slot);
    if (direction != ZK_DIR_NONE) {
        rc = turn_take(slot, direction, self, deadline);
        if (zk_unlikely(rc < 0))
            return rc;
    }
    op = zk_op_of(self); /* the turn's wait used this memory */
    op->task = self;
    if (direction == ZK_DIR_NONE)
        poller_enter(slot, op);
    rc = slot_kind(slot, state, fd);
    if (zk_unlikely(zk_atomic_load(&slot->state, seq_cst) != state ||
                    (state & ZK_SLOT_CLOSING) != 0))
        rc = -EBADF;
    if (zk_unlikely(rc < 0)) {
        zk__op_end(slot, direction);
        return rc;
    }
    op->flags = direction == ZK_DIR_NONE ? ZK_OPF_POLLER : 0;
    op->kind = (uint8_t)rc;
    op->fd = fd;
    op->slot = slot;
    op->generation = state;
    *out = op;
    return 0;
}

/* A job for the pool: the operation is read and written there. */
static int block_job(void *arg)
{
    return zk__op_block(arg);
}

/* The waiting job uses the task's wait record, so the operation is copied. */
static int32_t op_on_pool(struct zk_op *op)
{
    struct zk_op copy = *op;

    return zk__offload_call(block_job, &copy, ZK_FOREVER, 0);
}

/*
 * Cancelled for a reason: that one. Cancelled without one: try again. Ready, but
 * the deadline has come: once more, what is there is not left behind.
 */
static int32_t op_result(struct zk_op *op, int32_t result)
{
    struct zk_worker *w = zk_atomic_load(&op->task->worker, relaxed);
    int verdict;

    if (result != -ECANCELED && result != ZK_OP_RETRY)
        return result;
    verdict = zk__op_verdict(op, zk__scheduler_now(w->scheduler));
    if (verdict == -ETIMEDOUT && result == ZK_OP_RETRY)
        op->flags |= ZK_OPF_ONCE;
    else if (verdict != 0)
        return verdict;
    return ZK_OP_RETRY;
}

/*
 * A deadline far off needs no clock: the worker's last reading is not later
 * than the present. A near one is looked at, and the operation is tried before
 * it is queued, so that a deadline of this moment still finds what is there.
 */
static void deadline_look(struct zk_op *op, const struct zk_worker *w,
                          zk_time_t deadline)
{
    if (zk_likely(deadline > w->now + ZK_MS(100)))
        return;
    op->flags |= ZK_OPF_TRY;
    if (deadline <= zk_now())
        op->flags |= ZK_OPF_ONCE;
}

static int32_t op_immediate(struct zk_op *op, struct zk_worker *w, bool past)
{
    int32_t result = op->result;

    zk_counter_add(&w->n_immediate, 1);
    zk__budget_charge(op->task);
    return past && result == -EAGAIN ? -ETIMEDOUT : result;
}

/* [flow 4] The operation of the running task, to its end. */
int32_t zk__op_run(struct zk_op *op, zk_time_t deadline,
                   enum zk_wait_reason reason)
{
    struct zk_task *self = op->task;
    struct zk_worker *w = zk_atomic_load(&self->worker, relaxed);
    enum zk_wait_kind kind;
    int32_t result = zk__op_check(op);

    if (zk_unlikely(result < 0))
        return result;
    deadline_look(op, w, deadline);
    do {
        struct zk_backend *b = backend_of(w);
        bool past = (op->flags & ZK_OPF_ONCE) != 0;
        enum zk_submit how;

        op->backend = b;
        op->flags &= (uint8_t)~ZK_OPF_CANCELLED;
        how = b->ops->submit(b, op);
        if (how == ZK_SUBMIT_UNSUPPORTED)
            return op_on_pool(op); /* ready, but only a thread can tell */
        if (how == ZK_SUBMIT_DONE)
            return op_immediate(op, w, past);
        ZK_ASSERT(!past);
        zk_counter_add(&w->n_submitted, 1);
        kind = ZK_WAIT_OP;
        if (b->ops->commit != NULL && (op->flags & ZK_OPF_ONESHOT) == 0)
            kind = ZK_WAIT_LATCH;
        zk__park(self, kind, reason, op->slot, deadline, b->ops->commit, op);
        result = op_result(op, op->result);
        w = zk_atomic_load(&self->worker, relaxed);
    } while (result == ZK_OP_RETRY);
    return result;
}
