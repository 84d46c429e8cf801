/* SPDX-License-Identifier: MIT */
/*
 * signal.c - signal masks, signal stacks, and the handler of faults.
 *
 * The handler stands in a chain. What was installed before it is called after
 * it, as if it had been called by the kernel; a default or ignored disposition
 * is put back and the handler returns, so that the instruction faults again
 * and the process ends the way it would have without us.
 *
 * Others may install their handler over ours and call ours as their previous.
 * Then the last remove must leave the chain alone: our handler stays as a link
 * that only passes on, and a later install finds itself in place already.
 *
 *   I1  chain_linked[i]: our handler can be reached for chain_signal[i], and
 *       chain_previous[i] is what comes after it. Both change under chain_lock
 *       only, and chain_previous[i] only while it is not linked.
 *   A   install: store chain_fn, release -> handler: load chain_fn, acquire
 */
#include "platform/platform.h"

#include <errno.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "utils/compiler.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

enum { SIGNAL_STACK_ROOM = 32 * 1024 };

/* ---- masks --------------------------------------------------------------- */

void zk__signal_mask(sigset_t *saved)
{
    static const int open_signals[] = {SIGSEGV, SIGBUS,  SIGFPE,
                                       SIGILL,  SIGTRAP, SIGSYS,
                                       SIGABRT, SIGPROF, SIGURG};
    sigset_t set;

    sigfillset(&set);
    for (size_t i = 0; i < ZK_ARRAY_LEN(open_signals); i++)
        sigdelset(&set, open_signals[i]);
    pthread_sigmask(SIG_SETMASK, &set, saved);
}

void zk__signal_unmask(const sigset_t *saved)
{
    struct timespec now = {0, 0};
    sigset_t set;
    int signo;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    do {
        signo = sigtimedwait(&set, NULL, &now);
    } while (signo == SIGPIPE || (signo < 0 && errno == EINTR));
    pthread_sigmask(SIG_SETMASK, saved, NULL);
}

/* ---- signal stacks ------------------------------------------------------- */

/* At the low end of the mapping; the stack grows down towards it from the
 * other end. */
struct signal_stack {
    stack_t previous;
    size_t size; /* of the mapping */
};

int zk__sigaltstack_install(void **memory)
{
    size_t page = zk__vm_page_size();
    size_t size = (size_t)getauxval(AT_MINSIGSTKSZ) + SIGNAL_STACK_ROOM;
    struct signal_stack *s;
    void *mapped;
    stack_t stack;
    int rc;

    /* A kernel that does not tell has no big frames either. */
    if (size < (size_t)MINSIGSTKSZ + SIGNAL_STACK_ROOM)
        size = (size_t)MINSIGSTKSZ + SIGNAL_STACK_ROOM;
    size = ((size + page - 1) & ~(page - 1)) + page;
    rc = zk__vm_map(&mapped, size, 0, ZK_VM_STACK);
    if (rc < 0)
        return rc;
    s = mapped;
    s->size = size;
    stack = (stack_t){.ss_sp = (char *)mapped + page, .ss_size = size - page};
    if (sigaltstack(&stack, &s->previous) < 0) {
        rc = -errno;
        zk__vm_unmap(mapped, size);
        return rc;
    }
    *memory = mapped;
    return 0;
}

void zk__sigaltstack_remove(void *memory)
{
    struct signal_stack *s = memory;
    stack_t previous = s->previous;
    int rc;

    /* What the kernel reports for a live stack it does not accept back. */
    previous.ss_flags &= SS_DISABLE;
    rc = sigaltstack(&previous, NULL);
    ZK_ASSERT(rc == 0);
    zk__vm_unmap(memory, s->size);
}

/* ---- faults -------------------------------------------------------------- */

static const int chain_signal[] = {SIGSEGV, SIGBUS};

