/* SPDX-License-Identifier: MIT */
/*
 * park.c - giving up the processor, and what happens on the other side.
 *
 * A task that suspends itself picks the next one and switches straight to it;
 * the worker's own (native) stack runs only when there is nothing to pick or
 * something to look at. Whatever resumes after a switch, task or native stack,
 * first calls finish_switch() for the one that was left.
 *
 * Invariants
 *   P1  Nobody may see a waiter before its registers are in its frame. So a
 *       park is published on the landing side: finish_switch() stores PARKED
 *       and then calls the commit function, which unlocks the waitq or puts the
 *       task into a descriptor's latch. The same holds for a task that yields:
 *       it enters the ring on the landing side.
 *   P2  The landing side runs on the thread that left, so commit and its
 *       argument travel in the worker, and the sleeping task's frame is not
 *       read.
 *   P3  A task reaches its worker through task->worker, read again after each
 *       switch. No thread-local is read in a function that switches.
 *   P4  The code between enter and leave runs on the task's stack: it calls no
 *       libc, logs nothing and stays under 1.5 KiB of frames.
 *
 * A finished task that finds an unstarted one of its stack class next in line
 * does not switch at all: it drops its frames and the next one starts on the
 * same, warm stack (exit_switch). A million short tasks touch a handful of
 * stacks that way.
 *
 * Ordering
 *   C   store PARKED, release  ->  load in wake or timer, acquire: deadline,
 *       wait kind and the frame of the task are visible to who wakes it.
 *
 * Rejected: a PARKING state with a second CAS (Go's and brpc's way): since
 * everything is published after the switch, one CAS of the waker decides.
 */
#include <errno.h>

#include "context/context.h"
#include "context/exception.h"
#include "scheduler/worker.h"
#include "zokio/time.h"

/* `task` is next on `w`: what every dispatch does. */
static void dispatch_mark(struct zk_worker *w, struct zk_task *task)
{
    uint64_t state = zk_atomic_load(&task->state, relaxed);

    ZK_ASSERT(zk_phase(state) == ZK_PHASE_READY);
    zk_atomic_store(&task->state, zk_state_with(state, ZK_PHASE_RUNNING),
                    relaxed);
    zk_atomic_store(&task->worker, w, relaxed);
    w->current = task;
    w->budget = ZK_BUDGET;
    zk_counter_add(&w->n_switches, 1);
}

/* First dispatch: the stack comes now. The credit was taken at spawn. */
static void dispatch_attach(struct zk_task *task, struct zk_stack *stack)
{
    task->stack = stack;
    zk_annotate_attach(&task->annotation, stack->limit,
                       (size_t)(stack->top - stack->limit));
}

/*
 * Resume `next`, or the native stack for NULL, or start `next` if it never ran.
 * `prev` is what is left: its stack pointer goes to *from_sp. Returns, when
 * something switches back, what that left.
 */
ZK_INLINE struct zk_task *go_to(struct zk_worker *w, struct zk_task *next,
                                void **from_sp, struct zk_task *prev)
{
    if (next == NULL)
        return zk__context_switch(from_sp, w->native_sp, prev);
    if (next->sp == NULL)
        return zk__context_launch(from_sp, next->stack->top, zk__task_entry,
                                  prev);
    return zk__context_switch(from_sp, next->sp, prev);
}

/* `next` is about to be gone to; NULL is the native stack. */
ZK_INLINE void prepare(struct zk_worker *w, struct zk_task *next)
{
    if (next == NULL) {
        w->current = NULL;
        return;
    }
    if (next->sp == NULL)
        dispatch_attach(next, zk__stack_get(&w->stacks, next->stack_class));
    dispatch_mark(w, next);
}

static struct zk_annotation *annotation_of(struct zk_worker *w,
                                           struct zk_task *task)
{
    return task != NULL ? &task->annotation : &w->annotation;
}

/* P1: the registers of `task` are saved; let its wait be seen. */
static void finish_park(struct zk_worker *w, struct zk_task *task)
{
    uint64_t state = zk_atomic_load(&task->state, relaxed);
    bool ask = w->timer_message != 0;

    if (zk_unlikely(ask)) /* it may wake and end before it is asked for */
        zk__message_hold(task);
    state = zk_state_with(state + ZK_PARK_GENERATION, ZK_PHASE_PARKED);
    w->timer_message = 0;
    zk_atomic_store(&task->state, state, release); /* C */
    if (w->commit != NULL && !w->commit(task, w->commit_arg) &&
        zk__wake_claim(task, state, 0)) {
        if (zk_unlikely(task->pin != 0))
            zk__worker_push_pinned(w, task);
        else
            zk__worker_push(w, task);
    }
    if (zk_unlikely(ask)) /* not under the queue's lock: it may be a `life` */
        zk__message_ask_timer(w, task);
}

