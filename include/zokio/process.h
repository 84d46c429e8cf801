/* SPDX-License-Identifier: MIT */
/*
 * process.h - what comes to the process as a whole: signals.
 */
#ifndef ZOKIO_PROCESS_H
#define ZOKIO_PROCESS_H

#include <signal.h>

#include <zokio/base.h>

ZK_BEGIN_DECLS

/**
 * Wait for one of a set of signals and take it.
 *
 * The threads of a runtime block all signals but the synchronous ones, SIGPROF
 * and SIGURG, so a signal of the set stays pending until somebody waits for
 * it: none is lost between two calls. A program with threads of its own must
 * block the set there, or the kernel may deliver it to them.
 *
 * @param set       signals to wait for; SIGKILL and SIGSTOP are ignored.
 * @param info      receives sender and details; may be NULL; untouched on
 *                  failure.
 * @param deadline  absolute. In the past: takes a pending one only.
 *
 * @retval signo       the signal taken.
 * @retval -ETIMEDOUT  none came before the deadline.
 * @retval -ECANCELED  the task was cancelled; no signal was lost.
 * @retval -EINVAL     set is NULL or empty.
 * @retval -EMFILE     no descriptor for the wait.
 * @retval -EPERM      not called from a task.
 *
 * @context  task only; may switch.
 * @threads  any number of waiters; each signal is taken by one.
 * @memory   opens a descriptor for the time of the call.
 * @since    0.1
 */
ZK_API int zk_signal_wait(const sigset_t *set, siginfo_t *info,
                          zk_time_t deadline);

ZK_END_DECLS

#endif
