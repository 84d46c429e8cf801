/* SPDX-License-Identifier: MIT */
/*
 * current.c - the only place where a thread-local is read.
 *
 * A compiler may keep the address of a thread-local over any call, since in C
 * a function does not change threads. A task does. Hence these functions are
 * opaque: no inlining, no deduction about their result, also under LTO, and
 * their callers hold the answer only until something may switch.
 */
#include "scheduler/worker.h"

static _Thread_local struct zk_worker *current_worker;

ZK_OPAQUE struct zk_worker *zk__worker_current(void)
{
    struct zk_worker *w = current_worker;

    zk_launder(w);
    return w;
}

ZK_OPAQUE void zk__worker_set_current(struct zk_worker *w)
{
    zk_launder(w);
    current_worker = w;
}

ZK_OPAQUE struct zk_task *zk__task_current(void)
{
    struct zk_worker *w = current_worker;

    zk_launder(w);
    return w != NULL ? w->current : NULL;
}

struct zk_scheduler *zk__scheduler_of(const struct zk_worker *w)
{
    return w->scheduler;
}

void **zk__worker_io(struct zk_worker *w)
{
    return &w->io;
}

unsigned zk__worker_number(const struct zk_worker *w)
{
    return w->index;
}

void zk__count_submitted(struct zk_worker *w)
{
    zk_counter_add(&w->n_submitted, 1);
}

void zk__count_immediate(struct zk_worker *w)
{
    zk_counter_add(&w->n_immediate, 1);
}
