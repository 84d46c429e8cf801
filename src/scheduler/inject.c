/* SPDX-License-Identifier: MIT */
/*
 * inject.c - the queue all workers share: overflow and foreign threads.
 *
 * Tasks of foreign threads come one by one and are linked through the task.
 * Overflow comes by half rings; these travel as arrays. A list of a million
 * tasks would be walked at the pace of memory, one miss after the other; an
 * array says what comes next, and the blocks are fetched ahead of their turn.
 * Only when there is no memory for an array are its tasks linked too.
 */
#include "scheduler/worker.h"

enum { INJECT_TAKE_MAX = 128, BATCH_TASKS = ZK_RUNQ_CAP / 2 + 1 };

struct zk_inject_batch {
    struct zk_inject_batch *next;
    uint32_t n;
    struct zk_task *task[BATCH_TASKS];
};

/* `inject_lock` is held. */
static void inject_count(struct zk_scheduler *s, int32_t change)
{
    uint32_t length = zk_atomic_load(&s->inject_len, relaxed);

    zk_atomic_store(&s->inject_len, length + (uint32_t)change, release);
}

void zk__inject_push(struct zk_scheduler *s, struct zk_task *first,
                     struct zk_task *last, uint32_t n)
{
    last->next = NULL;
    zk__waitq_lock(&s->inject_lock);
    if (s->inject_tail != NULL)
        s->inject_tail->next = first;
    else
        s->inject_head = first;
    s->inject_tail = last;
    inject_count(s, (int32_t)n);
    zk__waitq_unlock(&s->inject_lock);
}

static void push_linked(struct zk_scheduler *s, struct zk_task **tasks,
                        uint32_t n)
{
    for (uint32_t i = 0; i + 1 < n; i++)
        tasks[i]->next = tasks[i + 1];
    zk__inject_push(s, tasks[0], tasks[n - 1], n);
}

/* A used one, or a new one; NULL if there is no memory. */
static struct zk_inject_batch *batch_take(struct zk_scheduler *s)
{
    struct zk_inject_batch *batch;

    zk__waitq_lock(&s->inject_lock);
    batch = s->batch_free;
    if (batch != NULL)
        s->batch_free = batch->next;
    zk__waitq_unlock(&s->inject_lock);
    return batch != NULL ? batch : zk__alloc(sizeof(*batch));
}

void zk__inject_push_array(struct zk_scheduler *s, struct zk_task **tasks,
                           uint32_t n)
{
    struct zk_inject_batch *batch = batch_take(s);

    ZK_ASSERT(n <= BATCH_TASKS);
    if (batch == NULL) {
        push_linked(s, tasks, n);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        batch->task[i] = tasks[i];
    batch->n = n;
    batch->next = NULL;
    zk__waitq_lock(&s->inject_lock);
    if (s->batch_tail != NULL)
        s->batch_tail->next = batch;
    else
        s->batch_head = batch;
    s->batch_tail = batch;
    inject_count(s, (int32_t)n);
    zk__waitq_unlock(&s->inject_lock);
}

/* ---- taking --------------------------------------------------------------- */

/* The two lines that a start of the task touches. */
static void fetch_ahead(const struct zk_task *task)
{
    __builtin_prefetch(task, 1);
    __builtin_prefetch((const char *)task + ZK_CACHE_LINE, 1);
}

static void ring_push(struct zk_worker *w, struct zk_task *task)
{
    bool pushed = zk__runq_push(&w->runq, task);

    ZK_ASSERT(pushed); /* only the owner adds: the room is still there */
}

/* A whole batch, if the ring has room for it. */
static unsigned take_batch(struct zk_worker *w)
{
    struct zk_scheduler *s = w->scheduler;
    struct zk_inject_batch *batch = NULL;
    uint32_t n;

    if (ZK_RUNQ_CAP - zk__runq_len(&w->runq) < BATCH_TASKS)
        return 0;
    zk__waitq_lock(&s->inject_lock);
    batch = s->batch_head;
    if (batch != NULL) {
        s->batch_head = batch->next;
        if (s->batch_head == NULL)
            s->batch_tail = NULL;
        inject_count(s, -(int32_t)batch->n);
    }
    zk__waitq_unlock(&s->inject_lock);
    if (batch == NULL)
        return 0;

    n = batch->n;
    for (uint32_t i = 0; i < n; i++) {
        fetch_ahead(batch->task[i]);
        ring_push(w, batch->task[i]);
    }
    zk__waitq_lock(&s->inject_lock);
    batch->next = s->batch_free;
    s->batch_free = batch;
    zk__waitq_unlock(&s->inject_lock);
    return n;
}

/* `inject_lock` is held. A fair share of the list: all for one worker, a part
 * for many. Its length; the first is at `*first`. */
static uint32_t take_list(struct zk_worker *w, struct zk_task **first)
{
    struct zk_scheduler *s = w->scheduler;
    uint32_t room = ZK_RUNQ_CAP - zk__runq_len(&w->runq);
    uint32_t share = zk_atomic_load(&s->inject_len, relaxed) / s->n_workers + 1;
    uint32_t n = 0;

    if (share > INJECT_TAKE_MAX)
        share = INJECT_TAKE_MAX;
    if (share > room)
        share = room;
    *first = s->inject_head;
    for (; n < share && s->inject_head != NULL; n++)
        s->inject_head = s->inject_head->next;
    if (s->inject_head == NULL)
        s->inject_tail = NULL;
    inject_count(s, -(int32_t)n);
    return n;
}

unsigned zk__inject_take(struct zk_worker *w)
{
    struct zk_scheduler *s = w->scheduler;
    struct zk_task *task, *next;
    uint32_t n;

    if (zk_atomic_load(&s->inject_len, acquire) == 0)
        return 0;
    zk__waitq_lock(&s->inject_lock);
    n = take_list(w, &task);
    zk__waitq_unlock(&s->inject_lock);
    for (uint32_t i = 0; i < n; i++) { /* the part is ours alone */
        next = task->next;
        ring_push(w, task);
        task = next;
    }
    return n != 0 ? n : take_batch(w);
}

void zk__inject_fini(struct zk_scheduler *s)
{
    struct zk_inject_batch *batch, *next;

    ZK_ASSERT(s->batch_head == NULL);
    for (batch = s->batch_free; batch != NULL; batch = next) {
        next = batch->next;
        zk__free(batch, sizeof(*batch));
    }
    s->batch_free = NULL;
}
