/* SPDX-License-Identifier: MIT */
/*
 * monitor.c - one thread that watches for workers which do not come back.
 *
 * C code is not interrupted: a task that computes for a second, or that calls
 * something which blocks the thread, keeps its worker. What it must not keep is
 * the worker's other tasks. The ring can be stolen from at any time; the LIFO
 * slot, the claim window, the timers and the inbox cannot. So after 10 ms of
 * one task the monitor has another worker adopt them: a spare one or, if there
 * is none left, one that sleeps.
 *
 * The handshake (the owner's half is zk__worker_enter())
 *
 *      monitor                              owner
 *      M1  seq = run_seq, odd, as it was    E1  run_seq = seq + 1 (even)
 *          10 ms ago                        E2  compiler barrier
 *      M2  adopt = ASKED                    E3  adopt != 0? CAS ASKED, OFFERED
 *      M3  membarrier()                         -> 0 takes the queue back; if an
 *      M4  run_seq still seq?                   heir has TAKEN it, wait for 0
 *          no: CAS ASKED -> 0, give up      ... touch the structures ...
 *      M5  CAS ASKED -> OFFERED             E4  run_seq = seq + 2 (odd), release
 *          tell the heir: it sleeps
 *      heir
 *      A1  CAS OFFERED -> TAKEN, else give up
 *      A2  take the structures, adopt = 0, wake the owner
 *
 *   The barrier of M3 stands on the owner's processor either before E1, and
 *   then E3 sees adopt, or after E1, and then M4 sees the even number (the
 *   monitor gives up). Whoever wins the CAS from OFFERED has the structures: the
 *   owner, or an heir, which holds it for the few instructions of A2 on its
 *   native stack, where nobody adopts from it; so nobody waits for somebody who
 *   waits. An heir that comes late, after the owner was back and got stuck once
 *   more, finds ASKED and gives up, or a newer offer, which it may take as well.
 *   The odd value at M1 was stored with release after the owner's last touch, so
 *   the heir sees all of it.
 *
 * Timers change hands as a whole queue, for which the owner gets the heir's
 * empty one. If the heir has timers of its own, from its tasks or from an
 * earlier spell of the same owner, these must not land with the owner now: the
 * nodes of the shorter queue are moved into the longer.
 *
 * A worker that the kernel just does not run, on a machine with too much to do,
 * is not stuck: its thread is runnable and its processor time stands still.
 *
 * Where the kernel has no membarrier nothing is adopted; rings are still stolen.
 *
 * What cannot be adopted: operations in the stuck worker's reactor complete
 * only there. Connections with one in flight wait; all others go on. Pinned
 * tasks wait too.
 *
 * The monitor sleeps without a timeout while all workers sleep: an idle process
 * stays idle.
 */
#include <errno.h>

#include "scheduler/worker.h"

#define PERIOD ZK_MS(10)
#define HALF_PERIOD ZK_MS(5)
#define TRIM_PERIOD ZK_SEC(1)

enum { MONITOR_WATCHING = 0, MONITOR_RESTING = 1, TRIM_BATCH = 4096 };

/* What the monitor remembers of each worker. */
struct watch {
    uint64_t seq;
    zk_time_t since;
    zk_time_t cpu; /* the thread's processor time at `since` */
};

/* worker->adopt */
enum { ADOPT_ASKED = 1, ADOPT_OFFERED = 2, ADOPT_TAKEN = 3 };

void zk__monitor_rest(struct zk_scheduler *s)
{
    zk_atomic_sub(&s->n_awake, 1, seq_cst);
}

void zk__monitor_alert(struct zk_scheduler *s)
{
    uint32_t resting = MONITOR_RESTING;

    if (zk_atomic_add(&s->n_awake, 1, seq_cst) != 0)
        return;
    if (zk_atomic_load(&s->monitor_word, seq_cst) == MONITOR_RESTING &&
        zk_atomic_cas(&s->monitor_word, &resting, MONITOR_WATCHING, seq_cst,
                      relaxed))
        zk__futex_wake(&s->monitor_word, 1);
}

/* ---- the owner's side -------------------------------------------------------- */

/* E3: another worker was asked to take our queue, or is taking it. */
ZK_COLD void zk__worker_adopted(struct zk_worker *w)
{
    uint32_t seen = zk_atomic_load(&w->adopt, acquire); /* A */

    while (seen == ADOPT_ASKED || seen == ADOPT_OFFERED)
        if (zk_atomic_cas(&w->adopt, &seen, 0, acq_rel, acquire)) /* A */
            return;
    while (zk_atomic_load(&w->adopt, acquire) == ADOPT_TAKEN) /* A */
        zk__futex_wait(&w->adopt, ADOPT_TAKEN, ZK_FOREVER);
}

