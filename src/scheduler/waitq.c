/* SPDX-License-Identifier: MIT */
/*
 * waitq.c - the queue of those who wait for one thing.
 *
 * A waiter may be ended by four parties at once: a wake, its deadline, a cancel,
 * and, if it is a plain thread, its own futex timeout. This file promises that
 * exactly one of them wins, and that a wake which wins is never dropped.
 *
 * Words
 *   waiter   a node in the task block, or in the frame of a plain thread.
 *   grant    what a wake hands over. A semaphore's unit, a finished child.
 *
 * Invariants
 *   W1  A node is in the queue only under the lock, and is put there before the
 *       lock is released. On a task the release happens on the landing side of
 *       the switch (the commit below): whoever takes the lock and finds the
 *       node finds the task PARKED.
 *   W2  A task's wait is decided by one CAS on its state, from the PARKED word
 *       to READY. A wake, a deadline and a cancel all do that CAS; the loser
 *       goes away empty-handed.
 *   W3  A wake whose CAS failed tries the next waiter: the grant is not lost.
 *       The node it popped is out of the queue; its task takes note (W4).
 *   W4  A task that lost to its deadline or a cancel takes its node out under
 *       the lock, if it is still in.
 *   W5  A thread's wait is decided under the lock: who takes the node out wins.
 *       The waker writes the result, then `woken`; after that store the node
 *       may be gone, and the futex call is made on an address only.
 *
 * The hard case: a wake against a deadline. The waker holds the lock and has
 * popped the node; the timer fires on the task's worker. Both CAS the state. If
 * the timer wins, the task runs, finds its node out of the queue (W4 has
 * nothing to do) and returns -ETIMEDOUT; the waker, having lost, goes on to the
 * next waiter. If the waker wins, the timer finds another generation or a
 * READY task and drops itself. The state holds the generation of the park, so
 * a timer that comes a whole park later loses too (task.h T3).
 *
 * The lock is a word to spin on: it is held for a few instructions, never over
 * a switch of the holder's thread but by the preemption of the kernel; hence
 * the spin gives the processor back soon.
 *
 * Rejected: a futex per waiter for tasks and threads alike (a system call per
 * wake); removal as the decision for tasks too (the timer would need the lock
 * of a queue that may be gone).
 *
 * Tests: unit/waitq_test.c, stress/wake_test.c.
 */
#include "scheduler/waitq.h"

#include <errno.h>

#include "scheduler/scheduler.h"

enum { SPINS_BEFORE_YIELD = 64 };

void zk__waitq_lock_slow(struct zk_waitq *q)
{
    for (unsigned spins = 0;; spins++) {
        uint32_t free = 0;

        if (zk_atomic_load(&q->lock, relaxed) == 0 &&
            zk_atomic_cas(&q->lock, &free, 1, acquire, relaxed))
            return;
        if (spins < SPINS_BEFORE_YIELD)
            zk_cpu_relax();
        else
            zk__thread_yield();
    }
}

static void waitq_append(struct zk_waitq *q, struct zk_waiter *node)
{
    struct zk_waiter *head = q->head;

    if (head == NULL) {
        node->next = node;
        node->prev = node;
        q->head = node;
    } else {
        node->next = head;
        node->prev = head->prev;
        head->prev->next = node;
        head->prev = node;
    }
    q->length++;
}

static void waitq_remove(struct zk_waitq *q, struct zk_waiter *node)
{
    ZK_ASSERT(q->length > 0);
    if (node->next == node)
        q->head = NULL;
    else if (q->head == node)
        q->head = node->next;
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = NULL;
    node->prev = NULL;
    q->length--;
}

/* W1: the registers are saved, the task is PARKED; now it may be found. */
static bool waitq_commit(struct zk_task *task, void *arg)
{
    (void)task;
    zk__waitq_unlock(arg);
    return true;
}

