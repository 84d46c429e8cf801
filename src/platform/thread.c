/* SPDX-License-Identifier: MIT */
/* thread.c - threads of the system. */
#include "platform/platform.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "utils/compiler.h"
#include "utils/fault.h"

_Static_assert(sizeof(pthread_t) <= sizeof(uintptr_t), "handle of a thread");

enum {
    THREAD_NAME_MAX = 16, /* with the terminator: the kernel's limit */
    THREAD_STACK_DOUBLINGS = 6,
};

static pthread_t thread_of(zk_thread_t thread)
{
    return (pthread_t)thread.handle;
}

/* The C library takes its thread-locals from the stack it is given, and says
 * EINVAL when too little would be left. How much that is depends on what is
 * linked, so it is found by trying. */
static int thread_start(pthread_t *out, zk_thread_fn fn, void *arg,
                        size_t stack_size)
{
    long least = sysconf(_SC_THREAD_STACK_MIN);
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);

    if (rc != 0)
        return -rc;
    if (stack_size == 0) {
        rc = pthread_create(out, &attr, fn, arg);
        goto destroy_attr;
    }
    if (least > 0 && stack_size < (size_t)least)
        stack_size = (size_t)least;
    for (int i = 0; i < THREAD_STACK_DOUBLINGS; i++, stack_size *= 2) {
        rc = pthread_attr_setstacksize(&attr, stack_size);
        if (rc == 0)
            rc = pthread_create(out, &attr, fn, arg);
        if (rc != EINVAL)
            break;
    }
destroy_attr:
    pthread_attr_destroy(&attr);
    return -rc;
}

int zk__thread_create(zk_thread_t *out, zk_thread_fn fn, void *arg,
                      size_t stack_size, const char *name)
{
    char text[THREAD_NAME_MAX];
    pthread_t thread;
    sigset_t saved;
    int rc;

    if (ZK_FAULT(ZK_FAULT_THREAD))
        return -EAGAIN;
    /* A new thread inherits the mask, so there is no moment without it. Our
     * own is put back as it was: nothing here writes to a pipe. */
    zk__signal_mask(&saved);
    rc = thread_start(&thread, fn, arg, stack_size);
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    if (rc < 0)
        return rc;
    if (name != NULL) {
        strncpy(text, name, sizeof text - 1);
        text[sizeof text - 1] = '\0';
        pthread_setname_np(thread, text);
    }
    out->handle = (uintptr_t)thread;
    return 0;
}

void zk__thread_join(zk_thread_t thread)
{
    int rc = pthread_join(thread_of(thread), NULL);

    ZK_ASSERT(rc == 0);
}

zk_thread_t zk__thread_self(void)
{
    return (zk_thread_t){(uintptr_t)pthread_self()};
}

int zk__thread_signal(zk_thread_t thread, int signo)
{
    return -pthread_kill(thread_of(thread), signo);
}

uint32_t zk__thread_kernel_id(void)
{
    return (uint32_t)syscall(SYS_gettid);
}

int zk__thread_timer_slack(uint64_t nanoseconds)
{
    /* To the kernel 0 means "back to the default", the opposite of the wish. */
    unsigned long slack = nanoseconds > 0 ? (unsigned long)nanoseconds : 1;

    return prctl(PR_SET_TIMERSLACK, slack, 0, 0, 0) < 0 ? -errno : 0;
}

void zk__thread_yield(void)
{
    sched_yield();
}
