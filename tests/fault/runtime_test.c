/* SPDX-License-Identifier: MIT */
/*
 * The n-th request to the system fails, for every n, through a whole program:
 * start, tasks, a blocking call, listen, dial, accept, read, write, shutdown.
 * Each run either works or says why it does not, ends, and leaves nothing.
 */
#include "integration/integration.h"

#include <stdio.h>

#include "memory/memory.h"
#include "utils/fault.h"

enum { FAULTS_MAX = 400 };

static int double_it(void *arg)
{
    return *(int *)arg * 2;
}

static int accept_one(void *arg)
{
    zk_fd_t fd = zk_accept(*(zk_fd_t *)arg, NULL, BOUND);
    char byte;
    ssize_t n;

    if (fd < 0)
        return fd;
    n = zk_read(fd, &byte, 1, BOUND);
    if (n == 1)
        n = zk_write(fd, &byte, 1, BOUND);
    zk_close(fd);
    return n < 0 ? (int)n : 0;
}

static int talk(const char *text)
{
    zk_fd_t fd = zk_dial_tcp(text, BOUND);
    char byte = 'z';
    ssize_t n;

    if (fd < 0)
        return fd;
    n = zk_write(fd, &byte, 1, BOUND);
    if (n == 1)
        n = zk_read(fd, &byte, 1, BOUND);
    zk_close(fd);
    return n < 0 ? (int)n : 0;
}

static int network_part(void)
{
    zk_fd_t listener = zk_listen_tcp("127.0.0.1:0", NULL);
    char text[ZK_ADDR_TEXT];
    zk_task_t task;
    zk_addr_t addr;
    int rc, result = 0;

    if (listener < 0)
        return listener;
    rc = zk_sock_local(listener, &addr);
    if (rc == 0)
        rc = zk_addr_format(&addr, text, sizeof(text)) > 0 ? 0 : -EINVAL;
    if (rc == 0)
        rc = zk_spawn(&task, NULL, accept_one, &listener);
    if (rc == 0) {
        rc = talk(text);
        if (rc < 0)
            zk_cancel(task);
        if (zk_join(task, &result, ZK_FOREVER) == 0 && rc == 0)
            rc = result;
    }
    zk_close(listener);
    return rc;
}

static int whole_program(void *arg)
{
    int two = 2, result = 0;
    zk_task_t task;
    int rc;

    (void)arg;
    rc = zk_spawn(&task, NULL, double_it, &two);
    if (rc < 0)
        return rc;
    rc = zk_join(task, &result, BOUND);
    if (rc < 0 || result != 4)
        return rc < 0 ? rc : -EIO;
    rc = zk_blocking(double_it, &two, BOUND);
    if (rc != 4)
        return rc < 0 ? rc : -EIO;
    return network_part();
}

static bool is_named(int rc)
{
    return rc == -ENOMEM || rc == -EMFILE || rc == -EAGAIN || rc == -ECANCELED;
}

/* Runs with the n-th request failing until one run does not meet it. */
static void fail_each(enum zk_fault_point point, uint64_t times)
{
    int fds = zk_test_open_fds(), n, failed = 0;
    uint64_t heap = zk__heap_bytes();

    for (n = 1; n < FAULTS_MAX; n++) {
        int rc;

        zk__fault_repeat(point, (uint64_t)n, times);
        rc = zk_run(NULL, whole_program, NULL);
        zk__fault_set(point, 0);
        if (rc < 0)
            failed++;
        if (!EXPECT_TRUE(rc == 0 || is_named(rc)) ||
            !EXPECT_EQ(zk_test_open_fds(), fds) ||
            !EXPECT_EQ(zk__heap_bytes(), heap))
            fprintf(stderr, "# request %d: %d\n", n, rc);
        if (rc == 0 && n > 40)
            break;
    }
    EXPECT_GT(failed, 0);
    EXPECT_LT(n, FAULTS_MAX);
}

ZK_TEST(an_allocation_that_fails_is_named_and_nothing_leaks)
{
    fail_each(ZK_FAULT_ALLOC, 1);
}

ZK_TEST(a_mapping_that_fails_is_named_and_nothing_leaks)
{
    fail_each(ZK_FAULT_MAP, 1);
}

ZK_TEST(a_thread_that_does_not_start_is_named_and_nothing_leaks)
{
    fail_each(ZK_FAULT_THREAD, 1);
}

ZK_TEST(a_descriptor_that_is_refused_is_named_and_nothing_leaks)
{
    fail_each(ZK_FAULT_FD, 1);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(an_allocation_that_fails_is_named_and_nothing_leaks),
        ZK_CASE(a_mapping_that_fails_is_named_and_nothing_leaks),
        ZK_CASE(a_thread_that_does_not_start_is_named_and_nothing_leaks),
        ZK_CASE(a_descriptor_that_is_refused_is_named_and_nothing_leaks));
}