/* ---- the heir's side ----------------------------------------------------------- */

bool zk__spare_serves(struct zk_worker *w)
{
    struct zk_scheduler *s = w->scheduler;

    for (uint32_t i = 0; i < s->n_slots; i++)
        if (zk_atomic_load(&s->workers[i].stuck, relaxed) != 0)
            return true;
    return false;
}

static void swap_homes(struct zk_worker *w, struct zk_worker *from)
{
    struct zk_timer_home *home = from->home;

    from->home = w->home;
    w->home = home;
    zk_atomic_store(&from->home->owner, from, release);
    zk_atomic_store(&w->home->owner, w, release);
}

/* All timers of `from` come to `w`, whose own stay; `from` has none left. */
static void adopt_timers(struct zk_worker *w, struct zk_worker *from)
{
    if (w->home->timers.count < from->home->timers.count)
        swap_homes(w, from);
    zk__timeout_merge(w->home, from->home);
}

/* Native stack of the heir `w`: take over what `from` cannot serve. */
void zk__worker_adopt(struct zk_worker *w)
{
    struct zk_worker *from = zk_atomic_exchange(&w->adopt_from, NULL, acquire);
    uint32_t offered = ADOPT_OFFERED;

    if (from == NULL || !zk_atomic_cas(&from->adopt, &offered, ADOPT_TAKEN,
                                       acq_rel, relaxed)) /* A1 */
        return;
    while (from->claim_next < from->claim_len)
        zk__worker_push(w, from->claim[from->claim_next++]);
    while (from->n_fresh > 0)
        zk__worker_push(w, from->fresh[--from->n_fresh]);
    if (from->lifo != NULL)
        zk__worker_push(w, from->lifo);
    from->lifo = NULL;
    adopt_timers(w, from);
    zk_atomic_store(&from->stuck, 1, relaxed);
    zk_atomic_store(&from->adopt, 0, release); /* A, A2 */
    zk__futex_wake(&from->adopt, 1);
    zk__message_drain(w, from);
    zk__timeout_expire(w, w->now);
    zk_atomic_add(&w->scheduler->n_adoptions, 1, relaxed);
}

/* ---- the monitor's side ----------------------------------------------------------- */

/* Asleep, and nobody's heir yet. */
static bool is_free(const struct zk_worker *w)
{
    return zk_atomic_load(&w->sleep, relaxed) == ZK_SLEEPING &&
           zk_atomic_load(&w->adopt_from, relaxed) == NULL;
}

static bool start_spare(struct zk_scheduler *s, struct zk_worker *w)
{
    if (w->start_failed || zk__worker_start(w) < 0) {
        w->start_failed = 1;
        return false;
    }
    zk_atomic_add(&s->n_spares, 1, relaxed);
    return true;
}

/* Who can take over: a spare that is free, a new one, or a regular worker that
 * sleeps. NULL: all are at work. */
static struct zk_worker *find_heir(struct zk_scheduler *s)
{
    for (uint32_t i = s->n_workers; i < s->n_slots; i++) {
        struct zk_worker *w = &s->workers[i];

        if (zk_atomic_load(&w->kernel_id, acquire) == 0) {
            if (start_spare(s, w))
                return w;
            break;
        }
        if (is_free(w))
            return w;
    }
    for (uint32_t i = 0; i < s->n_workers; i++)
        if (is_free(&s->workers[i]))
            return &s->workers[i];
    return NULL;
}

/* Would anybody but the running task profit? */
static bool has_dependents(struct zk_scheduler *s, struct zk_worker *w)
{
    uint64_t live = zk__scheduler_live(s);

    return live > 1 || zk__runq_len(&w->runq) != 0 ||
           zk_atomic_load(&s->inject_len, relaxed) != 0;
}

static void report_stuck(struct zk_scheduler *s, struct zk_worker *w,
                         zk_time_t span, bool on_processor)
{
    zk__scheduler_log(s, ZK_LOG_INFO,
                      "worker %u has been in one task for %lld ms, %s; its "
                      "queue goes to another worker",
                      (unsigned)w->index, (long long)(span / ZK_MS(1)),
                      on_processor ? "on the processor"
                                   : "blocked in a system call");
}

