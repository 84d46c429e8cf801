/* SPDX-License-Identifier: MIT */
/* platform_test.c - processors, memory, threads and environment. */
#include "layer0.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

/* ---- processors: first, for the mask is read once in a process ----------- */

static void check_narrow_mask(void *arg)
{
    cpu_set_t all, one;
    int first = 0;

    (void)arg;
    MUST(sched_getaffinity(0, sizeof all, &all) == 0);
    while (!CPU_ISSET(first, &all))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    MUST(sched_setaffinity(0, sizeof one, &one) == 0);
    MUST(zk__cpu_usable() == 1);
}

TEST(a_process_bound_to_one_processor_may_use_one)
{
    assert_exits(check_narrow_mask, NULL, 0);
}

TEST(binding_leaves_one_processor_and_unbinding_gives_all_back)
{
    cpu_set_t before, now;
    int n;

    sched_getaffinity(0, sizeof before, &before);
    n = CPU_COUNT(&before);
    for (int i = 0; i < n; i++) {
        assert_int_equal(zk__cpu_bind((unsigned)i), 0);
        sched_getaffinity(0, sizeof now, &now);
        assert_int_equal(CPU_COUNT(&now), 1);
        CPU_XOR(&before, &before, &now); /* each a different one */
    }
    assert_int_equal(CPU_COUNT(&before), 0);
    assert_int_equal(zk__cpu_bind((unsigned)n), 0); /* modulo */
    assert_int_equal(zk__cpu_unbind(), 0);
    sched_getaffinity(0, sizeof now, &now);
    assert_int_equal(CPU_COUNT(&now), n);
    assert_in_range(zk__cpu_usable(), 1, n);
}

static void put_file(const char *dir, const char *name, const char *text)
{
    char path[PATH_MAX];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void drop_file(const char *dir, const char *name)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(remove(path), 0);
}

/* zk__cpu_quota() with these as the files of /proc/self. */
static unsigned quota_with(const char *dir, const char *groups,
                           const char *mounts)
{
    char group_file[PATH_MAX], mount_file[PATH_MAX];
    unsigned n;

    put_file(dir, "groups", groups);
    put_file(dir, "mounts", mounts);
    snprintf(group_file, sizeof group_file, "%s/groups", dir);
    snprintf(mount_file, sizeof mount_file, "%s/mounts", dir);
    n = zk__cpu_quota(group_file, mount_file);
    drop_file(dir, "groups");
    drop_file(dir, "mounts");
    return n;
}

TEST(the_narrowest_quota_up_the_tree_of_cgroup_v2_counts)
{
    char dir[] = "/tmp/zk_quota_XXXXXX", mounts[512], sub[64], low[64];

    assert_non_null(mkdtemp(dir));
    snprintf(sub, sizeof sub, "%s/a", dir);
    snprintf(low, sizeof low, "%s/a/b", dir);
    assert_int_equal(mkdir(sub, 0700), 0);
    assert_int_equal(mkdir(low, 0700), 0);
    snprintf(mounts, sizeof mounts,
             "20 1 0:5 / /proc rw - proc proc rw\n"
             "30 1 0:26 / %s rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
             dir);

    assert_int_equal(quota_with(dir, "0::/a/b\n", mounts), 0);
    put_file(low, "cpu.max", "max 100000\n");
    assert_int_equal(quota_with(dir, "0::/a/b\n", mounts), 0);
    put_file(low, "cpu.max", "250000 100000\n");
    assert_int_equal(quota_with(dir, "0::/a/b\n", mounts), 3);
    put_file(sub, "cpu.max", "10000 100000\n");
    assert_int_equal(quota_with(dir, "0::/a/b\n", mounts), 1);
    put_file(dir, "cpu.max", "900000 100000\n");
    assert_int_equal(quota_with(dir, "0::/\n", mounts), 9);
    assert_int_equal(quota_with(dir, "0::/a/gone\n", mounts), 1);
    assert_int_equal(quota_with(dir, "0::/../x\n", mounts), 9);
    assert_int_equal(quota_with(dir, "0::/a/b", "no mounts"), 0);
    assert_int_equal(quota_with(dir, "nonsense\n\n:\n::\n", mounts), 9);

    drop_file(low, "cpu.max");
    drop_file(sub, "cpu.max");
    drop_file(dir, "cpu.max");
    assert_int_equal(rmdir(low), 0);
    assert_int_equal(rmdir(sub), 0);
    assert_int_equal(rmdir(dir), 0);
}

