/* SPDX-License-Identifier: MIT */
/* signal_test.c - masks, signal stacks, and the chain of fault handlers. */
#include "layer0.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>

static void break_a_pipe(void *arg)
{
    sigset_t saved, now;
    int fd[2];

    (void)arg;
    signal(SIGPIPE, SIG_DFL);
    MUST(pipe(fd) == 0);
    close(fd[0]);
    zk__signal_mask(&saved);
    MUST(sigismember(&saved, SIGPIPE) == 0);
    MUST(zk__sys_write(fd[1], "x", 1) == -EPIPE);
    MUST(sigpending(&now) == 0 && sigismember(&now, SIGPIPE) == 1);
    zk__signal_unmask(&saved);
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    MUST(sigismember(&now, SIGPIPE) == 0);
}

TEST(a_broken_pipe_under_the_mask_does_not_kill_after_it)
{
    assert_exits(break_a_pipe, NULL, 0);
}

TEST(a_signal_stack_is_installed_and_the_former_one_comes_back)
{
    static char former[128 * 1024];
    stack_t mine = {.ss_sp = former, .ss_size = sizeof former};
    stack_t before, now;
    void *outer, *inner;

    assert_int_equal(sigaltstack(&mine, &before), 0);
    assert_int_equal(zk__sigaltstack_install(&outer), 0);
    assert_int_equal(zk__sigaltstack_install(&inner), 0);
    sigaltstack(NULL, &now);
    assert_true(now.ss_size >= 32 * 1024 + 2048);
    assert_ptr_not_equal(now.ss_sp, former);
    memset(now.ss_sp, 1, now.ss_size); /* all of it is usable */
    zk__sigaltstack_remove(inner);
    zk__sigaltstack_remove(outer);
    sigaltstack(NULL, &now);
    assert_ptr_equal(now.ss_sp, former);
    assert_int_equal(now.ss_size, sizeof former);
    before.ss_flags &= SS_DISABLE;
    assert_int_equal(sigaltstack(&before, NULL), 0);
}

static volatile uintptr_t seen_address, seen_stack;
static volatile int seen_faults;

static bool fault_seen(uintptr_t address, uintptr_t stack_pointer)
{
    seen_address = address;
    seen_stack = stack_pointer;
    seen_faults++;
    return true;
}

static void exit_with_count(int signo)
{
    (void)signo;
    _exit(40 + seen_faults);
}

static void fault_before_previous(void *arg)
{
    (void)arg;
    signal(SIGSEGV, exit_with_count);
    MUST(zk__fault_handler_install(fault_seen) == 0);
    touch((void *)16);
}

TEST(the_previous_handler_of_a_fault_goes_second)
{
    assert_exits(fault_before_previous, NULL, 41);
}

static void exit_if_told_right(int signo, siginfo_t *info, void *context)
{
    char here;

    MUST(signo == SIGSEGV && context != NULL);
    MUST(info->si_addr == (void *)16 && seen_address == 16);
    MUST(seen_faults == 1);
    /* On the stack that faulted, which is this one here: nobody asked for a
     * signal stack. */
    MUST(seen_stack > (uintptr_t)&here &&
         seen_stack - (uintptr_t)&here < 128 * 1024);
    _exit(7);
}

static void fault_with_details(void *arg)
{
    struct sigaction sa = {.sa_flags = SA_SIGINFO};
    stack_t off = {.ss_flags = SS_DISABLE};

    (void)arg;
    sigaltstack(&off, NULL);
    sa.sa_sigaction = exit_if_told_right;
    sigaction(SIGSEGV, &sa, NULL);
    MUST(zk__fault_handler_install(fault_seen) == 0);
    touch((void *)16);
}

TEST(a_fault_is_reported_with_its_address_and_stack_pointer)
{
    assert_exits(fault_with_details, NULL, 7);
}

static void fault_by_default(void *arg)
{
    int *pipe_end = arg;

    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_IGN);
    if (*pipe_end >= 0)
        dup2(*pipe_end, STDERR_FILENO);
    MUST(zk__fault_handler_install(fault_seen) == 0);
    if (*pipe_end >= 0)
        touch((void *)16);
    raise(SIGBUS); /* sent by somebody, and ignored */
    MUST(seen_faults == 0);
    raise(SIGSEGV); /* sent by somebody, and fatal */
}

TEST(after_the_report_the_default_ends_the_process)
{
    int null = open("/dev/null", O_WRONLY), none = -1;

    assert_dies(fault_by_default, &null, SIGSEGV);
    assert_dies(fault_by_default, &none, SIGSEGV);
    close(null);
}

static void install_counts(void *arg)
{
    struct sigaction now;

    (void)arg;
    signal(SIGSEGV, exit_with_count);
    MUST(zk__fault_handler_install(fault_seen) == 0);
    MUST(zk__fault_handler_install(fault_seen) == 0);
    zk__fault_handler_remove();
    sigaction(SIGSEGV, NULL, &now);
    MUST(now.sa_flags & SA_SIGINFO && now.sa_flags & SA_ONSTACK);
    zk__fault_handler_remove();
    sigaction(SIGSEGV, NULL, &now);
    MUST(now.sa_handler == exit_with_count);
    touch((void *)16);
}

TEST(the_last_remove_puts_the_previous_handler_back)
{
    assert_exits(install_counts, NULL, 40);
}

static struct sigaction below;

static void pass_on(int signo, siginfo_t *info, void *context)
{
    static volatile int entered;

    MUST(entered++ == 0); /* a circle would come here again */
    below.sa_sigaction(signo, info, context);
}

static void install_below_another(void *arg)
{
    struct sigaction top = {.sa_flags = SA_SIGINFO};

    (void)arg;
    signal(SIGSEGV, exit_with_count);
    MUST(zk__fault_handler_install(fault_seen) == 0);
    top.sa_sigaction = pass_on;
    sigaction(SIGSEGV, &top, &below);
    zk__fault_handler_remove();
    MUST(zk__fault_handler_install(fault_seen) == 0);
    touch((void *)16);
}

TEST(a_handler_put_over_ours_does_not_make_a_circle)
{
    assert_exits(install_below_another, NULL, 41);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(a_broken_pipe_under_the_mask_does_not_kill_after_it),
        cmocka_unit_test(
            a_signal_stack_is_installed_and_the_former_one_comes_back),
        cmocka_unit_test(the_previous_handler_of_a_fault_goes_second),
        cmocka_unit_test(
            a_fault_is_reported_with_its_address_and_stack_pointer),
        cmocka_unit_test(after_the_report_the_default_ends_the_process),
        cmocka_unit_test(the_last_remove_puts_the_previous_handler_back),
        cmocka_unit_test(a_handler_put_over_ours_does_not_make_a_circle),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
