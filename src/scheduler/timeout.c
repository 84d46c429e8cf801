/* SPDX-License-Identifier: MIT */
/*
 * timeout.c - the deadlines of tasks, which waking never unlinks.
 *
 * Nearly every deadline of a server is never reached: a connection that reads
 * with 30 s again and again arms and disarms a timer for each request. Here a
 * wake does nothing about the timer, and arming a later deadline than the one
 * the timer is linked for is a store into the task. When the timer fires, its
 * owner looks what the task waits for now, and links it anew or drops it.
 *
 * Words
 *   timer   one of two nodes in the task block.
 *   home    a timer queue; owned by one worker, handed to a spare worker as a
 *           whole when its owner is stuck.
 *   revisit look at the task's present deadline and link the node for that.
 *
 * Invariants
 *   D1  A linked node is touched only by the owner of its home, who also clears
 *       `home`. A free node is claimed by a CAS of `home`, by the task that
 *       arms or by a worker that was asked to revisit it.
 *   D2  Whenever a task is parked with a deadline, some node of it is linked
 *       with an expiry not after that deadline; or a message is on its way that
 *       will see to that.
 *   D3  (deadline, generation): the deadline is stored before PARKED is, so who
 *       reads state, deadline, state and finds the same PARKED word twice has
 *       the deadline of that park.
 *
 * Arming, on worker w (D2):
 *   a node linked at w's home       move it if it is later, else leave it
 *   a node that is not linked       link it at w's home
 *   both linked at other homes      after the park is committed ask the owner
 *                                   of node 0 to revisit it
 * A node that is linked elsewhere is never relied on: its owner may be dropping
 * it this moment, because it saw the task run. For the same reason a request to
 * revisit may find its node free. Whoever reads the request then links the node,
 * as due now, and the firing looks what the task waits for.
 *
 * Tests: unit/timeout_test.c, stress/migrate_test.c.
 */
#include <errno.h>

#include "scheduler/worker.h"

/* A deadline so far off by the last reading is far off by a fresh one too, or
 * the worker was busy so long that a millisecond is no matter. */
#define NEAR_ENOUGH ZK_MS(20)

static struct zk_task_timer *timer_of(struct zk_timer_node *node)
{
    return container_of(node, struct zk_task_timer, node);
}

/* D1. False: somebody else has linked it. */
static bool timer_link(struct zk_worker *w, struct zk_task *task, int which,
                       zk_time_t expiry)
{
    struct zk_task_timer *timer = &task->timer[which];
    struct zk_timer_home *none = NULL;

    if (!zk_atomic_cas(&timer->home, &none, w->home, acq_rel, relaxed)) /* A */
        return false;
    timer->index = (uint32_t)which;
    zk__timers_insert(&w->home->timers, &timer->node, expiry);
    return true;
}

/* D1: the owner of the home lets go of the node. */
static void timer_drop(struct zk_task_timer *timer)
{
    zk_atomic_store(&timer->home, NULL, release); /* A */
}

static void timer_move(struct zk_worker *w, struct zk_task_timer *timer,
                       zk_time_t expiry)
{
    zk__timers_remove(&w->home->timers, &timer->node);
    zk__timers_insert(&w->home->timers, &timer->node, expiry);
}

void zk__timeout_arm(struct zk_worker *w, struct zk_task *task,
                     zk_time_t deadline)
{
    struct zk_timers *timers = &w->home->timers;
    int free_timer = -1;

    if (deadline < timers->now + NEAR_ENOUGH) /* near or not is judged by it */
        timers->now = zk__scheduler_now(w->scheduler);
    for (int i = 1; i >= 0; i--) {
        struct zk_task_timer *timer = &task->timer[i];
        struct zk_timer_home *home = zk_atomic_load(&timer->home, acquire);

        if (home == w->home) {
            if (timer->node.expiry > deadline)
                timer_move(w, timer, deadline);
            return;
        }
        if (home == NULL)
            free_timer = i;
    }
    task->flags |= ZK_TASKF_TIMED;
    if (free_timer < 0 || !timer_link(w, task, free_timer, deadline))
        w->timer_message = 1;
}

