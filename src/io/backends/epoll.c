/* SPDX-License-Identifier: MIT */
/*
 * epoll.c - the readiness of Linux.
 *
 * One epoll instance a worker. A descriptor of ours is added once, to the
 * instance of the worker where a task first waited on it (its home), for both
 * directions and edge-triggered, and is not touched again until it is closed:
 * io/readiness.c does the rest. If eight events in a row woke tasks that had
 * parked on another worker, the home moves to that worker.
 *
 * A wait without a turn, and a descriptor that is not ours, is added by one-shot
 * for the time of the wait, as a duplicate: an instance takes a number only
 * once, and ours is the latch's. Besides, the owner of another's may close it
 * meanwhile. Its number may then be that of a new descriptor of ours, from which
 * the end of the wait would take the registration; and the old one would stay if
 * the owner has a duplicate too, and fire for a task that is long elsewhere.
 *
 * What comes back in epoll_event.data tells the two apart: a number with its
 * generation, or the address of the waiting task with bit 0 set. The wake-up is
 * an eventfd, edge-triggered and never read: each write is a new edge.
 */
#include <errno.h>
#include <sys/epoll.h>

#include "io/readiness.h"
#include "memory/memory.h"
#include "zokio/io.h"

enum { BATCH = 256, FOREIGN_WAKES_MAX = 8 };

/* A busy worker asks for events this often. */
#define ASK_PERIOD ZK_US(50)

#define DATA_WAKE UINT64_MAX
#define DATA_TASK ((uint64_t)1)

struct epoll_backend {
    struct zk_backend base;
    int epoll_fd;
    int wake_fd;
    bool used;       /* something was ever registered */
    zk_time_t asked; /* last poll without a wait */
    struct epoll_event events[BATCH];
};

static struct epoll_backend *epoll_of(struct zk_backend *b)
{
    return container_of(b, struct epoll_backend, base);
}

static int epoll_probe(void)
{
    int fd = zk__sys_epoll_create();

    if (fd < 0)
        return fd;
    zk__sys_close(fd);
    return 0;
}

static int epoll_init(struct zk_backend **out, struct zk_worker *w,
                      const struct zk_io_setup *setup)
{
    struct epoll_event wake = {.events = EPOLLIN | EPOLLET,
                               .data.u64 = DATA_WAKE};
    struct epoll_backend *e = zk__alloc(sizeof(*e));
    int rc;

    (void)w;
    (void)setup;
    if (e == NULL)
        return -ENOMEM;
    rc = e->epoll_fd = zk__sys_epoll_create();
    if (rc < 0)
        goto free_memory;
    rc = e->wake_fd = zk__sys_eventfd();
    if (rc < 0)
        goto close_epoll;
    rc = zk__sys_epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, e->wake_fd, &wake);
    if (rc < 0)
        goto close_wake;
    *out = &e->base;
    return 0;

close_wake:
    zk__sys_close(e->wake_fd);
close_epoll:
    zk__sys_close(e->epoll_fd);
free_memory:
    zk__free(e, sizeof(*e));
    return rc;
}

static void epoll_fini(struct zk_backend *b)
{
    struct epoll_backend *e = epoll_of(b);

    zk__fd_table_leave(b);
    zk__sys_close(e->wake_fd);
    zk__sys_close(e->epoll_fd);
    zk__free(e, sizeof(*e));
}

/* ---- registration ------------------------------------------------------------- */

/* Generation and number in 63 bits; bit 0 stays clear. */
static uint64_t data_of(const struct zk_fd_slot *slot, int fd)
{
    uint64_t generation = zk_atomic_load(&slot->state, relaxed) >> 8;

    return ((generation & 0x7fffffff) << 33) | ((uint64_t)(uint32_t)fd << 1);
}

static int home_add(struct epoll_backend *e, struct zk_fd_slot *slot, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP |
                                       EPOLLET,
                             .data.u64 = data_of(slot, fd)};

    e->used = true;
    return zk__sys_epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

/* The descriptor has a home when this returns 0. */
static int home_ensure(struct epoll_backend *e, struct zk_op *op)
{
    struct zk_fd_slot *slot = op->slot;
    struct zk_backend *home = zk_atomic_load(&slot->home, acquire); /* A */
    int rc = 0;

    if (zk_likely(home == &e->base))
        return 0;
    if (home != NULL &&
        zk_atomic_load(&slot->foreign_wakes, relaxed) < FOREIGN_WAKES_MAX)
        return 0;
    zk__waitq_lock(&slot->home_lock);
    home = zk_atomic_load(&slot->home, relaxed);
    if (home != NULL) { /* it moves to us; adding reports the state anew */
        zk__sys_epoll_ctl(epoll_of(home)->epoll_fd, EPOLL_CTL_DEL, op->fd,
                          NULL);
        zk_atomic_store(&slot->foreign_wakes, 0, relaxed);
    }
    rc = home_add(e, slot, op->fd);
    zk_atomic_store(&slot->home, rc < 0 ? NULL : &e->base, release); /* A */
    zk__waitq_unlock(&slot->home_lock);
    return rc;
}

