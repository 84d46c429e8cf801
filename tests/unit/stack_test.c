/* SPDX-License-Identifier: MIT */
/* stack_test.c - stacks: promises kept, guards in place, pages given back. */
#include "layer0.h"

#include <string.h>

#include "memory/memory.h"

/* The time that the trimmer is told; it only goes on. */
static zk_time_t now = ZK_SEC(1);

static struct zk_stack_stats stats_now(void)
{
    struct zk_stack_stats stats;

    zk__stack_stats(&stats);
    return stats;
}

/* A credit and its stack. */
static struct zk_stack *stack_take(struct zk_stack_cache *cache,
                                   unsigned class_index)
{
    assert_int_equal(zk__stack_credit_take(cache, class_index), 0);
    return zk__stack_get(cache, class_index);
}

static void stack_give(struct zk_stack_cache *cache, struct zk_stack *stack)
{
    unsigned class_index = stack->class_index;

    zk__stack_put(cache, stack);
    zk__stack_credit_put(cache, class_index);
}

TEST(stacks_of_a_class_have_its_size_and_do_not_overlap)
{
    struct zk_stack_cache cache = {0};

    for (unsigned c = 1; c < ZK_N_STACK_CLASSES; c++) {
        size_t usable = zk__stack_usable(c), stride = zk__stack_stride(c);
        struct zk_stack *stack[9];

        assert_true(usable < stride && usable >= stride / 2);
        for (int i = 0; i < 9; i++) {
            stack[i] = stack_take(&cache, c);
            assert_int_equal(stack[i]->class_index, c);
            assert_int_equal((uintptr_t)stack[i]->top % 16, 0);
            assert_true(stack[i]->top - stack[i]->limit <= (long)usable);
            assert_true(stack[i]->top - stack[i]->limit > (long)usable - 1024);
            memset(stack[i]->top - 256, i, 256);
            *stack[i]->limit = (char)i;
        }
        for (int i = 0; i < 9; i++) {
            assert_int_equal(stack[i]->top[-1], i);
            assert_int_equal(*stack[i]->limit, i);
            stack_give(&cache, stack[i]);
        }
    }
    zk__stack_cache_flush(&cache);
    assert_int_equal(stats_now().live, 0);
}

TEST(neighbouring_tops_fall_into_different_cache_lines)
{
    struct zk_stack_cache cache = {0};
    struct zk_stack *stack[32];
    uintptr_t colours = 0;

    for (int i = 0; i < 32; i++) {
        stack[i] = stack_take(&cache, ZK_STACK_1M);
        colours |= (uintptr_t)1 << ((-(uintptr_t)stack[i]->top % 4096) / 64);
    }
    assert_true(__builtin_popcountl(colours) >= 4);
    for (int i = 0; i < 32; i++)
        stack_give(&cache, stack[i]);
    zk__stack_cache_flush(&cache);
}

TEST(a_returned_stack_is_the_next_one_and_keeps_its_bytes)
{
    struct zk_stack_cache cache = {0};
    struct zk_stack *stack = stack_take(&cache, ZK_STACK_256K);

    memset(stack->limit, 0x33, 100);
    stack_give(&cache, stack);
    assert_ptr_equal(stack_take(&cache, ZK_STACK_256K), stack);
    for (int i = 0; i < 100; i++)
        assert_int_equal(stack->limit[i], 0x33);
    stack_give(&cache, stack);
    zk__stack_cache_flush(&cache);
    /* Also by way of the pool. */
    assert_ptr_equal(stack_take(&cache, ZK_STACK_256K), stack);
    stack_give(&cache, stack);
    zk__stack_cache_flush(&cache);
}

