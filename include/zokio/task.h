/* SPDX-License-Identifier: MIT */
/*
 * task.h - green threads: start, join, cancel, yield.
 *
 * A task is a function with a stack of its own that runs on one of the worker
 * threads of a runtime. It may move to another worker whenever it is
 * suspended, so the address of a thread-local (errno among them) must not be
 * kept over a call that may switch.
 */
#ifndef ZOKIO_TASK_H
#define ZOKIO_TASK_H

#include <zokio/base.h>

/**
 * A handle on a task: a plain value, copyable, valid on any thread. When the
 * task is gone the handle is stale and calls on it return -ESRCH.
 */
typedef struct zk_task_handle {
    void *private_block;
    uint64_t private_id;
} zk_task_t;

/** Stack sizes. The usable part is the size less the guard. */
enum zk_stack_class {
    ZK_STACK_DEFAULT = 0, /**< what the configuration says */
    ZK_STACK_64K = 1,     /**< 16 KiB of it guard: for density */
    ZK_STACK_256K = 2,    /**< 64 KiB of it guard: the default's default */
    ZK_STACK_1M = 3,      /**< 64 KiB of it guard */
    ZK_STACK_8M = 4,      /**< 64 KiB of it guard: for code made for pthreads */
};

/** Order among runnable tasks. Recorded; today all are served alike. */
enum zk_priority {
    ZK_PRIORITY_NORMAL = 0,
    ZK_PRIORITY_HIGH = 1,
    ZK_PRIORITY_BACKGROUND = 2,
};

/** zk_spawn_opts_t.flags */
enum zk_spawn_flags {
    /** The task has its own floating point control words; without it they
     * belong to the worker. */
    ZK_TASK_FPENV = 1u << 0,
    /** Nobody will join; `out` may be NULL. */
    ZK_TASK_DETACHED = 1u << 1,
};

/** The value of zk_spawn_opts_t.pin that keeps a task on worker `index`. */
#define ZK_PIN(index) ((uint32_t)(index) + 1u)

/** How to start a task. All zero is the default. */
typedef struct zk_spawn_opts {
    const char *name;     /**< static string, or NULL */
    uint32_t stack_class; /**< enum zk_stack_class */
    uint32_t pin;         /**< ZK_PIN(index), or 0: any worker */
    uint32_t priority;    /**< enum zk_priority */
    uint32_t flags;       /**< enum zk_spawn_flags */
    uint64_t reserved[8]; /**< must be zero */
} zk_spawn_opts_t;

/** Why a task was cancelled. */
enum zk_cancel_reason {
    ZK_CANCEL_NONE = 0,     /**< it was not */
    ZK_CANCEL_USER = 1,     /**< zk_cancel() */
    ZK_CANCEL_TIMEOUT = 2,  /**< the deadline of a scope or runtime passed */
    ZK_CANCEL_SIBLING = 3,  /**< another task of its scope failed */
    ZK_CANCEL_SHUTDOWN = 4, /**< the runtime goes down */
};

ZK_BEGIN_DECLS

/**
 * Start a task that nobody joins.
 *
 * The new task is put before older runnable ones of this worker and starts
 * when the caller next waits. It belongs to the runtime's root scope: a
 * shutdown cancels it and waits for it.
 *
 * @param fn   runs on a stack of its own; returning ends the task.
 * @param arg  passed to `fn`, which owns it if the call succeeded.
 *
 * @retval 0           started.
 * @retval -ENOMEM     no memory for the task or its stack. Nothing started.
 * @retval -EAGAIN     over max_tasks of the configuration.
 * @retval -ESHUTDOWN  the runtime is past the point of accepting tasks.
 * @retval -EINVAL     fn is NULL.
 * @retval -EPERM      not called from a task: see zk_runtime_spawn().
 *
 * @context  task only; never switches.
 * @threads  -
 * @memory   may grow the slabs of task blocks and stacks.
 * @since    0.1
 */
ZK_API ZK_MUST_CHECK int zk_go(void (*fn)(void *), void *arg);

/**
 * Start a task with options, and get a handle for zk_join() or zk_detach().
 *
 * @param out   receives the handle; untouched on failure. NULL is allowed only
 *              with ZK_TASK_DETACHED.
 * @param opts  borrowed for the call; NULL is all defaults.
 * @param fn    its value (0 or -errno by convention) is the result of the task.
 * @param arg   passed to `fn`, which owns it if the call succeeded.
 *
 * @retval 0           started. Exactly one zk_join() or zk_detach() must follow.
 * @retval -ENOMEM     no memory for the task or its stack.
 * @retval -EAGAIN     over max_tasks of the configuration.
 * @retval -ESHUTDOWN  the runtime is past the point of accepting tasks.
 * @retval -EINVAL     a bad option, a reserved field not zero, or fn is NULL.
 * @retval -EPERM      not called from a task: see zk_runtime_spawn().
 *
 * @context  task only; never switches.
 * @threads  -
 * @memory   may grow the slabs of task blocks and stacks.
 * @since    0.1
 */
ZK_API ZK_MUST_CHECK int zk_spawn(zk_task_t *out, const zk_spawn_opts_t *opts,
                                  int (*fn)(void *), void *arg);

