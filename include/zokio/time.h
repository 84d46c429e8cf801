/* SPDX-License-Identifier: MIT */
/*
 * time.h - the clock of deadlines, and sleeping by it.
 *
 * All times are nanoseconds on one monotonic clock. Inside a runtime with a
 * virtual clock (testing.h) zk_now() is that clock.
 */
#ifndef ZOKIO_TIME_H
#define ZOKIO_TIME_H

#include <zokio/base.h>

ZK_BEGIN_DECLS

/**
 * The present, read freshly.
 *
 * @retval now  nanoseconds since an unspecified start; never decreases.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API zk_time_t zk_now(void);

/**
 * The point `span` from now: what a call that waits takes as its deadline.
 *
 * @param span  nanoseconds; negative gives a point in the past. The addition
 *              saturates, so zk_after(ZK_FOREVER) is ZK_FOREVER.
 *
 * @retval deadline  zk_now() + span.
 *
 * @context  any; never switches.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API zk_time_t zk_after(zk_time_t span);

/**
 * Sleep. Never returns early, except cancelled.
 *
 * @param deadline  absolute. In the past: returns at once. ZK_FOREVER sleeps
 *                  until the task is cancelled.
 *
 * @retval 0           the deadline has come.
 * @retval -ECANCELED  the task was cancelled before or while it slept.
 * @retval -EPERM      not called from a task.
 *
 * @context  task only; may switch.
 * @threads  -
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API int zk_sleep_until(zk_time_t deadline);

ZK_END_DECLS

#endif
