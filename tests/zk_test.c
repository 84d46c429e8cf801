/* SPDX-License-Identifier: MIT */
#include "zk_test.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Expectations that did not hold since the last ZK_TEST began or ended. Any
 * thread adds, the main thread takes. */
static atomic_int failures;

/* Those taken outside every ZK_TEST: in a plain case of cmocka. */
static int strays;

static const char *const relation_text[] = {
    [ZK_TEST_EQ] = "==", [ZK_TEST_NE] = "!=", [ZK_TEST_LT] = "<",
    [ZK_TEST_LE] = "<=", [ZK_TEST_GT] = ">",  [ZK_TEST_GE] = ">=",
};

/* Small stacks: no stdio, one write. */
static void failure_print(const char *text, int length, size_t size)
{
    size_t n = length < 0 ? 0 : (size_t)length;
    ssize_t written;

    atomic_fetch_add(&failures, 1);
    if (n >= size)
        n = size - 1;
    written = write(STDERR_FILENO, text, n);
    (void)written;
}

bool zk_test_true(const char *file, int line, const char *text, bool holds)
{
    char out[512];

    if (!holds)
        failure_print(
            out, snprintf(out, sizeof out, "%s:%d: %s\n", file, line, text),
            sizeof out);
    return holds;
}

static bool compare(enum zk_test_relation relation, long long a, long long b)
{
    switch (relation) {
    case ZK_TEST_EQ:
        return a == b;
    case ZK_TEST_NE:
        return a != b;
    case ZK_TEST_LT:
        return a < b;
    case ZK_TEST_LE:
        return a <= b;
    case ZK_TEST_GT:
        return a > b;
    case ZK_TEST_GE:
        return a >= b;
    }
    return false;
}

bool zk_test_compare(const char *file, int line, const char *left,
                     enum zk_test_relation relation, const char *right,
                     long long a, long long b)
{
    bool holds = compare(relation, a, b);
    char out[512];

    if (!holds)
        failure_print(out,
                      snprintf(out, sizeof out,
                               "%s:%d: %s %s %s: it is %lld, not %s %lld\n",
                               file, line, left, relation_text[relation], right,
                               a, relation_text[relation], b),
                      sizeof out);
    return holds;
}

bool zk_test_string(const char *file, int line, const char *text, const char *a,
                    const char *b)
{
    bool holds = a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
    char out[512];

    if (!holds)
        failure_print(out,
                      snprintf(out, sizeof out,
                               "%s:%d: %s: it is \"%s\", not \"%s\"\n", file,
                               line, text, a != NULL ? a : "(null)",
                               b != NULL ? b : "(null)"),
                      sizeof out);
    return holds;
}

void zk_test_begin(void)
{
    strays += atomic_exchange(&failures, 0);
}

void zk_test_end(void)
{
    int n = atomic_exchange(&failures, 0);

    if (n > 0)
        fail_msg("%d expectations did not hold (seed %" PRIu64 ")", n,
                 zk_test_seed());
}

/* ZK_TEST_FILTER=pattern runs the cases whose name it matches. */
/* Of the sanitizers, where one is linked. */
extern __attribute__((weak)) void
__sanitizer_symbolize_pc(void *pc, const char *format, char *out, size_t size);

/* ThreadSanitizer starts a program that knows names when it first needs one, and
 * keeps two pipes to it: now, before descriptors are counted. */
static void symbolizer_start(void)
{
    char name[64];

    if (__sanitizer_symbolize_pc != NULL)
        __sanitizer_symbolize_pc((void *)(uintptr_t)symbolizer_start, "%f",
                                 name, sizeof(name));
}

int zk_test_run(const struct CMUnitTest *cases, size_t count)
{
    const char *filter = getenv("ZK_TEST_FILTER");

    symbolizer_start();
    if (filter != NULL)
        cmocka_set_test_filter(filter);
    return _cmocka_run_group_tests("tests", cases, count, NULL, NULL) != 0;
}

/* No case failed for the strays, so the program does. */
__attribute__((destructor)) static void strays_report(void)
{
    if (strays + atomic_load(&failures) > 0)
        _exit(1);
}

int zk_test_skip(const char *reason)
{
    printf("1..0 # SKIP %s\n", reason);
    return 0;
}

uint64_t zk_test_seed(void)
{
    const char *text = getenv("ZK_TEST_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : 0;

    return seed != 0 ? seed : 1;
}

/* Lines of a file, or -1. */
static int line_count(const char *path)
{
    FILE *f = fopen(path, "re");
    int n = 0, c;

    if (f == NULL)
        return -1;
    while ((c = getc(f)) != EOF)
        n += c == '\n';
    fclose(f);
    return n;
}

int zk_test_open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    int n = 0;

    if (dir == NULL)
        return -1;
    while ((entry = readdir(dir)) != NULL)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n - 1; /* the one of `dir` */
}

size_t zk_test_rss_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long size, resident = 0;

    if (f == NULL)
        return 0;
    if (fscanf(f, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

int zk_test_map_count(void)
{
    return line_count("/proc/self/maps");
}
