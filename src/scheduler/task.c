/* SPDX-License-Identifier: MIT */
/*
 * task.c - the life of a task block: spawn, entry, exit, join, recycling.
 *
 * The protocol of the block is in task.h. Here is who recycles it:
 *
 *   detached, or a task waits in join    the exiting task: it leaves its
 *                                        result in the joiner's block;
 *   joinable, nobody waits yet           the joiner.
 *
 * In both cases the last holder of a message about it, if there is one: a block
 * in the hands of an inbox (holds > 0) or with a timer linked in
 * another worker's queue may not be used again: the message that asks for the
 * unlinking is what holds it.
 */
#include <errno.h>
#include <string.h>

#include "scheduler/worker.h"
#include "zokio/time.h"

_Static_assert(sizeof(struct zk_annotation) > 0 ||
                   sizeof(struct zk_task) <= ZK_TASK_SIZE,
               "a task block fits its budget in plain builds");

static struct zk_slab *_Atomic task_slab;
static _Atomic uint64_t next_id = 1;

enum { ID_BATCH = 1024, N_STACK_OPTIONS = ZK_N_STACK_CLASSES };

struct zk_slab *zk__task_slab(void)
{
    return zk_atomic_load(&task_slab, acquire); /* D */
}

int zk__task_slab_init(void)
{
    static struct zk_mutex_os once;
    size_t size = (sizeof(struct zk_task) + ZK_CACHE_LINE - 1) &
                  ~(size_t)(ZK_CACHE_LINE - 1);
    struct zk_slab *slab;

    zk__mutex_lock(&once);
    slab = zk__task_slab();
    if (slab == NULL) {
        slab = zk__slab_create(size);
        zk_atomic_store(&task_slab, slab, release); /* D */
    }
    zk__mutex_unlock(&once);
    return slab != NULL ? 0 : -ENOMEM;
}

/* ---- blocks ------------------------------------------------------------- */

static struct zk_task *block_take(struct zk_worker *w)
{
    struct zk_slab_node *node = NULL;

    if (w == NULL) {
        if (zk__slab_take(zk__task_slab(), 1, &node) == 0)
            return NULL;
        return (struct zk_task *)(void *)node;
    }
    if (zk_unlikely(w->blocks == NULL)) {
        w->n_blocks = zk__slab_take(zk__task_slab(), ZK_BLOCK_BATCH,
                                    &w->blocks);
        if (w->n_blocks == 0)
            return NULL;
    }
    node = w->blocks;
    w->blocks = node->next;
    w->n_blocks--;
    return (struct zk_task *)(void *)node;
}

static ZK_NOINLINE void blocks_spill(struct zk_worker *w)
{
    struct zk_slab_node *list = w->blocks, *last = list;

    for (unsigned i = 1; i < ZK_BLOCK_BATCH * 2; i++)
        last = last->next;
    w->blocks = last->next;
    w->n_blocks -= ZK_BLOCK_BATCH * 2;
    last->next = NULL;
    zk__slab_give(zk__task_slab(), list);
}

void zk__task_recycle(struct zk_worker *w, struct zk_task *task)
{
    struct zk_slab_node *node = (struct zk_slab_node *)(void *)task;

    ZK_ASSERT(!zk__timeout_linked(task));
    if (w == NULL) {
        node->next = NULL;
        zk__slab_give(zk__task_slab(), node);
        return;
    }
    node->next = w->blocks;
    w->blocks = node;
    if (zk_unlikely(++w->n_blocks > ZK_BLOCK_BATCH * 4))
        blocks_spill(w);
}

static uint64_t take_id(struct zk_worker *w)
{
    if (w == NULL)
        return zk_atomic_add(&next_id, 1, relaxed);
    if (zk_unlikely(w->next_id == w->end_id)) {
        w->next_id = zk_atomic_add(&next_id, ID_BATCH, relaxed);
        w->end_id = w->next_id + ID_BATCH;
    }
    return w->next_id++;
}

/* ---- spawn ------------------------------------------------------------------ */