TEST(the_quota_of_cgroup_v1_counts_below_the_root_of_its_mount)
{
    char dir[] = "/tmp/zk_quota_XXXXXX", mounts[512], sub[64];
    const char *groups = "4:memory:/dock\n3:cpuacct,cpu:/dock/me\n0::/\n";

    assert_non_null(mkdtemp(dir));
    snprintf(sub, sizeof sub, "%s/me", dir);
    assert_int_equal(mkdir(sub, 0700), 0);
    snprintf(mounts, sizeof mounts,
             "31 1 0:27 /dock /nowhere rw - cgroup cgroup rw,cpuset\n"
             "32 1 0:28 /dock %s rw - cgroup cgroup rw,cpu,cpuacct\n",
             dir);

    put_file(sub, "cpu.cfs_quota_us", "-1\n");
    put_file(sub, "cpu.cfs_period_us", "50000\n");
    assert_int_equal(quota_with(dir, groups, mounts), 0);
    put_file(sub, "cpu.cfs_quota_us", "175000\n");
    assert_int_equal(quota_with(dir, groups, mounts), 4);

    drop_file(sub, "cpu.cfs_quota_us");
    drop_file(sub, "cpu.cfs_period_us");
    assert_int_equal(rmdir(sub), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* ---- clock and memory ---------------------------------------------------- */

TEST(the_clock_does_not_go_back)
{
    zk_time_t last = zk__clock_now();

    assert_true(last > 0);
    for (int i = 0; i < 1000; i++) {
        zk_time_t now = zk__clock_now();

        assert_true(now >= last);
        last = now;
    }
}

TEST(a_mapping_is_zero_and_aligned_as_asked)
{
    size_t page = zk__vm_page_size();
    size_t align[] = {0, page, 1 << 16, 1 << 21};
    unsigned flags[] = {0, ZK_VM_STACK, ZK_VM_HUGE};

    for (size_t i = 0; i < ZK_ARRAY_LEN(align); i++) {
        for (size_t j = 0; j < ZK_ARRAY_LEN(flags); j++) {
            void *p = NULL;
            size_t mask = align[i] ? align[i] - 1 : page - 1;

            assert_int_equal(zk__vm_map(&p, 3 * page, align[i], flags[j]), 0);
            assert_int_equal((uintptr_t)p & mask, 0);
            for (size_t b = 0; b < 3 * page; b += 8)
                assert_int_equal(((char *)p)[b], 0);
            memset(p, 1, 3 * page);
            zk__vm_unmap(p, 3 * page);
        }
    }
}

TEST(a_mapping_larger_than_the_address_space_is_refused)
{
    void *p = &p;

    assert_int_equal(zk__vm_map(&p, SIZE_MAX / 2, 0, ZK_VM_STACK), -ENOMEM);
    assert_int_equal(zk__vm_map(&p, 0, 0, 0), -EINVAL);
    assert_ptr_equal(p, &p);
}

TEST(discarded_pages_are_not_resident_and_read_as_zero)
{
    size_t page = zk__vm_page_size(), size = 1000 * page;
    void *mapped;
    char *p;

    assert_int_equal(zk__vm_map(&mapped, size, 0, ZK_VM_STACK), 0);
    p = mapped;
    assert_int_equal(zk__vm_resident(p, size), 0);
    p[0] = p[600 * page] = p[999 * page] = 7;
    assert_int_equal(zk__vm_resident(p, size), 3 * page);
    assert_int_equal(zk__vm_resident(p, 600 * page), page);
    assert_int_equal(zk__vm_discard(p + 600 * page, 400 * page), 0);
    assert_int_equal(zk__vm_resident(p, size), page);
    assert_int_equal(p[0], 7);
    assert_int_equal(p[600 * page], 0);
    zk__vm_unmap(p, size);
}

TEST(touching_a_guard_kills_and_its_neighbours_do_not)
{
    size_t page = zk__vm_page_size();
    int best = zk__vm_guard_probe();

    assert_in_range(best, ZK_GUARD_MPROTECT, ZK_GUARD_MADVISE);
    assert_int_equal(zk__vm_guard_probe(), best);
    for (int kind = ZK_GUARD_MPROTECT; kind <= best; kind++) {
        void *p;

        assert_int_equal(zk__vm_map(&p, 3 * page, 0, ZK_VM_STACK), 0);
        assert_int_equal(
            zk__vm_guard((enum zk_guard_kind)kind, (char *)p + page, page), 0);
        assert_dies(touch_plainly, (char *)p + page, SIGSEGV);
        assert_dies(touch_plainly, (char *)p + 2 * page - 1, SIGSEGV);
        assert_exits(touch_plainly, (char *)p + page - 1, 0);
        assert_exits(touch_plainly, (char *)p + 2 * page, 0);
        zk__vm_unmap(p, 3 * page);
    }
    assert_int_equal(zk__vm_guard(ZK_GUARD_NONE, NULL, page), -EOPNOTSUPP);
}

TEST(the_budget_of_guards_leaves_half_of_the_mappings_to_others)
{
    size_t budget = zk__vm_guard_budget();
    long limit = 65530;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "r");

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld", &limit), 1);
    fclose(f);
    assert_true(budget >= 64);
    assert_true(budget == 64 || budget * 4 <= (size_t)limit);
    assert_true(budget * 8 >= (size_t)limit || limit < 1024);
}

/* ---- threads ------------------------------------------------------------- */

struct thread_facts {
    sigset_t mask;
    size_t stack_size;
    uint32_t kernel_id;
    zk_thread_t self;
    char deep; /* written at the far end of a big frame */
};

static void *thread_look(void *arg)
{
    struct thread_facts *facts = arg;
    volatile char frame[64 * 1024];
    pthread_attr_t attr;

    frame[0] = 3;
    facts->deep = frame[0];
    pthread_sigmask(SIG_BLOCK, NULL, &facts->mask);
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstacksize(&attr, &facts->stack_size);
    pthread_attr_destroy(&attr);
    facts->kernel_id = zk__thread_kernel_id();
    facts->self = zk__thread_self();
    return NULL;
}

TEST(a_thread_starts_with_its_signals_blocked_on_the_stack_asked_for)
{
    struct thread_facts facts = {.deep = 0};
    sigset_t before, after;
    zk_thread_t thread;

    pthread_sigmask(SIG_BLOCK, NULL, &before);
    assert_int_equal(
        zk__thread_create(&thread, thread_look, &facts, 128 * 1024, "look"), 0);
    zk__thread_join(thread);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    for (int signo = 1; signo < 32; signo++)
        assert_int_equal(sigismember(&before, signo),
                         sigismember(&after, signo));
    assert_int_equal(facts.deep, 3);
    assert_int_equal(facts.self.handle, thread.handle);
    assert_int_not_equal(facts.kernel_id, zk__thread_kernel_id());
    assert_true(facts.stack_size >= 128 * 1024);
    assert_int_equal(sigismember(&facts.mask, SIGUSR1), 1);
    assert_int_equal(sigismember(&facts.mask, SIGPIPE), 1);
    assert_int_equal(sigismember(&facts.mask, SIGTERM), 1);
    assert_int_equal(sigismember(&facts.mask, SIGSEGV), 0);
    assert_int_equal(sigismember(&facts.mask, SIGBUS), 0);
    assert_int_equal(sigismember(&facts.mask, SIGPROF), 0);
    assert_int_equal(sigismember(&facts.mask, SIGURG), 0);
}

static void *thread_return(void *arg)
{
    return arg;
}

/* Comes out of every thread's stack, and would not fit into a small one. */
static _Thread_local volatile char thread_local_load[300 * 1024];

TEST(a_stack_too_small_for_the_system_is_enlarged)
{
    zk_thread_t thread;

    thread_local_load[0] = 1;
    assert_int_equal(zk__thread_create(&thread, thread_return, NULL, 1, NULL),
                     0);
    zk__thread_join(thread);
}

/* A thread that says it is there and then sleeps on `word` while it is 0. */
struct sleeper {
    _Atomic uint32_t ready, word, rounds;
    char name[16];
};

static void *sleeper_run(void *arg)
{
    struct sleeper *s = arg;

    pthread_getname_np(pthread_self(), s->name, sizeof s->name);
    zk_atomic_store(&s->ready, zk__thread_kernel_id(), release);
    zk__futex_wake(&s->ready, 1);
    while (zk_atomic_load(&s->word, acquire) == 0) {
        assert_int_equal(zk__futex_wait(&s->word, 0, ZK_FOREVER), 0);
        zk_atomic_add(&s->rounds, 1, relaxed);
    }
    return NULL;
}

TEST(a_futex_sleeper_is_seen_asleep_and_is_woken)
{
    struct sleeper s = {0};
    zk_thread_t thread;
    uint32_t id;

    assert_int_equal(zk__thread_create(&thread, sleeper_run, &s, 0, NULL), 0);
    id = await_ready(&s.ready);
    await_state(id, 'S');
    assert_int_equal(zk__thread_state(zk__thread_kernel_id()), 'R');
    zk_atomic_store(&s.word, 1, release);
    zk__futex_wake(&s.word, 1);
    zk__thread_join(thread);
    assert_in_range(s.rounds, 1, INT_MAX);
    assert_int_equal(zk__thread_state(id), 0);
}

TEST(a_long_name_of_a_thread_is_cut_to_15_bytes)
{
    struct sleeper s = {0};
    zk_thread_t thread;
    char name[32];

    assert_int_equal(zk__thread_create(&thread, sleeper_run, &s, 0,
                                       "zokio-worker-0123456789"),
                     0);
    assert_int_equal(
        pthread_getname_np((pthread_t)thread.handle, name, sizeof name), 0);
    assert_string_equal(name, "zokio-worker-01");
    zk_atomic_store(&s.word, 1, release);
    zk__futex_wake(&s.word, 1);
    zk__thread_join(thread);
}

TEST(a_futex_wait_ends_at_its_deadline_and_not_before)
{
    _Atomic uint32_t word = 5;
    zk_time_t deadline = zk__clock_now() + ZK_MS(3);

    assert_int_equal(zk__futex_wait(&word, 5, deadline), -ETIMEDOUT);
    assert_true(zk__clock_now() >= deadline);
    assert_int_equal(zk__futex_wait(&word, 5, deadline), -ETIMEDOUT);
    assert_int_equal(zk__futex_wait(&word, 5, INT64_MIN), -ETIMEDOUT);
    assert_int_equal(zk__futex_wait(&word, 4, ZK_FOREVER), 0);
}

struct counting {
    struct zk_mutex_os lock;
    uint64_t count; /* lock */
};

static void *count_up(void *arg)
{
    struct counting *c = arg;

    for (int i = 0; i < 20000; i++) {
        zk__mutex_lock(&c->lock);
        c->count++;
        if (i % 64 == 0)
            zk__thread_yield(); /* so that others find it held */
        zk__mutex_unlock(&c->lock);
    }
    return NULL;
}

TEST(a_mutex_lets_one_in_at_a_time)
{
    struct counting c = {.count = 0};
    zk_thread_t thread[4];

    for (int i = 0; i < 4; i++)
        assert_int_equal(zk__thread_create(&thread[i], count_up, &c, 0, "n"),
                         0);
    for (int i = 0; i < 4; i++)
        zk__thread_join(thread[i]);
    assert_int_equal(c.count, 80000);
    assert_int_equal(c.lock.word, 0);
}

TEST(a_membarrier_works_once_registered_or_is_not_there_at_all)
{
    int rc = zk__membarrier_init();

    assert_true(rc == 0 || rc == -ENOSYS);
    assert_int_equal(zk__membarrier(), rc);
}

TEST(timer_slack_is_set_in_nanoseconds)
{
    int before = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);

    assert_int_equal(zk__thread_timer_slack(1234), 0);
    assert_int_equal(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), 1234);
    assert_int_equal(zk__thread_timer_slack(0), 0);
    assert_int_equal(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), 1);
    assert_int_equal(zk__thread_timer_slack((uint64_t)before), 0);
}

