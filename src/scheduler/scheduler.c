/* SPDX-License-Identifier: MIT */
/* scheduler.c - the workers as a whole: start, drain, stop, reports. */
#include "scheduler/scheduler.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "scheduler/worker.h"
#include "zokio/metrics.h"

enum { WORKER_STACK = 128 << 10 };

static const char *const reason_names[ZK_N_REASONS] = {
    [ZK_REASON_NONE] = "nothing",
    [ZK_REASON_SLEEP] = "sleep",
    [ZK_REASON_JOIN] = "join",
    [ZK_REASON_READ] = "read",
    [ZK_REASON_WRITE] = "write",
    [ZK_REASON_ACCEPT] = "accept",
    [ZK_REASON_CONNECT] = "connect",
    [ZK_REASON_POLL] = "readiness of a descriptor",
    [ZK_REASON_FD_TURN] = "turn at a descriptor",
    [ZK_REASON_FD_CLOSE] = "users of a descriptor to leave",
    [ZK_REASON_BLOCKING] = "blocking call",
    [ZK_REASON_SHUTDOWN] = "shutdown",
    [ZK_REASON_SIGNAL] = "signal",
};

const char *zk__reason_name(enum zk_wait_reason reason)
{
    return reason < ZK_N_REASONS ? reason_names[reason] : "unknown";
}

void zk__assert_failed(const char *expr, const char *file, int line)
{
    struct zk_worker *w = zk__worker_current();
    struct zk_task *task = w != NULL ? w->current : NULL;
    char text[256];

    snprintf(text, sizeof(text),
             "zokio: %s:%d: assertion failed: %s (worker %d, task %llu)", file,
             line, expr, w != NULL ? (int)w->index : -1,
             task != NULL
                 ? (unsigned long long)zk_atomic_load(&task->id, relaxed)
                 : 0ull);
    zk__stderr_line(text);
    abort();
}

zk_time_t zk__scheduler_now(struct zk_scheduler *s)
{
    return s->clock != NULL ? s->clock(s->clock_arg) : zk__clock_now();
}

void zk__scheduler_log(struct zk_scheduler *s, enum zk_log_level level,
                       const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    s->log(s, level, text);
}

/* ---- life ------------------------------------------------------------------ */

static size_t workers_size(const struct zk_scheduler *s)
{
    return s->n_slots * sizeof(struct zk_worker);
}

int zk__scheduler_init(struct zk_scheduler *s)
{
    void *workers = NULL;
    uint32_t up = 0;
    int rc;

    rc = zk__stack_pool_init();
    if (rc < 0)
        return rc;
    rc = zk__task_slab_init();
    if (rc < 0)
        return rc;
    s->n_slots = s->n_workers * 2;
    if (s->sim || zk__membarrier_init() < 0)
        s->n_slots = s->n_workers;
    if (s->n_slots > ZK_MAX_WORKERS)
        s->n_slots = ZK_MAX_WORKERS;
    rc = zk__vm_map(&workers, workers_size(s), 0, 0);
    if (rc < 0)
        return rc;
    s->workers = workers;
    zk_atomic_store(&s->stop_at, ZK_FOREVER, relaxed);
    for (up = 0; up < s->n_slots; up++) {
        rc = zk__worker_init(&s->workers[up], s, up);
        if (rc < 0)
            goto fini_workers;
    }
    rc = zk__offload_init(s);
    if (rc < 0)
        goto fini_workers;
    return 0;

fini_workers:
    while (up > 0)
        zk__worker_fini(&s->workers[--up]);
    zk__vm_unmap(s->workers, workers_size(s));
    s->workers = NULL;
    return rc;
}

/* The threads are gone and no task lives, but some may have asked a worker to
 * unlink a timer which it did not come to. A message may go round once. */
static void settle_messages(struct zk_scheduler *s)
{
    bool any = true;

    while (any) {
        any = false;
        for (uint32_t i = 0; i < s->n_slots; i++) {
            struct zk_worker *w = &s->workers[i];

            any = any || zk_atomic_load(&w->inbox, acquire) != NULL;
            zk__message_drain(w, w);
            zk__worker_give_blocks(w);
        }
    }
}

void zk__scheduler_fini(struct zk_scheduler *s)
{
    if (s->workers == NULL)
        return;
    settle_messages(s);
    zk__inject_fini(s);
    zk__offload_fini(s);
    for (uint32_t i = 0; i < s->n_slots; i++)
        zk__worker_fini(&s->workers[i]);
    zk__vm_unmap(s->workers, workers_size(s));
    s->workers = NULL;
}

static void *worker_main(void *arg)
{
    struct zk_worker *w = arg;
    int rc = zk__worker_open(w);

    zk_atomic_store(&w->open_result, rc, relaxed);
    zk_atomic_store(&w->opened, 1, release); /* A */
    zk__futex_wake(&w->opened, 1);
    if (rc == 0) {
        zk__worker_run(w);
        zk__worker_close(w);
    }
    zk_atomic_store(&w->opened, 2, release); /* A */
    zk__futex_wake(&w->opened, 1);
    return NULL;
}

