/* SPDX-License-Identifier: MIT */
/*
 * runtime.c - building a runtime, running it, taking it down.
 *
 * This is the one place that knows both the scheduler and the reactor. Life:
 *
 *   INITIALIZING --start--> RUNNING --close--> SHUTTING_DOWN --> STOPPED
 *
 * Going down has phases: closed (accept, dial and listen refuse, whoever waits
 * for the shutdown is told), grace, cancelled, bound. Tasks that outlive the
 * bound are named on the log, and everything they might touch is leaked: memory
 * that may still be used is never freed.
 */
#include "runtime/runtime.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "io/io.h"
#include "runtime/overflow.h"
#include "zokio/metrics.h"
#include "zokio/time.h"

/* A worker in a task's code when all must end is given this long. */
#define STOP_BOUND ZK_MS(500)

/* ---- log ------------------------------------------------------------------------ */

static enum zk_log_level level_wanted(void)
{
    const char *text = zk__env("ZK_LOG");

    if (text != NULL && strcmp(text, "info") == 0)
        return ZK_LOG_INFO;
    if (text != NULL && strcmp(text, "error") == 0)
        return ZK_LOG_ERROR;
    return ZK_LOG_WARNING;
}

static void log_line(const zk_config_t *cfg, enum zk_log_level level,
                     const char *text)
{
    char line[600];

    if (cfg->log != NULL) {
        cfg->log(level, text, cfg->log_ctx);
        return;
    }
    if (level > level_wanted())
        return;
    snprintf(line, sizeof(line), "zokio: %s", text);
    zk__stderr_line(line);
}

static struct zk_runtime *runtime_of(struct zk_scheduler *s)
{
    return container_of(s, struct zk_runtime, scheduler);
}

static void scheduler_logs(struct zk_scheduler *s, enum zk_log_level level,
                           const char *text)
{
    log_line(&runtime_of(s)->config, level, text);
}

/* ---- make and free ---------------------------------------------------------------- */

/* Native stack of the worker where the main task of zk_run() ended. */
static void main_ended(struct zk_scheduler *s)
{
    struct zk_runtime *rt = runtime_of(s);

    zk__scheduler_close(s);
    if ((rt->config.flags & ZK_WAIT_ALL) == 0) {
        zk__scheduler_give_up_at(s,
                                 zk__scheduler_now(s) + rt->config.shutdown_ns);
        zk__scheduler_cancel_all(s);
    }
    zk__scheduler_begin_drain(s);
}

static void scheduler_configure(struct zk_runtime *rt,
                                const struct zk_runtime_sim *sim)
{
    struct zk_scheduler *s = &rt->scheduler;
    const zk_config_t *cfg = &rt->config;

    s->driver = &zk__io_driver;
    s->driver_setup = &rt->io;
    s->flags = cfg->flags;
    s->stack_class = cfg->stack_class;
    s->blocking_max = cfg->blocking_threads;
    s->max_tasks = cfg->max_tasks;
    s->spin_ns = cfg->spin_ns;
    s->seed = cfg->seed;
    s->n_workers = cfg->workers;
    s->main_ended = main_ended;
    s->log = scheduler_logs;
    if (sim != NULL) {
        s->sim = true;
        s->clock = sim->clock;
        s->clock_arg = sim->clock_arg;
        s->n_workers = 1;
    }
}

static int choose_backend(struct zk_runtime *rt,
                          const struct zk_runtime_sim *sim)
{
    char text[128];
    int rc = 0;

    rt->io.sq_entries = rt->config.sq_entries;
    rt->io.cq_entries = rt->config.cq_entries;
    rt->io.seed = rt->config.seed;
    if (sim != NULL) {
        rt->io.ops = sim->backend;
        rt->io.sim = sim->world;
        return 0;
    }
    rt->io.ops = zk__io_choose(rt->config.backend, &rc);
    if (rt->io.ops != NULL)
        return 0;
    snprintf(text, sizeof(text), "backend %s does not work here: %s",
             rt->config.backend != NULL ? rt->config.backend : "(any)",
             zk_strerror(rc));
    log_line(&rt->config, ZK_LOG_ERROR, text);
    return rc;
}

