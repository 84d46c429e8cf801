/* SPDX-License-Identifier: MIT */
/*
 * idle.c - what a task costs that does nothing.
 *
 * n tasks wait for the runtime's shutdown, which comes when all have been
 * weighed. Resident memory is the process's own; page tables are VmPTE; slab is
 * the kernel's, of the whole machine, and means something only if nothing else
 * runs.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "zkbench.h"

struct memory {
    double resident, tables, slab; /* bytes */
};

struct idle {
    const struct bench_options *options;
    struct latch parked; /* about to park, to be exact */
    struct latch ended;
    _Atomic uint64_t failed;
};

static double field_read(const char *path, const char *key)
{
    char line[256];
    uint64_t kib = 0;
    FILE *f = fopen(path, "re");

    if (f == NULL)
        return 0;
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0) {
            if (sscanf(line + strlen(key), "%" SCNu64, &kib) != 1)
                kib = 0;
            break;
        }
    }
    fclose(f);
    return (double)kib * 1024;
}

static struct memory memory_read(void)
{
    return (struct memory){
        .resident = field_read("/proc/self/status", "VmRSS:"),
        .tables = field_read("/proc/self/status", "VmPTE:"),
        .slab = field_read("/proc/meminfo", "Slab:"),
    };
}

static void idle_task(void *arg)
{
    struct idle *idle = arg;

    latch_done(&idle->parked);
    if (zk_shutdown_wait(ZK_FOREVER) < 0)
        atomic_fetch_add_explicit(&idle->failed, 1, memory_order_relaxed);
    latch_done(&idle->ended);
}

static int tasks_park(struct idle *idle)
{
    int rc;

    for (uint64_t i = 0; i < idle->options->n; i++) {
        rc = zk_go(idle_task, idle);
        if (rc < 0)
            return workload_fail("idle: zk_go", rc);
    }
    rc = latch_wait(&idle->parked);
    if (rc < 0)
        return workload_fail("idle: latch", rc);
    /* The last have counted down but may not be parked yet: a few ms pass
     * before memory is read, which is no part of the time printed. */
    return 0;
}

static void idle_report(const struct idle *idle, const struct memory *a,
                        const struct memory *b, uint64_t ns)
{
    const struct bench_options *o = idle->options;
    double n = (double)o->n;
    zk_stats_t stats;

    zk_runtime_stats(zk_runtime_current(), &stats);
    bench_print(o, "idle_mem", (b->resident - a->resident) / n, "bytes/task");
    bench_print(o, "idle_pte", (b->tables - a->tables) / n, "bytes/task");
    bench_print(o, "idle_slab", (b->slab - a->slab) / n, "bytes/task");
    bench_print(o, "idle_spawn", (double)ns / n, "ns/task");
    bench_print(o, "idle_unguarded", (double)stats.stacks_unguarded, "stacks");
}

static int idle_main(void *arg)
{
    struct idle *idle = arg;
    struct memory before, after;
    uint64_t start;
    int rc = latch_open(&idle->parked, idle->options->n);

    if (rc == 0)
        rc = latch_open(&idle->ended, idle->options->n);
    if (rc < 0)
        return workload_fail("idle: latch", rc);
    before = memory_read();
    start = bench_now();
    rc = tasks_park(idle);
    start = bench_now() - start;
    if (rc == 0)
        rc = zk_sleep_until(zk_after(ZK_MS(20)));
    if (rc < 0)
        return rc;
    after = memory_read();
    idle_report(idle, &before, &after, start);
    rc = zk_shutdown_begin();
    if (rc == 0)
        rc = latch_wait(&idle->ended);
    if (rc == 0 && idle->failed != 0)
        rc = -EIO;
    if (rc < 0)
        return workload_fail("idle: end", rc);
    latch_close(&idle->parked);
    latch_close(&idle->ended);
    return 0;
}

static int idle_run(const struct bench_options *options)
{
    /* Static: should the run fail, tasks may outlive this call. */
    static struct idle idle;

    idle.options = options;
    return workload_run(options, idle_main, &idle);
}

const struct workload idle_workloads[] = {
    {"idle", "n tasks parked: memory of each, time to start it", 100000,
     idle_run},
    {0},
};
