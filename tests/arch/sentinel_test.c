/* SPDX-License-Identifier: MIT */
/*
 * sentinel_test.c - the context switch against its ABI.
 *
 * Needs the C library alone, so that it can be built for any processor and run
 * in an emulator: see run_matrix. Prints TAP.
 */
#include <fenv.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unwind.h>

#include "context/context.h"
#include "frame.h"

uint64_t sentinel_switch(void **from_sp, void *to_sp, void *prev, uint64_t seed,
                         void **landed);
int sentinel_step(int on);
extern const int32_t sentinel_columns[];

ZK_WEAK void zk__assert_failed(const char *expr, const char *file, int line)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, expr);
    abort();
}

static unsigned n_failed;

#define EXPECT(x)                                                              \
    do {                                                                       \
        if (!(x)) {                                                            \
            printf("# %s:%d: %s\n", __func__, __LINE__, #x);                   \
            n_failed++;                                                        \
        }                                                                      \
    } while (0)

enum { STACK_SIZE = 64 * 1024, N_RING = 16, N_ROUNDS = 20000, N_MANY = 5000 };

struct lane {
    void *sp;
    char *stack;
    struct lane *next; /* in the ring */
    struct lane *prev; /* who must have switched to it */
    uint64_t seed;
    uint64_t broken; /* or-ed results of sentinel_switch() */
    unsigned wrong_prev, rounds;
};

static struct lane root; /* the thread's own stack */
static struct lane ring[N_RING];

static char *stack_alloc(void)
{
    char *stack = aligned_alloc(4096, STACK_SIZE);

    if (stack == NULL)
        abort();
    return stack;
}

static void lane_init(struct lane *l, zk_context_entry entry)
{
    char *stack = l->stack != NULL ? l->stack : stack_alloc();

    memset(l, 0, sizeof *l);
    l->stack = stack;
    l->sp = zk__context_make(stack + STACK_SIZE, entry);
}

static void lane_hop(struct lane *from, struct lane *to)
{
    void *landed = NULL;

    from->broken |= sentinel_switch(&from->sp, to->sp, from, from->seed++,
                                    &landed);
    from->wrong_prev += landed != from->prev;
}

/* ---- registers ----------------------------------------------------------- */

static void ring_entry(void *prev)
{
    struct lane *self = ((struct lane *)prev)->next;

    self->wrong_prev += prev != self->prev;
    for (;;) {
        self->rounds++;
        lane_hop(self, self->next);
    }
}

static void preserved_registers_survive_many_switches(void)
{
    for (unsigned i = 0; i < N_RING; i++) {
        lane_init(&ring[i], ring_entry);
        ring[i].seed = (uint64_t)(i + 1) * 0x0123456789abcdefu;
        ring[i].prev = i > 0 ? &ring[i - 1] : &root;
        ring[i].next = i + 1 < N_RING ? &ring[i + 1] : &root;
    }
    root.next = &ring[0];
    root.prev = &ring[N_RING - 1];
    root.seed = 0xfedcba9876543210u;
    for (unsigned n = 0; n < N_ROUNDS; n++)
        lane_hop(&root, &ring[0]);
    for (unsigned i = 0; i < N_RING; i++) {
        EXPECT(ring[i].broken == 0);
        EXPECT(ring[i].wrong_prev == 0);
        EXPECT(ring[i].rounds == N_ROUNDS);
    }
    EXPECT(root.broken == 0);
    EXPECT(root.wrong_prev == 0);
}

/* All sentinels of a lane are within 32 of its seed. */
static void the_saved_frame_is_what_frame_h_says(void)
{
    uint64_t seed = ring[3].seed - 1;
    struct zk_frame *f = ring[3].sp;
    uint64_t word[sizeof *f / sizeof(uint64_t)];
    unsigned near = 0;

    memcpy(word, f, sizeof word);
    for (unsigned i = 0; i < ZK_ARRAY_LEN(word); i++)
        near += word[i] - seed - 1 < 32;
    EXPECT(near == ZK_ARRAY_LEN(word) - 1); /* all but the return address */
    EXPECT(f->pc - seed - 1 >= 32);
    EXPECT((uintptr_t)f % 8 == 0);
}

/* ---- entry --------------------------------------------------------------- */

static struct lane single;
static char text[64];
static unsigned n_misaligned;

/* The compiler must not conclude that a local is aligned. */
static ZK_NOINLINE void alignment_check(void)
{
    _Alignas(16) volatile char local[16] = {0};
    uintptr_t at = (uintptr_t)local;

    zk_launder(at);
    n_misaligned += at % 16 != 0;
    snprintf(text, sizeof text, "%.3f %.2Lf", 3.25, (long double)at * 0 + 1.5L);
}

static void alignment_entry(void *prev)
{
    alignment_check();
    zk__context_switch(&single.sp, ((struct lane *)prev)->sp, &single);
    abort();
}

static void an_entry_finds_its_stack_aligned(void)
{
    lane_init(&single, alignment_entry);
    n_misaligned = 0;
    EXPECT(zk__context_switch(&root.sp, single.sp, &root) == &single);
    EXPECT(n_misaligned == 0);
    EXPECT(strcmp(text, "3.250 1.50") == 0);
}

static unsigned n_started;

static void started_entry(void *prev)
{
    alignment_check();
    EXPECT(prev == &n_started);
    if (++n_started < N_MANY)
        zk__context_start(single.stack + STACK_SIZE, started_entry, &n_started);
    zk__context_switch(&single.sp, root.sp, &single);
    abort();
}

static void a_context_may_start_the_next_on_its_own_stack(void)
{
    lane_init(&single, started_entry);
    n_started = 0;
    n_misaligned = 0;
    EXPECT(zk__context_switch(&root.sp, single.sp, &n_started) == &single);
    EXPECT(n_started == N_MANY);
    EXPECT(n_misaligned == 0);
}

static unsigned n_entered;

static void many_entry(void *prev)
{
    struct lane *self = prev; /* the creator passes the new lane itself */

    n_entered++;
    self->prev = &root;
    lane_hop(self, &root);
    self->rounds++;
    lane_hop(self, &root);
    abort();
}

static void thousands_of_contexts_live_side_by_side(void)
{
    struct lane *many = calloc(N_MANY, sizeof *many);
    char *stacks = aligned_alloc(4096, (size_t)N_MANY * 16384);
    unsigned rounds = 0, broken = 0;

    if (many == NULL || stacks == NULL)
        abort();
    for (unsigned i = 0; i < N_MANY; i++) {
        many[i].seed = (uint64_t)i << 32;
        many[i].sp = zk__context_make(stacks + (size_t)(i + 1) * 16384,
                                      many_entry);
        EXPECT(zk__context_switch(&root.sp, many[i].sp, &many[i]) == &many[i]);
    }
    for (unsigned i = N_MANY; i-- > 0;) {
        EXPECT(zk__context_switch(&root.sp, many[i].sp, &root) == &many[i]);
        rounds += many[i].rounds;
        broken += many[i].broken != 0 || many[i].wrong_prev != 0;
    }
    EXPECT(n_entered == N_MANY);
    EXPECT(rounds == N_MANY);
    EXPECT(broken == 0);
    free(stacks);
    free(many);
}

/* ---- floating point ------------------------------------------------------ */

/* 1/10 is not exact: rounded down it is less than to nearest. */
static ZK_NOINLINE bool rounds_down(void)
{
    volatile double one = 1.0, ten = 10.0;
    double tenth = one / ten;

    return tenth < 0.1;
}

static bool down_in_context;

static void rounding_entry(void *prev)
{
    fesetround(FE_DOWNWARD);
    zk__context_switch(&single.sp, root.sp, prev);
    down_in_context = rounds_down();
    zk__context_switch(&single.sp, root.sp, prev);
    abort();
}

static void control_words_belong_to_the_thread_and_round_trip(void)
{
    uint64_t nearest = zk__context_fpenv_get(), down;

    EXPECT(fegetround() == FE_TONEAREST && !rounds_down());
    lane_init(&single, rounding_entry);
    zk__context_switch(&root.sp, single.sp, NULL);
    EXPECT(fegetround() == FE_DOWNWARD && rounds_down());
    down = zk__context_fpenv_get();
    EXPECT(down != nearest);
    zk__context_fpenv_set(nearest);
    EXPECT(fegetround() == FE_TONEAREST && !rounds_down());
    zk__context_switch(&root.sp, single.sp, NULL);
    EXPECT(!down_in_context);
    zk__context_fpenv_set(down);
    EXPECT(fegetround() == FE_DOWNWARD && rounds_down());
    zk__context_fpenv_set(nearest);
    EXPECT(fegetround() == FE_TONEAREST && !rounds_down());
}

/* ---- unwinding ----------------------------------------------------------- */

enum { MAX_FRAMES = 64 };

struct trace {
    uintptr_t function[MAX_FRAMES]; /* innermost first */
    unsigned len;
    unsigned n_wrong; /* sentinels that the unwinder did not find */
};

/* In the frame of sentinel_switch() each register holds one more than the one
 * before, whichever lane it is. */
static unsigned trace_sentinels(struct _Unwind_Context *uc)
{
    uintptr_t first = _Unwind_GetGR(uc, sentinel_columns[0]);
    unsigned wrong = 0;

    for (unsigned i = 0; sentinel_columns[i] >= 0; i++)
        wrong += _Unwind_GetGR(uc, sentinel_columns[i]) != first + i;
    return wrong;
}

static _Unwind_Reason_Code trace_frame(struct _Unwind_Context *uc, void *arg)
{
    struct trace *t = arg;
    uintptr_t f = (uintptr_t)_Unwind_GetRegionStart(uc);
    unsigned len = t->len;

    if (len == MAX_FRAMES)
        return _URC_NORMAL_STOP;
    if (f == (uintptr_t)sentinel_switch && len > 0 &&
        t->function[len - 1] == (uintptr_t)zk__context_switch)
        t->n_wrong += trace_sentinels(uc);
    t->function[t->len++] = f;
    return _URC_NO_REASON;
}

/* The frames to the end, or MAX_FRAMES of them. */
static void trace_take(struct trace *t)
{
    t->len = 0;
    t->n_wrong = 0;
    _Unwind_Backtrace(trace_frame, t);
}

static bool trace_has(const struct trace *t, uintptr_t function)
{
    for (unsigned i = 0; i < t->len; i++)
        if (t->function[i] == function)
            return true;
    return false;
}

static uintptr_t trace_outermost(const struct trace *t)
{
    return t->len > 0 ? t->function[t->len - 1] : 0;
}

static struct trace made_trace, started_trace;

static void unwind_started_entry(void *prev)
{
    trace_take(&started_trace);
    zk__context_switch(&single.sp, root.sp, prev);
    abort();
}

static void unwind_made_entry(void *prev)
{
    trace_take(&made_trace);
    zk__context_start(prev, unwind_started_entry, prev);
}

static void an_unwinder_stops_at_the_first_frame(void)
{
    uintptr_t *top;

    lane_init(&single, unwind_made_entry);
    /* What is above must not be read: let it look like return addresses. */
    top = (uintptr_t *)(void *)(single.stack + STACK_SIZE - 1024);
    for (unsigned i = 0; i < 1024 / sizeof *top; i++)
        top[i] = (uintptr_t)alignment_check + 8;
    single.sp = zk__context_make(top, unwind_made_entry);
    zk__context_switch(&root.sp, single.sp, top);
    EXPECT(made_trace.len < 8);
    EXPECT(trace_has(&made_trace, (uintptr_t)unwind_made_entry));
    EXPECT(trace_outermost(&made_trace) == (uintptr_t)zk__context_trampoline);
    EXPECT(started_trace.len < 8);
    EXPECT(trace_has(&started_trace, (uintptr_t)unwind_started_entry));
    EXPECT(trace_outermost(&started_trace) == (uintptr_t)zk__context_start);
    /* A context that has not run yet: its return address is looked up. */
    EXPECT(_Unwind_FindEnclosingFunction(
               (char *)(uintptr_t)zk__context_trampoline + ZK_FRAME_LANDING) ==
           (void *)(uintptr_t)zk__context_trampoline);
}

/* What SIGTRAP saw, one instruction after the other. */
static unsigned n_steps, n_lost;
static uintptr_t root_function; /* the one that ends a trace on this stack */
static unsigned n_sentinels;    /* steps that saw sentinels */

static void step_expect(const struct trace *t, unsigned at)
{
    uintptr_t f = t->function[at];
    uintptr_t out = trace_outermost(t);

    if (f != (uintptr_t)zk__context_switch &&
        f != (uintptr_t)zk__context_start &&
        f != (uintptr_t)zk__context_trampoline)
        return;
    n_steps++;
    n_sentinels += f == (uintptr_t)zk__context_switch &&
                   t->function[at + 1] == (uintptr_t)sentinel_switch;
    if (t->len == MAX_FRAMES || t->n_wrong != 0 ||
        (out != root_function && out != (uintptr_t)zk__context_start &&
         out != (uintptr_t)zk__context_trampoline))
        n_lost++;
}

/* The frames of a handler: itself, the kernel's, then the interrupted one. */
static void step_trap(int signo)
{
    struct trace t;
    unsigned at = 0;

    (void)signo;
    trace_take(&t);
    while (at < t.len && t.function[at] != (uintptr_t)step_trap)
        at++;
    if (at + 2 < t.len)
        step_expect(&t, at + 2);
}

static void step_started_entry(void *prev)
{
    zk__context_switch(&single.sp, root.sp, prev);
    abort();
}

static void step_entry(void *prev)
{
    lane_hop(&single, &root);
    lane_hop(&single, &root);
    zk__context_start(single.stack + STACK_SIZE, step_started_entry, prev);
}

/* False: this processor cannot. */
static bool unwinding_works_from_each_instruction(void)
{
    struct sigaction act = {.sa_handler = step_trap}, old;
    struct trace t;

    trace_take(&t);
    root_function = trace_outermost(&t);
    lane_init(&single, step_entry);
    sigaction(SIGTRAP, &act, &old);
    if (!sentinel_step(1)) {
        sigaction(SIGTRAP, &old, NULL);
        return false;
    }
    for (unsigned i = 0; i < 3; i++)
        lane_hop(&root, &single);
    sentinel_step(0);
    sigaction(SIGTRAP, &old, NULL);
    EXPECT(n_steps > 6 * 16 + 10); /* six switches, a trampoline, a start */
    EXPECT(n_sentinels > 4 * 16);  /* all but to and from an entry */
    EXPECT(n_lost == 0);
    return true;
}

/* -------------------------------------------------------------------------- */

static unsigned n_tests, n_not_ok;

static void report(const char *name, const char *skipped)
{
    n_tests++;
    n_not_ok += n_failed != 0;
    printf("%sok %u - %s%s%s\n", n_failed != 0 ? "not " : "", n_tests, name,
           skipped != NULL ? " # SKIP " : "", skipped != NULL ? skipped : "");
    n_failed = 0;
}

#define RUN(test) (test(), report(#test, NULL))

int main(void)
{
    RUN(preserved_registers_survive_many_switches);
    RUN(the_saved_frame_is_what_frame_h_says);
    RUN(an_entry_finds_its_stack_aligned);
    RUN(a_context_may_start_the_next_on_its_own_stack);
    RUN(thousands_of_contexts_live_side_by_side);
    RUN(control_words_belong_to_the_thread_and_round_trip);
    RUN(an_unwinder_stops_at_the_first_frame);
    report("unwinding_works_from_each_instruction",
           unwinding_works_from_each_instruction()
               ? NULL
               : "a process cannot single-step itself on this processor");
    printf("1..%u\n", n_tests);
    return n_not_ok != 0;
}
