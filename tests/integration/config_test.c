/* SPDX-License-Identifier: MIT */
/* The configuration: every bad value is refused by name, the environment fills
 * what is left open. The cases restore the environment they found. */
#include "integration.h"

static int seven(void *arg)
{
    (void)arg;
    return 7;
}

struct log {
    char text[400];
    int lines;
};

static void log_keep(enum zk_log_level level, const char *text, void *ctx)
{
    struct log *log = ctx;

    if (level != ZK_LOG_ERROR)
        return;
    strncpy(log->text, text, sizeof(log->text) - 1);
    log->lines++;
}

static void must_not_run(const zk_config_t *cfg, const char *name)
{
    struct log log = {.lines = 0};
    zk_config_t copy = *cfg;
    char message[200] = "?";
    zk_runtime_t *rt = NULL;

    EXPECT_EQ(zk_config_validate(cfg, message, sizeof(message)), -EINVAL);
    if (!EXPECT_TRUE(strstr(message, name) != NULL))
        EXPECT_STR_EQ(message, name);
    EXPECT_EQ(zk_config_validate(cfg, NULL, 0), -EINVAL);
    copy.log = log_keep;
    copy.log_ctx = &log;
    EXPECT_EQ(zk_run(&copy, seven, NULL), -EINVAL);
    EXPECT_GE(log.lines, 1);
    EXPECT_TRUE(strstr(log.text, name) != NULL);
    EXPECT_EQ(zk_runtime_create(&rt, &copy), -EINVAL);
    EXPECT_TRUE(rt == NULL);
}

ZK_TEST(a_bad_field_is_refused_by_name)
{
    static const struct {
        const char *name;
        zk_config_t cfg;
    } bad[] = {
        {"workers", {.workers = 65}},
        {"workers", {.workers = UINT32_MAX}},
        {"flags", {.flags = 1u << 31}},
        {"flags", {.flags = ZK_WAIT_ALL | 1u << 4}},
        {"backend", {.backend = "carrier pigeon"}},
        {"backend", {.backend = ""}},
        {"stack_class", {.stack_class = ZK_STACK_8M + 1}},
        {"blocking_threads", {.blocking_threads = UINT32_MAX}},
        {"shutdown_ns", {.shutdown_ns = -1}},
        {"sq_entries", {.sq_entries = UINT32_MAX}},
        {"cq_entries", {.cq_entries = UINT32_MAX}},
        {"spin_ns", {.spin_ns = -1}},
        {"reserved", {.reserved = {1}}},
        {"reserved", {.reserved = {0, 0, 0, 0, 0, 0, 0, 1}}},
    };
    int fds = zk_test_open_fds();

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        must_not_run(&bad[i].cfg, bad[i].name);
    EXPECT_EQ(zk_test_open_fds(), fds);
}

ZK_TEST(a_good_configuration_has_no_message)
{
    const zk_config_t most = {
        .workers = 2,
        .flags = ZK_WAIT_ALL | ZK_PIN_WORKERS | ZK_NO_OVERFLOW_REPORT,
        .stack_class = ZK_STACK_64K,
        .blocking_threads = 1,
        .max_tasks = 10,
        .shutdown_ns = ZK_SEC(1),
        .sq_entries = 8,
        .cq_entries = 16,
        .seed = 5,
        .spin_ns = ZK_US(5),
    };
    char message[200] = "?", small[2] = "?";

    EXPECT_EQ(zk_config_validate(NULL, message, sizeof(message)), 0);
    EXPECT_STR_EQ(message, "");
    strcpy(message, "?");
    EXPECT_EQ(zk_config_validate(&most, message, sizeof(message)), 0);
    EXPECT_STR_EQ(message, "");
    EXPECT_EQ(zk_run(&most, seven, NULL), 7);
    EXPECT_EQ(zk_config_validate(&(zk_config_t){.workers = 65}, small, 2),
              -EINVAL);
    EXPECT_EQ(strlen(small), 1); /* cut, and ended */
}

/* ---- environment -------------------------------------------------------- */

/* Set a variable, or take it away if `value` is NULL; what it was. */
static char *env_swap(const char *name, const char *value)
{
    const char *now = getenv(name);
    char *old = now ? strdup(now) : NULL;

    EXPECT_EQ(value ? setenv(name, value, 1) : unsetenv(name), 0);
    return old;
}

static void env_restore(const char *name, char *old)
{
    free(env_swap(name, old));
    free(old);
}

