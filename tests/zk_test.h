/* SPDX-License-Identifier: MIT */
/*
 * zk_test.h - a little over cmocka, for code that runs on tasks.
 *
 * cmocka's assertions leave a failed test by longjmp, which must not happen on
 * the stack of a task. The EXPECT_ macros here print, count and go on; the test
 * fails when its function has returned. They are safe on any task and thread.
 * cmocka's own may be used beside them, on the main thread outside zk_run().
 */
#ifndef ZK_TEST_H
#define ZK_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/*
 * ZK_TEST(a_sentence_that_is_true_when_it_passes) { body }
 * A case of cmocka, static void name(void **state). The body takes nothing and
 * may return early.
 */
#define ZK_TEST(name)                                                          \
    static void name##_body(void);                                             \
    static void name(void **state)                                             \
    {                                                                          \
        (void)state;                                                           \
        zk_test_begin();                                                       \
        name##_body();                                                         \
        zk_test_end();                                                         \
    }                                                                          \
    static void name##_body(void)

/*
 * The same with the body run as the main task of a runtime: of a simulated one
 * (include <zokio/testing.h>), with the seed of ZK_TEST_SEED if that is set, or
 * of a real one with all defaults (include <zokio/runtime.h>). The test fails
 * too if the runtime does not end well: a deadlock, surviving tasks.
 */
#define ZK_SIM_TEST(name)                                                      \
    ZK_TEST_ON_TASK(name,                                                      \
                    zk_sim_run(&(zk_sim_config_t){.seed = zk_test_seed()},     \
                               name##_task, NULL))
#define ZK_RUN_TEST(name) ZK_TEST_ON_TASK(name, zk_run(NULL, name##_task, NULL))

#define ZK_TEST_ON_TASK(name, run)                                             \
    static void name##_steps(void);                                            \
    static int name##_task(void *arg)                                          \
    {                                                                          \
        (void)arg;                                                             \
        name##_steps();                                                        \
        return 0;                                                              \
    }                                                                          \
    ZK_TEST(name)                                                              \
    {                                                                          \
        EXPECT_EQ(run, 0);                                                     \
    }                                                                          \
    static void name##_steps(void)

/* int main(void) { return zk_test_main(ZK_CASE(a), ZK_CASE(b)); } */
#define ZK_CASE(name) cmocka_unit_test(name)
#define zk_test_main(...)                                                      \
    zk_test_run((const struct CMUnitTest[]){__VA_ARGS__},                      \
                sizeof((const struct CMUnitTest[]){__VA_ARGS__}) /             \
                    sizeof(struct CMUnitTest))

/* The value that is expected comes second. Each gives true if it holds, for
 * tests that cannot go on otherwise. */
#define EXPECT_TRUE(x) zk_test_true(__FILE__, __LINE__, #x, !!(x))
#define EXPECT_FALSE(x) zk_test_true(__FILE__, __LINE__, "!(" #x ")", !(x))
#define EXPECT_EQ(a, b) ZK_TEST_COMPARE(a, ZK_TEST_EQ, b)
#define EXPECT_NE(a, b) ZK_TEST_COMPARE(a, ZK_TEST_NE, b)
#define EXPECT_LT(a, b) ZK_TEST_COMPARE(a, ZK_TEST_LT, b)
#define EXPECT_LE(a, b) ZK_TEST_COMPARE(a, ZK_TEST_LE, b)
#define EXPECT_GT(a, b) ZK_TEST_COMPARE(a, ZK_TEST_GT, b)
#define EXPECT_GE(a, b) ZK_TEST_COMPARE(a, ZK_TEST_GE, b)
#define EXPECT_STR_EQ(a, b)                                                    \
    zk_test_string(__FILE__, __LINE__, #a " == " #b, a, b)

enum zk_test_relation {
    ZK_TEST_EQ,
    ZK_TEST_NE,
    ZK_TEST_LT,
    ZK_TEST_LE,
    ZK_TEST_GT,
    ZK_TEST_GE,
};

#define ZK_TEST_COMPARE(a, relation, b)                                        \
    zk_test_compare(__FILE__, __LINE__, #a, relation, #b, (long long)(a),      \
                    (long long)(b))

bool zk_test_true(const char *file, int line, const char *text, bool holds);
bool zk_test_compare(const char *file, int line, const char *left,
                     enum zk_test_relation relation, const char *right,
                     long long a, long long b);
bool zk_test_string(const char *file, int line, const char *text, const char *a,
                    const char *b);

void zk_test_begin(void);
void zk_test_end(void);
int zk_test_run(const struct CMUnitTest *cases, size_t count);

/* The whole program cannot run here: says why and gives main's result. There is
 * no skipping of one case: cmocka 1.1 reports that as a failure. */
int zk_test_skip(const char *reason);
/* ZK_TEST_SEED, or 1. */
uint64_t zk_test_seed(void);

/* Of this process, now: for "nothing is left behind". */
int zk_test_open_fds(void);
size_t zk_test_rss_bytes(void);
int zk_test_map_count(void);

#endif
