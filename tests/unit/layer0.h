/* SPDX-License-Identifier: MIT */
/*
 * layer0.h - what the tests of the lowest layer share: cmocka, pieces that run
 * in a child process, threads seen asleep.
 */
#ifndef ZK_TEST_LAYER0_H
#define ZK_TEST_LAYER0_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/platform.h"
#include "utils/compiler.h"

#define TEST(name) static void name(ZK_UNUSED void **state)

/* In a child: leave at once if it does not hold. */
#define MUST(x)                                                                \
    do {                                                                       \
        if (!(x)) {                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);            \
            _exit(99);                                                         \
        }                                                                      \
    } while (0)

#define assert_exits(fn, arg, code)                                            \
    assert_int_equal(status_of(fn, arg), (code) << 8)
#define assert_dies(fn, arg, signo)                                            \
    assert_int_equal(status_of(fn, arg) & 0x7f, signo)

/* The scheduler's, where it is linked. */
ZK_WEAK void zk__assert_failed(const char *expr, const char *file, int line)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, expr);
    abort();
}

/* Run `fn` in a child process: its wait status. */
ZK_UNUSED static int status_of(void (*fn)(void *), void *arg)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        fn(arg);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* Opaque, or the compiler objects to the addresses it sees. */
ZK_UNUSED static ZK_OPAQUE void touch(void *p)
{
    *(volatile char *)p = 1;
}

/* Dies by the plain SIGSEGV, whatever a sanitizer installed. */
ZK_UNUSED static void touch_plainly(void *p)
{
    signal(SIGSEGV, SIG_DFL);
    touch(p);
}

/* Sleep until a thread stores something else than 0 and wakes us. */
ZK_UNUSED static uint32_t await_ready(_Atomic uint32_t *ready)
{
    uint32_t value;

    while ((value = zk_atomic_load(ready, acquire)) == 0)
        zk__futex_wait(ready, 0, ZK_FOREVER);
    return value;
}

/* Until the thread is in `state`, or gone. */
ZK_UNUSED static void await_state(uint32_t kernel_id, char state)
{
    char now;

    while ((now = zk__thread_state(kernel_id)) != state && now != 0)
        zk__thread_yield();
}

#endif
