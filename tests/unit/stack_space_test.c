/* SPDX-License-Identifier: MIT */
/* stack_space_test.c - a million stacks at once, and address space for none. */
#include "layer0.h"

#include <sys/resource.h>

#include "memory/memory.h"

static unsigned map_lines(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    unsigned n = 0;
    int c;

    assert_non_null(f);
    while ((c = getc(f)) != EOF)
        n += c == '\n';
    fclose(f);
    return n;
}

static struct zk_stack_stats stats_now(void)
{
    struct zk_stack_stats stats;

    zk__stack_stats(&stats);
    return stats;
}

/* With markers as guards, a million; each mprotect guard costs two mappings,
 * and there the number goes over the budget on purpose. */
TEST(a_million_guarded_stacks_fit_into_few_mappings)
{
    bool whole = stats_now().guard_kind == ZK_GUARD_MADVISE;
    uint32_t count = whole ? 1000000 : 20000;
    size_t size = count * sizeof(struct zk_stack *);
    struct zk_stack_cache cache = {0};
    uint64_t unguarded = stats_now().unguarded;
    zk_time_t start = zk__clock_now();
    struct zk_stack **stack;
    unsigned lines;
    void *memory;

    assert_int_equal(zk__vm_map(&memory, size, 0, 0), 0);
    stack = memory;
    for (uint32_t i = 0; i < count; i++)
        if (zk__stack_credit_take(&cache, ZK_STACK_64K) < 0)
            fail();
    for (uint32_t i = 0; i < count; i++)
        stack[i] = zk__stack_get(&cache, ZK_STACK_64K);
    lines = map_lines();
    assert_int_equal(stats_now().live, count);
    for (uint32_t i = 0; i < count; i += 1009)
        stack[i]->top[-1] = 1;
    if (whole) {
        assert_in_range(lines, 1, 400); /* sanitizers have some themselves */
        assert_int_equal(stats_now().unguarded, unguarded);
        assert_dies(touch_plainly, stack[count - 1]->limit - 1, SIGSEGV);
        assert_dies(touch_plainly, stack[count / 2]->limit - 1, SIGSEGV);
    } else {
        assert_true(lines < 65530);
    }
    for (uint32_t i = 0; i < count; i++) {
        zk__stack_put(&cache, stack[i]);
        zk__stack_credit_put(&cache, ZK_STACK_64K);
    }
    zk__stack_cache_flush(&cache);
    assert_int_equal(stats_now().live, 0);
    zk__vm_unmap(memory, size);
    print_message("# %u stacks, %u mappings, %lld ms\n", count, lines,
                  (long long)(zk__clock_now() - start) / 1000000);
}

static void map_a_million(void *arg)
{
    struct zk_stack_cache cache = {0};

    (void)arg;
    for (uint32_t i = 0; i < 1000000; i++)
        MUST(zk__stack_credit_take(&cache, ZK_STACK_256K) == 0);
    MUST(stats_now().mapped >= 1000000);
    MUST(map_lines() < 400);
}

TEST(a_million_stacks_of_256_kib_can_be_promised)
{
    assert_exits(map_a_million, NULL, 0);
}

static void take_without_space(void *arg)
{
    struct rlimit limit = {0, 0};
    struct zk_stack_cache cache = {0};
    struct zk_stack *stack;
    unsigned n = 0;

    (void)arg;
    MUST(zk__stack_credit_take(&cache, ZK_STACK_8M) == 0);
    n++;
    MUST(setrlimit(RLIMIT_AS, &limit) == 0);
    while (zk__stack_credit_take(&cache, ZK_STACK_8M) == 0)
        n++;
    MUST(zk__stack_credit_take(&cache, ZK_STACK_8M) == -ENOMEM);
    MUST(zk__stack_credit_take(NULL, ZK_STACK_8M) == -ENOMEM);
    for (unsigned i = 0; i < n; i++) {
        stack = zk__stack_get(&cache, ZK_STACK_8M);
        MUST(stack != NULL);
        *stack->limit = 1;
    }
    MUST(stats_now().live == n);
    zk__stack_credit_return(ZK_STACK_8M, 1);
    MUST(zk__stack_credit_take(NULL, ZK_STACK_8M) == 0);
}

TEST(without_address_space_credits_end_and_promises_are_kept)
{
    assert_exits(take_without_space, NULL, 0);
}

static int prepare(void **state)
{
    (void)state;
    return zk__stack_pool_init();
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(a_million_guarded_stacks_fit_into_few_mappings),
        cmocka_unit_test(a_million_stacks_of_256_kib_can_be_promised),
        cmocka_unit_test(
            without_address_space_credits_end_and_promises_are_kept),
    };

    return cmocka_run_group_tests(cases, prepare, NULL);
}
