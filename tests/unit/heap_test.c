/* SPDX-License-Identifier: MIT */
/* heap_test.c - the heap and the user's allocator below it. */
#include "layer0.h"

#include <string.h>

#include "memory/memory.h"

/* An allocator that fills, counts, and checks what it gets back. */
struct ledger {
    size_t allocs, frees, bytes, refuse;
};

static void *ledger_alloc(size_t size, size_t align, void *ctx)
{
    struct ledger *l = ctx;
    void *p = NULL;

    if (l->refuse > 0) {
        l->refuse--;
        return NULL;
    }
    assert_int_equal(align, ZK_CACHE_LINE);
    assert_int_equal(posix_memalign(&p, align, size), 0);
    memset(p, 0xaa, size);
    l->allocs++;
    l->bytes += size;
    return p;
}

static void *ledger_resize(void *ptr, size_t old_size, size_t size,
                           size_t align, void *ctx)
{
    (void)ptr, (void)old_size, (void)size, (void)align, (void)ctx;
    return NULL;
}

static void ledger_free(void *ptr, size_t size, size_t align, void *ctx)
{
    struct ledger *l = ctx;

    assert_non_null(ptr);
    assert_int_equal(align, ZK_CACHE_LINE);
    assert_true(size <= l->bytes);
    l->frees++;
    l->bytes -= size;
    free(ptr);
}

static zk_allocator_t allocator_of(struct ledger *l)
{
    return (zk_allocator_t){
        .alloc = ledger_alloc,
        .resize = ledger_resize,
        .free = ledger_free,
        .ctx = l,
    };
}

static void assert_zero(const void *ptr, size_t size)
{
    const unsigned char *p = ptr;

    for (size_t i = 0; i < size; i++)
        assert_int_equal(p[i], 0);
}

TEST(memory_is_zero_aligned_and_counted)
{
    const size_t sizes[] = {1, 63, 64, 65, 4096, 1 << 20};
    uint64_t before = zk__heap_bytes();

    for (size_t i = 0; i < ZK_ARRAY_LEN(sizes); i++) {
        void *p = zk__alloc(sizes[i]);

        assert_non_null(p);
        assert_int_equal((uintptr_t)p % ZK_CACHE_LINE, 0);
        assert_zero(p, sizes[i]);
        assert_int_equal(zk__heap_bytes(), before + sizes[i]);
        memset(p, 0xff, sizes[i]);
        zk__free(p, sizes[i]);
        assert_int_equal(zk__heap_bytes(), before);
    }
    zk__free(NULL, 12);
    assert_int_equal(zk__heap_bytes(), before);
}

TEST(a_users_allocator_serves_and_gets_everything_back)
{
    struct ledger l = {0};
    zk_allocator_t a = allocator_of(&l);
    void *p;

    assert_int_equal(zk_set_allocator(&a), 0);
    p = zk__alloc(100);
    assert_non_null(p);
    assert_zero(p, 100);
    assert_int_equal(l.allocs, 1);
    assert_int_equal(l.bytes, 100);
    zk__free(p, 100);
    assert_int_equal(l.frees, 1);
    assert_int_equal(l.bytes, 0);
    assert_int_equal(zk_set_allocator(NULL), 0);
    p = zk__alloc(100);
    assert_int_equal(l.allocs, 1);
    zk__free(p, 100);
}

TEST(an_allocator_that_refuses_gives_null_and_counts_nothing)
{
    struct ledger l = {.refuse = 1};
    zk_allocator_t a = allocator_of(&l);

    assert_int_equal(zk_set_allocator(&a), 0);
    assert_null(zk__alloc(100));
    assert_int_equal(zk__heap_bytes(), 0);
    assert_int_equal(zk_set_allocator(NULL), 0);
}

TEST(the_allocator_stays_while_memory_is_out_or_a_runtime_holds_it)
{
    struct ledger l = {0};
    zk_allocator_t a = allocator_of(&l);
    void *p = zk__alloc(8);

    assert_int_equal(zk_set_allocator(&a), -EBUSY);
    assert_int_equal(zk_set_allocator(NULL), -EBUSY);
    zk__free(p, 8);
    zk__heap_hold();
    zk__heap_hold();
    zk__heap_release();
    assert_int_equal(zk_set_allocator(&a), -EBUSY);
    zk__heap_release();
    assert_int_equal(zk_set_allocator(&a), 0);
    assert_int_equal(zk_set_allocator(NULL), 0);
}

TEST(an_allocator_that_is_not_complete_or_has_reserved_bits_is_refused)
{
    struct ledger l = {0};
    zk_allocator_t a = allocator_of(&l);

    a.alloc = NULL;
    assert_int_equal(zk_set_allocator(&a), -EINVAL);
    a = allocator_of(&l);
    a.resize = NULL;
    assert_int_equal(zk_set_allocator(&a), -EINVAL);
    a = allocator_of(&l);
    a.free = NULL;
    assert_int_equal(zk_set_allocator(&a), -EINVAL);
    a = allocator_of(&l);
    a.reserved[7] = 1;
    assert_int_equal(zk_set_allocator(&a), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(memory_is_zero_aligned_and_counted),
        cmocka_unit_test(a_users_allocator_serves_and_gets_everything_back),
        cmocka_unit_test(
            an_allocator_that_refuses_gives_null_and_counts_nothing),
        cmocka_unit_test(
            the_allocator_stays_while_memory_is_out_or_a_runtime_holds_it),
        cmocka_unit_test(
            an_allocator_that_is_not_complete_or_has_reserved_bits_is_refused),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
