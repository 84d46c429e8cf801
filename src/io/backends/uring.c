/* SPDX-License-Identifier: MIT */
/*
 * uring.c - completions of Linux.
 *
 * One ring a worker, made and used by its thread alone: SINGLE_ISSUER with
 * DEFER_TASKRUN, so that the kernel completes operations inside our own enter
 * and never interrupts a task. Older kernels get fewer flags, one rung of the
 * ladder at a time; where no ring can be had at all, probe() says so and the
 * runtime takes epoll.
 *
 * The path of a request, by measurement (docs/decisions.md): a read is queued
 * with POLL_FIRST, which spares the kernel an attempt that would find nothing,
 * unless the last completion said that more is there; a write is tried inline,
 * since it nearly always fits. Queued operations are submitted together, by the
 * enter that waits or, in a busy worker, at the next look round.
 *
 * Invariants
 *   Q1  user_data is the task block's address for an operation, and a small
 *       number for our own entries. A completion is for the operation the task
 *       waits for: it has exactly one in flight.
 *   Q2  A cancel's own completion means nothing; the operation's comes too, in
 *       any order, and is the only one that ends it.
 *   Q3  A full submission queue is flushed, and if the kernel wants completions
 *       reaped first (EBUSY, EAGAIN) they are; no operation is refused.
 *   Q4  With DEFER_TASKRUN nothing completes unless the worker enters with
 *       GETEVENTS, and one enter runs only some twenty items: poll() goes on
 *       while the kernel says there is more.
 *
 * Rejected: LINK_TIMEOUT (a timer, an entry and a completion more for each
 * request; the wheel costs a store), SQPOLL (a processor burnt), NO_SQARRAY
 * (liburing before 2.6 corrupts the ring with it).
 */
#include <errno.h>
#include <liburing.h>

#include "io/backend.h"
#include "io/backends/uring_abi.h"
#include "memory/memory.h"
#include "zokio/io.h"

/* user_data of entries that belong to no task */
enum { DATA_NONE = 1, DATA_WAKE = 2 };

enum { REAP_ROUNDS = 16 };

struct uring_backend {
    struct zk_backend base;
    struct io_uring ring;
    int wake_fd;
    uint64_t wake_value; /* where the armed read puts the counter */
    bool wake_armed;
};

static struct uring_backend *uring_of(struct zk_backend *b)
{
    return container_of(b, struct uring_backend, base);
}

/* ---- set-up --------------------------------------------------------------------- */

/* From what a new kernel takes to what the oldest does. */
static const unsigned ladder[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_SUBMIT_ALL,
    0,
};

static int ring_open(struct io_uring *ring, uint32_t sq_entries,
                     uint32_t cq_entries)
{
    int rc = -EINVAL;

    for (size_t i = 0; i < ZK_ARRAY_LEN(ladder) && rc == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = ladder[i] | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
            .cq_entries = cq_entries < sq_entries ? sq_entries : cq_entries,
        };

        rc = io_uring_queue_init_params(sq_entries, ring, &params);
    }
    return rc;
}

/* A ring, and the features without which epoll serves better. */
static int uring_probe(void)
{
    const unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG |
                            IORING_FEAT_FAST_POLL | IORING_FEAT_SINGLE_MMAP;
    struct io_uring ring;
    int rc = ring_open(&ring, 4, 8);

    if (rc < 0)
        return rc;
    if ((ring.features & needed) != needed)
        rc = -ENOSYS;
    io_uring_queue_exit(&ring);
    return rc;
}

static int uring_init(struct zk_backend **out, struct zk_worker *w,
                      const struct zk_io_setup *setup)
{
    struct uring_backend *u = zk__alloc(sizeof(*u));
    int rc;

    (void)w;
    if (u == NULL)
        return -ENOMEM;
    rc = ring_open(&u->ring, setup->sq_entries, setup->cq_entries);
    if (rc < 0)
        goto free_memory;
    rc = u->wake_fd = zk__sys_eventfd();
    if (rc < 0)
        goto close_ring;
    io_uring_register_ring_fd(&u->ring); /* only saves time: may fail */
    *out = &u->base;
    return 0;

close_ring:
    io_uring_queue_exit(&u->ring);
free_memory:
    zk__free(u, sizeof(*u));
    return rc;
}

static void uring_fini(struct zk_backend *b)
{
    struct uring_backend *u = uring_of(b);

    io_uring_queue_exit(&u->ring);
    zk__sys_close(u->wake_fd);
    zk__free(u, sizeof(*u));
}

/* ---- submission -------------------------------------------------------------------- */

static void reap(struct uring_backend *u);

