/* SPDX-License-Identifier: MIT */
/*
 * simple_task.c - start tasks, wait for them, collect their results.
 *
 *   build/examples/simple_task
 *   ZK_WORKERS=1 build/examples/simple_task     the same on one thread
 *
 * Shows: zk_spawn() gives a handle, zk_join() waits and takes the result. The
 * tasks take turns by themselves or run in parallel; the program is the same.
 */
#include <zokio.h>

#include <stdio.h>
#include <stdlib.h>

#define TASKS 4

struct range {
    int first;
    int last;
};

/* The sum of a range; yields now and then, as a long computation should. */
static int sum(void *arg)
{
    const struct range *range = arg;
    int total = 0, rc;

    for (int i = range->first; i <= range->last; i++) {
        total += i;
        rc = zk_yield_if_needed();
        if (rc < 0)
            return rc;
    }
    return total;
}

static int sum_in_parts(void *arg)
{
    struct range parts[TASKS];
    zk_task_t tasks[TASKS];
    int started, rc = 0, total = 0;

    (void)arg;
    for (started = 0; started < TASKS; started++) {
        parts[started].first = started * 25 + 1;
        parts[started].last = started * 25 + 25;
        rc = zk_spawn(&tasks[started], NULL, sum, &parts[started]);
        if (rc < 0)
            break;
    }
    /* Join whatever was started: the tasks use `parts` of this very frame. */
    for (int i = 0; i < started; i++) {
        int part = 0, joined = zk_join(tasks[i], &part, ZK_FOREVER);

        if (joined < 0 || part < 0) {
            rc = joined < 0 ? joined : part;
            continue;
        }
        printf("%3d..%3d: %d\n", parts[i].first, parts[i].last, part);
        total += part;
    }
    if (rc < 0)
        return rc;
    printf("total: %d\n", total);
    return 0;
}

int main(void)
{
    int rc = zk_run(NULL, sum_in_parts, NULL);

    if (rc < 0) {
        fprintf(stderr, "simple_task: %s\n", zk_strerror(rc));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
