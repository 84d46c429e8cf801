/* SPDX-License-Identifier: MIT */
/* slab_test.c - blocks that stay readable. */
#include "layer0.h"

#include <string.h>

#include "memory/memory.h"

enum { BLOCK = 384, PER_CHUNK = 2 * 1024 * 1024 / BLOCK };

static size_t list_length(const struct zk_slab_node *list)
{
    size_t n = 0;

    for (; list != NULL; list = list->next)
        n++;
    return n;
}

TEST(fresh_blocks_are_zero_aligned_and_apart)
{
    struct zk_slab *s = zk__slab_create(BLOCK);
    struct zk_slab_node *list = NULL;
    char *last = NULL;

    assert_non_null(s);
    assert_int_equal(zk__slab_blocks(s), 0);
    assert_int_equal(zk__slab_take(s, 100, &list), 100);
    assert_int_equal(list_length(list), 100);
    assert_int_equal(zk__slab_blocks(s), 100);
    for (struct zk_slab_node *at = list; at != NULL;) {
        struct zk_slab_node *next = at->next;
        char *block = (char *)at;

        assert_int_equal((uintptr_t)block % ZK_CACHE_LINE, 0);
        for (size_t i = sizeof *at; i < BLOCK; i++)
            assert_int_equal(block[i], 0);
        assert_true(last == NULL || block + BLOCK <= last ||
                    last + BLOCK <= block);
        memset(block, 0x5a, BLOCK);
        last = block;
        at = next;
    }
}

TEST(a_returned_block_comes_back_first_and_keeps_what_it_held)
{
    struct zk_slab *s = zk__slab_create(BLOCK);
    struct zk_slab_node *a = NULL, *b = NULL;

    assert_int_equal(zk__slab_take(s, 1, &a), 1);
    assert_null(a->next);
    memset((char *)a + sizeof *a, 0x77, BLOCK - sizeof *a);
    zk__slab_give(s, a);
    zk__slab_give(s, NULL);
    assert_int_equal(zk__slab_take(s, 2, &b), 2);
    assert_int_equal(zk__slab_blocks(s), 2);
    assert_true(b == a || b->next == a);
    for (size_t i = sizeof *a; i < BLOCK; i++)
        assert_int_equal(((char *)a)[i], 0x77);
}

struct walk {
    size_t seen, stop_at;
    const void *wanted;
    bool found;
};

static bool walk_block(void *block, void *ctx)
{
    struct walk *w = ctx;

    w->found |= block == w->wanted;
    return ++w->seen != w->stop_at;
}

TEST(a_walk_sees_every_block_ever_handed_out_over_several_chunks)
{
    struct zk_slab *s = zk__slab_create(BLOCK);
    unsigned total = 3 * PER_CHUNK + 7;
    struct zk_slab_node *list = NULL, *first;
    struct walk w = {0};

    zk__slab_each(s, walk_block, &w);
    assert_int_equal(w.seen, 0);
    assert_int_equal(zk__slab_take(s, 1, &first), 1);
    assert_int_equal(zk__slab_take(s, total - 1, &list), total - 1);
    zk__slab_give(s, list); /* free ones are seen too */
    w = (struct walk){.wanted = first};
    zk__slab_each(s, walk_block, &w);
    assert_int_equal(w.seen, total);
    assert_true(w.found);
    w = (struct walk){.stop_at = 5};
    zk__slab_each(s, walk_block, &w);
    assert_int_equal(w.seen, 5);
    assert_int_equal(zk__slab_blocks(s), total);
}

/* Blocks are marked by who has them: two owners at once would be seen. */
struct churn {
    struct zk_slab *slab;
    uint32_t mark;
    _Atomic uint32_t *clashes;
};

struct marked {
    struct zk_slab_node node;
    _Atomic uint32_t owner;
};

static void *churn_run(void *arg)
{
    struct churn *c = arg;

    for (int round = 0; round < 2000; round++) {
        struct zk_slab_node *list = NULL;
        unsigned n = zk__slab_take(c->slab, 16, &list);

        if (n != 16)
            zk_atomic_add(c->clashes, 1, relaxed);
        for (struct zk_slab_node *at = list; at != NULL; at = at->next) {
            struct marked *m = container_of(at, struct marked, node);

            if (zk_atomic_exchange(&m->owner, c->mark, relaxed) != 0)
                zk_atomic_add(c->clashes, 1, relaxed);
        }
        for (struct zk_slab_node *at = list; at != NULL; at = at->next) {
            struct marked *m = container_of(at, struct marked, node);

            if (zk_atomic_exchange(&m->owner, 0, relaxed) != c->mark)
                zk_atomic_add(c->clashes, 1, relaxed);
        }
        zk__slab_give(c->slab, list);
    }
    return NULL;
}

TEST(a_block_has_one_owner_among_threads_that_take_and_give)
{
    struct zk_slab *s = zk__slab_create(BLOCK);
    _Atomic uint32_t clashes = 0;
    struct churn c[3];
    zk_thread_t thread[3];

    for (uint32_t i = 0; i < 3; i++) {
        c[i] = (struct churn){s, i + 1, &clashes};
        assert_int_equal(
            zk__thread_create(&thread[i], churn_run, &c[i], 0, "churn"), 0);
    }
    for (int i = 0; i < 100; i++) {
        struct walk w = {0};

        zk__slab_each(s, walk_block, &w); /* beside the takers */
        assert_true(w.seen <= 48);
    }
    for (int i = 0; i < 3; i++)
        zk__thread_join(thread[i]);
    assert_int_equal(clashes, 0);
    assert_true(zk__slab_blocks(s) <= 48);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(fresh_blocks_are_zero_aligned_and_apart),
        cmocka_unit_test(
            a_returned_block_comes_back_first_and_keeps_what_it_held),
        cmocka_unit_test(
            a_walk_sees_every_block_ever_handed_out_over_several_chunks),
        cmocka_unit_test(
            a_block_has_one_owner_among_threads_that_take_and_give),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
