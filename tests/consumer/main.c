/* SPDX-License-Identifier: MIT */
/*
 * main.c - a program of somebody else: C and C++ read it alike.
 */
#include <zokio.h>

#include <stdio.h>

static int twice(void *arg)
{
    int *n = (int *)arg;

    *n *= 2;
    return zk_yield();
}

static int start(void *arg)
{
    zk_task_t task;
    int result, rc;

    rc = zk_spawn(&task, NULL, twice, arg);
    if (rc < 0)
        return rc;
    rc = zk_join(task, &result, ZK_FOREVER);
    return rc < 0 ? rc : result;
}

int main(void)
{
    int n = 21, rc = zk_run(NULL, start, &n);

    printf("zokio %s: %d, %s\n", zk_version_string(), n, zk_strerror(rc));
    return rc != 0 || n != 42 || zk_version() != ZK_VERSION;
}