TEST(addresses_are_located_in_guard_stack_or_nowhere)
{
    struct zk_stack_cache cache = {0};
    int here;

    for (unsigned c = 1; c < ZK_N_STACK_CLASSES; c++) {
        struct zk_stack *stack = stack_take(&cache, c), *found = NULL;
        uintptr_t limit = (uintptr_t)stack->limit;
        size_t guard = zk__stack_stride(c) - zk__stack_usable(c);

        assert_int_equal(zk__stack_locate(limit, &found),
                         ZK_STACK_PLACE_INSIDE);
        assert_ptr_equal(found, stack);
        found = NULL;
        assert_int_equal(zk__stack_locate((uintptr_t)stack->top - 1, &found),
                         ZK_STACK_PLACE_INSIDE);
        assert_ptr_equal(found, stack);
        found = NULL;
        assert_int_equal(zk__stack_locate(limit - 1, &found),
                         ZK_STACK_PLACE_GUARD);
        assert_ptr_equal(found, stack);
        found = NULL;
        assert_int_equal(zk__stack_locate(limit - guard, &found),
                         ZK_STACK_PLACE_GUARD);
        assert_ptr_equal(found, stack);
        stack_give(&cache, stack);
    }
    for (int i = 0; i < 4; i++) {
        uintptr_t none[] = {0, (uintptr_t)&here, (uintptr_t)stats_now,
                            UINTPTR_MAX};
        struct zk_stack *found = (struct zk_stack *)(void *)&here;

        assert_int_equal(zk__stack_locate(none[i], &found),
                         ZK_STACK_PLACE_NONE);
        assert_ptr_equal(found, &here);
    }
    zk__stack_cache_flush(&cache);
}

TEST(a_stack_that_was_never_handed_out_is_nowhere)
{
    struct zk_stack_cache cache = {0};
    struct zk_stack *stack[12], *last = NULL, *found;
    size_t stride = zk__stack_stride(ZK_STACK_8M);

    for (int i = 0; i < 12; i++) { /* of the 16 in the first chunk */
        stack[i] = stack_take(&cache, ZK_STACK_8M);
        if (last == NULL || last->limit < stack[i]->limit)
            last = stack[i];
    }
    assert_int_equal(zk__stack_locate((uintptr_t)last->limit, &found),
                     ZK_STACK_PLACE_INSIDE);
    assert_int_equal(zk__stack_locate((uintptr_t)last->limit + stride, &found),
                     ZK_STACK_PLACE_NONE);
    for (int i = 0; i < 12; i++)
        stack_give(&cache, stack[i]);
    zk__stack_cache_flush(&cache);
}

static bool report_place(uintptr_t address, ZK_UNUSED uintptr_t sp)
{
    struct zk_stack *stack;

    if (zk__stack_locate(address, &stack) == ZK_STACK_PLACE_GUARD &&
        address < (uintptr_t)stack->limit)
        zk__signal_write("overflow", 8);
    return true;
}

struct overflow {
    char *address;
    int report; /* a pipe */
};

static void overflow_reported(void *arg)
{
    struct overflow *o = arg;

    signal(SIGSEGV, SIG_DFL);
    dup2(o->report, STDERR_FILENO);
    MUST(zk__fault_handler_install(report_place) == 0);
    touch(o->address);
}

TEST(touching_the_guard_kills_and_the_handler_knows_where_it_was)
{
    struct zk_stack_cache cache = {0};
    int fd[2];

    for (unsigned c = 1; c < ZK_N_STACK_CLASSES; c++) {
        struct zk_stack *stack = stack_take(&cache, c);
        size_t guard = zk__stack_stride(c) - zk__stack_usable(c);
        char *at[] = {stack->limit - 1, stack->limit - guard};

        assert_true(stack->flags & ZK_STACK_GUARDED);
        for (int i = 0; i < 2; i++) {
            struct overflow o = {.address = at[i]};
            char text[16] = "";

            assert_int_equal(pipe(fd), 0);
            o.report = fd[1];
            assert_dies(overflow_reported, &o, SIGSEGV);
            assert_true(read(fd[0], text, sizeof text) >= 8);
            assert_memory_equal(text, "overflow", 8);
            close(fd[0]);
            close(fd[1]);
        }
        assert_exits(touch_plainly, stack->limit, 0);
        stack_give(&cache, stack);
    }
    zk__stack_cache_flush(&cache);
}