ZK_TEST(a_bad_variable_is_refused_by_name)
{
    static const char *const bad[][2] = {
        {"ZK_WORKERS", "0"},          {"ZK_WORKERS", "65"},
        {"ZK_WORKERS", "-1"},         {"ZK_WORKERS", "two"},
        {"ZK_WORKERS", "2 "},         {"ZK_WORKERS", "0x2"},
        {"ZK_WORKERS", "4294967298"}, {"ZK_BACKEND", "carrier pigeon"},
        {"ZK_STACK_SIZE", "128K"},    {"ZK_STACK_SIZE", "65536"},
        {"ZK_MAX_TASKS", "many"},     {"ZK_BLOCKING_THREADS", "x"},
        {"ZK_SQ_ENTRIES", "-5"},      {"ZK_CQ_ENTRIES", "1e3"},
        {"ZK_SPIN_US", "fast"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char *old = env_swap(bad[i][0], bad[i][1]);
        const zk_config_t deaf = {.flags = ZK_NO_ENVIRONMENT};

        must_not_run(&(zk_config_t){0}, bad[i][0]);
        EXPECT_EQ(zk_config_validate(&deaf, NULL, 0), 0);
        env_restore(bad[i][0], old);
    }
}

ZK_TEST(an_empty_variable_is_an_absent_one)
{
    char *old = env_swap("ZK_STACK_SIZE", "");

    EXPECT_EQ(zk_run(NULL, seven, NULL), 7);
    env_restore("ZK_STACK_SIZE", old);
}

static int count_workers(void *arg)
{
    zk_stats_t stats;

    zk_runtime_stats(zk_runtime_current(), &stats);
    return (int)stats.workers;
}

static int backend_is(void *arg)
{
    zk_stats_t stats;

    zk_runtime_stats(zk_runtime_current(), &stats);
    return stats.backend && strcmp(stats.backend, arg) == 0;
}

ZK_TEST(the_environment_fills_what_is_zero)
{
    const zk_config_t one = {.workers = 1};
    const zk_config_t deaf = {.workers = 2, .flags = ZK_NO_ENVIRONMENT};
    char *old = env_swap("ZK_WORKERS", "3"), epoll[] = "epoll", *old_backend;

    EXPECT_EQ(zk_run(NULL, count_workers, NULL), 3);
    EXPECT_EQ(zk_run(&one, count_workers, NULL), 1);
    EXPECT_EQ(zk_run(&deaf, count_workers, NULL), 2);
    env_restore("ZK_WORKERS", old);
    old_backend = env_swap("ZK_BACKEND", epoll);
    EXPECT_EQ(zk_run(NULL, backend_is, epoll), 1);
    env_restore("ZK_BACKEND", old_backend);
}

/* The first refusal, counted from 1 for the main task. */
static int count_tasks(void *arg)
{
    const zk_spawn_opts_t detached = {.flags = ZK_TASK_DETACHED};
    int tasks = 1, rc;

    while (tasks < 100) {
        rc = zk_spawn(NULL, &detached, sleep_for_ever, NULL);
        if (rc < 0)
            return rc == -EAGAIN ? tasks : rc;
        tasks++;
    }
    return tasks;
}

static int use_stack(void *arg)
{
    volatile char block[600000];

    memset((void *)(uintptr_t)block, 1, sizeof(block));
    return block[0] + block[300000] + block[sizeof(block) - 1];
}

static int use_default_stack(void *arg)
{
    zk_task_t task;

    EXPECT_EQ(zk_spawn(&task, NULL, use_stack, NULL), 0);
    return result_of(task);
}

ZK_TEST(limits_and_stacks_come_from_the_environment)
{
    const zk_config_t five = {.max_tasks = 5};
    char *old = env_swap("ZK_MAX_TASKS", "8");

    EXPECT_EQ(zk_run(NULL, count_tasks, NULL), 8);
    EXPECT_EQ(zk_run(&five, count_tasks, NULL), 5);
    env_restore("ZK_MAX_TASKS", old);
    old = env_swap("ZK_STACK_SIZE", "1M");
    EXPECT_EQ(zk_run(NULL, use_default_stack, NULL), 3);
    env_restore("ZK_STACK_SIZE", old);
}

int main(void)
{
    return zk_test_main(ZK_CASE(a_bad_field_is_refused_by_name),
                        ZK_CASE(a_good_configuration_has_no_message),
                        ZK_CASE(a_bad_variable_is_refused_by_name),
                        ZK_CASE(an_empty_variable_is_an_absent_one),
                        ZK_CASE(the_environment_fills_what_is_zero),
                        ZK_CASE(limits_and_stacks_come_from_the_environment));
}