ZK_INLINE void finish_switch(struct zk_worker *w, struct zk_task *prev)
{
    switch ((enum zk_after)w->after) {
    case ZK_AFTER_PARK:
        finish_park(w, prev);
        break;
    case ZK_AFTER_YIELD:
        zk_atomic_store(&prev->state,
                        zk_state_with(zk_atomic_load(&prev->state, relaxed),
                                      ZK_PHASE_READY),
                        relaxed);
        zk__worker_push_yielded(w, prev);
        break;
    case ZK_AFTER_EXIT:
        zk_annotate_detach(&w->exit_annotation);
        zk__stack_put(&w->stacks, w->exit_stack);
        zk__stack_credit_put(&w->stacks, w->exit_stack->class_index);
        break;
    case ZK_AFTER_HANDED:
        zk_annotate_detach(&w->exit_annotation);
        zk__stack_credit_put(&w->stacks, w->current->stack_class);
        break;
    case ZK_AFTER_NOTHING:
        break;
    }
    w->after = ZK_AFTER_NOTHING;
}

void zk__finish_switch(struct zk_worker *w, struct zk_task *prev)
{
    finish_switch(w, prev);
}

/* Inside the region; outside it again when this returns, on any worker. Inline:
 * each frame between a switch and its user costs a mispredicted return. */
ZK_INLINE void switch_away(struct zk_worker *w, struct zk_task *self,
                           struct zk_task *next, enum zk_after after)
{
    struct zk_exception_state exceptions;
    bool own_fpenv = zk_unlikely((self->flags & ZK_TASKF_FPENV) != 0);
    uint64_t fpenv = 0;
    struct zk_task *prev;

    prepare(w, next);
    if (own_fpenv) {
        fpenv = zk__context_fpenv_get();
        zk__context_fpenv_set(w->native_fpenv);
    }
    zk_exception_save(&exceptions);
    w->after = (uint8_t)after;
    zk_annotate_leave(&self->annotation, annotation_of(w, next));
    prev = go_to(w, next, &self->sp, self);
    zk_annotate_arrive(&self->annotation);
    zk_exception_restore(&exceptions);
    if (own_fpenv)
        zk__context_fpenv_set(fpenv);

    w = zk_atomic_load(&self->worker, relaxed); /* P3 */
    finish_switch(w, prev);
    zk__worker_leave(w);
}

void zk__worker_reset_fpenv(struct zk_worker *w)
{
    zk__context_fpenv_set(w->native_fpenv);
}

void zk__dispatch_native(struct zk_worker *w, struct zk_task *task)
{
    struct zk_task *prev;

    prepare(w, task);
    zk_annotate_leave(&w->annotation, &task->annotation);
    prev = go_to(w, task, &w->native_sp, NULL);
    zk_annotate_arrive(&w->annotation);
    finish_switch(w, prev);
}

void zk__exit_switch(struct zk_worker *w, struct zk_stack *stack)
{
    struct zk_task *next = zk__worker_pick(w);

    if (next != NULL && next->sp == NULL &&
        next->stack_class == stack->class_index) {
        dispatch_attach(next, stack);
        dispatch_mark(w, next);
        w->after = ZK_AFTER_HANDED;
        zk_annotate_leave_forever(&w->exit_annotation, &next->annotation);
        zk__context_start(stack->top, zk__task_entry, NULL);
    }
    prepare(w, next);
    w->after = ZK_AFTER_EXIT;
    w->exit_stack = stack;
    zk_annotate_leave_forever(&w->exit_annotation, annotation_of(w, next));
    go_to(w, next, &w->dead_sp, NULL);
    __builtin_unreachable();
}

/* [flow 5] The choke point: every wait of a task. */
int zk__park(struct zk_task *self, enum zk_wait_kind kind,
             enum zk_wait_reason reason, void *object, zk_time_t deadline,
             zk_commit_fn commit, void *arg)
{
    struct zk_worker *w = zk_atomic_load(&self->worker, relaxed);

    ZK_ASSERT(w->current == self);
    zk__worker_enter(w);
    zk_atomic_store(&self->wait_kind, (uint8_t)kind, relaxed);
    zk_atomic_store(&self->wait_reason, (uint8_t)reason, relaxed);
    zk_atomic_store(&self->wait_object, object, relaxed);
    zk_atomic_store(&self->deadline, deadline, relaxed);
    if (deadline != ZK_FOREVER)
        zk__timeout_arm(w, self, deadline);
    w->commit = commit;
    w->commit_arg = arg;
    zk_counter_add(&w->n_parks, 1);
    switch_away(w, self, zk__worker_pick(w), ZK_AFTER_PARK);
    zk_atomic_store(&self->wait_reason, ZK_REASON_NONE, relaxed);
    return self->wake_result;
}

