/* SPDX-License-Identifier: MIT */
/* layer0_test.c - heap, slabs, stacks and descriptors when the system refuses.
 * For builds with -DZK_FAULTS=1. */
#include "unit/layer0.h"

#include <sys/socket.h>

#include "memory/memory.h"
#include "utils/fault.h"

enum { BLOCK = 384, PER_CHUNK = 2 * 1024 * 1024 / BLOCK };

static void *thread_return(void *arg)
{
    return arg;
}

static size_t list_length(const struct zk_slab_node *list)
{
    size_t n = 0;

    for (; list != NULL; list = list->next)
        n++;
    return n;
}

static uint64_t stacks_mapped(void)
{
    struct zk_stack_stats stats;

    zk__stack_stats(&stats);
    return stats.mapped;
}

TEST(the_nth_request_for_memory_or_a_thread_fails_and_only_that)
{
    size_t page = zk__vm_page_size();
    zk_thread_t thread;
    void *p = NULL;

    zk__fault_set(ZK_FAULT_MAP, 2);
    assert_int_equal(zk__vm_map(&p, page, 0, 0), 0);
    zk__vm_unmap(p, page);
    assert_int_equal(zk__vm_map(&p, page, 0, 0), -ENOMEM);
    assert_int_equal(zk__vm_map(&p, page, 0, 0), 0);
    zk__vm_unmap(p, page);
    zk__fault_set(ZK_FAULT_THREAD, 1);
    assert_int_equal(zk__thread_create(&thread, thread_return, NULL, 0, NULL),
                     -EAGAIN);
    assert_int_equal(zk__thread_create(&thread, thread_return, NULL, 0, NULL),
                     0);
    zk__thread_join(thread);
}

TEST(every_call_that_makes_a_descriptor_can_be_made_to_fail)
{
    sigset_t none;
    int fd;

    sigemptyset(&none);
    zk__fault_repeat(ZK_FAULT_FD, 1, 6);
    assert_int_equal(zk__sys_socket(AF_UNIX, SOCK_STREAM, 0), -EMFILE);
    assert_int_equal(zk__sys_accept(0, NULL, NULL), -EMFILE);
    assert_int_equal(zk__sys_epoll_create(), -EMFILE);
    assert_int_equal(zk__sys_eventfd(), -EMFILE);
    assert_int_equal(zk__sys_dup_null(), -EMFILE);
    assert_int_equal(zk__sys_signalfd(&none), -EMFILE);
    fd = zk__sys_eventfd();
    assert_true(fd >= 0);
    zk__sys_close(fd);
    zk__fault_set(ZK_FAULT_FD, 1);
    zk__fault_set(ZK_FAULT_FD, 0); /* taken back */
    fd = zk__sys_eventfd();
    assert_true(fd >= 0);
    zk__sys_close(fd);
}

TEST(the_nth_allocation_fails_on_request)
{
    void *first, *third;

    zk__fault_set(ZK_FAULT_ALLOC, 2);
    first = zk__alloc(1);
    assert_non_null(first);
    assert_null(zk__alloc(1));
    third = zk__alloc(1);
    assert_non_null(third);
    assert_int_equal(zk__heap_bytes(), 2);
    zk__free(first, 1);
    zk__free(third, 1);
}

TEST(without_memory_a_slab_hands_out_what_it_has)
{
    struct zk_slab_node *list = NULL;
    struct zk_slab *s;
    unsigned n;

    zk__fault_set(ZK_FAULT_MAP, 1);
    assert_null(zk__slab_create(BLOCK));
    s = zk__slab_create(BLOCK);
    assert_non_null(s);
    zk__fault_repeat(ZK_FAULT_MAP, 1, 2);
    n = zk__slab_take(s, 2 * PER_CHUNK, &list);
    assert_in_range(n, PER_CHUNK - 2, PER_CHUNK);
    assert_int_equal(list_length(list), n);
    list = NULL;
    assert_int_equal(zk__slab_take(s, 1, &list), 0);
    assert_null(list);
    assert_int_equal(zk__slab_take(s, 1, &list), 1);
}

TEST(a_smaller_chunk_is_mapped_when_a_large_one_is_refused)
{
    struct zk_stack_cache cache = {0};
    uint64_t mapped = stacks_mapped();
    unsigned n = 0;

    zk__fault_set(ZK_FAULT_MAP, 1);
    while (stacks_mapped() == mapped) {
        assert_int_equal(zk__stack_credit_take(&cache, ZK_STACK_1M), 0);
        n++;
    }
    zk__stack_credit_return(ZK_STACK_1M, n);
    zk__fault_repeat(ZK_FAULT_MAP, 1, 1000);
    for (n = 0; zk__stack_credit_take(&cache, ZK_STACK_1M) == 0; n++)
        ;
    zk__fault_set(ZK_FAULT_MAP, 0);
    assert_int_equal(zk__stack_credit_take(&cache, ZK_STACK_1M), 0);
    zk__stack_credit_return(ZK_STACK_1M, n + 1);
    zk__stack_cache_flush(&cache);
}

TEST(pages_stay_while_every_stack_is_promised)
{
    enum { MANY = 40 };
    struct zk_stack_cache cache = {0};
    struct zk_stack *stack[MANY];
    zk_time_t now = ZK_SEC(1);
    unsigned n = 0;

    for (int i = 0; i < MANY; i++) {
        assert_int_equal(zk__stack_credit_take(&cache, ZK_STACK_256K), 0);
        stack[i] = zk__stack_get(&cache, ZK_STACK_256K);
    }
    for (int i = 0; i < MANY; i++)
        zk__stack_put(&cache, stack[i]);
    zk__stack_credit_return(ZK_STACK_256K, MANY);
    zk__stack_cache_flush(&cache);
    zk__fault_repeat(ZK_FAULT_MAP, 1, 1000);
    while (zk__stack_credit_take(NULL, ZK_STACK_256K) == 0)
        n++;
    zk__fault_set(ZK_FAULT_MAP, 0);
    /* In the trimmer's hands a stack would be missing to a promise. */
    for (int i = 0; i < 30; i++)
        assert_int_equal(zk__stack_trim(now += ZK_SEC(1), 64), 0);
    zk__stack_credit_return(ZK_STACK_256K, 3);
    assert_int_equal(zk__stack_trim(now, 64), 3);
    zk__stack_credit_return(ZK_STACK_256K, n - 3);
    assert_int_equal(zk__stack_trim(now, 64), MANY - 3);
    assert_false(zk__stack_trim_pending());
}

static int prepare(void **state)
{
    (void)state;
    return zk__stack_pool_init();
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(
            the_nth_request_for_memory_or_a_thread_fails_and_only_that),
        cmocka_unit_test(
            every_call_that_makes_a_descriptor_can_be_made_to_fail),
        cmocka_unit_test(the_nth_allocation_fails_on_request),
        cmocka_unit_test(without_memory_a_slab_hands_out_what_it_has),
        cmocka_unit_test(a_smaller_chunk_is_mapped_when_a_large_one_is_refused),
        cmocka_unit_test(pages_stay_while_every_stack_is_promised),
    };

    return cmocka_run_group_tests(cases, prepare, NULL);
}