int zk__worker_start(struct zk_worker *w)
{
    struct zk_scheduler *s = w->scheduler;
    char name[16];
    int rc;

    snprintf(name, sizeof(name), "zk-%s-%u", w->is_spare ? "spare" : "worker",
             (unsigned)w->index);
    zk_atomic_store(&w->opened, 0, relaxed); /* an earlier thread left 2 */
    zk_atomic_add(&s->n_awake, 1, seq_cst);
    rc = zk__thread_create(&w->thread, worker_main, w, WORKER_STACK, name);
    if (rc < 0) {
        zk_atomic_sub(&s->n_awake, 1, seq_cst);
        return rc;
    }
    w->has_thread = 1;
    while (zk_atomic_load(&w->opened, acquire) == 0) /* A */
        zk__futex_wait(&w->opened, 0, ZK_FOREVER);
    rc = zk_atomic_load(&w->open_result, relaxed);
    if (rc < 0) {
        zk__thread_join(w->thread);
        w->has_thread = 0;
        zk_atomic_sub(&s->n_awake, 1, seq_cst);
        zk_atomic_store(&w->opened, 0, relaxed);
    }
    return rc;
}

int zk__scheduler_start(struct zk_scheduler *s, unsigned from)
{
    int rc = 0;

    for (unsigned i = from; i < s->n_workers && rc == 0; i++)
        rc = zk__worker_start(&s->workers[i]);
    if (rc == 0 && !s->sim)
        rc = zk__monitor_start(s);
    if (rc < 0)
        zk__scheduler_stop(s, ZK_FOREVER);
    return rc;
}

int zk__scheduler_run(struct zk_scheduler *s, const struct zk_spawn *main_task)
{
    struct zk_worker *w = &s->workers[0];
    zk_task_t handle = {NULL, 0};
    int rc = zk__worker_open(w);

    if (rc < 0)
        return rc;
    w->thread = zk__thread_self();
    zk_atomic_add(&s->n_awake, 1, seq_cst);
    rc = zk__scheduler_start(s, 1);
    if (rc == 0)
        rc = zk__task_spawn(s, NULL, main_task, &handle);
    s->first_id = handle.private_id;
    if (rc == 0)
        zk__worker_run(w);
    else
        zk__scheduler_stop(s, ZK_FOREVER);
    zk_atomic_sub(&s->n_awake, 1, seq_cst);
    zk__worker_close(w);
    return rc;
}

int zk__scheduler_stop(struct zk_scheduler *s, zk_time_t deadline)
{
    zk_atomic_store(&s->stop, 1, seq_cst);
    zk__monitor_stop(s);
    for (uint32_t i = 0; i < s->n_slots; i++)
        zk__idle_poke(&s->workers[i]);
    for (uint32_t i = 0; i < s->n_slots; i++) {
        struct zk_worker *w = &s->workers[i];

        if (!w->has_thread)
            continue;
        while (zk_atomic_load(&w->opened, acquire) != 2) /* A */
            if (zk__futex_wait(&w->opened, 1, deadline) == -ETIMEDOUT)
                return -ETIMEDOUT;
        zk__thread_join(w->thread);
        w->has_thread = 0;
    }
    return 0;
}

/* ---- shutdown ---------------------------------------------------------------- */

static bool belongs_to(struct zk_task *task, struct zk_scheduler *s)
{
    struct zk_worker *w;

    if (zk_atomic_load(&task->id, acquire) == 0 || task->done)
        return false;
    w = zk_atomic_load(&task->worker, relaxed);
    return w->scheduler == s;
}

/* Whoever waits in accept or connect is to look again. */
static bool nudge_one(void *block, void *arg)
{
    struct zk_task *task = block;

    zk__waitq_lock(&task->life);
    if (belongs_to(task, arg))
        zk__message_send(task, ZK_MESSAGE_CANCEL);
    zk__waitq_unlock(&task->life);
    return true;
}

void zk__scheduler_close(struct zk_scheduler *s)
{
    uint32_t running = ZK_RUNTIME_RUNNING;

    if (!zk_atomic_cas(&s->phase, &running, ZK_RUNTIME_SHUTTING_DOWN, seq_cst,
                       relaxed))
        return;
    zk__waitq_lock(&s->shutdown_waiters);
    zk__waitq_wake_all(&s->shutdown_waiters, 0);
    zk__slab_each(zk__task_slab(), nudge_one, s);
}

/* Finished first, then started: if they are equal, there was a moment between
 * the two when nothing lived (both only grow). */
uint64_t zk__scheduler_live(struct zk_scheduler *s)
{
    uint64_t finished = 0, started = 0;

    for (uint32_t i = 0; i < s->n_slots; i++)
        finished += zk_atomic_load(&s->workers[i].n_finished, acquire);
    zk_atomic_fence(seq_cst);
    started = zk_atomic_load(&s->n_foreign_started, seq_cst);
    for (uint32_t i = 0; i < s->n_slots; i++)
        started += zk_atomic_load(&s->workers[i].n_started, acquire);
    return started - finished;
}