static struct zk_mutex_os chain_lock;
static unsigned chain_users;                                        /* lock */
static bool chain_linked[ZK_ARRAY_LEN(chain_signal)];               /* I1 */
static struct sigaction chain_previous[ZK_ARRAY_LEN(chain_signal)]; /* I1 */
static _Atomic(zk_fault_fn) chain_fn;

static uintptr_t context_stack_pointer(const ucontext_t *uc)
{
#if defined(__x86_64__)
    return (uintptr_t)uc->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
    return (uintptr_t)uc->uc_mcontext.sp;
#else
    (void)uc;
    return 0;
#endif
}

/* The disposition is not a function. A fault repeats when we return; a signal
 * that somebody sent does not, and is sent once more. */
static void chain_default(int signo, const struct sigaction *previous,
                          const siginfo_t *info)
{
    bool sent = info->si_code <= 0;

    if (sent && previous->sa_handler == SIG_IGN)
        return;
    sigaction(signo, previous, NULL);
    if (sent)
        pthread_kill(pthread_self(), signo);
}

static void chain_call(int signo, siginfo_t *info, void *context)
{
    const struct sigaction *previous =
        &chain_previous[signo == chain_signal[0] ? 0 : 1];

    if (previous->sa_flags & SA_SIGINFO)
        previous->sa_sigaction(signo, info, context);
    else if (previous->sa_handler == SIG_DFL || previous->sa_handler == SIG_IGN)
        chain_default(signo, previous, info);
    else
        previous->sa_handler(signo);
}

static void chain_handler(int signo, siginfo_t *info, void *context)
{
    int saved = errno;
    zk_fault_fn fn = zk_atomic_load(&chain_fn, acquire); /* A */

    /* Only the kernel's own signals carry an address. */
    if (fn != NULL && info->si_code > 0)
        (void)fn((uintptr_t)info->si_addr, context_stack_pointer(context));
    chain_call(signo, info, context);
    errno = saved;
}

static int chain_link(size_t i)
{
    struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_ONSTACK};

    ours.sa_sigaction = chain_handler;
    sigemptyset(&ours.sa_mask);
    /* First read, then set: the handler may run the moment it is set. */
    if (sigaction(chain_signal[i], NULL, &chain_previous[i]) < 0 ||
        sigaction(chain_signal[i], &ours, NULL) < 0)
        return -errno;
    chain_linked[i] = true;
    return 0;
}

static void chain_unlink(size_t i)
{
    struct sigaction current;

    if (!chain_linked[i] || sigaction(chain_signal[i], NULL, &current) < 0)
        return;
    if (!(current.sa_flags & SA_SIGINFO) ||
        current.sa_sigaction != chain_handler)
        return; /* somebody is over us and may hold our address */
    if (sigaction(chain_signal[i], &chain_previous[i], NULL) == 0)
        chain_linked[i] = false;
}

int zk__fault_handler_install(zk_fault_fn fn)
{
    int rc = 0;

    zk__mutex_lock(&chain_lock);
    zk_atomic_store(&chain_fn, fn, release); /* A */
    for (size_t i = 0; i < ZK_ARRAY_LEN(chain_signal) && rc == 0; i++) {
        if (!chain_linked[i])
            rc = chain_link(i);
    }
    if (rc == 0) {
        chain_users++;
    } else if (chain_users == 0) {
        for (size_t i = 0; i < ZK_ARRAY_LEN(chain_signal); i++)
            chain_unlink(i);
        zk_atomic_store(&chain_fn, NULL, relaxed);
    }
    zk__mutex_unlock(&chain_lock);
    return rc;
}

void zk__fault_handler_remove(void)
{
    zk__mutex_lock(&chain_lock);
    ZK_ASSERT(chain_users > 0);
    if (--chain_users == 0) {
        for (size_t i = 0; i < ZK_ARRAY_LEN(chain_signal); i++)
            chain_unlink(i);
        zk_atomic_store(&chain_fn, NULL, relaxed);
    }
    zk__mutex_unlock(&chain_lock);
}

void zk__signal_write(const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = zk__sys_write(STDERR_FILENO, text, len);

        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}