/**
 * Wait for a task to end and take its result. The handle is stale afterwards.
 *
 * @param task      from zk_spawn(); not joined or detached yet.
 * @param result    receives the value of its function; may be NULL; untouched
 *                  on failure.
 * @param deadline  absolute. In the past: asks only.
 *
 * @retval 0           joined.
 * @retval -ETIMEDOUT  still running; the handle stays valid.
 * @retval -ECANCELED  the caller was cancelled; `task` is left alone and the
 *                     handle stays valid.
 * @retval -EDEADLK    a task cannot join itself.
 * @retval -EINVAL     somebody else is joining it.
 * @retval -ESRCH      stale handle.
 *
 * @context  task or plain thread; may switch, or block the plain thread.
 * @threads  any; one joiner.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API ZK_MUST_CHECK int zk_join(zk_task_t task, int *result,
                                 zk_time_t deadline);

/**
 * Give up the right to join. The handle is stale once the task has ended.
 *
 * @param task  from zk_spawn(); not joined or detached yet.
 *
 * @retval 0        detached.
 * @retval -EINVAL  somebody is joining it, or it is detached already.
 * @retval -ESRCH   stale handle.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_detach(zk_task_t task);

/**
 * Ask a task to end. Its present or next cancellable wait returns -ECANCELED,
 * and every later one, until it ends: the request is sticky. An operation that
 * succeeded all the same returns its success first.
 *
 * @param task  any task; its own handle is allowed.
 *
 * @retval 0       asked, or had been asked before.
 * @retval -ESRCH  stale handle.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_cancel(zk_task_t task);

/**
 * Was the calling task cancelled? Ignores shields.
 *
 * @retval 1  yes.
 * @retval 0  no, or not called from a task.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_cancelled(void);

/**
 * Why the calling task was cancelled, and by whom.
 *
 * @param who  receives the id of the task that asked, 0 for a plain thread or
 *             the runtime; may be NULL; untouched if not cancelled.
 *
 * @retval reason  ZK_CANCEL_NONE if it was not, or not called from a task.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API enum zk_cancel_reason zk_cancel_reason(uint64_t *who);

/**
 * Begin a stretch in which the calling task's waits ignore its cancellation.
 * Counted; for clean-up that itself must wait.
 *
 * @retval none
 *
 * @context  task; elsewhere without effect; never switches.
 * @threads  -
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API void zk_shield_begin(void);

/**
 * End what the matching zk_shield_begin() began.
 *
 * @retval none
 *
 * @context  task; elsewhere without effect; never switches.
 * @threads  -
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API void zk_shield_end(void);

/**
 * Let other runnable tasks of this worker go first.
 *
 * @retval 0           ran again.
 * @retval -ECANCELED  the task is cancelled; it did not wait.
 * @retval -EPERM      not called from a task.
 *
 * @context  task only; may switch.
 * @threads  -
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API ZK_SWITCHES int zk_yield(void);

/**
 * For long computations: a yield once the task has run longer than its share
 * (about 10 ms), and otherwise one load.
 *
 * @retval 0           no need, or ran again.
 * @retval -ECANCELED  the task is cancelled.
 * @retval -EPERM      not called from a task.
 *
 * @context  task only; may switch.
 * @threads  -
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API ZK_SWITCHES int zk_yield_if_needed(void);

/**
 * The calling task.
 *
 * @retval handle  private_block is NULL when not called from a task.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API zk_task_t zk_self(void);

/**
 * The number of a task: unique in the process, never used again.
 *
 * @param task  any handle, also a stale one.
 *
 * @retval id  0 for the empty handle.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API uint64_t zk_task_id(zk_task_t task);

/**
 * The index of the worker that runs the calling task now.
 *
 * @retval index   0 and up; it may be another after any call that may switch.
 * @retval -EPERM  not called from a task.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_worker_index(void);

/**
 * Name the calling task in reports.
 *
 * @param name  the first 15 bytes are copied; NULL removes the name.
 *
 * @retval 0       named.
 * @retval -EPERM  not called from a task.
 *
 * @context  task only; never switches.
 * @threads  -
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_set_name(const char *name);

/**
 * Run a function that blocks its thread on a pool of threads made for that.
 *
 * @param fn        runs on a pool thread with a big stack; may not call zokio.
 * @param arg       passed to `fn`; it may point into the caller's stack, since
 *                  the call returns only after `fn` did, or was never started.
 * @param deadline  absolute; limits the time in the queue. In the past: runs
 *                  only if a thread is free. A function that has started is
 *                  awaited.
 *
 * @retval value       of `fn`.
 * @retval -ETIMEDOUT  no thread was free before the deadline; `fn` did not run.
 * @retval -ECANCELED  cancelled while queued; `fn` did not run.
 * @retval -EAGAIN     no pool thread could be started and none is there.
 * @retval -EINVAL     fn is NULL.
 * @retval -EPERM      not called from a task.
 *
 * @context  task only; may switch.
 * @threads  -
 * @memory   may start a thread.
 * @since    0.1
 */
ZK_API int zk_blocking(int (*fn)(void *), void *arg, zk_time_t deadline);

ZK_END_DECLS

#endif