/* Q3 */
static struct io_uring_sqe *take_entry(struct uring_backend *u)
{
    struct io_uring_sqe *sqe;

    while ((sqe = io_uring_get_sqe(&u->ring)) == NULL) {
        int rc = io_uring_submit(&u->ring);

        if (rc == -EBUSY || rc == -EAGAIN) {
            io_uring_get_events(&u->ring);
            reap(u);
        } else if (rc < 0 && rc != -EINTR) {
            ZK_ASSERT(!"io_uring_submit");
        }
    }
    return sqe;
}

static void queue_socket(struct io_uring_sqe *sqe, struct zk_op *op)
{
    bool reading = op->opcode == ZK_OP_READ;
    size_t len = op->data.plain.len;

    if (reading)
        io_uring_prep_recv(sqe, op->fd, op->data.plain.buf, len, 0);
    else
        io_uring_prep_send(sqe, op->fd, op->data.plain.buf, len, MSG_NOSIGNAL);
    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
}

static void queue_stream(struct io_uring_sqe *sqe, struct zk_op *op)
{
    bool vector = (op->flags & ZK_OPF_VECTOR) != 0;
    bool reading = op->opcode == ZK_OP_READ;

    if (vector && reading)
        io_uring_prep_readv(sqe, op->fd, op->data.vector.iov,
                            (unsigned)op->data.vector.count, (uint64_t)-1);
    else if (vector)
        io_uring_prep_writev(sqe, op->fd, op->data.vector.iov,
                             (unsigned)op->data.vector.count, (uint64_t)-1);
    else if (reading)
        io_uring_prep_read(sqe, op->fd, op->data.plain.buf,
                           (unsigned)op->data.plain.len, (uint64_t)-1);
    else
        io_uring_prep_write(sqe, op->fd, op->data.plain.buf,
                            (unsigned)op->data.plain.len, (uint64_t)-1);
}

static void queue_poll(struct io_uring_sqe *sqe, struct zk_op *op)
{
    unsigned mask = 0;

    if ((op->events & ZK_READABLE) != 0)
        mask |= POLLIN;
    if ((op->events & ZK_WRITABLE) != 0)
        mask |= POLLOUT;
    io_uring_prep_poll_add(sqe, op->fd, mask);
}

/*
 * A vector to or from a socket waits for readiness and is then tried by the
 * task, so that MSG_NOSIGNAL holds without a message header to keep alive.
 */
static bool by_readiness(const struct zk_op *op)
{
    return op->opcode == ZK_OP_POLL ||
           (op->kind == ZK_FD_SOCKET && (op->flags & ZK_OPF_VECTOR) != 0);
}

static void queue_op(struct uring_backend *u, struct zk_op *op)
{
    struct io_uring_sqe *sqe = take_entry(u);

    if (op->opcode == ZK_OP_POLL) {
        queue_poll(sqe, op);
    } else if (by_readiness(op)) {
        io_uring_prep_poll_add(sqe, op->fd,
                               op->opcode == ZK_OP_READ ? POLLIN : POLLOUT);
    } else if (op->kind == ZK_FD_SOCKET) {
        queue_socket(sqe, op);
    } else {
        queue_stream(sqe, op);
    }
    io_uring_sqe_set_data64(sqe, (uintptr_t)op->task); /* Q1 */
}

/* Is an attempt likely to find something, or asked for? */
static bool try_first(const struct zk_op *op)
{
    if ((op->flags & (ZK_OPF_ONCE | ZK_OPF_TRY)) != 0)
        return true;
    if (op->kind != ZK_FD_SOCKET || op->opcode == ZK_OP_POLL)
        return false;
    if (op->opcode == ZK_OP_WRITE || by_readiness(op))
        return true;
    return (zk_atomic_load(&op->slot->hints[ZK_DIR_READ], relaxed) &
            ZK_HINT_MORE) != 0;
}

static enum zk_submit uring_submit(struct zk_backend *b, struct zk_op *op)
{
    if (try_first(op)) {
        op->result = zk__op_try(op);
        if (op->result != -EAGAIN && op->result != -EOPNOTSUPP)
            return ZK_SUBMIT_DONE;
        if (op->opcode == ZK_OP_READ)
            zk_atomic_store(&op->slot->hints[ZK_DIR_READ], 0, relaxed);
        if ((op->flags & ZK_OPF_ONCE) != 0) {
            op->result = -EAGAIN;
            return ZK_SUBMIT_DONE;
        }
    }
    queue_op(uring_of(b), op);
    return ZK_SUBMIT_PENDING;
}

