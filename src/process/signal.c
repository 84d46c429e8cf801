/* SPDX-License-Identifier: MIT */
/*
 * signal.c - signals as something to wait for.
 *
 * Workers block all signals, so one that arrives stays pending until somebody
 * reads it from a signalfd. Each wait opens its own: what is pending is seen by
 * all of them and taken by one, and nothing has to be kept between two waits.
 */
#include <errno.h>
#include <string.h>
#include <sys/signalfd.h>

#include "io/io.h"
#include "runtime/runtime.h"
#include "zokio/process.h"

static void fill_info(siginfo_t *info, const struct signalfd_siginfo *from)
{
    memset(info, 0, sizeof(*info));
    info->si_signo = (int)from->ssi_signo;
    info->si_errno = from->ssi_errno;
    info->si_code = from->ssi_code;
    info->si_pid = (pid_t)from->ssi_pid;
    info->si_uid = from->ssi_uid;
    info->si_status = from->ssi_status;
    info->si_value.sival_ptr = (void *)(uintptr_t)from->ssi_ptr;
}

/* Wait for readiness, then take: another waiter may be faster. */
static int take_signal(int fd, siginfo_t *info, zk_time_t deadline)
{
    struct signalfd_siginfo got;

    for (;;) {
        int rc = zk__io_wait(fd, ZK_READABLE, deadline, ZK_REASON_SIGNAL);
        ssize_t n;

        if (rc < 0)
            return rc;
        n = zk__sys_read(fd, &got, sizeof(got));
        if (n == (ssize_t)sizeof(got))
            break;
        if (n < 0 && n != -EAGAIN)
            return (int)n;
    }
    if (info != NULL)
        fill_info(info, &got);
    return (int)got.ssi_signo;
}

int zk_signal_wait(const sigset_t *set, siginfo_t *info, zk_time_t deadline)
{
    struct zk_task *self = zk__task_current();
    int fd, rc;

    if (self == NULL)
        return -EPERM;
    if (set == NULL || sigisemptyset(set))
        return -EINVAL;
    if (zk_task_cancelled(self))
        return -ECANCELED;
    fd = zk__sys_signalfd(set);
    if (fd < 0)
        return fd;
    rc = take_signal(fd, info, deadline);
    zk__sys_close(fd);
    return rc;
}
