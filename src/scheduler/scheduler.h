/* SPDX-License-Identifier: MIT */
/*
 * scheduler.h - what the rest of zokio asks of the scheduler.
 *
 * The scheduler sleeps in a reactor without knowing it: runtime connects the
 * two through struct zk_driver.
 */
#ifndef ZK_SCHEDULER_SCHEDULER_H
#define ZK_SCHEDULER_SCHEDULER_H

#include "scheduler/task.h"
#include "scheduler/waitq.h"
#include "zokio/runtime.h"

struct zk_worker;

/*
 * Publishes a park, on the landing side of the switch: from here on `task` may
 * be woken. False: it need not wait after all, and becomes runnable at once.
 */
typedef bool (*zk_commit_fn)(struct zk_task *task, void *arg);

/* The reactor, as the scheduler sees it. */
struct zk_driver {
    /* On the worker's thread, before its first task. 0 or -errno. */
    int (*init)(struct zk_worker *w);
    /* On the worker's thread, after its last task. */
    void (*fini)(struct zk_worker *w);
    /* Owner, native stack. Complete what is complete; wait for more until
     * `deadline` (0: do not wait). Makes tasks ready by zk__ready_op(). */
    void (*poll)(struct zk_worker *w, zk_time_t deadline);
    /* Owner. Is there anything to reap? No system call. */
    bool (*pending)(struct zk_worker *w);
    /* Owner, busy since a while. Is it time to poll without waiting? */
    bool (*due)(struct zk_worker *w, zk_time_t now);
    /* Any thread and signal handlers. Ends the present or next poll. */
    void (*wake)(struct zk_worker *w);
    /* Owner, native stack. Ask for an end of the operation `task` waits for;
     * its completion comes through poll, or from here. */
    void (*cancel)(struct zk_worker *w, struct zk_task *task);
};

struct zk_scheduler {
    const struct zk_driver *driver;
    const void *driver_setup;   /* io's */
    zk_time_t (*clock)(void *); /* NULL: the system's */
    void *clock_arg;
    bool sim;       /* one worker, seeded order */
    uint32_t flags; /* enum zk_config_flags */
    uint32_t stack_class;
    uint32_t blocking_max;
    uint64_t max_tasks;
    zk_time_t spin_ns;
    uint64_t seed;
    uint64_t trace_hash; /* sim: of all dispatches so far */
    uint64_t first_id;   /* of the main task */
    /* Native stack of the worker where the main task ended. */
    void (*main_ended)(struct zk_scheduler *s);
    void (*log)(struct zk_scheduler *s, enum zk_log_level level,
                const char *text);

    uint32_t n_workers;        /* regular ones */
    uint32_t n_slots;          /* regular and spare */
    struct zk_worker *workers; /* n_slots */

    /* idle.c */
    ZK_ALIGNED(128) _Atomic uint64_t idle_mask;
    _Atomic uint32_t searching;
    /* inject.c */
    ZK_ALIGNED(128) struct zk_waitq inject_lock;
    struct zk_task *inject_head, *inject_tail;
    struct zk_inject_batch *batch_head, *batch_tail, *batch_free;
    _Atomic uint32_t inject_len;

    /* life */
    ZK_ALIGNED(128) _Atomic uint64_t n_live_limited; /* with max_tasks only */
    _Atomic uint64_t n_foreign_started;
    _Atomic uint32_t n_awake;         /* regular workers not asleep */
    _Atomic uint32_t phase;           /* enum zk_runtime_state */
    _Atomic uint32_t refuse;          /* no new tasks */
    _Atomic uint32_t draining;        /* look for the last task's end */
    _Atomic uint32_t drained;         /* futex: no task is left */
    _Atomic uint32_t stop;            /* workers leave their loops */
    _Atomic int64_t stop_at;          /* worker 0 gives up waiting then */
    struct zk_waitq shutdown_waiters; /* zk_shutdown_wait */
    int main_result;
    /* monitor.c */
    zk_thread_t monitor;
    _Atomic uint32_t monitor_word;  /* futex: it rests */
    _Atomic uint32_t monitor_pulse; /* futex: 1 ends it */
    bool monitor_up;
    _Atomic uint64_t n_adoptions;
    _Atomic uint32_t n_spares;
    /* offload.c */
    struct zk_offload *offload;
};

/* ---- current.c: stale after anything that may switch ------------------- */

struct zk_worker *zk__worker_current(void);
void zk__worker_set_current(struct zk_worker *w);
struct zk_task *zk__task_current(void);
struct zk_scheduler *zk__scheduler_of(const struct zk_worker *w);
void **zk__worker_io(struct zk_worker *w);
unsigned zk__worker_number(const struct zk_worker *w);

/* ---- life of a scheduler (scheduler.c) ------------------------------------ */

