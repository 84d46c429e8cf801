/* SPDX-License-Identifier: MIT */
/*
 * timer_example.c - three tasks that tick at their own pace.
 *
 *   build/examples/timer_example
 *
 * Shows: a deadline is a point in time, so a period does not drift: the next
 * point is the last one plus the period, however late the task woke. Look at
 * the order of the lines; no tick is ever early.
 */
#include <zokio.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define TICKERS 3

struct ticker {
    const char *name;
    zk_time_t start;
    zk_time_t period;
    int ticks;
};

static int tick(void *arg)
{
    const struct ticker *t = arg;
    zk_time_t next = t->start, late;
    int rc;

    for (int i = 1; i <= t->ticks; i++) {
        next += t->period;
        rc = zk_sleep_until(next);
        if (rc < 0)
            return rc;
        late = zk_now() - next;
        if (late < 0)
            return -ERANGE; /* early: cannot happen */
        printf("%s %d at %d ms\n", t->name, i,
               (int)((next - t->start) / ZK_MS(1)));
    }
    return 0;
}

static int run_tickers(void *arg)
{
    zk_time_t now = zk_now();
    struct ticker tickers[TICKERS] = {
        {"slow", now, ZK_MS(50), 2},
        {"middle", now, ZK_MS(35), 2},
        {"quick", now, ZK_MS(20), 4},
    };
    zk_task_t tasks[TICKERS];
    int started, rc = 0;

    (void)arg;
    for (started = 0; started < TICKERS; started++) {
        rc = zk_spawn(&tasks[started], NULL, tick, &tickers[started]);
        if (rc < 0)
            break;
    }
    for (int i = 0; i < started; i++) {
        int result = 0, joined = zk_join(tasks[i], &result, ZK_FOREVER);

        if (joined < 0 || result < 0)
            rc = joined < 0 ? joined : result;
    }
    return rc;
}

int main(void)
{
    int rc = zk_run(NULL, run_tickers, NULL);

    if (rc < 0) {
        fprintf(stderr, "timer_example: %s\n", zk_strerror(rc));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