static int runtime_make(struct zk_runtime **out, const zk_config_t *cfg,
                        const struct zk_runtime_sim *sim)
{
    struct zk_runtime *rt;
    zk_config_t filled;
    void *memory = NULL;
    char message[256];
    int rc = zk__config_fill(&filled, cfg, message, sizeof(message));

    if (rc < 0) {
        static const zk_config_t no_log;

        log_line(cfg != NULL ? cfg : &no_log, ZK_LOG_ERROR, message);
        return rc;
    }
    rc = zk__vm_map(&memory, sizeof(*rt), 0, 0);
    if (rc < 0)
        return rc;
    zk__heap_hold();
    rt = memory;
    rt->config = filled;
    rc = choose_backend(rt, sim);
    if (rc < 0)
        goto unmap;
    scheduler_configure(rt, sim);
    rc = zk__scheduler_init(&rt->scheduler);
    if (rc < 0)
        goto unmap;
    if ((filled.flags & ZK_NO_OVERFLOW_REPORT) == 0)
        rt->overflow = zk__overflow_install() == 0;
    *out = rt;
    return 0;

unmap:
    zk__heap_release();
    zk__vm_unmap(rt, sizeof(*rt));
    return rc;
}

static void runtime_free(struct zk_runtime *rt)
{
    if (rt->leaked)
        return;
    if (rt->overflow)
        zk__overflow_remove();
    zk__scheduler_fini(&rt->scheduler);
    zk__heap_release();
    zk__vm_unmap(rt, sizeof(*rt));
}

/* ---- zk_run ------------------------------------------------------------------------- */

/* The workers have left; whoever lives now lives for ever. */
static int runtime_finish(struct zk_runtime *rt)
{
    struct zk_scheduler *s = &rt->scheduler;
    int rc = 0;

    if (zk_atomic_load(&s->drained, acquire) == 0) {
        zk__scheduler_survivors(s);
        rt->leaked = true;
        rc = -ETIMEDOUT;
    }
    if (zk__scheduler_stop(s, zk__clock_now() + STOP_BOUND) < 0) {
        rt->leaked = true;
        rc = -ETIMEDOUT;
    }
    zk_atomic_store(&s->phase, ZK_RUNTIME_STOPPED, release);
    return rc;
}

int zk__runtime_run(const zk_config_t *cfg, const struct zk_runtime_sim *sim,
                    int (*fn)(void *), void *arg)
{
    static const zk_spawn_opts_t main_options = {
        .name = "main",
        .stack_class = ZK_STACK_1M,
        .flags = ZK_TASK_DETACHED,
    };
    struct zk_spawn how = {.entry.with_result = fn,
                           .arg = arg,
                           .opts = &main_options,
                           .site = (const void *)(uintptr_t)fn,
                           .flags = ZK_TASKF_RESULT | ZK_TASKF_MAIN};
    struct zk_runtime *rt;
    sigset_t mask;
    int rc, end;

    if (zk__worker_current() != NULL)
        return -EDEADLK;
    if (fn == NULL)
        return -EINVAL;
    rc = runtime_make(&rt, cfg, sim);
    if (rc < 0)
        return rc;
    zk__signal_mask(&mask);
    rt->started = true;
    zk_atomic_store(&rt->scheduler.phase, ZK_RUNTIME_RUNNING, release);
    rc = zk__scheduler_run(&rt->scheduler, &how);
    if (rc == 0) {
        end = runtime_finish(rt);
        rc = rt->scheduler.main_result;
        if (end < 0)
            rc = sim != NULL ? -EDEADLK : end;
    }
    zk__signal_unmask(&mask);
    runtime_free(rt);
    return rc;
}

int zk_run(const zk_config_t *cfg, int (*fn)(void *), void *arg)
{
    return zk__runtime_run(cfg, NULL, fn, arg);
}

/* ---- the explicit form ---------------------------------------------------------------- */

int zk_runtime_create(zk_runtime_t **out, const zk_config_t *cfg)
{
    return runtime_make(out, cfg, NULL);
}

int zk_runtime_start(zk_runtime_t *rt)
{
    int rc;

    if (zk__task_current() != NULL)
        return -EPERM;
    if (rt->started)
        return -EALREADY;
    zk_atomic_store(&rt->scheduler.phase, ZK_RUNTIME_RUNNING, release);
    rc = zk__scheduler_start(&rt->scheduler, 0);
    if (rc < 0) {
        zk_atomic_store(&rt->scheduler.phase, ZK_RUNTIME_INITIALIZING, release);
        zk_atomic_store(&rt->scheduler.stop, 0, release);
    }
    rt->started = rc == 0;
    return rc;
}