/* ---- environment --------------------------------------------------------- */

TEST(an_empty_variable_counts_as_none)
{
    unsetenv("ZK_TEST_VARIABLE");
    assert_null(zk__env("ZK_TEST_VARIABLE"));
    setenv("ZK_TEST_VARIABLE", "", 1);
    assert_null(zk__env("ZK_TEST_VARIABLE"));
    setenv("ZK_TEST_VARIABLE", "x", 1);
    assert_string_equal(zk__env("ZK_TEST_VARIABLE"), "x");
    unsetenv("ZK_TEST_VARIABLE");
}

TEST(two_seeds_differ)
{
    assert_int_not_equal(zk__random_seed(), zk__random_seed());
}

static void write_to_stderr(void *fd)
{
    dup2(*(int *)fd, STDERR_FILENO);
    zk__stderr_line("a line");
    zk__signal_write("more", 4);
}

TEST(a_line_for_standard_error_gets_its_newline)
{
    char text[32] = "";
    int fd[2];

    assert_int_equal(pipe(fd), 0);
    assert_exits(write_to_stderr, &fd[1], 0);
    assert_int_equal(read(fd[0], text, sizeof text - 1), 11);
    assert_string_equal(text, "a line\nmore");
    close(fd[0]);
    close(fd[1]);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(a_process_bound_to_one_processor_may_use_one),
        cmocka_unit_test(
            binding_leaves_one_processor_and_unbinding_gives_all_back),
        cmocka_unit_test(the_narrowest_quota_up_the_tree_of_cgroup_v2_counts),
        cmocka_unit_test(
            the_quota_of_cgroup_v1_counts_below_the_root_of_its_mount),
        cmocka_unit_test(the_clock_does_not_go_back),
        cmocka_unit_test(a_mapping_is_zero_and_aligned_as_asked),
        cmocka_unit_test(a_mapping_larger_than_the_address_space_is_refused),
        cmocka_unit_test(discarded_pages_are_not_resident_and_read_as_zero),
        cmocka_unit_test(touching_a_guard_kills_and_its_neighbours_do_not),
        cmocka_unit_test(
            the_budget_of_guards_leaves_half_of_the_mappings_to_others),
        cmocka_unit_test(
            a_thread_starts_with_its_signals_blocked_on_the_stack_asked_for),
        cmocka_unit_test(a_stack_too_small_for_the_system_is_enlarged),
        cmocka_unit_test(a_futex_sleeper_is_seen_asleep_and_is_woken),
        cmocka_unit_test(a_long_name_of_a_thread_is_cut_to_15_bytes),
        cmocka_unit_test(a_futex_wait_ends_at_its_deadline_and_not_before),
        cmocka_unit_test(a_mutex_lets_one_in_at_a_time),
        cmocka_unit_test(
            a_membarrier_works_once_registered_or_is_not_there_at_all),
        cmocka_unit_test(timer_slack_is_set_in_nanoseconds),
        cmocka_unit_test(an_empty_variable_counts_as_none),
        cmocka_unit_test(two_seeds_differ),
        cmocka_unit_test(a_line_for_standard_error_gets_its_newline),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