/* The caller has filled the configuration fields. */
int zk__scheduler_init(struct zk_scheduler *s);
void zk__scheduler_fini(struct zk_scheduler *s);
/* Start the threads of workers from..n_workers-1 and the monitor. */
int zk__scheduler_start(struct zk_scheduler *s, unsigned from);
struct zk_spawn;
/* The calling thread is worker 0, with `main_task` as the first task, until the
 * scheduler stops. */
int zk__scheduler_run(struct zk_scheduler *s, const struct zk_spawn *main_task);
/* Native stack: the workers leave their loops now, whoever still lives. */
void zk__scheduler_halt(struct zk_scheduler *s);
/* Worker 0 leaves its loop then, whoever still lives. */
void zk__scheduler_give_up_at(struct zk_scheduler *s, zk_time_t deadline);
struct zk_stats;
/* Fill what the scheduler counts. */
void zk__scheduler_stats(const struct zk_scheduler *s, struct zk_stats *out);
/* Make the workers leave and join their threads; -ETIMEDOUT if a worker is
 * still in a task: then everything is leaked. */
int zk__scheduler_stop(struct zk_scheduler *s, zk_time_t deadline);
/* Any context. New work is refused from now on; zk_shutdown_wait() returns. */
void zk__scheduler_close(struct zk_scheduler *s);
/* Not on a task. Cancel every task of `s`. */
void zk__scheduler_cancel_all(struct zk_scheduler *s);
/* Not on a task. Wait for the last task to end: 0 or -ETIMEDOUT. */
int zk__scheduler_drain(struct zk_scheduler *s, zk_time_t deadline);
void zk__scheduler_begin_drain(struct zk_scheduler *s);
/* Log one line for each task that lives; how many. */
unsigned zk__scheduler_survivors(struct zk_scheduler *s);
/* Tasks that live; exact when it is 0. */
uint64_t zk__scheduler_live(struct zk_scheduler *s);
zk_time_t zk__scheduler_now(struct zk_scheduler *s);
void zk__scheduler_log(struct zk_scheduler *s, enum zk_log_level level,
                       const char *format, ...) ZK_PRINTF(3, 4);

/* ---- tasks (task.c) ---------------------------------------------------------- */

struct zk_spawn {
    union {
        void (*plain)(void *);
        int (*with_result)(void *);
    } entry;
    void *arg;
    const zk_spawn_opts_t *opts; /* NULL: defaults */
    const void *site;
    uint8_t flags; /* enum zk_task_flags */
    bool joinable;
};

/* From any context. `w` is the calling worker inside no region, or NULL. */
int zk__task_spawn(struct zk_scheduler *s, struct zk_worker *w,
                   const struct zk_spawn *how, zk_task_t *out);
int zk__task_cancel(zk_task_t handle, enum zk_cancel_reason reason);

/* ---- parking (park.c) ----------------------------------------------------------- */

/*
 * Suspend the calling task. Every wait of every kind comes through here.
 * `kind` says who may wake it (task.h T3, T4); `deadline` is armed;
 * `commit` publishes the wait once the registers are saved (NULL: it is
 * published already, and only this worker can wake it). Returns the waker's
 * result, or -ETIMEDOUT or -ECANCELED for ZK_WAIT_QUEUE.
 */
int zk__park(struct zk_task *self, enum zk_wait_kind kind,
             enum zk_wait_reason reason, void *object, zk_time_t deadline,
             zk_commit_fn commit, void *arg);

/* A call that did not wait: after 128 of them the task yields. */
void zk__budget_charge(struct zk_task *self);

/* Win the wake of a task seen PARKED with `state` (T3); it is then READY and
 * the caller's to pass to zk__ready(). */
bool zk__wake_claim(struct zk_task *task, uint64_t state, int result);

/* Any thread. A READY task into a queue; wakes a worker if one sleeps. */
void zk__ready(struct zk_task *task);

/* Owner of the operation, native stack or the task's own worker: the operation
 * of `task` has ended (T4). */
void zk__ready_op(struct zk_worker *w, struct zk_task *task);

/* `task` waits for an operation on another worker, which is to end it if it is
 * overdue or if `op_must_end` of the reactor says so. Any thread. */
void zk__request_cancel(struct zk_task *task);

/* ---- blocking calls (offload.c) --------------------------------------------------- */

int zk__offload_init(struct zk_scheduler *s);
void zk__offload_fini(struct zk_scheduler *s);
uint32_t zk__offload_threads(const struct zk_scheduler *s);
int zk__offload_call(int (*fn)(void *), void *arg, zk_time_t deadline,
                     unsigned flags);

/* Counters of I/O, for io. */
void zk__count_submitted(struct zk_worker *w);
void zk__count_immediate(struct zk_worker *w);

#endif
