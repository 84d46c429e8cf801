/* SPDX-License-Identifier: MIT */
/*
 * worker.h - a thread that runs tasks, and the scheduler that workers share.
 *
 * Private to scheduler/, but for io/, which keeps its instance in `io`.
 */
#ifndef ZK_SCHEDULER_WORKER_H
#define ZK_SCHEDULER_WORKER_H

#include "context/exception.h"
#include "scheduler/runq.h"
#include "scheduler/scheduler.h"
#include "scheduler/task.h"
#include "utils/rand.h"

enum {
    ZK_MAX_WORKERS = 64,   /* bits of the idle mask, spares included */
    ZK_LIFO_CAP = 3,       /* dispatches from the LIFO slot in a row */
    ZK_FRESH_MAX = 16,     /* unstarted tasks kept back from thieves */
    ZK_FRESH_CAP = 32,     /* dispatches of such in a row */
    ZK_CLAIM_MAX = 8,      /* tasks one CAS takes from the ring */
    ZK_TICKS_MAX = 61,     /* dispatches between two looks round */
    ZK_BUDGET = 128,       /* calls that did not wait, then a yield */
    ZK_TIMER_HEAP = 1024,  /* near deadlines a worker keeps exactly */
    ZK_TIMER_BUDGET = 256, /* expiries per look round */
    ZK_BLOCK_BATCH = 32,   /* task blocks moved from and to the slab */
};

/* Timers and whoever turns them now: changes when a queue is adopted. */
struct zk_timer_home {
    struct zk_timers timers;
    struct zk_worker *_Atomic owner;
    struct zk_timer_node *heap[ZK_TIMER_HEAP];
};

/* What finish_switch() does with the task that was left. */
enum zk_after {
    ZK_AFTER_NOTHING = 0,
    ZK_AFTER_YIELD,
    ZK_AFTER_PARK,
    ZK_AFTER_EXIT,   /* its stack comes back */
    ZK_AFTER_HANDED, /* its stack went to the next task */
};

/* worker->sleep */
enum zk_sleep_state { ZK_AWAKE = 0, ZK_SLEEPING = 1, ZK_NOTIFIED = 2 };

struct zk_worker {
    /* -- owner only --------------------------------------------------------- */
    struct zk_task *current; /* NULL: the native stack runs */
    struct zk_task *lifo;    /* newest runnable; not stealable */
    struct zk_scheduler *scheduler;
    void *native_sp;
    void *dead_sp; /* where a finished task's context is dropped */
    uint8_t after; /* enum zk_after, set just before a switch */
    uint8_t lifo_uses;
    uint8_t n_fresh, fresh_uses;
    uint8_t claim_next, claim_len;
    uint8_t look_round;    /* the native stack must look round first */
    uint8_t has_token;     /* is the searcher */
    uint8_t timer_message; /* after the commit: ask timer 0's owner */
    uint8_t is_spare;
    uint8_t spin_misses;
    uint8_t main_ended;  /* the main task ended here */
    uint8_t pinned_next; /* pick: a pinned task's turn alternates */
    uint16_t index;
    int16_t ticks; /* dispatches left until a look round */
    int16_t ticks_full;
    int16_t budget;
    zk_commit_fn commit; /* publishes the park of the task left */
    void *commit_arg;
    struct zk_stack *exit_stack;         /* of the task that ended */
    struct zk_task *fresh[ZK_FRESH_MAX]; /* newest last */
    struct zk_task *claim[ZK_CLAIM_MAX];
    struct zk_timer_home *home;
    zk_time_t now;               /* clock at the last look round */
    struct zk_slab_node *blocks; /* free task blocks */
    uint32_t n_blocks;
    uint64_t next_id, end_id;
    struct zk_task *pinned_head, *pinned_tail; /* runnable, bound to this one */
    struct zk_rand rand;
    void *io; /* the backend's instance */
    struct zk_stack_cache stacks;
    struct zk_annotation annotation;
    uint64_t native_fpenv;
    struct zk_exception_state native_exceptions; /* of who called zk_run() */
    void *signal_stack;
    struct zk_annotation exit_annotation; /* of the task that ended */

    /* -- owner writes, others read --------------------------------------------- */
    ZK_ALIGNED(128) _Atomic uint64_t run_seq; /* odd: in a task's code */
    _Atomic uint64_t n_started, n_finished, n_switches, n_parks, n_steals;
    _Atomic uint64_t n_sleeps, n_wakes, n_submitted, n_immediate, n_timers;
    _Atomic uint32_t yield_asked; /* monitor writes: the task runs long */
    _Atomic uint32_t adopt;       /* monitor writes; spare clears */

