/* SPDX-License-Identifier: MIT */
/* clock.c - the monotonic clock. */
#include "platform/platform.h"

#include <time.h>

#include "utils/compiler.h"

zk_time_t zk__clock_now(void)
{
    struct timespec ts;

    /* Cannot fail for this clock; the vDSO serves it without a system call. */
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (zk_time_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}