static void take_over_budget(void *arg)
{
    struct zk_stack_cache cache = {0};
    struct zk_stack *stack[12];

    dup2(*(int *)arg, STDERR_FILENO);
    zk__stack_guard_set(ZK_GUARD_MPROTECT, 10);
    for (int i = 0; i < 12; i++) {
        MUST(zk__stack_credit_take(&cache, ZK_STACK_64K) == 0);
        stack[i] = zk__stack_get(&cache, ZK_STACK_64K);
        MUST(!(stack[i]->flags & ZK_STACK_GUARDED) == (i >= 10));
        MUST(stats_now().unguarded == (i < 10 ? 0u : (unsigned)i - 9));
    }
    MUST(stats_now().guard_kind == ZK_GUARD_MPROTECT);
    touch(stack[11]->limit - 1); /* goes unnoticed, as the warning said */
    for (int i = 0; i < 12; i++)
        zk__stack_put(&cache, stack[i]);
    /* A stack keeps what it has, however often it goes round. */
    for (int i = 0; i < 12; i++)
        zk__stack_get(&cache, ZK_STACK_64K);
    MUST(stats_now().unguarded == 2);
    signal(SIGSEGV, SIG_DFL);
    touch(stack[9]->limit - 1);
}

TEST(over_the_budget_of_guards_stacks_go_without_and_a_line_says_so)
{
    char text[1024] = "", *at;
    int fd[2];

    assert_int_equal(pipe(fd), 0);
    assert_dies(take_over_budget, &fd[1], SIGSEGV);
    assert_true(read(fd[0], text, sizeof text - 1) > 0);
    at = strstr(text, "zokio: warning");
    assert_non_null(at);
    assert_null(strstr(at + 1, "zokio")); /* an emulator may add its own */
    close(fd[0]);
    close(fd[1]);
}

TEST(a_credit_is_a_stack_also_when_other_caches_are_full)
{
    enum { CACHES = 4, MANY = 3000 };
    static struct zk_stack *stack[MANY];
    struct zk_stack_cache cache[CACHES] = {0};
    unsigned n = 0;

    /* Fill the other caches with warm stacks, then spend all that is mapped. */
    for (int i = 0; i < CACHES; i++) {
        for (int j = 0; j < ZK_STACK_CACHE_MAX; j++)
            stack[j] = stack_take(&cache[i], ZK_STACK_256K);
        for (int j = 0; j < ZK_STACK_CACHE_MAX; j++)
            stack_give(&cache[i], stack[j]);
        assert_in_range(cache[i].n_warm[ZK_STACK_256K], 1, ZK_STACK_CACHE_MAX);
    }
    for (; n < MANY; n++) {
        assert_int_equal(zk__stack_credit_take(NULL, ZK_STACK_256K), 0);
        stack[n] = zk__stack_get(&cache[0], ZK_STACK_256K);
        assert_non_null(stack[n]);
    }
    assert_int_equal(stats_now().live, MANY);
    while (n > 0)
        zk__stack_put(&cache[0], stack[--n]);
    zk__stack_credit_return(ZK_STACK_256K, MANY);
    for (int i = 0; i < CACHES; i++)
        zk__stack_cache_flush(&cache[i]);
    assert_int_equal(stats_now().live, 0);
}

TEST(credits_that_come_back_are_given_out_again)
{
    struct zk_stack_cache cache = {0};
    uint64_t mapped;

    assert_int_equal(zk__stack_credit_take(NULL, ZK_STACK_8M), 0);
    zk__stack_credit_return(ZK_STACK_8M, 1);
    mapped = stats_now().mapped;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(zk__stack_credit_take(NULL, ZK_STACK_8M), 0);
        zk__stack_credit_return(ZK_STACK_8M, 1);
        assert_int_equal(zk__stack_credit_take(&cache, ZK_STACK_8M), 0);
        zk__stack_credit_put(&cache, ZK_STACK_8M);
        zk__stack_cache_flush(&cache);
    }
    assert_int_equal(stats_now().mapped, mapped);
}