static int oneshot_add(struct epoll_backend *e, struct zk_op *op)
{
    bool writing = op->opcode == ZK_OP_WRITE;
    struct epoll_event ev = {.events = EPOLLONESHOT | EPOLLRDHUP,
                             .data.u64 = (uintptr_t)op->task | DATA_TASK};
    int rc;

    if (op->opcode == ZK_OP_READ || (op->events & ZK_READABLE) != 0)
        ev.events |= EPOLLIN;
    if (writing ||
        (op->opcode == ZK_OP_POLL && (op->events & ZK_WRITABLE) != 0))
        ev.events |= EPOLLOUT;
    e->used = true;
    rc = op->dup_fd = zk__sys_dup(op->fd);
    if (rc < 0)
        return rc;
    rc = zk__sys_epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, op->dup_fd, &ev);
    if (rc < 0)
        zk__sys_close(op->dup_fd);
    return rc;
}

static void oneshot_remove(struct epoll_backend *e, struct zk_op *op)
{
    zk__sys_epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, op->dup_fd, NULL);
    zk__sys_close(op->dup_fd);
}

/* ---- operations ------------------------------------------------------------------- */

static enum zk_submit epoll_submit(struct zk_backend *b, struct zk_op *op)
{
    enum zk_submit how = zk__readiness_submit(b, op);
    int rc;

    if (how != ZK_SUBMIT_PENDING)
        return how;
    if ((op->flags & ZK_OPF_ONESHOT) != 0)
        rc = oneshot_add(epoll_of(b), op);
    else
        rc = home_ensure(epoll_of(b), op);
    if (rc == 0)
        return ZK_SUBMIT_PENDING;
    if (rc == -EPERM && op->opcode != ZK_OP_POLL)
        return ZK_SUBMIT_UNSUPPORTED; /* the object has no readiness */
    op->result = rc;
    return ZK_SUBMIT_DONE;
}

static void epoll_cancel(struct zk_backend *b, struct zk_op *op)
{
    if ((op->flags & ZK_OPF_ONESHOT) != 0)
        oneshot_remove(epoll_of(b), op);
    else if (!zk__readiness_withdraw(op))
        return;
    zk__op_complete(b, op, -ECANCELED);
}

static int32_t events_of(uint32_t seen)
{
    int32_t events = 0;

    if ((seen & (EPOLLIN | EPOLLRDHUP)) != 0)
        events |= ZK_READABLE;
    if ((seen & EPOLLOUT) != 0)
        events |= ZK_WRITABLE;
    if ((seen & EPOLLHUP) != 0)
        events |= ZK_HANGUP;
    if ((seen & EPOLLERR) != 0)
        events |= ZK_FAILED;
    return events;
}

static void epoll_oneshot_event(struct epoll_backend *e,
                                const struct epoll_event *ev)
{
    struct zk_task *task = (struct zk_task *)(uintptr_t)(ev->data.u64 &
                                                         ~DATA_TASK);
    struct zk_op *op = zk_op_of(task);

    oneshot_remove(e, op);
    zk__op_complete(&e->base, op,
                    op->opcode == ZK_OP_POLL ? events_of(ev->events)
                                             : ZK_OP_RETRY);
}

static void epoll_event(struct epoll_backend *e, const struct epoll_event *ev)
{
    const uint32_t ends = EPOLLHUP | EPOLLERR;
    struct zk_fd_slot *slot;
    uint32_t seen = ev->events;
    int fd;

    if (ev->data.u64 == DATA_WAKE)
        return;
    if ((ev->data.u64 & DATA_TASK) != 0) {
        epoll_oneshot_event(e, ev);
        return;
    }
    fd = (int)((ev->data.u64 >> 1) & 0xffffffff);
    slot = zk__fd_slot_peek(fd);
    if (slot == NULL || data_of(slot, fd) != ev->data.u64)
        return; /* of an older descriptor */
    zk__readiness_event(
        &e->base, slot, (seen & (EPOLLIN | EPOLLRDHUP | ends)) != 0,
        (seen & (EPOLLOUT | ends)) != 0, (seen & (EPOLLRDHUP | ends)) != 0);
}

static void epoll_poll(struct zk_backend *b, zk_time_t deadline)
{
    struct epoll_backend *e = epoll_of(b);
    int64_t timeout = 0;
    int n;

    if (deadline == ZK_FOREVER) {
        timeout = -1;
    } else if (deadline != 0) {
        timeout = deadline - zk__clock_now();
        if (timeout < 0)
            timeout = 0;
    }
    n = zk__sys_epoll_wait(e->epoll_fd, e->events, BATCH, timeout);
    for (int i = 0; i < n; i++)
        epoll_event(e, &e->events[i]);
}

/* What is ready can only be told by asking. */
static bool epoll_pending(struct zk_backend *b)
{
    (void)b;
    return false;
}

static bool epoll_due(struct zk_backend *b, zk_time_t now)
{
    struct epoll_backend *e = epoll_of(b);

    if (!e->used || now - e->asked < ASK_PERIOD)
        return false;
    e->asked = now;
    return true;
}

static void epoll_wake(struct zk_backend *b)
{
    uint64_t one = 1;

    zk__sys_write(epoll_of(b)->wake_fd, &one, sizeof(one));
}

static void epoll_forget(struct zk_fd_slot *slot, int fd)
{
    struct zk_backend *home = zk_atomic_load(&slot->home, relaxed);

    zk__sys_epoll_ctl(epoll_of(home)->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

const struct zk_backend_ops zk__backend_epoll = {
    .name = "epoll",
    .probe = epoll_probe,
    .init = epoll_init,
    .fini = epoll_fini,
    .submit = epoll_submit,
    .commit = zk__readiness_commit,
    .cancel = epoll_cancel,
    .poll = epoll_poll,
    .pending = epoll_pending,
    .due = epoll_due,
    .wake = epoll_wake,
    .forget = epoll_forget,
};
