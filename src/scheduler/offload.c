/* SPDX-License-Identifier: MIT */
/*
 * offload.c - threads for calls that block.
 *
 * A job lies in the frame of the task that waits for it, which may not return
 * before the job is done or taken out of the queue unstarted. Threads are
 * started when a job finds none idle, up to a limit, and leave after ten idle
 * seconds.
 *
 *   O1  job->state changes under the pool's lock; QUEUED -> STARTED by a
 *       thread, QUEUED -> (out of the queue) by the waiting task.
 *   O2  The unlock of job->waiters is the thread's last touch of the job: the
 *       task cannot have seen `done` before it.
 */
#include <errno.h>

#include "scheduler/worker.h"

#define KEEP_ALIVE ZK_SEC(10)

enum job_state { JOB_QUEUED, JOB_STARTED };
enum slot_state { SLOT_FREE, SLOT_RUNNING, SLOT_LEFT };

struct job {
    struct zk_list link;
    int (*fn)(void *);
    void *arg;
    int result;
    enum job_state state;
    bool done; /* under waiters' lock */
    struct zk_waitq waiters;
};

struct slot {
    zk_thread_t thread;
    enum slot_state state;
    struct zk_offload *pool;
};

struct zk_offload {
    struct zk_mutex_os lock; /* of everything but `pulse` */
    struct zk_list queue;
    uint32_t n_queued, n_threads, n_idle, max;
    bool stop;
    _Atomic uint32_t pulse; /* futex: grows with each job */
    struct slot slot[];
};

static size_t offload_size(uint32_t max)
{
    return sizeof(struct zk_offload) + max * sizeof(struct slot);
}

int zk__offload_init(struct zk_scheduler *s)
{
    struct zk_offload *pool = zk__alloc(offload_size(s->blocking_max));

    if (pool == NULL)
        return -ENOMEM;
    pool->max = s->blocking_max;
    zk_list_init(&pool->queue);
    s->offload = pool;
    return 0;
}

static void run_job(struct job *job)
{
    job->result = job->fn(job->arg);
    zk__waitq_lock(&job->waiters);
    job->done = true;
    zk__waitq_wake_one(&job->waiters, 0); /* O2: unlocks */
}

/* `lock` is held, and held again on return. False: the thread is to leave. */
static bool wait_for_job(struct zk_offload *pool, zk_time_t idle_since)
{
    uint32_t pulse = zk_atomic_load(&pool->pulse, acquire);
    int rc;

    pool->n_idle++;
    zk__mutex_unlock(&pool->lock);
    rc = zk__futex_wait(&pool->pulse, pulse, idle_since + KEEP_ALIVE);
    zk__mutex_lock(&pool->lock);
    pool->n_idle--;
    return rc != -ETIMEDOUT || !zk_list_empty(&pool->queue);
}

static void *thread_main(void *arg)
{
    struct slot *slot = arg;
    struct zk_offload *pool = slot->pool;
    zk_time_t idle_since = zk__clock_now();

    zk__mutex_lock(&pool->lock);
    while (!pool->stop) {
        struct zk_list *link = zk_list_pop(&pool->queue);

        if (link == NULL) {
            if (!wait_for_job(pool, idle_since))
                break;
            continue;
        }
        pool->n_queued--;
        container_of(link, struct job, link)->state = JOB_STARTED; /* O1 */
        zk__mutex_unlock(&pool->lock);
        run_job(container_of(link, struct job, link));
        idle_since = zk__clock_now();
        zk__mutex_lock(&pool->lock);
    }
    pool->n_threads--;
    slot->state = SLOT_LEFT;
    zk__mutex_unlock(&pool->lock);
    return NULL;
}

/* `lock` is held. One more thread if the idle ones do not suffice. 1: a thread
 * is there for every job; 0: jobs wait; -EAGAIN: nobody will ever come. */