static int check_options(const struct zk_scheduler *s,
                         const zk_spawn_opts_t *opts)
{
    if (opts->stack_class >= N_STACK_OPTIONS ||
        opts->priority > ZK_PRIORITY_BACKGROUND || opts->pin > s->n_workers ||
        (opts->flags & ~(uint32_t)(ZK_TASK_FPENV | ZK_TASK_DETACHED)) != 0)
        return -EINVAL;
    for (unsigned i = 0; i < ZK_ARRAY_LEN(opts->reserved); i++)
        if (opts->reserved[i] != 0)
            return -EINVAL;
    return 0;
}

static void apply_options(struct zk_task *task, const zk_spawn_opts_t *opts)
{
    task->priority = (uint8_t)opts->priority;
    task->pin = (uint16_t)opts->pin;
    if ((opts->flags & ZK_TASK_FPENV) != 0)
        task->flags |= ZK_TASKF_FPENV;
    if (opts->name != NULL) {
        task->flags |= ZK_TASKF_NAMED;
        strncpy(task->name, opts->name, sizeof(task->name) - 1);
        task->name[sizeof(task->name) - 1] = '\0';
    }
}

/* A recycled block keeps what it held: set what a task starts with. */
static void block_reset(struct zk_task *task, struct zk_worker *home,
                        const struct zk_spawn *how, unsigned class_index)
{
    task->next = NULL;
    task->sp = NULL;
    zk_atomic_store(
        &task->state,
        zk_state_with(zk_atomic_load(&task->state, relaxed), ZK_PHASE_READY),
        relaxed);
    zk_atomic_store(&task->worker, home, relaxed);
    task->stack = NULL;
    task->entry.plain = how->entry.plain;
    task->arg = how->arg;
    task->flags = how->flags;
    task->stack_class = (uint8_t)class_index;
    task->priority = ZK_PRIORITY_NORMAL;
    zk_atomic_store(&task->shield, 0, relaxed);
    task->pin = 0;
    zk_atomic_store(&task->wait_kind, ZK_WAIT_NONE, relaxed);
    zk_atomic_store(&task->wait_reason, ZK_REASON_NONE, relaxed);
    zk_atomic_store(&task->cancel, 0, relaxed);
    task->done = 0;
    task->joinable = how->joinable;
    task->joining = 0;
    task->site = how->site;
    if (zk_unlikely(how->opts != NULL))
        apply_options(task, how->opts);
}

static int take_limit(struct zk_scheduler *s)
{
    if (zk_likely(s->max_tasks == 0))
        return 0;
    if (zk_atomic_add(&s->n_live_limited, 1, relaxed) < s->max_tasks)
        return 0;
    zk_atomic_sub(&s->n_live_limited, 1, relaxed);
    return -EAGAIN;
}

static void give_limit(struct zk_scheduler *s)
{
    if (zk_unlikely(s->max_tasks != 0))
        zk_atomic_sub(&s->n_live_limited, 1, relaxed);
}

/* The new task into the caller's queue, or into the one all share. */
static void spawn_publish(struct zk_scheduler *s, struct zk_worker *w,
                          struct zk_task *task)
{
    if (w == NULL) {
        zk_atomic_add(&s->n_foreign_started, 1, seq_cst);
        zk__ready(task);
        return;
    }
    zk_counter_add(&w->n_started, 1);
    if (zk_unlikely(task->pin != 0)) {
        zk__worker_mail(&s->workers[task->pin - 1], task);
        return;
    }
    zk__worker_enter(w);
    zk__worker_push_lifo(w, task);
    zk__worker_leave(w);
}