void zk__drain_check(struct zk_scheduler *s)
{
    if (zk_atomic_load(&s->drained, relaxed) != 0 || zk__scheduler_live(s) != 0)
        return;
    zk_atomic_store(&s->drained, 1, release); /* B */
    zk__futex_wake(&s->drained, INT32_MAX);
    zk_atomic_store(&s->stop, 1, seq_cst);
    for (uint32_t i = 0; i < s->n_slots; i++)
        zk__idle_poke(&s->workers[i]);
}

void zk__scheduler_halt(struct zk_scheduler *s)
{
    zk_atomic_store(&s->stop, 1, seq_cst);
}

void zk__scheduler_give_up_at(struct zk_scheduler *s, zk_time_t deadline)
{
    zk_atomic_store(&s->stop_at, deadline, seq_cst);
    zk__idle_poke(&s->workers[0]);
}

void zk__scheduler_begin_drain(struct zk_scheduler *s)
{
    zk_atomic_store(&s->draining, 1, seq_cst);
    zk_atomic_fence(seq_cst); /* with idle.c P3: it or we see the last end */
    zk__drain_check(s);
}

int zk__scheduler_drain(struct zk_scheduler *s, zk_time_t deadline)
{
    zk__scheduler_begin_drain(s);
    while (zk_atomic_load(&s->drained, acquire) == 0) /* B */
        if (zk__futex_wait(&s->drained, 0, deadline) == -ETIMEDOUT)
            return zk_atomic_load(&s->drained, acquire) ? 0 : -ETIMEDOUT;
    return 0;
}

static bool cancel_one(void *block, void *arg)
{
    struct zk_task *task = block;
    bool woken = false;

    zk__waitq_lock(&task->life);
    if (belongs_to(task, arg) && zk_atomic_load(&task->cancel, relaxed) == 0) {
        zk_atomic_store(&task->cancel, ZK_CANCEL_SHUTDOWN, seq_cst);
        woken = zk__message_cancel(task);
    }
    zk__waitq_unlock(&task->life);
    if (woken)
        zk__ready(task);
    return true;
}

/* With spawn: it stores the id and then reads `refuse`; here `refuse` is stored
 * and then the ids are read, with every thread's barrier between. */
void zk__scheduler_cancel_all(struct zk_scheduler *s)
{
    zk_atomic_store(&s->refuse, 1, seq_cst);
    if (!s->sim)
        zk__membarrier();
    zk__slab_each(zk__task_slab(), cancel_one, s);
}

struct survivors {
    struct zk_scheduler *s;
    unsigned n;
};

static bool report_one(void *block, void *arg)
{
    enum { REPORTS_MAX = 20 };
    struct zk_task *task = block;
    struct survivors *found = arg;
    bool is_ours;

    zk__waitq_lock(&task->life);
    is_ours = belongs_to(task, found->s);
    zk__waitq_unlock(&task->life);
    if (is_ours && found->n++ < REPORTS_MAX)
        zk__scheduler_log(
            found->s, ZK_LOG_WARNING,
            "task %llu \"%s\" (spawned at %p) is still there: waits for %s",
            (unsigned long long)zk_atomic_load(&task->id, relaxed),
            zk_task_name(task), task->site,
            zk__reason_name(zk_atomic_load(&task->wait_reason, relaxed)));
    return true;
}

unsigned zk__scheduler_survivors(struct zk_scheduler *s)
{
    struct survivors found = {s, 0};

    zk__slab_each(zk__task_slab(), report_one, &found);
    return found.n;
}

void zk__scheduler_stats(const struct zk_scheduler *s, struct zk_stats *out)
{
    out->tasks_started = zk_atomic_load(&s->n_foreign_started, relaxed);
    for (uint32_t i = 0; i < s->n_slots; i++) {
        struct zk_worker *w = &s->workers[i];

        out->tasks_started += zk_atomic_load(&w->n_started, relaxed);
        out->tasks_finished += zk_atomic_load(&w->n_finished, relaxed);
        out->switches += zk_atomic_load(&w->n_switches, relaxed);
        out->parks += zk_atomic_load(&w->n_parks, relaxed);
        out->steals += zk_atomic_load(&w->n_steals, relaxed);
        out->worker_sleeps += zk_atomic_load(&w->n_sleeps, relaxed);
        out->worker_wakes += zk_atomic_load(&w->n_wakes, relaxed);
        out->io_submitted += zk_atomic_load(&w->n_submitted, relaxed);
        out->io_immediate += zk_atomic_load(&w->n_immediate, relaxed);
        out->timers_fired += zk_atomic_load(&w->n_timers, relaxed);
    }
    out->adoptions = zk_atomic_load(&s->n_adoptions, relaxed);
    out->task_blocks = zk__slab_blocks(zk__task_slab());
    out->workers = s->n_workers;
    out->spare_workers = zk_atomic_load(&s->n_spares, relaxed);
    out->blocking_threads = zk__offload_threads(s);
}
