/* SPDX-License-Identifier: MIT */
/*
 * sim.c - running a program in a simulated world.
 *
 * A simulated runtime is an ordinary one with three seams used: its clock is a
 * number that sim_backend.c moves, its one worker picks among the runnable
 * tasks by a seeded generator, and its backend keeps streams in memory. Nothing
 * in it depends on addresses, threads or the time of day.
 */
#include <errno.h>

#include "runtime/runtime.h"
#include "testing/sim.h"
#include "zokio/testing.h"

enum { CAPACITY_DEFAULT = 65536, CAPACITY_MAX = 1 << 24 };

static zk_time_t world_clock(void *arg)
{
    const struct zk_sim_world *world = arg;

    return world->now;
}

struct zk_sim_world *zk__sim_world(void)
{
    struct zk_runtime *rt = zk_runtime_current();

    return rt != NULL ? rt->io.sim : NULL;
}

static int check(const zk_sim_config_t *cfg)
{
    if (cfg->flags != 0 || cfg->stream_capacity > CAPACITY_MAX)
        return -EINVAL;
    for (size_t i = 0; i < ZK_ARRAY_LEN(cfg->reserved); i++)
        if (cfg->reserved[i] != 0)
            return -EINVAL;
    return 0;
}

int zk_sim_run(const zk_sim_config_t *cfg, int (*fn)(void *), void *arg)
{
    static const zk_sim_config_t defaults;
    struct zk_sim_world world = {.now = ZK_SEC(1)};
    struct zk_runtime_sim sim = {.backend = &zk__backend_sim,
                                 .world = &world,
                                 .clock = world_clock,
                                 .clock_arg = &world};
    zk_config_t config = {.workers = 1, .flags = ZK_NO_ENVIRONMENT};
    int rc;

    if (cfg == NULL)
        cfg = &defaults;
    rc = check(cfg);
    if (rc < 0)
        return rc;
    config.seed = cfg->seed != 0 ? cfg->seed : 1;
    zk_rand_seed(&world.rand, config.seed);
    zk_list_init(&world.due);
    world.stream_capacity = cfg->stream_capacity != 0 ? cfg->stream_capacity
                                                      : CAPACITY_DEFAULT;
    rc = zk__runtime_run(&config, &sim, fn, arg);
    zk__sim_world_fini(&world);
    return rc;
}

uint64_t zk_sim_trace_hash(void)
{
    struct zk_runtime *rt = zk_runtime_current();

    if (rt == NULL || rt->io.sim == NULL)
        return 0;
    return rt->scheduler.trace_hash;
}