int zk__task_spawn(struct zk_scheduler *s, struct zk_worker *w,
                   const struct zk_spawn *how, zk_task_t *out)
{
    unsigned class_index = s->stack_class;
    struct zk_task *task;
    uint64_t id;
    int rc;

    if (how->opts != NULL) {
        rc = check_options(s, how->opts);
        if (rc < 0)
            return rc;
        if (how->opts->stack_class != ZK_STACK_DEFAULT)
            class_index = how->opts->stack_class;
    }
    if (zk_unlikely(zk_atomic_load(&s->refuse, relaxed) != 0))
        return -ESHUTDOWN;
    rc = take_limit(s);
    if (rc < 0)
        return rc;
    rc = zk__stack_credit_take(w != NULL ? &w->stacks : NULL, class_index);
    if (zk_unlikely(rc < 0))
        goto give_limit;
    task = block_take(w);
    if (zk_unlikely(task == NULL)) {
        rc = -ENOMEM;
        goto give_credit;
    }
    block_reset(task, w != NULL ? w : &s->workers[0], how, class_index);
    id = take_id(w);
    zk_atomic_store(&task->id, id, release); /* E */
    zk_atomic_signal_fence(); /* with the sweep: zk__scheduler_cancel_all() */
    if (zk_unlikely(zk_atomic_load(&s->refuse, relaxed) != 0))
        zk_atomic_store(&task->cancel, ZK_CANCEL_SHUTDOWN, relaxed);
    if (out != NULL) {
        out->private_block = task;
        out->private_id = id;
    }
    spawn_publish(s, w, task);
    return 0;

give_credit:
    zk__stack_credit_return(class_index, 1);
give_limit:
    give_limit(s);
    return rc;
}

/* ---- entry and exit ----------------------------------------------------------- */

static ZK_NORETURN void task_exit(struct zk_task *self);

/* The first frame of every task. */
void zk__task_entry(void *prev)
{
    struct zk_worker *w = zk__worker_current();
    struct zk_task *self = w->current;

    zk_annotate_arrive(&self->annotation);
    zk__finish_switch(w, prev);
    zk__worker_leave(w);
    if ((self->flags & ZK_TASKF_RESULT) != 0) {
        self->result = self->entry.with_result(self->arg);
    } else {
        self->entry.plain(self->arg);
        self->result = 0;
    }
    task_exit(self);
}

/*
 * Mark the end under the lock. True if the block is free for recycling now.
 * `joiner` is for the caller to wake.
 */
static bool exit_mark(struct zk_worker *w, struct zk_task *self,
                      struct zk_task **joiner)
{
    bool free_now;

    zk__waitq_lock(&self->life);
    if (zk_unlikely(zk__timeout_linked(self)))
        zk__timeout_leave(w, self);
    zk_atomic_store(
        &self->state,
        zk_state_with(zk_atomic_load(&self->state, relaxed), ZK_PHASE_DONE),
        relaxed);
    self->done = 1;
    if (!self->joinable)
        zk_atomic_store(&self->id, 0, relaxed);
    if (self->joining && zk__waitq_wake(&self->life, 0, joiner) &&
        *joiner != NULL) { /* a task: it takes the result without the lock */
        (*joiner)->wait.waiter.result = self->result;
        self->joinable = 0;
        zk_atomic_store(&self->id, 0, relaxed);
    }
    free_now = !self->joinable && !zk__message_held(self);
    zk__waitq_unlock(&self->life);
    return free_now;
}

static void task_exit(struct zk_task *self)
{
    struct zk_worker *w = zk_atomic_load(&self->worker, relaxed);
    struct zk_scheduler *s = w->scheduler;
    struct zk_stack *stack = self->stack;
    struct zk_task *joiner = NULL;

    ZK_ASSERT(w->current == self);
    zk__worker_enter(w);
    w->exit_annotation = self->annotation;
    if (zk_unlikely((self->flags & ZK_TASKF_FPENV) != 0))
        zk__worker_reset_fpenv(w);
    if (zk_unlikely((self->flags & ZK_TASKF_MAIN) != 0)) {
        s->main_result = self->result;
        w->main_ended = 1;
        w->look_round = 1;
    }
    if (exit_mark(w, self, &joiner))
        zk__task_recycle(w, self);
    if (joiner != NULL)
        zk__ready(joiner);
    give_limit(s);
    zk_atomic_store(&w->n_finished, zk_atomic_load(&w->n_finished, relaxed) + 1,
                    release);
    if (zk_unlikely(zk_atomic_load(&s->draining, relaxed) != 0))
        w->look_round = 1; /* the loop counts */
    zk__exit_switch(w, stack);
}

/* ---- handles ----------------------------------------------------------------------- */

