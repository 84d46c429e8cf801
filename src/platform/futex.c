/* SPDX-License-Identifier: MIT */
/*
 * futex.c - threads that sleep on a word, a mutex made of that, and the
 * barrier that runs on every thread.
 *
 * The mutex is for cold paths: 0 free, 1 held, 2 held and somebody may sleep.
 * Who finds it held stores 2 and sleeps; who leaves it at 2 wakes one sleeper,
 * which takes it as 2 again, since it cannot know whether others still sleep.
 * The price is one wake too many at the end of a queue.
 *
 * Orderings
 *   A   unlock: exchange, release  -> lock: CAS or exchange, acquire
 */
#include "platform/platform.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "utils/compiler.h"

enum { MUTEX_SPINS = 40 };

static long futex_call(_Atomic uint32_t *word, int op, uint32_t value,
                       const struct timespec *deadline)
{
    return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, deadline,
                   NULL, FUTEX_BITSET_MATCH_ANY);
}

void zk__mutex_lock(struct zk_mutex_os *m)
{
    uint32_t seen = 0;

    for (int i = 0; i < MUTEX_SPINS; i++) {
        seen = 0;
        if (zk_atomic_cas(&m->word, &seen, 1, acquire, relaxed)) /* A */
            return;
        if (seen == 2)
            break;
        zk_cpu_relax();
    }
    while (zk_atomic_exchange(&m->word, 2, acquire) != 0) /* A */
        zk__futex_wait(&m->word, 2, ZK_FOREVER);
}

void zk__mutex_unlock(struct zk_mutex_os *m)
{
    uint32_t seen = zk_atomic_exchange(&m->word, 0, release); /* A */

    ZK_ASSERT(seen != 0);
    if (seen == 2)
        zk__futex_wake(&m->word, 1);
}

int zk__futex_wait(_Atomic uint32_t *word, uint32_t expected,
                   zk_time_t deadline)
{
    struct timespec ts, *until = NULL;
    long rc;

    if (deadline != ZK_FOREVER) {
        /* The kernel refuses times before the start of its clock. */
        zk_time_t t = deadline > 0 ? deadline : 0;

        ts.tv_sec = (time_t)(t / 1000000000);
        ts.tv_nsec = (long)(t % 1000000000);
        until = &ts;
    }
    do {
        rc = futex_call(word, FUTEX_WAIT_BITSET, expected, until);
    } while (rc < 0 && errno == EINTR);
    if (rc < 0 && errno == ETIMEDOUT)
        return -ETIMEDOUT;
    ZK_ASSERT(rc >= 0 || errno == EAGAIN);
    return 0;
}

void zk__futex_wake(_Atomic uint32_t *word, int count)
{
    /* The word may be gone already, its owner having seen the change without
     * sleeping: then the call wakes nobody and its error means nothing. */
    futex_call(word, FUTEX_WAKE, (uint32_t)count, NULL);
}

static int membarrier_call(int command)
{
    if (syscall(SYS_membarrier, command, 0u, 0) == 0)
        return 0;
    /* Kernels from before the private command say EINVAL, filters EPERM. */
    return -ENOSYS;
}

int zk__membarrier_init(void)
{
    return membarrier_call(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
}

int zk__membarrier(void)
{
    return membarrier_call(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}