/* M1..M5 */
static bool try_adopt(struct zk_scheduler *s, struct zk_worker *w, uint64_t seq)
{
    struct zk_worker *heir = find_heir(s);
    uint32_t asked = ADOPT_ASKED;

    if (heir == NULL)
        return false;
    zk_atomic_store(&w->adopt, ADOPT_ASKED, seq_cst); /* M2 */
    if (zk__membarrier() < 0 ||                       /* M3 */
        zk_atomic_load(&w->run_seq, acquire) != seq) {
        zk_atomic_cas(&w->adopt, &asked, 0, acq_rel, relaxed); /* M4 */
        return false;
    }
    if (!zk_atomic_cas(&w->adopt, &asked, ADOPT_OFFERED, acq_rel, relaxed))
        return false; /* M5: the owner is back */
    zk_atomic_store(&heir->adopt_from, w, seq_cst);
    zk__idle_poke(heir);
    return true;
}

/* The task of `w` has run since `watch->since`. Is it the task, or does the
 * kernel not run the thread? */
static bool is_stuck(struct zk_worker *w, const struct watch *watch,
                     bool *on_processor)
{
    uint32_t id = zk_atomic_load(&w->kernel_id, relaxed);

    *on_processor = zk__thread_state(id) == 'R';
    return !*on_processor || zk__thread_cpu_time(id) - watch->cpu >= PERIOD / 2;
}

static void watch_worker(struct zk_scheduler *s, struct zk_worker *w,
                         struct watch *watch, zk_time_t now)
{
    uint64_t seq = zk_atomic_load(&w->run_seq, acquire);
    bool on_processor;

    if (seq != watch->seq || (seq & 1) == 0) {
        watch->seq = seq;
        watch->since = now;
        watch->cpu = (seq & 1) == 0 ? 0
                                    : zk__thread_cpu_time(zk_atomic_load(
                                          &w->kernel_id, relaxed));
        if (zk_atomic_load(&w->stuck, relaxed) != 0)
            zk_atomic_store(&w->stuck, 0, relaxed);
        return;
    }
    if (now - watch->since < PERIOD || !is_stuck(w, watch, &on_processor))
        return;
    zk_atomic_store(&w->yield_asked, 1, relaxed);
    if (zk_atomic_load(&w->stuck, relaxed) == 0 &&
        zk_atomic_load(&w->adopt, relaxed) == 0 && has_dependents(s, w) &&
        try_adopt(s, w, seq))
        report_stuck(s, w, now - watch->since, on_processor);
}

/* Sleep for half a period, or, with every worker, until one wakes. */
static void monitor_wait(struct zk_scheduler *s)
{
    if (zk_atomic_load(&s->n_awake, seq_cst) != 0) {
        zk__futex_wait(&s->monitor_pulse, 0, zk__clock_now() + HALF_PERIOD);
        return;
    }
    zk_atomic_store(&s->monitor_word, MONITOR_RESTING, seq_cst);
    if (zk_atomic_load(&s->n_awake, seq_cst) == 0 &&
        zk_atomic_load(&s->monitor_pulse, seq_cst) == 0)
        zk__futex_wait(&s->monitor_word, MONITOR_RESTING, ZK_FOREVER);
    zk_atomic_store(&s->monitor_word, MONITOR_WATCHING, seq_cst);
}

static void *monitor_main(void *arg)
{
    struct zk_scheduler *s = arg;
    struct watch watch[ZK_MAX_WORKERS] = {{0, 0, 0}};
    zk_time_t trimmed = zk__clock_now();

    while (zk_atomic_load(&s->monitor_pulse, acquire) == 0) { /* B */
        zk_time_t now = zk__clock_now();

        for (uint32_t i = 0; i < s->n_slots; i++)
            watch_worker(s, &s->workers[i], &watch[i], now);
        if (now - trimmed >= TRIM_PERIOD) {
            trimmed = now;
            zk__stack_trim(now, TRIM_BATCH);
        }
        monitor_wait(s);
    }
    return NULL;
}

int zk__monitor_start(struct zk_scheduler *s)
{
    int rc = zk__thread_create(&s->monitor, monitor_main, s, 128 << 10,
                               "zk-monitor");

    s->monitor_up = rc == 0;
    return rc;
}

void zk__monitor_stop(struct zk_scheduler *s)
{
    if (!s->monitor_up)
        return;
    zk_atomic_store(&s->monitor_pulse, 1, seq_cst); /* B */
    zk__futex_wake(&s->monitor_pulse, 1);
    zk_atomic_store(&s->monitor_word, MONITOR_WATCHING, seq_cst);
    zk__futex_wake(&s->monitor_word, 1);
    zk__thread_join(s->monitor);
    s->monitor_up = false;
}
