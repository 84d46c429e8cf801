/* SPDX-License-Identifier: MIT */
/*
 * task.h - the task block: everything about a task but its stack.
 *
 * Blocks come from a slab that is never unmapped and are never on the stack,
 * so whoever comes late with an old pointer (a timer, a canceller, a completion
 * of another worker) reads valid memory and finds that the id or the park
 * generation has moved on.
 *
 * The state word: generation << 8 | phase
 *
 *      FREE --spawn--> READY --dispatch--> RUNNING --park--> PARKED
 *       ^                ^                   |  |              |
 *       |                +------ yield ------+  |              |
 *       +---- exit, and joined if joinable -----+     READY <--+ wake
 *
 *   T1  Only the worker that runs a task writes its state while RUNNING.
 *   T2  A task becomes PARKED on the landing side of the switch, after its
 *       registers are in its frame, and only then is its wait published.
 *   T3  The generation grows at each park. Who wakes a waitq or a sleep wins
 *       a CAS from exactly the PARKED word it saw; all others are stale.
 *   T4  A task that waits for an operation (ZK_WAIT_OP) is woken only by the
 *       completion of that operation, on the worker that submitted it: a store
 *       is enough.
 *   T5  A task in a descriptor's latch (ZK_WAIT_LATCH) is woken by who takes it
 *       out of there, on any worker; a store is enough for that too.
 *
 * `life` is a waitq lock: it guards id, done, holds, joiner and the right to
 * recycle the block. Blocks are recycled when done, joined or detached, and
 * holds is 0.
 */
#ifndef ZK_SCHEDULER_TASK_H
#define ZK_SCHEDULER_TASK_H

#include "context/annotate.h"
#include "memory/memory.h"
#include "scheduler/waitq.h"
#include "time/time.h"
#include "utils/atomic.h"

struct zk_worker;
struct zk_task;

enum zk_task_phase {
    ZK_PHASE_FREE = 0,
    ZK_PHASE_READY, /* in some queue, or held by who will put it there */
    ZK_PHASE_RUNNING,
    ZK_PHASE_PARKED,
    ZK_PHASE_DONE,
};

#define ZK_PHASE_MASK ((uint64_t)0xff)
#define ZK_PARK_GENERATION ((uint64_t)0x100)

/* How a parked task is woken. */
enum zk_wait_kind {
    ZK_WAIT_NONE = 0,
    ZK_WAIT_QUEUE, /* T3: in a waitq, or asleep */
    ZK_WAIT_OP,    /* T4: an operation is in flight */
    ZK_WAIT_LATCH, /* T5: in a latch; wait_object is its struct zk_fd_slot */
};

/* What a task waits for, in reports. */
enum zk_wait_reason {
    ZK_REASON_NONE = 0,
    ZK_REASON_SLEEP,
    ZK_REASON_JOIN,
    ZK_REASON_READ,
    ZK_REASON_WRITE,
    ZK_REASON_ACCEPT,
    ZK_REASON_CONNECT,
    ZK_REASON_POLL,
    ZK_REASON_FD_TURN,  /* another reader or writer is before it */
    ZK_REASON_FD_CLOSE, /* users of a descriptor to leave */
    ZK_REASON_BLOCKING,
    ZK_REASON_SHUTDOWN,
    ZK_REASON_SIGNAL,
    ZK_N_REASONS,
};

/* task->flags, written by the owner before the task is published */
enum zk_task_flags {
    ZK_TASKF_FPENV = 1u << 0,
    ZK_TASKF_RESULT = 1u << 1,   /* entry.with_result is set */
    ZK_TASKF_MAIN = 1u << 2,     /* its end is the runtime's */
    ZK_TASKF_NOFREEZE = 1u << 3, /* its frame is referred to from outside */
    ZK_TASKF_NAMED = 1u << 4,    /* `name` is set */
    ZK_TASKF_TIMED = 1u << 5,    /* `timer` was used: a node may be linked */
};

/* task->cancel: reason in the low byte, then flags, then who asked */
#define ZK_CANCEL_REASON_MASK ((uint64_t)0xff)
#define ZK_CANCEL_WHO_SHIFT 16

