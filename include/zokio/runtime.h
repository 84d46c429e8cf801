/* SPDX-License-Identifier: MIT */
/*
 * runtime.h - the threads, reactors and limits that tasks live in.
 */
#ifndef ZOKIO_RUNTIME_H
#define ZOKIO_RUNTIME_H

#include <zokio/base.h>
#include <zokio/task.h>

typedef struct zk_runtime zk_runtime_t;

enum zk_log_level {
    ZK_LOG_ERROR = 0,
    ZK_LOG_WARNING = 1,
    ZK_LOG_INFO = 2,
};

/** Receives one line without its newline. Never called on a task's stack. */
typedef void (*zk_log_fn)(enum zk_log_level level, const char *text, void *ctx);

/** zk_config_t.flags */
enum zk_config_flags {
    /** When the main function returns, wait for all tasks; do not cancel. */
    ZK_WAIT_ALL = 1u << 0,
    /** Bind worker n to the n-th processor of the process's affinity mask. */
    ZK_PIN_WORKERS = 1u << 1,
    /** Leave SIGSEGV alone: no report when a task overflows its stack. */
    ZK_NO_OVERFLOW_REPORT = 1u << 2,
    /** Ignore the ZK_* environment. */
    ZK_NO_ENVIRONMENT = 1u << 3,
};

/**
 * Configuration. All zero is the default for everything. A field left 0 is
 * filled from the environment, unless the process runs with raised privileges.
 */
typedef struct zk_config {
    /** Worker threads. 0: as many as the affinity mask and the cgroup's quota
     * allow. At most 64. ZK_WORKERS. */
    uint32_t workers;
    uint32_t flags; /**< enum zk_config_flags */
    /** "io_uring" or "epoll"; NULL: the best that works. ZK_BACKEND. */
    const char *backend;
    /** enum zk_stack_class of tasks that name none. ZK_STACK_SIZE, as 64K,
     * 256K, 1M or 8M. */
    uint32_t stack_class;
    /** Most threads for zk_blocking(). 0: 64. ZK_BLOCKING_THREADS. */
    uint32_t blocking_threads;
    /** Most live tasks; more give -EAGAIN. 0: no limit. ZK_MAX_TASKS. */
    uint64_t max_tasks;
    /** Bound on a shutdown, nanoseconds. 0: 5 s. */
    zk_time_t shutdown_ns;
    /** Entries of the submission and completion rings. 0: 256 and 4096. The
     * kernel rounds up. ZK_SQ_ENTRIES, ZK_CQ_ENTRIES. */
    uint32_t sq_entries;
    uint32_t cq_entries;
    /** Seed of every choice made at random. 0: from the system. */
    uint64_t seed;
    /** Spin this long for work before a worker sleeps, nanoseconds. 0: none.
     * ZK_SPIN_US sets it in microseconds. */
    zk_time_t spin_ns;
    zk_log_fn log; /**< NULL: standard error */
    void *log_ctx;
    uint64_t reserved[8]; /**< must be zero */
} zk_config_t;

/** Life of a runtime; only ever grows. */
enum zk_runtime_state {
    ZK_RUNTIME_INITIALIZING = 0,
    ZK_RUNTIME_RUNNING = 1,
    ZK_RUNTIME_SHUTTING_DOWN = 2,
    ZK_RUNTIME_STOPPED = 3,
};

ZK_BEGIN_DECLS

/**
 * Check a configuration, with the environment that would fill it.
 *
 * @param cfg      NULL is all defaults.
 * @param message  receives what is wrong and which field or variable it names;
 *                 empty if nothing. May be NULL.
 * @param size     bytes at `message`.
 *
 * @retval 0        usable.
 * @retval -EINVAL  not; `message` says why.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_config_validate(const zk_config_t *cfg, char *message,
                              size_t size);

/**
 * Run a program: start a runtime, run `fn` as its first task, shut down.
 *
 * The calling thread is worker 0 until the call returns. When `fn` returns the
 * remaining tasks are cancelled and awaited for shutdown_ns; with ZK_WAIT_ALL
 * they are awaited without a bound and not cancelled.
 *
 * @param cfg  borrowed for the call; NULL is all defaults.
 * @param fn   the main task. Its stack is of the 1 MiB class.
 * @param arg  passed to `fn`.
 *
 * @retval value       of `fn`.
 * @retval -EINVAL     bad configuration; the log names the field.
 * @retval -ENOMEM     no memory.
 * @retval -EAGAIN     a thread could not be started.
 * @retval -EMFILE     no descriptors for the reactors.
 * @retval -EDEADLK    called from a task.
 * @retval -ETIMEDOUT  tasks survived the shutdown; the log names them and what
 *                     they hold is leaked.
 *
 * @context  plain thread only; blocks it.
 * @threads  any; each call makes a runtime of its own.
 * @memory   allocates; all is freed on return, but for the case -ETIMEDOUT
 *           and the slabs of task blocks, which are kept for the next.
 * @since    0.1
 */
