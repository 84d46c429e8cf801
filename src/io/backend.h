/* SPDX-License-Identifier: MIT */
/*
 * backend.h - what the reactor asks of an operating system.
 *
 * The model is completion: the reactor hands over an operation and gets it back
 * with a result. io_uring does this natively; readiness systems build it with
 * io/readiness.h. Nothing outside io/backends/ may ask which backend is in use.
 *
 * An operation lives in the block of the task that waits for it (task->wait.op):
 *
 *      submit --DONE---------------------------------> result
 *         \---PENDING--> park --complete--> result, or RETRY: submit again
 *                          |
 *                          +--cancel: asks only; complete still comes, with
 *                             -ECANCELED, or with the real result if it won
 *
 * From PENDING until zk__op_complete() the operation and its buffers belong to
 * the backend. The task does not return before that, cancelled or not.
 */
#ifndef ZK_IO_BACKEND_H
#define ZK_IO_BACKEND_H

#include <sys/uio.h>

#include "io/io.h"
#include "scheduler/scheduler.h"

enum zk_opcode {
    ZK_OP_READ, /* one buffer or a vector */
    ZK_OP_WRITE,
    ZK_OP_POLL, /* readiness: enum zk_fd_events */
};

enum zk_op_flags {
    ZK_OPF_ONCE = 1u << 0,      /* one try: never PENDING, -EAGAIN instead */
    ZK_OPF_VECTOR = 1u << 1,    /* data.vector, else data.plain */
    ZK_OPF_CANCELLED = 1u << 2, /* backend->cancel was called */
    ZK_OPF_TRY = 1u << 3,       /* try before it is queued */
    ZK_OPF_POLLER = 1u << 6,    /* takes no turn: among the pollers */
    ZK_OPF_CONNECTS = 1u << 5,  /* accept or connect: ends with a shutdown */
    ZK_OPF_ONESHOT = 1u << 4,   /* readiness: not by the latch */
};

/* Result of an operation that has to be submitted again. */
#define ZK_OP_RETRY INT32_MIN

struct zk_op {
    uint8_t opcode; /* enum zk_opcode */
    uint8_t flags;  /* enum zk_op_flags */
    uint8_t kind;   /* enum zk_fd_kind */
    uint8_t events; /* POLL: enum zk_fd_events asked for */
    int32_t fd;
    int32_t result; /* >= 0, -errno, or ZK_OP_RETRY */
    int32_t dup_fd; /* readiness, one-shot: what was registered */
    union {
        struct {
            void *buf; /* borrowed from the waiting task */
            size_t len;
        } plain;
        struct {
            const struct iovec *iov; /* borrowed, with what it points to */
            int count;
        } vector;
    } data;
    struct zk_fd_slot *slot;
    uint64_t generation; /* of the slot when the operation began */
    struct zk_task *task;
    struct zk_backend *backend; /* where it is pending */
    struct zk_list link;        /* the backend's while PENDING */
    struct zk_list user;        /* POLL: in slot->pollers */
};

_Static_assert(sizeof(struct zk_op) <= ZK_OP_STORAGE,
               "an operation fits into the task block");

enum zk_submit {
    ZK_SUBMIT_DONE,        /* op->result is valid */
    ZK_SUBMIT_PENDING,     /* the task must park */
    ZK_SUBMIT_UNSUPPORTED, /* would block the thread: for the pool */
};

struct zk_backend;

struct zk_backend_ops {
    const char *name;

    /* Any thread, before the first init, once. 0, or -errno: not here. */
    int (*probe)(void);

    /* The worker's thread. Open kernel objects; -errno with nothing left. */
    int (*init)(struct zk_backend **out, struct zk_worker *w,
                const struct zk_io_setup *setup);

    /* The worker's thread. No operation is pending, or its task is lost. */
    void (*fini)(struct zk_backend *b);

    /* Owner, on the task's stack. Take `op` over, or finish it at once. */
    enum zk_submit (*submit)(struct zk_backend *b, struct zk_op *op);

    /* Landing side of the park of a PENDING operation; NULL: nothing to do.
     * False: it is done or to be tried again, the task need not wait. */
    bool (*commit)(struct zk_task *task, void *op);

    /* Owner, native stack. Ask for an early end of a PENDING `op`, which may
     * be completed from here or by poll(). Harmless if it is completing. */
    void (*cancel)(struct zk_backend *b, struct zk_op *op);

    /* Owner, native stack; the only call that may block. Flush submissions,
     * wait for a completion until `deadline` (0: do not wait), complete. */
    void (*poll)(struct zk_backend *b, zk_time_t deadline);

    /* Owner. Would poll(0) find or flush something? No system call. */
    bool (*pending)(struct zk_backend *b);

    /* Owner, busy since a while: should poll(0) be called? NULL: when pending()
     * says so. For systems that can tell only by asking. */
    bool (*due)(struct zk_backend *b, zk_time_t now);

    /* Any thread, also in a signal handler. Ends the present or next poll. */
    void (*wake)(struct zk_backend *b);

    /* Any thread; slot->home_lock is held and slot->home is of this kind. `fd`
     * is about to be closed, nothing is pending. NULL if home is never set. */
    void (*forget)(struct zk_fd_slot *slot, int fd);
};

struct zk_backend {
    const struct zk_backend_ops *ops;
    struct zk_worker *worker;
};

/* In order of preference; ends with NULL. io/backends/registry.c */
extern const struct zk_backend_ops *const zk__backends[];

/* Poll, or cancel: `op` has ended; its task becomes ready on `b`. */
void zk__op_complete(struct zk_backend *b, struct zk_op *op, int32_t result);

/* Should a pending `op` end early, and why: -EBADF, -ECANCELED, -ESHUTDOWN,
 * -ETIMEDOUT; 0: it should not. */
int zk__op_verdict(const struct zk_op *op, zk_time_t now);

/* One attempt without waiting, by the kind of descriptor. -EAGAIN: would wait.
 * -EOPNOTSUPP: cannot be tried without the danger of blocking. (try.c) */
int32_t zk__op_try(struct zk_op *op);
/* As above, but may block the thread: on the pool. */
int32_t zk__op_block(struct zk_op *op);

ZK_INLINE struct zk_op *zk_op_of(struct zk_task *task)
{
    return (struct zk_op *)(void *)task->wait.op;
}

#endif
