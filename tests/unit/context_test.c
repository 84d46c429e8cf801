/* SPDX-License-Identifier: MIT */
/*
 * context_test.c - contexts as a scheduler uses them, with the annotations.
 *
 * Passes in a plain build; under ASan (with detect_stack_use_after_return=1),
 * TSan and Valgrind it must also be silent. The registers are the business of
 * tests/arch/sentinel_test.c.
 */
#include <execinfo.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "context/annotate.h"
#include "context/context.h"
#include "frame.h"
#include "utils/atomic.h"

ZK_WEAK void zk__assert_failed(const char *expr, const char *file, int line)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, expr);
    abort();
}

/* Of the sanitizers; absent in other builds. */
ZK_WEAK void *__asan_get_current_fake_stack(void);
ZK_WEAK void *__asan_region_is_poisoned(void *begin, size_t size);
ZK_WEAK void *__tsan_get_current_fiber(void);

enum { STACK_SIZE = 64 * 1024 };

/* A task without a scheduler: whoever runs one says what runs next. */
struct fiber {
    void *sp;
    struct zk_annotation note;
    char *stack;
    void (*fn)(struct fiber *self);
    struct fiber *host; /* runs when this one is suspended or ends */
    struct fiber *heir; /* starts on this one's stack when it ends */
    unsigned detached;
    bool dead;
    uint64_t sum;
};

/* What a scheduler does first on every landing. */
ZK_INLINE struct fiber *fiber_land(struct fiber *self, struct fiber *prev)
{
    zk_annotate_arrive(&self->note);
    if (prev->dead) {
        prev->detached++;
        zk_annotate_detach(&prev->note);
    }
    return prev;
}

/* Returns who switched back. */
static ZK_NOINLINE struct fiber *fiber_switch(struct fiber *from,
                                              struct fiber *to)
{
    struct fiber *prev;

    zk_annotate_leave(&from->note, &to->note);
    prev = zk__context_switch(&from->sp, to->sp, from);
    return fiber_land(from, prev);
}

static void fiber_entry(void *prev);

/* Never true. A call that cannot return makes ASan clear the stack itself, so
 * the compiler must not find out that fiber_exit() is one. */
static volatile bool is_alive_again;

static ZK_NOINLINE void fiber_exit(struct fiber *self)
{
    struct fiber *heir = self->heir, *host = self->host;

    self->dead = true;
    if (heir != NULL) {
        heir->stack = self->stack;
        heir->host = host;
        zk_annotate_attach(&heir->note, self->stack, STACK_SIZE);
        zk_annotate_leave_forever(&self->note, &heir->note);
        zk__context_start(heir->stack + STACK_SIZE, fiber_entry, self);
    }
    zk_annotate_leave_forever(&self->note, &host->note);
    zk__context_switch(&self->sp, host->sp, self);
    if (!is_alive_again)
        abort();
}

/* The first switch to a fiber comes from its host, or from whom it inherits. */
static void fiber_entry(void *arg)
{
    struct fiber *prev = arg;
    struct fiber *self = prev->heir;

    fiber_land(self, prev);
    self->fn(self);
    fiber_exit(self);
}

static void fiber_init(struct fiber *f, char *stack,
                       void (*fn)(struct fiber *self), struct fiber *host)
{
    memset(f, 0, sizeof *f);
    f->fn = fn;
    f->host = host;
    f->stack = stack;
    if (stack == NULL)
        return; /* it will inherit one */
    zk_annotate_attach(&f->note, stack, STACK_SIZE);
    f->sp = zk__context_make(stack + STACK_SIZE, fiber_entry);
}

static void host_init(struct fiber *host)
{
    memset(host, 0, sizeof *host);
    zk_annotate_thread(&host->note);
}

static struct fiber *fiber_start(struct fiber *host, struct fiber *f)
{
    host->heir = f;
    return fiber_switch(host, f);
}

static char *stack_alloc(void)
{
    char *stack = aligned_alloc(4096, STACK_SIZE);

    assert_non_null(stack);
    return stack;
}

/* ---- one thread ---------------------------------------------------------- */

/* Locals whose address is taken: what ASan keeps on its fake stack. */
static ZK_NOINLINE uint64_t locals_sum(volatile uint32_t *a, unsigned n)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += a[i];
    return sum;
}

static void locals_body(struct fiber *self)
{
    volatile uint32_t a[100];

    for (unsigned i = 0; i < 100; i++)
        a[i] = (uint32_t)(uintptr_t)self + i;
    for (unsigned turn = 0; turn < 50; turn++) {
        uint64_t before = locals_sum(a, 100);

        fiber_switch(self, self->host);
        self->sum += locals_sum(a, 100) == before;
        a[turn]++;
    }
}