static struct zk_task *task_of(zk_task_t handle)
{
    return handle.private_block;
}

/* The block of `handle`, its `life` locked; NULL if stale. */
static struct zk_task *task_hold(zk_task_t handle)
{
    struct zk_task *task = task_of(handle);

    if (task == NULL || handle.private_id == 0)
        return NULL;
    zk__waitq_lock(&task->life);
    if (zk_atomic_load(&task->id, acquire) == handle.private_id) /* E */
        return task;
    zk__waitq_unlock(&task->life);
    return NULL;
}

/* `life` is locked, the task done: the joiner takes the result; unlocks. */
static void join_finish(struct zk_task *task, int *result)
{
    bool free_now = !zk__message_held(task);

    if (result != NULL)
        *result = task->result;
    task->joinable = 0;
    task->joining = 0;
    zk_atomic_store(&task->id, 0, relaxed);
    zk__waitq_unlock(&task->life);
    if (free_now)
        zk__task_recycle(zk__worker_current(), task);
}

int zk_join(zk_task_t handle, int *result, zk_time_t deadline)
{
    struct zk_task *self = zk__task_current();
    struct zk_task *task;
    int rc;

    if (self != NULL && task_of(handle) == self &&
        zk_atomic_load(&self->id, relaxed) == handle.private_id)
        return -EDEADLK;
    if (self != NULL && zk_task_cancelled(self))
        return -ECANCELED;
    task = task_hold(handle);
    if (task == NULL)
        return -ESRCH;
    if (!task->joinable || task->joining) {
        zk__waitq_unlock(&task->life);
        return -EINVAL;
    }
    if (task->done) {
        join_finish(task, result);
        if (self != NULL)
            zk__budget_charge(self);
        return 0;
    }
    if (deadline != ZK_FOREVER && deadline <= zk_now()) {
        zk__waitq_unlock(&task->life);
        return -ETIMEDOUT;
    }
    task->joining = 1;
    rc = zk__waitq_wait(&task->life, ZK_REASON_JOIN, task, deadline,
                        ZK_WAITQ_CANCELLABLE);
    if (rc == 0 && self != NULL) {
        if (result != NULL)
            *result = self->wait.waiter.result;
        return 0; /* the block is gone: exit_mark() */
    }
    zk__waitq_lock(&task->life);
    if (rc < 0 && !task->done) {
        task->joining = 0;
        zk__waitq_unlock(&task->life);
        return rc;
    }
    join_finish(task, result); /* a late success wins */
    return 0;
}

int zk_detach(zk_task_t handle)
{
    struct zk_task *task = task_hold(handle);
    bool free_now;

    if (task == NULL)
        return -ESRCH;
    if (!task->joinable || task->joining) {
        zk__waitq_unlock(&task->life);
        return -EINVAL;
    }
    task->joinable = 0;
    free_now = task->done && !zk__message_held(task);
    if (task->done)
        zk_atomic_store(&task->id, 0, relaxed);
    zk__waitq_unlock(&task->life);
    if (free_now)
        zk__task_recycle(zk__worker_current(), task);
    return 0;
}

/* ---- cancellation --------------------------------------------------------------------- */

int zk__task_cancel(zk_task_t handle, enum zk_cancel_reason reason)
{
    struct zk_task *self = zk__task_current();
    struct zk_task *task = task_hold(handle);
    uint64_t word = reason;
    bool woken = false;

    if (task == NULL)
        return -ESRCH;
    if (task->done) {
        zk__waitq_unlock(&task->life);
        return -ESRCH;
    }
    if (self != NULL)
        word |= zk_atomic_load(&self->id, relaxed) << ZK_CANCEL_WHO_SHIFT;
    if (zk_atomic_load(&task->cancel, relaxed) == 0) {
        zk_atomic_store(&task->cancel, word, seq_cst); /* F: message.c */
        woken = zk__message_cancel(task);
    }
    zk__waitq_unlock(&task->life);
    if (woken)
        zk__ready(task);
    return 0;
}

int zk_cancel(zk_task_t handle)
{
    return zk__task_cancel(handle, ZK_CANCEL_USER);
}