    /* -- shared ------------------------------------------------------------------ */
    struct zk_runq runq;
    ZK_ALIGNED(128) struct zk_task *_Atomic inbox; /* messages, newest first */
    struct zk_task *_Atomic mail; /* pinned tasks made ready elsewhere */
    _Atomic uint32_t sleep;       /* enum zk_sleep_state */
    _Atomic uint32_t wakers;      /* threads that are waking it just now */
    _Atomic uint32_t stuck;       /* monitor: has been adopted, not back yet */
    struct zk_worker *_Atomic adopt_from; /* monitor sets, spare takes */
    zk_thread_t thread;
    uint8_t has_thread, start_failed; /* who starts and stops workers */
    _Atomic uint32_t opened;          /* futex: 1 open tried, 2 closed */
    _Atomic int32_t open_result;
    _Atomic uint32_t kernel_id; /* 0: no thread */
};

/*
 * The region protocol with the monitor. A worker's own structures (LIFO slot,
 * claim window, timers, ring tail) are touched only between enter and leave.
 * run_seq is odd outside: a task's code runs. The monitor may hand them to a
 * spare worker only while it sees the same odd value before and after it set
 * `adopt` and made every thread execute a barrier; so an enter either was seen,
 * or sees `adopt` and waits until the spare is done.
 */
void zk__worker_adopted(struct zk_worker *w);

ZK_INLINE void zk__worker_enter(struct zk_worker *w)
{
    uint64_t seq = zk_atomic_load(&w->run_seq, relaxed);

    zk_atomic_store(&w->run_seq, seq + 1, relaxed);
    zk_atomic_signal_fence();
    if (zk_unlikely(zk_atomic_load(&w->adopt, acquire) != 0))
        zk__worker_adopted(w);
}

ZK_INLINE void zk__worker_leave(struct zk_worker *w)
{
    uint64_t seq = zk_atomic_load(&w->run_seq, relaxed);

    zk_atomic_store(&w->run_seq, seq + 1, release);
}

ZK_INLINE bool zk__worker_inside(const struct zk_worker *w)
{
    return (zk_atomic_load(&w->run_seq, relaxed) & 1) == 0;
}

/* ---- worker.c ---------------------------------------------------------- */

/* Fill in what init needs on any thread; 0 or -ENOMEM. */
int zk__worker_init(struct zk_worker *w, struct zk_scheduler *s,
                    unsigned index);
void zk__worker_fini(struct zk_worker *w);
/* A thread of its own for `w`, which then runs the loop. */
int zk__worker_start(struct zk_worker *w);
/* On the worker's own thread: before and after zk__worker_run(). */
int zk__worker_open(struct zk_worker *w);
void zk__worker_close(struct zk_worker *w);
/* The cached task blocks go back to the slab. */
void zk__worker_give_blocks(struct zk_worker *w);

/* The loop on the worker's native stack, until the scheduler stops. */
void zk__worker_run(struct zk_worker *w);

/* Owner, inside a region. The next task of this worker, or NULL: then the
 * native stack must look further. */
struct zk_task *zk__worker_pick(struct zk_worker *w);

/* Owner, inside a region: into the LIFO slot; what was there, into the ring. */
void zk__worker_push_lifo(struct zk_worker *w, struct zk_task *task);
/* Owner, inside a region: to the end of the ring. */
void zk__worker_push(struct zk_worker *w, struct zk_task *task);

/* Owner, inside a region: a task that gave way. */
void zk__worker_push_yielded(struct zk_worker *w, struct zk_task *task);
void zk__worker_push_pinned(struct zk_worker *w, struct zk_task *task);
/* Any thread: a READY task that is bound to `w`. */
void zk__worker_mail(struct zk_worker *w, struct zk_task *task);

/* ---- park.c --------------------------------------------------------------- */

/* Leave the native stack for `task`; back when some task gives it up. */
void zk__dispatch_native(struct zk_worker *w, struct zk_task *task);
/* The landing side of every switch. */
void zk__finish_switch(struct zk_worker *w, struct zk_task *prev);
/* The floating point environment of workers again, after a task's own. */
void zk__worker_reset_fpenv(struct zk_worker *w);
/* Leave a finished task's stack for ever. */
ZK_NORETURN void zk__exit_switch(struct zk_worker *w, struct zk_stack *stack);

/* ---- task.c ----------------------------------------------------------------- */

/* First function on a task's stack. */
void zk__task_entry(void *prev);
/* Under no lock: give the block back. `w` NULL: a plain thread. */
void zk__task_recycle(struct zk_worker *w, struct zk_task *task);
int zk__task_slab_init(void);
struct zk_slab *zk__task_slab(void);
/* At exit of a task: did it end a drain? */
void zk__drain_check(struct zk_scheduler *s);