TEST(the_small_caches_give_what_is_too_much_to_the_pool)
{
    enum { MANY = 200 };
    struct zk_stack_cache cache = {0}, other = {0};
    struct zk_stack *stack[MANY];
    uint64_t cached = stats_now().cached;

    for (int i = 0; i < MANY; i++)
        stack[i] = stack_take(&cache, ZK_STACK_64K);
    assert_int_equal(stats_now().live, MANY);
    for (int i = 0; i < MANY; i++) {
        stack_give(&other, stack[i]); /* as when tasks are stolen */
        assert_true(other.n_warm[ZK_STACK_64K] <= ZK_STACK_CACHE_MAX);
        assert_true(other.credits[ZK_STACK_64K] <= 2 * ZK_CREDIT_BATCH);
        assert_int_equal(stats_now().live, MANY - 1 - i);
    }
    assert_true(stats_now().cached >= cached + MANY - 16 - 1);
    zk__stack_cache_flush(&other);
    for (size_t i = 0; i < sizeof other; i++)
        assert_int_equal(((char *)&other)[i], 0);
    zk__stack_cache_flush(&cache);
    assert_int_equal(stats_now().live, 0);
}

TEST(what_was_used_of_a_stack_is_told_by_its_pages)
{
    struct zk_stack_cache cache = {0};
    struct zk_stack *stack = stack_take(&cache, ZK_STACK_8M);
    size_t page = zk__vm_page_size();
    size_t colour = -(uintptr_t)stack->top & (page - 1);

    zk__vm_discard(stack->limit, zk__stack_usable(ZK_STACK_8M));
    assert_int_equal(zk__stack_used(stack), 0);
    stack->top[-1] = 1;
    assert_int_equal(zk__stack_used(stack), page - colour);
    stack->top[-2000000] = 1;
    assert_in_range(zk__stack_used(stack), 2000000, 2000000 + page);
    *stack->limit = 1;
    assert_int_equal(zk__stack_used(stack), stack->top - stack->limit);
    stack_give(&cache, stack);
    zk__stack_cache_flush(&cache);
}

static void trim_all(void)
{
    for (int i = 0; i < 60 && zk__stack_trim_pending(); i++) {
        now += ZK_SEC(1);
        while (zk__stack_trim(now, 64) > 0)
            ;
    }
    assert_false(zk__stack_trim_pending());
}

TEST(pages_go_back_as_the_peak_decays_and_not_at_once)
{
    enum { MANY = 1000 };
    static struct zk_stack *stack[MANY];
    struct zk_stack_cache cache = {0};
    unsigned trimmed = 0, early;
    size_t resident = 0;

    trim_all(); /* what the other tests left */
    for (int i = 0; i < MANY; i++) {
        stack[i] = stack_take(&cache, ZK_STACK_256K);
        stack[i]->top[-1] = 1;
    }
    zk__stack_trim(now += ZK_SEC(1), 1);
    for (int i = 0; i < MANY; i++)
        stack_give(&cache, stack[i]);
    zk__stack_cache_flush(&cache);
    stack_give(&cache, stack_take(&cache, ZK_STACK_256K));
    zk__stack_cache_flush(&cache);
    assert_int_equal(zk__stack_trim(now, 64), 0); /* the peak is fresh */
    assert_true(zk__stack_trim_pending());
    assert_int_equal(zk__stack_trim(now += ZK_SEC(1), 16), 16); /* a batch */
    trimmed = 16;
    while ((early = zk__stack_trim(now, 64)) > 0)
        trimmed += early;
    assert_in_range(trimmed, MANY / 5, MANY / 3); /* a quarter */
    for (int i = 0; i < 9; i++) {
        now += ZK_SEC(1);
        while ((early = zk__stack_trim(now, 64)) > 0)
            trimmed += early;
    }
    assert_in_range(trimmed, MANY * 9 / 10, MANY - 1);
    for (int i = 0; i < MANY; i++)
        resident += zk__stack_used(stack[i]) > 0;
    assert_int_equal(resident, MANY - trimmed);
    trim_all();
    assert_int_equal(stats_now().cached, 0);
    /* Cold ones have their guard still, and read as zero. */
    stack[0] = stack_take(&cache, ZK_STACK_256K);
    assert_int_equal(stack[0]->top[-1], 0);
    assert_dies(touch_plainly, stack[0]->limit - 1, SIGSEGV);
    stack_give(&cache, stack[0]);
    zk__stack_cache_flush(&cache);
}