static int waitq_wait_task(struct zk_waitq *q, struct zk_task *self,
                           unsigned reason, void *object, zk_time_t deadline,
                           unsigned flags)
{
    struct zk_waiter *node = &self->wait.waiter;
    bool cancellable = (flags & ZK_WAITQ_CANCELLABLE) != 0;
    int rc;

    if (cancellable && zk_task_cancelled(self)) {
        zk__waitq_unlock(q);
        return -ECANCELED;
    }
    if (!cancellable)
        zk_counter_add(&self->shield, 1);
    node->task = self;
    waitq_append(q, node);
    rc = zk__park(self, ZK_WAIT_QUEUE, reason, object, deadline, waitq_commit,
                  q);
    if (!cancellable)
        zk_counter_add(&self->shield, -1);
    if (rc == -ETIMEDOUT || rc == -ECANCELED) {
        zk__waitq_lock(q); /* W4 */
        if (node->next != NULL)
            waitq_remove(q, node);
        zk__waitq_unlock(q);
    }
    return rc;
}

static int waitq_wait_thread(struct zk_waitq *q, zk_time_t deadline)
{
    struct zk_waiter node = {.task = NULL};

    waitq_append(q, &node);
    zk__waitq_unlock(q);
    while (zk_atomic_load(&node.woken, acquire) == 0) { /* B */
        if (zk__futex_wait(&node.woken, 0, deadline) != -ETIMEDOUT)
            continue;
        zk__waitq_lock(q);
        if (node.next != NULL) { /* W5: the deadline wins */
            waitq_remove(q, &node);
            zk__waitq_unlock(q);
            return -ETIMEDOUT;
        }
        zk__waitq_unlock(q);
        deadline = ZK_FOREVER; /* the wake won and is on its way */
    }
    return node.result;
}

int zk__waitq_wait(struct zk_waitq *q, unsigned reason, void *object,
                   zk_time_t deadline, unsigned flags)
{
    struct zk_task *self = zk__task_current();

    if (self == NULL)
        return waitq_wait_thread(q, deadline);
    return waitq_wait_task(q, self, reason, object, deadline, flags);
}

/* W5: nothing of `node` may be read after the store. */
static void waitq_wake_thread(struct zk_waiter *node, int result)
{
    _Atomic uint32_t *word = &node->woken;

    node->result = result;
    zk_atomic_store(word, 1, release); /* B */
    zk__futex_wake(word, 1);
}

bool zk__waitq_wake(struct zk_waitq *q, int result, struct zk_task **task)
{
    struct zk_waiter *node;

    while ((node = q->head) != NULL) {
        struct zk_task *waiting = node->task;
        uint64_t state;

        if (waiting == NULL) {
            waitq_remove(q, node);
            waitq_wake_thread(node, result);
            *task = NULL;
            return true;
        }
        state = zk_atomic_load(&waiting->state, acquire); /* task.h C */
        waitq_remove(q, node);
        if (zk_phase(state) == ZK_PHASE_PARKED &&
            zk__wake_claim(waiting, state, result)) { /* W2 */
            *task = waiting;
            return true;
        } /* W3 */
    }
    return false;
}

void zk__waitq_wake_one(struct zk_waitq *q, int result)
{
    struct zk_task *task = NULL;
    bool woken = zk__waitq_wake(q, result, &task);

    zk__waitq_unlock(q);
    if (woken && task != NULL)
        zk__ready(task);
}

void zk__waitq_wake_all(struct zk_waitq *q, int result)
{
    struct zk_task *first = NULL, **last = &first, *task = NULL;

    while (zk__waitq_wake(q, result, &task)) {
        if (task == NULL)
            continue;
        task->next = NULL; /* READY and in no queue: the link is ours */
        *last = task;
        last = &task->next;
    }
    zk__waitq_unlock(q);
    while (first != NULL) {
        task = first;
        first = task->next;
        zk__ready(task);
    }
}
