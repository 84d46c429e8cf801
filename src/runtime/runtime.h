/* SPDX-License-Identifier: MIT */
/*
 * runtime.h - the place that connects scheduler and reactor, for the layer
 * above.
 */
#ifndef ZK_RUNTIME_RUNTIME_H
#define ZK_RUNTIME_RUNTIME_H

#include "io/io.h"
#include "scheduler/scheduler.h"
#include "zokio/runtime.h"

/* What a simulated runtime brings along; testing/ owns it. */
struct zk_runtime_sim {
    const struct zk_backend_ops *backend;
    void *world; /* for the backend */
    zk_time_t (*clock)(void *);
    void *clock_arg;
};

struct zk_runtime {
    struct zk_scheduler scheduler;
    zk_config_t config; /* as filled from the environment */
    struct zk_io_setup io;
    bool started, stopped;
    bool overflow; /* the report is installed */
    bool leaked;   /* tasks survived: nothing may be freed */
};

/* Configuration with the environment filled in; message as for
 * zk_config_validate(). */
int zk__config_fill(zk_config_t *out, const zk_config_t *cfg, char *message,
                    size_t size);

/* As zk_run(); `sim` NULL takes backend and clock of the system. */
int zk__runtime_run(const zk_config_t *cfg, const struct zk_runtime_sim *sim,
                    int (*fn)(void *), void *arg);

/* Is the runtime of the calling task past the point of new connections? */
bool zk__runtime_closing(void);

#endif
