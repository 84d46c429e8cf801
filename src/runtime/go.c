/* SPDX-License-Identifier: MIT */
/* go.c - starting tasks, and what a task may ask about itself. */
#include <errno.h>
#include <string.h>

#include "runtime/runtime.h"
#include "zokio/task.h"

/* The caller's worker; NULL on a plain thread and on a native stack. */
static struct zk_worker *worker_of_caller(void)
{
    struct zk_task *self = zk__task_current();

    return self != NULL ? zk_atomic_load(&self->worker, relaxed) : NULL;
}

/* [flow 1] A task comes to life: block and credit for a stack, then the queue. */
int zk_go(void (*fn)(void *), void *arg)
{
    struct zk_worker *w = worker_of_caller();
    struct zk_spawn how = {
        .entry.plain = fn, .arg = arg, .site = __builtin_return_address(0)};

    if (zk_unlikely(w == NULL))
        return -EPERM;
    if (zk_unlikely(fn == NULL))
        return -EINVAL;
    return zk__task_spawn(zk__scheduler_of(w), w, &how, NULL);
}

/* As zk_spawn(), into any scheduler. `w` is the caller's worker there or NULL. */
static int spawn_with_result(struct zk_scheduler *s, struct zk_worker *w,
                             zk_task_t *out, const zk_spawn_opts_t *opts,
                             int (*fn)(void *), void *arg, const void *site)
{
    bool detached = opts != NULL && (opts->flags & ZK_TASK_DETACHED) != 0;
    struct zk_spawn how = {.entry.with_result = fn,
                           .arg = arg,
                           .opts = opts,
                           .site = site,
                           .flags = ZK_TASKF_RESULT,
                           .joinable = !detached};

    if (fn == NULL || (out == NULL && !detached))
        return -EINVAL;
    return zk__task_spawn(s, w, &how, out);
}

int zk_spawn(zk_task_t *out, const zk_spawn_opts_t *opts, int (*fn)(void *),
             void *arg)
{
    struct zk_worker *w = worker_of_caller();

    if (zk_unlikely(w == NULL))
        return -EPERM;
    return spawn_with_result(zk__scheduler_of(w), w, out, opts, fn, arg,
                             __builtin_return_address(0));
}

int zk_runtime_spawn(zk_runtime_t *rt, zk_task_t *out,
                     const zk_spawn_opts_t *opts, int (*fn)(void *), void *arg)
{
    struct zk_scheduler *s = &rt->scheduler;
    struct zk_worker *w = worker_of_caller();

    if (zk_atomic_load(&s->phase, acquire) != ZK_RUNTIME_RUNNING)
        return -ESHUTDOWN;
    if (w != NULL && zk__scheduler_of(w) != s)
        w = NULL;
    return spawn_with_result(s, w, out, opts, fn, arg,
                             __builtin_return_address(0));
}

static bool runtime_is_sim(void)
{
    return zk__scheduler_of(worker_of_caller())->sim;
}

/* ---- the calling task ------------------------------------------------------ */

zk_task_t zk_self(void)
{
    struct zk_task *self = zk__task_current();
    zk_task_t handle = {NULL, 0};

    if (self != NULL) {
        handle.private_block = self;
        handle.private_id = zk_atomic_load(&self->id, relaxed);
    }
    return handle;
}

uint64_t zk_task_id(zk_task_t task)
{
    return task.private_id;
}

int zk_worker_index(void)
{
    struct zk_worker *w = worker_of_caller();

    return w != NULL ? (int)zk__worker_number(w) : -EPERM;
}

int zk_set_name(const char *name)
{
    struct zk_task *self = zk__task_current();

    if (self == NULL)
        return -EPERM;
    memset(self->name, 0, sizeof(self->name));
    if (name != NULL)
        strncpy(self->name, name, sizeof(self->name) - 1);
    self->flags |= ZK_TASKF_NAMED;
    return 0;
}

int zk_cancelled(void)
{
    struct zk_task *self = zk__task_current();

    return self != NULL && zk_atomic_load(&self->cancel, acquire) != 0;
}

enum zk_cancel_reason zk_cancel_reason(uint64_t *who)
{
    struct zk_task *self = zk__task_current();
    uint64_t word = 0;

    if (self != NULL)
        word = zk_atomic_load(&self->cancel, acquire);
    if (word != 0 && who != NULL)
        *who = word >> ZK_CANCEL_WHO_SHIFT;
    return (enum zk_cancel_reason)(word & ZK_CANCEL_REASON_MASK);
}

void zk_shield_begin(void)
{
    struct zk_task *self = zk__task_current();

    if (self == NULL)
        return;
    ZK_ASSERT(zk_atomic_load(&self->shield, relaxed) < UINT8_MAX);
    zk_counter_add(&self->shield, 1);
}

void zk_shield_end(void)
{
    struct zk_task *self = zk__task_current();

    if (self == NULL)
        return;
    /* An end without its begin? */
    ZK_ASSERT(zk_atomic_load(&self->shield, relaxed) > 0);
    zk_counter_add(&self->shield, -1);
}

int zk_blocking(int (*fn)(void *), void *arg, zk_time_t deadline)
{
    struct zk_task *self = zk__task_current();

    if (self == NULL)
        return -EPERM;
    if (fn == NULL)
        return -EINVAL;
    if (zk_task_cancelled(self))
        return -ECANCELED;
    if (runtime_is_sim())
        return fn(arg); /* no threads in a simulated world */
    return zk__offload_call(fn, arg, deadline, ZK_WAITQ_CANCELLABLE);
}
