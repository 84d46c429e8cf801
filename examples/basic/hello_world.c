/* SPDX-License-Identifier: MIT */
/*
 * hello_world.c - the smallest program: one task.
 *
 *   build/examples/hello_world
 *
 * Shows: zk_run() makes a runtime, runs a function as its first task, and
 * returns what the function returned. A negative value is an error.
 */
#include <zokio.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int hello(void *arg)
{
    const char *whom = arg;

    if (printf("Hello, %s!\n", whom) < 0)
        return -EIO;
    return 0;
}

int main(void)
{
    char whom[] = "World";
    int rc = zk_run(NULL, hello, whom);

    if (rc < 0) {
        fprintf(stderr, "hello_world: %s\n", zk_strerror(rc));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
