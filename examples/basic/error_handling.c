/* SPDX-License-Identifier: MIT */
/*
 * error_handling.c - an error is the value that the call returned.
 *
 *   build/examples/error_handling
 *
 * Shows: one line for each kind of failure. zk_strerror() gives its text,
 * zk_error_kind() what sort it is, and no call ever sets errno.
 */
#include <zokio.h>

#include <stdio.h>
#include <stdlib.h>

static void report(const char *what, int rc)
{
    static const char *const kinds[] = {
        [ZK_ERROR_NONE] = "none",           [ZK_ERROR_SHUTDOWN] = "shutdown",
        [ZK_ERROR_CANCELLED] = "cancelled", [ZK_ERROR_TIMEOUT] = "timeout",
        [ZK_ERROR_EXHAUSTED] = "exhausted", [ZK_ERROR_IO] = "io",
        [ZK_ERROR_NETWORK] = "network",     [ZK_ERROR_FILE_SYSTEM] = "files",
        [ZK_ERROR_USAGE] = "usage",
    };

    printf("%s: %s (%s)\n", what, zk_strerror(rc), kinds[zk_error_kind(rc)]);
}

static int sleep_for_ever(void *arg)
{
    (void)arg;
    return zk_sleep_until(ZK_FOREVER);
}

/* The usual shape: each step that fails leaves by the label that undoes the
 * steps before it. */
static int fail_in_many_ways(void *arg)
{
    char text[ZK_ADDR_TEXT], byte;
    zk_addr_t addr;
    zk_task_t task;
    zk_fd_t listener, fd;
    int rc, result;

    (void)arg;
    report("a bad address", zk_addr_parse("no port here", &addr));
    report("a bad descriptor", (int)zk_read(-1, &byte, 1, ZK_FOREVER));

    listener = zk_listen_tcp("127.0.0.1:0", NULL);
    if (listener < 0)
        return listener;
    rc = zk_sock_local(listener, &addr);
    if (rc < 0)
        goto close_listener;
    rc = zk_addr_format(&addr, text, sizeof(text));
    if (rc < 0)
        goto close_listener;
    rc = zk_accept(listener, NULL, zk_after(ZK_MS(10)));
    report("nobody connects", rc);
    if (rc >= 0)
        zk_close(rc);
    rc = zk_spawn(&task, NULL, sleep_for_ever, NULL);
    if (rc < 0)
        goto close_listener;
    zk_cancel(task);
    rc = zk_join(task, &result, ZK_FOREVER);
    if (rc < 0)
        goto close_listener;
    report("a cancelled task", result);
    rc = zk_close(listener);
    if (rc < 0)
        return rc;

    fd = zk_dial_tcp(text, zk_after(ZK_SEC(5)));
    report("nobody listens", fd);
    if (fd >= 0)
        zk_close(fd);
    return 0;

close_listener:
    zk_close(listener);
    return rc;
}

int main(void)
{
    int rc = zk_run(NULL, fail_in_many_ways, NULL);

    if (rc < 0) {
        fprintf(stderr, "error_handling: %s\n", zk_strerror(rc));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
