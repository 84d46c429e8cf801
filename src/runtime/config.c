/* SPDX-License-Identifier: MIT */
/* config.c - the configuration: defaults, environment, checks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/io.h"
#include "runtime/runtime.h"

#define KNOWN_FLAGS                                                            \
    (uint32_t)(ZK_WAIT_ALL | ZK_PIN_WORKERS | ZK_NO_OVERFLOW_REPORT |          \
               ZK_NO_ENVIRONMENT)

enum { WORKERS_MAX = 64, BLOCKING_MAX = 4096, RING_MAX = 32768 };

/* Where the text of a complaint goes. */
struct complaint {
    char *text;
    size_t size;
};

static int complain(const struct complaint *c, const char *name,
                    const char *value, const char *wanted)
{
    if (c->text != NULL && c->size > 0)
        snprintf(c->text, c->size, "%s: %s is not %s", name, value, wanted);
    return -EINVAL;
}

static int complain_number(const struct complaint *c, const char *name,
                           uint64_t value, const char *wanted)
{
    char text[32];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    return complain(c, name, text, wanted);
}

/* A decimal number in min..max; text is not empty. */
static bool parse_number(const char *text, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;

    for (; *text != '\0'; text++) {
        unsigned digit = (unsigned)(*text - '0');

        if (digit > 9 || value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return value >= 1 && value <= max;
}

/* ---- environment -------------------------------------------------------------- */

struct number_variable {
    const char *name;
    uint64_t max;
    size_t offset; /* of a uint32_t in zk_config_t */
    const char *wanted;
};

static const struct number_variable numbers[] = {
    {"ZK_WORKERS", WORKERS_MAX, offsetof(zk_config_t, workers),
     "a number from 1 to 64"},
    {"ZK_BLOCKING_THREADS", BLOCKING_MAX,
     offsetof(zk_config_t, blocking_threads), "a number from 1 to 4096"},
    {"ZK_SQ_ENTRIES", RING_MAX, offsetof(zk_config_t, sq_entries),
     "a number from 1 to 32768"},
    {"ZK_CQ_ENTRIES", RING_MAX, offsetof(zk_config_t, cq_entries),
     "a number from 1 to 32768"},
};

/* With ZK_ENV_FORCE=1 the environment overrides what the program set. */
static bool env_forced(void)
{
    const char *force = zk__env("ZK_ENV_FORCE");

    return force != NULL && strcmp(force, "1") == 0;
}

static int fill_numbers(zk_config_t *cfg, bool force, const struct complaint *c)
{
    for (size_t i = 0; i < ZK_ARRAY_LEN(numbers); i++) {
        const struct number_variable *v = &numbers[i];
        uint32_t *field = (uint32_t *)(void *)((char *)cfg + v->offset);
        const char *text = zk__env(v->name);
        uint64_t value;

        if (text == NULL || (*field != 0 && !force))
            continue;
        if (!parse_number(text, v->max, &value))
            return complain(c, v->name, text, v->wanted);
        *field = (uint32_t)value;
    }
    return 0;
}

static int fill_stack_class(zk_config_t *cfg, bool force,
                            const struct complaint *c)
{
    static const char *const sizes[ZK_N_STACK_CLASSES] = {
        [ZK_STACK_64K] = "64K",
        [ZK_STACK_256K] = "256K",
        [ZK_STACK_1M] = "1M",
        [ZK_STACK_8M] = "8M",
    };
    const char *text = zk__env("ZK_STACK_SIZE");

    if (text == NULL || (cfg->stack_class != 0 && !force))
        return 0;
    for (uint32_t i = 1; i < ZK_N_STACK_CLASSES; i++) {
        if (strcmp(text, sizes[i]) == 0) {
            cfg->stack_class = i;
            return 0;
        }
    }
    return complain(c, "ZK_STACK_SIZE", text, "64K, 256K, 1M or 8M");
}

static int fill_wide(zk_config_t *cfg, bool force, const struct complaint *c)
{
    const char *text = zk__env("ZK_MAX_TASKS");
    uint64_t value;

    if (text != NULL && (cfg->max_tasks == 0 || force)) {
        if (!parse_number(text, INT64_MAX, &value))
            return complain(c, "ZK_MAX_TASKS", text, "a number above 0");
        cfg->max_tasks = value;
    }
    text = zk__env("ZK_SPIN_US");
    if (text != NULL && (cfg->spin_ns == 0 || force)) {
        if (!parse_number(text, 1000000, &value))
            return complain(c, "ZK_SPIN_US", text,
                            "a number from 1 to 1000000");
        cfg->spin_ns = ZK_US(value);
    }
    text = zk__env("ZK_BACKEND");
    if (text != NULL && (cfg->backend == NULL || force)) {
        if (!zk__io_backend_known(text))
            return complain(c, "ZK_BACKEND", text, zk__io_backend_names());
        cfg->backend = text;
    }
    return 0;
}

static int fill_from_environment(zk_config_t *cfg, const struct complaint *c)
{
    bool force = env_forced();
    int rc = fill_numbers(cfg, force, c);

    if (rc == 0)
        rc = fill_stack_class(cfg, force, c);
    if (rc == 0)
        rc = fill_wide(cfg, force, c);
    return rc;
}

/* ---- checks and defaults ------------------------------------------------------- */

static int check(const zk_config_t *cfg, const struct complaint *c)
{
    if (cfg->workers > WORKERS_MAX)
        return complain_number(c, "workers", cfg->workers, "0 to 64");
    if ((cfg->flags & ~KNOWN_FLAGS) != 0)
        return complain_number(c, "flags", cfg->flags,
                               "made of known flags only");
    if (cfg->backend != NULL && !zk__io_backend_known(cfg->backend))
        return complain(c, "backend", cfg->backend, zk__io_backend_names());
    if (cfg->stack_class >= ZK_N_STACK_CLASSES)
        return complain_number(c, "stack_class", cfg->stack_class,
                               "an enum zk_stack_class");
    if (cfg->blocking_threads > BLOCKING_MAX)
        return complain_number(c, "blocking_threads", cfg->blocking_threads,
                               "0 to 4096");
    if (cfg->shutdown_ns < 0)
        return complain(c, "shutdown_ns", "a negative span", "allowed");
    if (cfg->spin_ns < 0)
        return complain(c, "spin_ns", "a negative span", "allowed");
    if (cfg->sq_entries > RING_MAX)
        return complain_number(c, "sq_entries", cfg->sq_entries, "0 to 32768");
    if (cfg->cq_entries > RING_MAX)
        return complain_number(c, "cq_entries", cfg->cq_entries, "0 to 32768");
    for (size_t i = 0; i < ZK_ARRAY_LEN(cfg->reserved); i++)
        if (cfg->reserved[i] != 0)
            return complain_number(c, "reserved", cfg->reserved[i], "0");
    return 0;
}

static void apply_defaults(zk_config_t *cfg)
{
    if (cfg->workers == 0) {
        cfg->workers = zk__cpu_usable();
        if (cfg->workers > WORKERS_MAX)
            cfg->workers = WORKERS_MAX;
    }
    if (cfg->stack_class == ZK_STACK_DEFAULT)
        cfg->stack_class = ZK_STACK_256K;
    if (cfg->blocking_threads == 0)
        cfg->blocking_threads = 64;
    if (cfg->shutdown_ns == 0)
        cfg->shutdown_ns = ZK_SEC(5);
    if (cfg->sq_entries == 0)
        cfg->sq_entries = 256;
    if (cfg->cq_entries == 0)
        cfg->cq_entries = 4096;
    if (cfg->seed == 0)
        cfg->seed = zk__random_seed();
}

int zk__config_fill(zk_config_t *out, const zk_config_t *cfg, char *message,
                    size_t size)
{
    static const zk_config_t defaults;
    const struct complaint c = {message, size};
    zk_config_t filled = cfg != NULL ? *cfg : defaults;
    int rc;

    if (message != NULL && size > 0)
        message[0] = '\0';
    rc = check(&filled, &c);
    if (rc == 0 && (filled.flags & ZK_NO_ENVIRONMENT) == 0)
        rc = fill_from_environment(&filled, &c);
    if (rc < 0)
        return rc;
    apply_defaults(&filled);
    *out = filled;
    return 0;
}

int zk_config_validate(const zk_config_t *cfg, char *message, size_t size)
{
    zk_config_t filled;

    return zk__config_fill(&filled, cfg, message, size);
}
