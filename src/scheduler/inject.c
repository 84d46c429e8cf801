/* SPDX-License-Identifier: MIT */
/* inject.c - the queue all workers share: overflow and foreign threads. */
#include "scheduler/worker.h"

enum { INJECT_TAKE_MAX = 128 };

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
    zk_atomic_store(&s->inject_len, zk_atomic_load(&s->inject_len, relaxed) + n,
                    release);
    zk__waitq_unlock(&s->inject_lock);
}

/* A fair share: all of it for one worker, a part for many. */
static uint32_t inject_share(struct zk_worker *w, uint32_t length)
{
    uint32_t room = ZK_RUNQ_CAP - zk__runq_len(&w->runq);
    uint32_t share = length / w->scheduler->n_workers + 1;

    if (share > INJECT_TAKE_MAX)
        share = INJECT_TAKE_MAX;
    if (share > length)
        share = length;
    return share < room ? share : room;
}

unsigned zk__inject_take(struct zk_worker *w)
{
    struct zk_scheduler *s = w->scheduler;
    struct zk_task *task, *next;
    uint32_t length, share;

    if (zk_atomic_load(&s->inject_len, acquire) == 0)
        return 0;
    zk__waitq_lock(&s->inject_lock);
    length = zk_atomic_load(&s->inject_len, relaxed);
    share = inject_share(w, length);
    task = s->inject_head;
    for (uint32_t i = 0; i < share; i++) {
        next = s->inject_head->next;
        s->inject_head = next;
    }
    if (s->inject_head == NULL)
        s->inject_tail = NULL;
    zk_atomic_store(&s->inject_len, length - share, relaxed);
    zk__waitq_unlock(&s->inject_lock);

    for (uint32_t i = 0; i < share; i++) { /* the part is ours alone */
        bool pushed;

        next = task->next;
        pushed = zk__runq_push(&w->runq, task);
        ZK_ASSERT(pushed); /* only the owner adds: the room is still there */
        task = next;
    }
    return share;
}