static void locals_survive_switches_among_many_contexts(void **state)
{
    enum { N = 16 };
    struct fiber host, f[N];

    (void)state;
    host_init(&host);
    for (unsigned i = 0; i < N; i++) {
        fiber_init(&f[i], stack_alloc(), locals_body, &host);
        assert_ptr_equal(fiber_start(&host, &f[i]), &f[i]);
    }
    for (unsigned turn = 0; turn < 50; turn++)
        for (unsigned i = 0; i < N; i++)
            assert_ptr_equal(fiber_switch(&host, &f[i]), &f[i]);
    for (unsigned i = 0; i < N; i++) {
        assert_true(f[i].dead);
        assert_int_equal(f[i].sum, 50);
        free(f[i].stack);
    }
}

/* Ends deep inside, so that the frames above are dropped, not returned from. */
static ZK_NOINLINE void deep(struct fiber *self, unsigned depth)
{
    volatile char local[64];

    local[depth] = (char)depth;
    self->sum += (unsigned char)local[depth];
    if (depth == 0)
        fiber_exit(self);
    else
        deep(self, depth - 1);
    self->sum += (unsigned char)local[depth]; /* no tail call */
}

static void deep_body(struct fiber *self)
{
    deep(self, 20);
}

/* Touches what the dropped frames had. */
static void wide_body(struct fiber *self)
{
    volatile char local[8192];

    for (unsigned i = 0; i < sizeof local; i++)
        local[i] = (char)i;
    self->sum = (unsigned char)local[255];
}

static void a_stack_is_used_again_after_frames_were_dropped(void **state)
{
    char *stack = stack_alloc();
    struct fiber host, f;

    (void)state;
    host_init(&host);
    for (unsigned i = 0; i < 500; i++) {
        fiber_init(&f, stack, i % 2 == 0 ? deep_body : wide_body, &host);
        if (__asan_region_is_poisoned != NULL)
            assert_null(__asan_region_is_poisoned(stack, STACK_SIZE));
        assert_ptr_equal(fiber_start(&host, &f), &f);
        assert_true(f.dead);
        assert_int_equal(f.detached, 1);
        assert_int_equal(f.sum, i % 2 == 0 ? 210 : 255);
    }
    free(stack);
}

static void a_dying_context_starts_its_heir_on_its_own_stack(void **state)
{
    enum { N = 1000 };
    struct fiber host, *f = calloc(N, sizeof *f);
    char *stack = stack_alloc();

    (void)state;
    assert_non_null(f);
    host_init(&host);
    for (unsigned i = 0; i < N; i++) {
        fiber_init(&f[i], i == 0 ? stack : NULL,
                   i % 2 == 0 ? deep_body : wide_body, &host);
        if (i > 0)
            f[i - 1].heir = &f[i];
    }
    assert_ptr_equal(fiber_start(&host, &f[0]), &f[N - 1]);
    for (unsigned i = 0; i < N; i++) {
        assert_true(f[i].dead);
        assert_int_equal(f[i].detached, 1);
        assert_ptr_equal(f[i].stack, stack);
        assert_int_equal(f[i].sum, i % 2 == 0 ? 210 : 255);
    }
    free(stack);
    free(f);
}

static struct fiber *peers; /* two that know each other */

static void peer_body(struct fiber *self)
{
    struct fiber *other = &peers[self == &peers[0]];

    for (unsigned i = 0; i < 100; i++) {
        struct fiber *prev = fiber_switch(self, other);

        self->sum += prev == other;
    }
    self->heir = NULL;
    if (!other->dead)
        self->host = other; /* it waits for its last landing */
}

static void tasks_switch_directly_between_each_other(void **state)
{
    struct fiber host, two[2], *back;

    (void)state;
    peers = two;
    host_init(&host);
    fiber_init(&two[0], stack_alloc(), peer_body, &host);
    fiber_init(&two[1], stack_alloc(), peer_body, &host);
    two[0].heir = &two[1]; /* who enters first is switched to by two[0] */
    back = fiber_start(&host, &two[0]);
    assert_true(two[0].dead && two[1].dead);
    assert_ptr_equal(back, &two[1]);
    assert_int_equal(two[0].sum, 100);
    assert_int_equal(two[1].sum, 100);
    free(two[0].stack);
    free(two[1].stack);
}

/* Where the tools believe to be; NULL without them. */
static ZK_NOINLINE void *fake_stack(void)
{
    volatile char local[64]; /* has to be on it: then it exists */

    local[0] = 0;
    if (__asan_get_current_fake_stack == NULL || local[0] != 0)
        return NULL;
    return __asan_get_current_fake_stack();
}

static void *thread_fiber(void)
{
    return __tsan_get_current_fiber != NULL ? __tsan_get_current_fiber() : NULL;
}

static void *host_fake_stack, *host_thread_fiber;

static void tools_body(struct fiber *self)
{
    void *mine = fake_stack(), *fiber = thread_fiber();

    for (unsigned i = 0; i < 10; i++) {
        assert_true(mine == NULL || mine != host_fake_stack);
        assert_true(fiber == NULL || fiber != host_thread_fiber);
        fiber_switch(self, self->host);
        assert_ptr_equal(fake_stack(), mine);
        assert_ptr_equal(thread_fiber(), fiber);
        self->sum++;
    }
}