/* ---- message.c ---------------------------------------------------------------- */

enum zk_task_message {
    ZK_MESSAGE_QUEUED = 1u << 0,
    ZK_MESSAGE_CANCEL = 1u << 1, /* look whether the wait must end */
    ZK_MESSAGE_TIMER0 = 1u << 2, /* look at timer 0 again */
    ZK_MESSAGE_TIMER1 = 1u << 3,
};

/* `task->life` is locked. */
void zk__message_send(struct zk_task *task, uint32_t bits);
/* `task->life` is locked and task->cancel set: end its wait if that can be done
 * from here, else ask its worker. True: it is READY, and the caller's to pass to
 * zk__ready() without the lock. */
bool zk__message_cancel(struct zk_task *task);
/* The running task's own worker, before a park that will ask for its timer. */
ZK_INLINE void zk__message_hold(struct zk_task *task)
{
    zk_atomic_add(&task->holds, 1, relaxed);
}
/* `task->life` is locked. May the block not be used again yet? */
ZK_INLINE bool zk__message_held(const struct zk_task *task)
{
    return zk_atomic_load(&task->holds, relaxed) != 0;
}
/* After that park: ask, and let go of the hold. */
void zk__message_ask_timer(struct zk_worker *w, struct zk_task *task);
/* Native stack of `w`: handle what is in the inbox of `owner` (itself, or a
 * worker whose queue it adopts). */
void zk__message_drain(struct zk_worker *w, struct zk_worker *owner);
/* End the wait of `task`, parked on `w`, if it is cancelled or overdue. False:
 * it is another worker's. */
bool zk__message_end_wait(struct zk_worker *w, struct zk_task *task);

/* ---- timeout.c ----------------------------------------------------------------- */

void zk__timeout_arm(struct zk_worker *w, struct zk_task *task,
                     zk_time_t deadline);
ZK_INLINE bool zk__timeout_linked(const struct zk_task *task)
{
    return (task->flags & ZK_TASKF_TIMED) != 0 &&
           (zk_atomic_load(&task->timer[0].home, relaxed) != NULL ||
            zk_atomic_load(&task->timer[1].home, relaxed) != NULL);
}
/* Native stack: hand out what is due. */
void zk__timeout_expire(struct zk_worker *w, zk_time_t now);
/* Owner of the timer's home: unlink, move or leave it. */
void zk__timeout_revisit(struct zk_worker *w, struct zk_task *task, int which);
/* Owner of both homes: all timers of `from` into `to`. */
void zk__timeout_merge(struct zk_timer_home *to, struct zk_timer_home *from);
/* The same where the timer has no home: any worker. */
void zk__timeout_relink(struct zk_worker *w, struct zk_task *task, int which);
/* At exit, `life` locked: unlink own timers, ask for the others. */
void zk__timeout_leave(struct zk_worker *w, struct zk_task *task);

/* ---- inject.c -------------------------------------------------------------------- */

void zk__inject_push(struct zk_scheduler *s, struct zk_task *first,
                     struct zk_task *last, uint32_t n);
/* At most half a ring and one. */
void zk__inject_push_array(struct zk_scheduler *s, struct zk_task **tasks,
                           uint32_t n);
void zk__inject_fini(struct zk_scheduler *s);
/* Move a fair share to `w`; how many. */
unsigned zk__inject_take(struct zk_worker *w);

/* ---- idle.c ------------------------------------------------------------------------- */

void zk__idle_announce(struct zk_scheduler *s);
bool zk__idle_try_search(struct zk_worker *w);
void zk__idle_stop_search(struct zk_worker *w);
void zk__idle_sleep(struct zk_worker *w);
/* Owner, after its last sleep: returns when nobody uses its reactor. */
void zk__idle_leave(struct zk_worker *w);
/* Any thread: `w` must look at its inbox, mail or at the scheduler. */
void zk__idle_poke(struct zk_worker *w);

/* ---- monitor.c ------------------------------------------------------------------------ */

int zk__monitor_start(struct zk_scheduler *s);
void zk__monitor_stop(struct zk_scheduler *s);
/* A worker goes to sleep, or has woken: the monitor sleeps with the last. */
void zk__monitor_rest(struct zk_scheduler *s);
void zk__monitor_alert(struct zk_scheduler *s);
/* Native stack: take over from a stuck worker, if told to. */
void zk__worker_adopt(struct zk_worker *w);
/* Does this spare worker still stand in for a stuck one? */
bool zk__spare_serves(struct zk_worker *w);

#endif
