/* SPDX-License-Identifier: MIT */
/* time.c - the public clock: the system's, or the virtual one of a runtime. */
#include "zokio/time.h"

#include "scheduler/scheduler.h"

zk_time_t zk_now(void)
{
    struct zk_worker *w = zk__worker_current();

    if (w == NULL)
        return zk__clock_now();
    return zk__scheduler_now(zk__scheduler_of(w));
}

zk_time_t zk_after(zk_time_t span)
{
    zk_time_t now = zk_now();

    if (span >= ZK_FOREVER - now)
        return ZK_FOREVER;
    if (span < -now)
        return 0;
    return now + span;
}