static void yield_now(struct zk_worker *w, struct zk_task *self)
{
    struct zk_task *next;

    zk__worker_enter(w);
    next = zk__worker_pick(w);
    if (next == NULL && !w->look_round) { /* nobody else here */
        zk__worker_leave(w);
        return;
    }
    switch_away(w, self, next, ZK_AFTER_YIELD);
}

void zk__budget_charge(struct zk_task *self)
{
    struct zk_worker *w = zk_atomic_load(&self->worker, relaxed);

    if (zk_unlikely(--w->budget <= 0)) {
        w->budget = ZK_BUDGET;
        yield_now(w, self);
    }
}

int zk_yield(void)
{
    struct zk_task *self = zk__task_current();

    if (zk_unlikely(self == NULL))
        return -EPERM;
    if (zk_task_cancelled(self))
        return -ECANCELED;
    yield_now(zk_atomic_load(&self->worker, relaxed), self);
    return 0;
}

int zk_yield_if_needed(void)
{
    struct zk_task *self = zk__task_current();
    struct zk_worker *w;

    if (zk_unlikely(self == NULL))
        return -EPERM;
    if (zk_task_cancelled(self))
        return -ECANCELED;
    w = zk_atomic_load(&self->worker, relaxed);
    if (zk_unlikely(zk_atomic_load(&w->yield_asked, relaxed) != 0)) {
        zk_atomic_store(&w->yield_asked, 0, relaxed);
        w->ticks = 1; /* so long a run: descriptors and timers come first */
        yield_now(w, self);
    }
    return 0;
}

int zk_sleep_until(zk_time_t deadline)
{
    struct zk_task *self = zk__task_current();
    struct zk_scheduler *s;
    int rc;

    if (self == NULL)
        return -EPERM;
    if (zk_task_cancelled(self))
        return -ECANCELED;
    s = zk__scheduler_of(zk_atomic_load(&self->worker, relaxed));
    if (deadline != ZK_FOREVER && deadline <= zk__scheduler_now(s)) {
        zk__budget_charge(self);
        return 0;
    }
    rc = zk__park(self, ZK_WAIT_QUEUE, ZK_REASON_SLEEP, NULL, deadline, NULL,
                  NULL);
    return rc == -ETIMEDOUT ? 0 : rc;
}

bool zk__wake_claim(struct zk_task *task, uint64_t state, int result)
{
    ZK_ASSERT(zk_phase(state) == ZK_PHASE_PARKED);
    if (!zk_atomic_cas(&task->state, &state,
                       zk_state_with(state, ZK_PHASE_READY), acq_rel, relaxed))
        return false;
    task->wake_result = result;
    return true;
}

/* [flow 7] Back into a queue, from any thread. */
void zk__ready(struct zk_task *task)
{
    struct zk_worker *last = zk_atomic_load(&task->worker, relaxed);
    struct zk_scheduler *s = last->scheduler;
    struct zk_worker *w = zk__worker_current();
    bool inside;

    if (task->pin != 0) {
        zk__worker_mail(&s->workers[task->pin - 1], task);
        return;
    }
    if (w == NULL || w->scheduler != s) {
        zk__inject_push(s, task, task, 1);
        zk__idle_announce(s);
        return;
    }
    inside = zk__worker_inside(w);
    if (!inside)
        zk__worker_enter(w);
    if (w->current == NULL)
        zk__worker_push(w, task); /* the loop announces once for all */
    else
        zk__worker_push_lifo(w, task);
    if (!inside)
        zk__worker_leave(w);
}

void zk__ready_op(struct zk_worker *w, struct zk_task *task)
{
    uint64_t state = zk_atomic_load(&task->state, relaxed);

    ZK_ASSERT(zk_phase(state) == ZK_PHASE_PARKED); /* T4 */
    zk_atomic_store(&task->state, zk_state_with(state, ZK_PHASE_READY),
                    relaxed);
    task->wake_result = 0;
    if (zk_unlikely(task->pin != 0))
        zk__worker_mail(&w->scheduler->workers[task->pin - 1], task);
    else
        zk__worker_push(w, task);
}