static void each_context_keeps_what_the_tools_gave_it(void **state)
{
    struct fiber host, f[2];

    (void)state;
    host_init(&host);
    host_fake_stack = fake_stack();
    host_thread_fiber = thread_fiber();
    for (unsigned i = 0; i < 2; i++) {
        fiber_init(&f[i], stack_alloc(), tools_body, &host);
        fiber_start(&host, &f[i]);
    }
    for (unsigned i = 0; i < 20; i++) {
        fiber_switch(&host, &f[i % 2]);
        assert_ptr_equal(fake_stack(), host_fake_stack);
        assert_ptr_equal(thread_fiber(), host_thread_fiber);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_true(f[i].dead);
        assert_int_equal(f[i].sum, 10);
        free(f[i].stack);
    }
}

/* ---- backtrace ----------------------------------------------------------- */

static void *addresses[64];
static int n_addresses;

static void backtrace_body(struct fiber *self)
{
    n_addresses = backtrace(addresses, 64);
    self->sum = 1;
}

static bool is_in(const void *address, uintptr_t function)
{
    return (uintptr_t)address - function < 32;
}

static void a_backtrace_ends_where_the_context_began(void **state)
{
    struct fiber host, first, second;

    (void)state;
    host_init(&host);
    fiber_init(&first, stack_alloc(), backtrace_body, &host);
    fiber_start(&host, &first);
    assert_in_range(n_addresses, 3, 8);
    assert_true(
        is_in(addresses[n_addresses - 1], (uintptr_t)zk__context_trampoline));

    fiber_init(&first, first.stack, deep_body, &host);
    fiber_init(&second, NULL, backtrace_body, &host);
    first.heir = &second;
    fiber_start(&host, &first);
    assert_in_range(n_addresses, 3, 8);
    assert_true(
        is_in(addresses[n_addresses - 1], (uintptr_t)zk__context_start));
    free(first.stack);
}

/* ---- two threads --------------------------------------------------------- */

enum { N_MOVES = 300 };

/* A thread that runs whatever it is handed, then hands it on. */
struct host_thread {
    struct fiber host;
    sem_t go;
    struct host_thread *peer;
    struct fiber *_Atomic task; /* A: handed over */
    pthread_t thread;
};

static struct host_thread hosts[2];
static unsigned n_plain; /* not atomic: ordered by the hand-over alone */

static void moving_body(struct fiber *self)
{
    volatile uint32_t a[100];

    memset((void *)a, 0, sizeof a);
    for (unsigned i = 0; i < N_MOVES; i++) {
        n_plain++;
        a[i % 100]++;
        fiber_switch(self, self->host);
        self->sum += locals_sum(a, 100) == i + 1;
    }
}

static void *host_run(void *arg)
{
    struct host_thread *t = arg;

    host_init(&t->host);
    for (;;) {
        struct fiber *f;

        sem_wait(&t->go);
        f = zk_atomic_load(&t->task, acquire); /* A */
        if (f == NULL)
            break;
        f->host = &t->host;
        if (f->sp == NULL) {
            f->sp = zk__context_make(f->stack + STACK_SIZE, fiber_entry);
            zk_annotate_attach(&f->note, f->stack, STACK_SIZE);
            fiber_start(&t->host, f);
        } else {
            fiber_switch(&t->host, f);
        }
        if (f->dead)
            f = NULL;
        zk_atomic_store(&t->peer->task, f, release); /* A */
        sem_post(&t->peer->go);
        if (f == NULL)
            break;
    }
    return NULL;
}

static void a_context_moves_between_threads(void **state)
{
    struct fiber f;

    (void)state;
    memset(&f, 0, sizeof f);
    f.fn = moving_body;
    f.stack = stack_alloc();
    n_plain = 0;
    for (unsigned i = 0; i < 2; i++) {
        memset(&hosts[i], 0, sizeof hosts[i]);
        sem_init(&hosts[i].go, 0, 0);
        hosts[i].peer = &hosts[1 - i];
    }
    zk_atomic_store(&hosts[0].task, &f, release); /* A */
    sem_post(&hosts[0].go);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(
            pthread_create(&hosts[i].thread, NULL, host_run, &hosts[i]), 0);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(hosts[i].thread, NULL);
    assert_true(f.dead);
    assert_int_equal(f.detached, 1);
    assert_int_equal(f.sum, N_MOVES);
    assert_int_equal(n_plain, N_MOVES);
    free(f.stack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(locals_survive_switches_among_many_contexts),
        cmocka_unit_test(a_stack_is_used_again_after_frames_were_dropped),
        cmocka_unit_test(a_dying_context_starts_its_heir_on_its_own_stack),
        cmocka_unit_test(tasks_switch_directly_between_each_other),
        cmocka_unit_test(each_context_keeps_what_the_tools_gave_it),
        cmocka_unit_test(a_backtrace_ends_where_the_context_began),
        cmocka_unit_test(a_context_moves_between_threads),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