static int thread_add(struct zk_offload *pool)
{
    struct slot *slot = pool->slot;
    int rc;

    if (pool->n_idle >= pool->n_queued)
        return 1;
    if (pool->n_threads == pool->max)
        return 0;
    while (slot->state == SLOT_RUNNING)
        slot++;
    if (slot->state == SLOT_LEFT)
        zk__thread_join(slot->thread);
    slot->pool = pool;
    slot->state = SLOT_RUNNING;
    rc = zk__thread_create(&slot->thread, thread_main, slot, 0, "zk-blocking");
    if (rc < 0) {
        slot->state = SLOT_FREE;
        return pool->n_threads != 0 ? 0 : -EAGAIN;
    }
    pool->n_threads++;
    return 1;
}

/* As thread_add(). */
static int job_submit(struct zk_offload *pool, struct job *job)
{
    int rc;

    zk__mutex_lock(&pool->lock);
    zk_list_push(&pool->queue, &job->link);
    pool->n_queued++;
    rc = thread_add(pool);
    if (rc < 0) {
        zk_list_remove(&job->link);
        pool->n_queued--;
    }
    zk_atomic_add(&pool->pulse, 1, release);
    zk__mutex_unlock(&pool->lock);
    if (rc >= 0)
        zk__futex_wake(&pool->pulse, 1);
    return rc;
}

/* O1: true if it had not started and never will. */
static bool job_withdraw(struct zk_offload *pool, struct job *job)
{
    bool queued;

    zk__mutex_lock(&pool->lock);
    queued = job->state == JOB_QUEUED;
    if (queued) {
        zk_list_remove(&job->link);
        pool->n_queued--;
    }
    zk__mutex_unlock(&pool->lock);
    return queued;
}

int zk__offload_call(int (*fn)(void *), void *arg, zk_time_t deadline,
                     unsigned flags)
{
    struct zk_task *self = zk__task_current();
    struct zk_scheduler *s = zk_atomic_load(&self->worker, relaxed)->scheduler;
    struct job job = {.fn = fn, .arg = arg, .state = JOB_QUEUED};
    int rc = job_submit(s->offload, &job);

    if (rc > 0 && deadline != ZK_FOREVER && deadline <= zk__scheduler_now(s))
        deadline = ZK_FOREVER; /* one try: a thread was free */
    while (rc >= 0) {
        zk__waitq_lock(&job.waiters);
        if (job.done) {
            zk__waitq_unlock(&job.waiters);
            return job.result;
        }
        rc = zk__waitq_wait(&job.waiters, ZK_REASON_BLOCKING, fn, deadline,
                            flags);
        if (rc < 0 && job_withdraw(s->offload, &job))
            return rc;
        rc = 0; /* done, or started: await it */
        deadline = ZK_FOREVER;
        flags = 0;
    }
    return rc;
}

uint32_t zk__offload_threads(const struct zk_scheduler *s)
{
    uint32_t n;

    if (s->offload == NULL)
        return 0;
    zk__mutex_lock(&s->offload->lock);
    n = s->offload->n_threads;
    zk__mutex_unlock(&s->offload->lock);
    return n;
}

void zk__offload_fini(struct zk_scheduler *s)
{
    struct zk_offload *pool = s->offload;

    if (pool == NULL)
        return;
    zk__mutex_lock(&pool->lock);
    pool->stop = true;
    zk_atomic_add(&pool->pulse, 1, release);
    zk__mutex_unlock(&pool->lock);
    zk__futex_wake(&pool->pulse, INT32_MAX);
    for (uint32_t i = 0; i < pool->max; i++) {
        bool used;

        zk__mutex_lock(&pool->lock);
        used = pool->slot[i].state != SLOT_FREE;
        zk__mutex_unlock(&pool->lock);
        if (used)
            zk__thread_join(pool->slot[i].thread);
    }
    zk__free(pool, offload_size(pool->max));
    s->offload = NULL;
}