static void uring_cancel(struct zk_backend *b, struct zk_op *op)
{
    struct io_uring_sqe *sqe = take_entry(uring_of(b));

    io_uring_prep_cancel64(sqe, (uintptr_t)op->task, 0);
    io_uring_sqe_set_data64(sqe, DATA_NONE); /* Q2 */
}

/* ---- completion ----------------------------------------------------------------------- */

static int32_t poll_events(int32_t revents)
{
    int32_t events = 0;

    if ((revents & (POLLIN | POLLRDHUP)) != 0)
        events |= ZK_READABLE;
    if ((revents & POLLOUT) != 0)
        events |= ZK_WRITABLE;
    if ((revents & POLLHUP) != 0)
        events |= ZK_HANGUP;
    if ((revents & POLLERR) != 0)
        events |= ZK_FAILED;
    return events;
}

static void complete(struct uring_backend *u, const struct io_uring_cqe *cqe)
{
    struct zk_task *task = (struct zk_task *)(uintptr_t)io_uring_cqe_get_data64(
        cqe);
    struct zk_op *op = zk_op_of(task);
    int32_t result = cqe->res;

    if (op->opcode == ZK_OP_POLL) {
        result = result > 0 ? poll_events(result) : result;
    } else if (by_readiness(op)) {
        result = result >= 0 ? ZK_OP_RETRY : result;
    } else if (op->opcode == ZK_OP_READ && op->kind == ZK_FD_SOCKET) {
        bool more = (cqe->flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;

        zk_atomic_store(&op->slot->hints[ZK_DIR_READ], more ? ZK_HINT_MORE : 0,
                        relaxed);
    }
    if (result == -EINTR || result == -EAGAIN)
        result = ZK_OP_RETRY;
    zk__op_complete(&u->base, op, result);
}

static void reap(struct uring_backend *u)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        uint64_t data = io_uring_cqe_get_data64(cqe);

        n++;
        if (data == DATA_WAKE)
            u->wake_armed = false;
        else if (data != DATA_NONE)
            complete(u, cqe);
    }
    io_uring_cq_advance(&u->ring, n);
}

static bool kernel_has_more(struct uring_backend *u)
{
    unsigned flags = zk_uring_sq_flags(&u->ring);

    return (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

static void wake_arm(struct uring_backend *u)
{
    struct io_uring_sqe *sqe;

    if (u->wake_armed)
        return;
    sqe = take_entry(u);
    io_uring_prep_read(sqe, u->wake_fd, &u->wake_value, sizeof(u->wake_value),
                       0);
    io_uring_sqe_set_data64(sqe, DATA_WAKE);
    u->wake_armed = true;
}

/* One enter that submits, and waits for one completion until `deadline`. */
static void wait_one(struct uring_backend *u, zk_time_t deadline)
{
    struct __kernel_timespec span, *timeout = NULL;
    struct io_uring_cqe *cqe;

    if (deadline != ZK_FOREVER) {
        zk_time_t left = deadline - zk__clock_now();

        if (left <= 0) {
            io_uring_submit_and_get_events(&u->ring);
            return;
        }
        span.tv_sec = left / ZK_SEC(1);
        span.tv_nsec = left % ZK_SEC(1);
        timeout = &span;
    }
    io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, timeout, NULL);
}

static void uring_poll(struct zk_backend *b, zk_time_t deadline)
{
    struct uring_backend *u = uring_of(b);

    if (deadline != 0) {
        wake_arm(u);
        wait_one(u, deadline);
    } else if (io_uring_sq_ready(&u->ring) != 0) {
        io_uring_submit_and_get_events(&u->ring);
    }
    reap(u);
    for (int i = 0; i < REAP_ROUNDS && kernel_has_more(u); i++) { /* Q4 */
        io_uring_get_events(&u->ring);
        reap(u);
    }
}

static bool uring_pending(struct zk_backend *b)
{
    struct uring_backend *u = uring_of(b);

    return io_uring_cq_ready(&u->ring) != 0 || kernel_has_more(u);
}

static bool uring_due(struct zk_backend *b, zk_time_t now)
{
    (void)now;
    return uring_pending(b) || io_uring_sq_ready(&uring_of(b)->ring) != 0;
}

static void uring_wake(struct zk_backend *b)
{
    uint64_t one = 1;

    zk__sys_write(uring_of(b)->wake_fd, &one, sizeof(one));
}

const struct zk_backend_ops zk__backend_uring = {
    .name = "io_uring",
    .probe = uring_probe,
    .init = uring_init,
    .fini = uring_fini,
    .submit = uring_submit,
    .cancel = uring_cancel,
    .poll = uring_poll,
    .pending = uring_pending,
    .due = uring_due,
    .wake = uring_wake,
};