ZK_API int zk_run(const zk_config_t *cfg, int (*fn)(void *), void *arg);

/**
 * Make a runtime that is driven from outside. Its threads start with
 * zk_runtime_start().
 *
 * @param out  receives the runtime; untouched on failure.
 * @param cfg  copied; NULL is all defaults.
 *
 * @retval 0        made.
 * @retval -EINVAL  bad configuration; the log names the field.
 * @retval -ENOMEM  no memory.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   allocates; freed by zk_runtime_destroy().
 * @since    0.1
 */
ZK_API ZK_MUST_CHECK int zk_runtime_create(zk_runtime_t **out,
                                           const zk_config_t *cfg);

/**
 * Start the worker threads.
 *
 * @retval 0        running.
 * @retval -EALREADY  started before.
 * @retval -EAGAIN  a thread could not be started; nothing is left running.
 * @retval -EMFILE  no descriptors for the reactors.
 * @retval -ENOMEM  no memory.
 *
 * @context  plain thread only.
 * @threads  one at a time for one runtime.
 * @memory   allocates.
 * @since    0.1
 */
ZK_API ZK_MUST_CHECK int zk_runtime_start(zk_runtime_t *rt);

/**
 * Start a task of `rt` from anywhere. As zk_spawn() otherwise.
 *
 * @retval 0           started.
 * @retval -ENOMEM     no memory for the task or its stack.
 * @retval -EAGAIN     over max_tasks of the configuration.
 * @retval -ESHUTDOWN  not running (any more).
 * @retval -EINVAL     a bad option, a reserved field not zero, or fn is NULL.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   may grow the slabs of task blocks and stacks.
 * @since    0.1
 */
ZK_API ZK_MUST_CHECK int zk_runtime_spawn(zk_runtime_t *rt, zk_task_t *out,
                                          const zk_spawn_opts_t *opts,
                                          int (*fn)(void *), void *arg);

/**
 * Run `fn` as a task of `rt` and block the calling thread until it returns.
 *
 * @retval value       of `fn`.
 * @retval -ENOMEM     no memory for the task or its stack.
 * @retval -EAGAIN     over max_tasks of the configuration.
 * @retval -ESHUTDOWN  not running (any more).
 * @retval -EDEADLK    called from a task.
 *
 * @context  plain thread only; blocks it.
 * @threads  any.
 * @memory   may grow the slabs of task blocks and stacks.
 * @since    0.1
 */
ZK_API int zk_runtime_block_on(zk_runtime_t *rt, int (*fn)(void *), void *arg);

/**
 * Shut down in phases: no new work (accept and dial give -ESHUTDOWN and
 * zk_shutdown_wait() returns), then until `grace` passes the tasks may end by
 * themselves, then they are cancelled and awaited for shutdown_ns.
 *
 * @param grace  absolute; in the past: cancels at once.
 *
 * @retval 0           all tasks have ended.
 * @retval -ETIMEDOUT  some survived; the log names them.
 * @retval -EALREADY   it was shut down before.
 * @retval -EPERM      called from a task of any runtime.
 *
 * @context  plain thread only; blocks it.
 * @threads  one at a time for one runtime.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_runtime_shutdown(zk_runtime_t *rt, zk_time_t grace);

/**
 * Free a runtime; shuts it down first if need be.
 *
 * @param rt  NULL is allowed.
 *
 * @retval 0           freed.
 * @retval -ETIMEDOUT  tasks survived; the runtime is leaked with them.
 * @retval -EPERM      called from a task.
 *
 * @context  plain thread only; blocks it.
 * @threads  nobody else may use `rt`.
 * @memory   frees.
 * @since    0.1
 */
ZK_API int zk_runtime_destroy(zk_runtime_t *rt);

/**
 * Where a runtime is in its life.
 *
 * @retval state  a snapshot.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API enum zk_runtime_state zk_runtime_state(const zk_runtime_t *rt);

/**
 * The runtime of the calling task.
 *
 * @retval runtime  NULL when not called from a task.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API zk_runtime_t *zk_runtime_current(void);

/**
 * Begin the shutdown of the calling task's runtime and return at once: accept
 * and dial give -ESHUTDOWN from now on and zk_shutdown_wait() returns.
 *
 * @retval 0       begun, now or before.
 * @retval -EPERM  not called from a task.
 *
 * @context  task only; never switches.
 * @threads  -
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_shutdown_begin(void);

/**
 * Wait until a shutdown of the calling task's runtime begins.
 *
 * @param deadline  absolute. In the past: asks only.
 *
 * @retval 0           it has begun.
 * @retval -ETIMEDOUT  it has not.
 * @retval -ECANCELED  the task was cancelled.
 * @retval -EPERM      not called from a task.
 *
 * @context  task only; may switch.
 * @threads  -
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_shutdown_wait(zk_time_t deadline);

ZK_END_DECLS

#endif