TEST(a_steady_load_is_not_trimmed_below_what_it_needs)
{
    enum { LOAD = 300 };
    static struct zk_stack *stack[LOAD];
    struct zk_stack_cache cache = {0};

    for (int second = 0; second < 30; second++) {
        for (int i = 0; i < LOAD; i++)
            stack[i] = stack_take(&cache, ZK_STACK_64K);
        for (int i = 0; i < LOAD; i++)
            stack_give(&cache, stack[i]);
        if (second > 0) /* a quarter of it at most between two bursts */
            assert_in_range(zk__stack_trim(now, 1000), 0, LOAD / 4 + 1);
        else
            trim_all();
        now += ZK_SEC(1);
    }
    zk__stack_cache_flush(&cache);
}

/* Threads that take stacks, mark them, and pass half of them to each other
 * through the pool. Two owners of one stack would see a foreign mark. */
struct sharing {
    uintptr_t mark;
    unsigned clashes;
};

static void *share_stacks(void *arg)
{
    enum { HELD = 150 };
    struct sharing *s = arg;
    struct zk_stack_cache cache = {0};
    struct zk_stack *stack[HELD];

    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < HELD; i++) {
            if (zk__stack_credit_take(&cache, ZK_STACK_64K) < 0) {
                s->clashes++;
                return NULL;
            }
            stack[i] = zk__stack_get(&cache, ZK_STACK_64K);
            memcpy(stack[i]->top - sizeof s->mark, &s->mark, sizeof s->mark);
        }
        for (int i = 0; i < HELD; i++) {
            s->clashes += memcmp(stack[i]->top - sizeof s->mark, &s->mark,
                                 sizeof s->mark) != 0;
            zk__stack_put(&cache, stack[i]);
            zk__stack_credit_put(&cache, ZK_STACK_64K);
        }
        if (round % 10 == 9)
            zk__stack_cache_flush(&cache);
    }
    return NULL;
}

TEST(a_stack_has_one_owner_among_threads_and_the_trimmer)
{
    struct sharing s[3] = {{1, 0}, {2, 0}, {3, 0}};
    zk_thread_t thread[3];

    for (int i = 0; i < 3; i++)
        assert_int_equal(
            zk__thread_create(&thread[i], share_stacks, &s[i], 0, "share"), 0);
    for (int i = 0; i < 200; i++) {
        zk__stack_trim(now += ZK_SEC(1), 32);
        assert_true(stats_now().live <= 3 * 150);
    }
    for (int i = 0; i < 3; i++) {
        zk__thread_join(thread[i]);
        assert_int_equal(s[i].clashes, 0);
    }
    assert_int_equal(stats_now().live, 0);
}

static int prepare(void **state)
{
    (void)state;
    return zk__stack_pool_init() | zk__stack_pool_init();
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(
            over_the_budget_of_guards_stacks_go_without_and_a_line_says_so),
        cmocka_unit_test(stacks_of_a_class_have_its_size_and_do_not_overlap),
        cmocka_unit_test(neighbouring_tops_fall_into_different_cache_lines),
        cmocka_unit_test(a_returned_stack_is_the_next_one_and_keeps_its_bytes),
        cmocka_unit_test(addresses_are_located_in_guard_stack_or_nowhere),
        cmocka_unit_test(a_stack_that_was_never_handed_out_is_nowhere),
        cmocka_unit_test(
            touching_the_guard_kills_and_the_handler_knows_where_it_was),
        cmocka_unit_test(a_credit_is_a_stack_also_when_other_caches_are_full),
        cmocka_unit_test(credits_that_come_back_are_given_out_again),
        cmocka_unit_test(the_small_caches_give_what_is_too_much_to_the_pool),
        cmocka_unit_test(what_was_used_of_a_stack_is_told_by_its_pages),
        cmocka_unit_test(pages_go_back_as_the_peak_decays_and_not_at_once),
        cmocka_unit_test(a_steady_load_is_not_trimmed_below_what_it_needs),
        cmocka_unit_test(a_stack_has_one_owner_among_threads_and_the_trimmer),
    };

    return cmocka_run_group_tests(cases, prepare, NULL);
}
