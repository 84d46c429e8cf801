/* SPDX-License-Identifier: MIT */
/* task.c - yielding, starting and joining tasks through the public calls. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "zkbench.h"

/* ---- yield --------------------------------------------------------------- */

static int yield_task(void *arg)
{
    uint64_t n = *(const uint64_t *)arg;
    int rc = 0;

    for (uint64_t i = 0; i < n && rc == 0; i++)
        rc = zk_yield();
    return rc;
}

static int yield_pair(uint64_t n)
{
    zk_task_t task[2];
    int rc, result;

    for (unsigned i = 0; i < 2; i++) {
        rc = zk_spawn(&task[i], NULL, yield_task, &n);
        if (rc < 0)
            return workload_fail("yield: spawn", rc);
    }
    for (unsigned i = 0; i < 2; i++) {
        rc = zk_join(task[i], &result, ZK_FOREVER);
        if (rc < 0 || result < 0)
            return workload_fail("yield", rc < 0 ? rc : result);
    }
    return 0;
}

static int yield_main(void *arg)
{
    const struct bench_options *options = arg;
    uint64_t start;
    int rc = yield_pair(1000);

    if (rc < 0)
        return rc;
    start = bench_now();
    rc = yield_pair(options->n);
    if (rc == 0)
        bench_print(options, "yield",
                    (double)(bench_now() - start) / (double)(2 * options->n),
                    "ns/switch");
    return rc;
}

/* ---- spawn --------------------------------------------------------------- */

static int count_task(void *arg)
{
    /* The joiner reads it after the join; nobody else writes. */
    ++*(uint64_t *)arg;
    return 0;
}

static int spawn_join(uint64_t n)
{
    uint64_t ran = 0;

    for (uint64_t i = 0; i < n; i++) {
        zk_task_t task;
        int rc = zk_spawn(&task, NULL, count_task, &ran);

        if (rc == 0)
            rc = zk_join(task, NULL, ZK_FOREVER);
        if (rc < 0)
            return workload_fail("spawn", rc);
    }
    return ran == n ? 0 : workload_fail("spawn: lost a task", -EIO);
}

static int spawn_main(void *arg)
{
    const struct bench_options *options = arg;
    uint64_t start;
    int rc = spawn_join(1000);

    if (rc < 0)
        return rc;
    start = bench_now();
    rc = spawn_join(options->n);
    if (rc == 0)
        bench_print(options, "spawn",
                    (double)(bench_now() - start) / (double)options->n,
                    "ns/op");
    return rc;
}

/* ---- spawnmany ----------------------------------------------------------- */

static void empty_task(void *arg)
{
    latch_done(arg);
}

static int spawnmany_round(const struct bench_options *options,
                           const char *figure)
{
    struct latch latch;
    uint64_t start = bench_now();
    int rc = latch_open(&latch, options->n);

    if (rc < 0)
        return workload_fail("latch", rc);
    for (uint64_t i = 0; i < options->n; i++) {
        rc = zk_go(empty_task, &latch);
        if (rc < 0) /* the tasks that run hold the latch: no way back */
            return workload_fail("spawnmany: zk_go", rc);
    }
    rc = latch_wait(&latch);
    if (rc == 0)
        bench_print(options, figure,
                    (double)(bench_now() - start) / (double)options->n,
                    "ns/op");
    latch_close(&latch);
    return rc;
}

static int spawnmany_main(void *arg)
{
    int rc = spawnmany_round(arg, "spawnmany_first");

    return rc < 0 ? rc : spawnmany_round(arg, "spawnmany");
}

/* ---- skynet -------------------------------------------------------------- */

struct skynet {
    uint64_t first, size, sum;
};

static int skynet_task(void *arg)
{
    struct skynet *self = arg, child[10];
    zk_task_t task[10];
    unsigned started;
    int rc = 0, result = 0;

    if (self->size == 1) {
        self->sum = self->first;
        return 0;
    }
    for (started = 0; started < 10; started++) {
        child[started].size = self->size / 10;
        child[started].first = self->first + started * child[started].size;
        rc = zk_spawn(&task[started], NULL, skynet_task, &child[started]);
        if (rc < 0)
            break;
    }
    self->sum = 0;
    for (unsigned i = 0; i < started; i++) {
        int joined = zk_join(task[i], &result, ZK_FOREVER);

        if (joined < 0 || result < 0)
            rc = joined < 0 ? joined : result;
        else
            self->sum += child[i].sum;
    }
    return rc;
}

static int skynet_round(uint64_t n)
{
    struct skynet root = {.first = 0, .size = n};
    int rc = skynet_task(&root);

    if (rc == 0 && root.sum != n * (n - 1) / 2)
        rc = -EIO;
    return rc < 0 ? workload_fail("skynet", rc) : 0;
}

/* Looks at the number of live stacks every 200 us, on a thread of its own, in
 * a round that is not timed. */
struct watch {
    zk_runtime_t *rt;
    _Atomic bool stop;
    uint64_t peak;
};

static void *watch_thread(void *arg)
{
    struct watch *watch = arg;
    struct timespec pause = {.tv_nsec = 200000};
    zk_stats_t stats;

    while (!atomic_load_explicit(&watch->stop, memory_order_relaxed)) {
        zk_runtime_stats(watch->rt, &stats);
        if (stats.stacks_live > watch->peak)
            watch->peak = stats.stacks_live;
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static int skynet_watch(const struct bench_options *options)
{
    struct watch watch = {.rt = zk_runtime_current()};
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, watch_thread, &watch);

    if (rc != 0)
        return workload_fail("skynet: thread", -rc);
    rc = skynet_round(options->n);
    atomic_store_explicit(&watch.stop, true, memory_order_relaxed);
    pthread_join(thread, NULL);
    if (rc == 0)
        bench_print(options, "skynet_stacks", (double)watch.peak, "stacks");
    return rc;
}

static int skynet_main(void *arg)
{
    const struct bench_options *options = arg;
    uint64_t start;
    int rc = skynet_round(options->n);

    if (rc < 0)
        return rc;
    start = bench_now();
    rc = skynet_round(options->n);
    if (rc < 0)
        return rc;
    bench_print(options, "skynet", (double)(bench_now() - start) / 1e6, "ms");
    return skynet_watch(options);
}

static int skynet_run(const struct bench_options *options)
{
    uint64_t n = options->n;

    while (n > 1 && n % 10 == 0)
        n /= 10;
    if (n != 1)
        return workload_fail("skynet: --n must be a power of ten", -EINVAL);
    return workload_run(options, skynet_main, (void *)(uintptr_t)options);
}

static int yield_run(const struct bench_options *options)
{
    return workload_run(options, yield_main, (void *)(uintptr_t)options);
}

static int spawn_run(const struct bench_options *options)
{
    return workload_run(options, spawn_main, (void *)(uintptr_t)options);
}

static int spawnmany_run(const struct bench_options *options)
{
    return workload_run(options, spawnmany_main, (void *)(uintptr_t)options);
}

const struct workload task_workloads[] = {
    {"yield", "two tasks give way to each other n times each", 5000000,
     yield_run},
    {"spawn", "start a task and join it, one at a time", 2000000, spawn_run},
    {"spawnmany", "start n empty tasks, wait for all; two rounds", 1000000,
     spawnmany_run},
    {"skynet", "a tree of tasks, ten children each, n leaves; second round",
     1000000, skynet_run},
    {0},
};