int zk_runtime_block_on(zk_runtime_t *rt, int (*fn)(void *), void *arg)
{
    zk_task_t task;
    int result = 0;
    int rc;

    if (zk__task_current() != NULL)
        return -EDEADLK;
    rc = zk_runtime_spawn(rt, &task, NULL, fn, arg);
    if (rc == 0)
        rc = zk_join(task, &result, ZK_FOREVER);
    return rc < 0 ? rc : result;
}

int zk_runtime_shutdown(zk_runtime_t *rt, zk_time_t grace)
{
    struct zk_scheduler *s = &rt->scheduler;
    int rc;

    if (zk__task_current() != NULL)
        return -EPERM;
    if (!rt->started || rt->stopped)
        return -EALREADY;
    rt->stopped = true;
    zk__scheduler_close(s);
    rc = zk__scheduler_drain(s, grace);
    if (rc < 0) {
        zk__scheduler_cancel_all(s);
        rc = zk__scheduler_drain(s, zk__clock_now() + rt->config.shutdown_ns);
    }
    return runtime_finish(rt) < 0 ? -ETIMEDOUT : rc;
}

int zk_runtime_destroy(zk_runtime_t *rt)
{
    if (rt == NULL)
        return 0;
    if (zk__task_current() != NULL)
        return -EPERM;
    if (rt->started && !rt->stopped)
        zk_runtime_shutdown(rt, 0);
    if (rt->leaked)
        return -ETIMEDOUT;
    runtime_free(rt);
    return 0;
}

enum zk_runtime_state zk_runtime_state(const zk_runtime_t *rt)
{
    return (enum zk_runtime_state)zk_atomic_load(&rt->scheduler.phase, acquire);
}

/* ---- from inside ------------------------------------------------------------------------ */

static struct zk_scheduler *scheduler_of_caller(void)
{
    struct zk_task *self = zk__task_current();

    if (self == NULL)
        return NULL;
    return zk__scheduler_of(zk_atomic_load(&self->worker, relaxed));
}

zk_runtime_t *zk_runtime_current(void)
{
    struct zk_scheduler *s = scheduler_of_caller();

    return s != NULL ? runtime_of(s) : NULL;
}

int zk_shutdown_begin(void)
{
    struct zk_scheduler *s = scheduler_of_caller();

    if (s == NULL)
        return -EPERM;
    zk__scheduler_close(s);
    return 0;
}

int zk_shutdown_wait(zk_time_t deadline)
{
    struct zk_scheduler *s = scheduler_of_caller();
    struct zk_task *self = zk__task_current();

    if (s == NULL)
        return -EPERM;
    if (zk_task_cancelled(self))
        return -ECANCELED;
    zk__waitq_lock(&s->shutdown_waiters);
    if (zk_atomic_load(&s->phase, acquire) >= ZK_RUNTIME_SHUTTING_DOWN) {
        zk__waitq_unlock(&s->shutdown_waiters);
        return 0;
    }
    if (deadline != ZK_FOREVER && deadline <= zk_now()) {
        zk__waitq_unlock(&s->shutdown_waiters);
        return -ETIMEDOUT;
    }
    return zk__waitq_wait(&s->shutdown_waiters, ZK_REASON_SHUTDOWN, s, deadline,
                          ZK_WAITQ_CANCELLABLE);
}

bool zk__runtime_closing(void)
{
    struct zk_scheduler *s = scheduler_of_caller();

    return s != NULL &&
           zk_atomic_load(&s->phase, acquire) >= ZK_RUNTIME_SHUTTING_DOWN;
}

void zk_runtime_stats(const zk_runtime_t *rt, zk_stats_t *out)
{
    static const char *const guards[] = {"none", "mprotect", "madvise"};
    struct zk_stack_stats stacks;

    memset(out, 0, sizeof(*out));
    zk__scheduler_stats(&rt->scheduler, out);
    zk__stack_stats(&stacks);
    out->stacks_mapped = stacks.mapped;
    out->stacks_live = stacks.live;
    out->stacks_cached = stacks.cached;
    out->stacks_unguarded = stacks.unguarded;
    out->guards = guards[stacks.guard_kind];
    out->heap_bytes = zk__heap_bytes();
    out->backend = zk__io_backend_name(rt->io.ops);
}