/* A timer of a task. The queue that holds it is `home`; only the worker that
 * owns that queue touches `node` while it is linked. */
struct zk_task_timer {
    struct zk_timer_node node;
    struct zk_timer_home *_Atomic home; /* NULL: not linked; see timeout.c */
    uint32_t index;                     /* which of the two this is */
};

enum { ZK_TASK_SIZE = 384, ZK_OP_STORAGE = 96, ZK_NAME_SIZE = 16 };

/*
 * The first two cache lines are all that a short task touches from spawn to
 * end; a million of them waiting in a queue are streamed through the cache, so
 * each line more would be felt (docs/decisions.md).
 */
struct zk_task {
    /* -- line 1: touched at every switch ----------------------------------- */
    struct zk_task *next; /* queue link; owner: the queue */
    void *sp;             /* suspended context; NULL: not started */
    _Atomic uint64_t state;
    struct zk_worker *_Atomic worker; /* runs it, or ran it last */
    struct zk_stack *stack;           /* NULL until first dispatch */
    union {
        void (*plain)(void *);
        int (*with_result)(void *);
    } entry;
    void *arg;
    uint8_t flags; /* enum zk_task_flags */
    uint8_t stack_class;
    uint8_t priority;
    _Atomic uint8_t wait_kind; /* of the current or last park; as deadline */
    _Atomic uint8_t wait_reason;
    _Atomic uint8_t shield; /* > 0: waits ignore `cancel`; owner writes */
    uint16_t pin;           /* worker index + 1; 0: any */

    /* -- line 2: life ------------------------------------------------------- */
    struct zk_waitq life; /* joiner; lock of id, done ... holds */
    _Atomic uint64_t id;  /* 0: no task */
    _Atomic uint64_t cancel;
    struct zk_task *message_next; /* in an inbox: one message at a time */
    const void *site;             /* return address of zk_go */
    _Atomic uint32_t message;     /* enum zk_task_message bits asked for */
    uint8_t done, joinable, joining;
    _Atomic uint8_t holds; /* under `life`, but for zk__message_hold() */
    int32_t wake_result;   /* written by who wins the wake */
    int32_t result;        /* of the function, once done */

    /* -- the one current wait ------------------------------------------------- */
    _Atomic int64_t deadline; /* T3: valid for the generation in `state` */
    void *_Atomic wait_object;
    union {
        struct zk_waiter waiter;
        ZK_ALIGNED(8) unsigned char op[ZK_OP_STORAGE]; /* struct zk_op */
    } wait;

    /* -- seldom ---------------------------------------------------------------- */
    struct zk_task_timer timer[2];   /* with ZK_TASKF_TIMED */
    void *scope;                     /* reserved for scopes */
    void *local[2];                  /* reserved for task-locals */
    char name[ZK_NAME_SIZE];         /* with ZK_TASKF_NAMED */
    struct zk_annotation annotation; /* empty in plain builds */
};

_Static_assert(offsetof(struct zk_task, life) == ZK_CACHE_LINE &&
                   offsetof(struct zk_task, deadline) == 2 * ZK_CACHE_LINE,
               "the two lines of a short task");

ZK_INLINE enum zk_task_phase zk_phase(uint64_t state)
{
    return (enum zk_task_phase)(state & ZK_PHASE_MASK);
}

ZK_INLINE uint64_t zk_state_with(uint64_t state, enum zk_task_phase phase)
{
    return (state & ~ZK_PHASE_MASK) | (uint64_t)phase;
}

/* Cancelled, and not shielded: its next cancellable wait says so. */
ZK_INLINE bool zk_task_cancelled(const struct zk_task *task)
{
    return zk_unlikely(zk_atomic_load(&task->cancel, relaxed) != 0) &&
           zk_atomic_load(&task->shield, relaxed) == 0;
}

/* "" if it has none. */
ZK_INLINE const char *zk_task_name(const struct zk_task *task)
{
    return (task->flags & ZK_TASKF_NAMED) != 0 ? task->name : "";
}

const char *zk__reason_name(enum zk_wait_reason reason);

#endif