/*
 * `timer` of `task` is out of its queue and due, or asked to be looked at. End
 * the wait if it is overdue; else link for what the task waits for now.
 */
static void timeout_fire(struct zk_worker *w, struct zk_task_timer *timer,
                         struct zk_task *task, zk_time_t now)
{
    uint64_t state = zk_atomic_load(&task->state, acquire); /* park.c C */
    zk_time_t deadline = zk_atomic_load(&task->deadline, relaxed);
    uint8_t kind = zk_atomic_load(&task->wait_kind, relaxed);

    zk_atomic_fence(acquire); /* D3 */
    if (zk_phase(state) != ZK_PHASE_PARKED || deadline == ZK_FOREVER ||
        state != zk_atomic_load(&task->state, relaxed)) {
        timer_drop(timer);
        return;
    }
    if (deadline > now) {
        zk__timers_insert(&w->home->timers, &timer->node, deadline);
        return;
    }
    timer_drop(timer);
    zk_counter_add(&w->n_timers, 1);
    if (kind == ZK_WAIT_QUEUE) {
        if (zk__wake_claim(task, state, -ETIMEDOUT))
            zk__ready(task);
    } else if (zk_atomic_load(&task->worker, relaxed) == w) {
        w->scheduler->driver->cancel(w, task);
    } else {
        zk__request_cancel(task);
    }
}

/* The two nodes are told apart by the mark that arming gave them. */
static struct zk_task *task_of_timer(struct zk_task_timer *timer)
{
    return container_of(timer - timer->index, struct zk_task, timer[0]);
}

void zk__timeout_expire(struct zk_worker *w, zk_time_t now)
{
    for (unsigned n = 0; n < ZK_TIMER_BUDGET; n++) {
        struct zk_timer_node *node = zk__timers_expire(&w->home->timers, now);
        struct zk_task_timer *timer;

        if (node == NULL)
            return;
        timer = timer_of(node);
        timeout_fire(w, timer, task_of_timer(timer), now);
    }
    w->ticks = 2; /* more is due: come back after one task */
}

void zk__timeout_merge(struct zk_timer_home *to, struct zk_timer_home *from)
{
    struct zk_timer_node *node;

    while ((node = zk__timers_any(&from->timers)) != NULL) {
        zk__timers_remove(&from->timers, node);
        zk_atomic_store(&timer_of(node)->home, to, release); /* A */
        zk__timers_insert(&to->timers, node, node->expiry);
    }
}

void zk__timeout_revisit(struct zk_worker *w, struct zk_task *task, int which)
{
    struct zk_task_timer *timer = &task->timer[which];

    zk__timers_remove(&w->home->timers, &timer->node);
    timeout_fire(w, timer, task, w->now);
}

void zk__timeout_relink(struct zk_worker *w, struct zk_task *task, int which)
{
    zk__waitq_lock(&task->life);
    if (!task->done) /* else it took its nodes out, or asked for that */
        timer_link(w, task, which, w->now);
    zk__waitq_unlock(&task->life);
}

void zk__timeout_leave(struct zk_worker *w, struct zk_task *task)
{
    static const uint32_t bit[2] = {ZK_MESSAGE_TIMER0, ZK_MESSAGE_TIMER1};
    uint32_t bits = 0;

    for (int i = 0; i < 2; i++) {
        struct zk_task_timer *timer = &task->timer[i];
        struct zk_timer_home *home = zk_atomic_load(&timer->home, acquire);

        if (home == w->home) {
            zk__timers_remove(&w->home->timers, &timer->node);
            timer_drop(timer);
        } else if (home != NULL) {
            bits |= bit[i];
        }
    }
    if (bits != 0)
        zk__message_send(task, bits);
}
