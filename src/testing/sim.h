/* SPDX-License-Identifier: MIT */
/* sim.h - private to testing/: a simulated world. */
#ifndef ZK_TESTING_SIM_H
#define ZK_TESTING_SIM_H

#include "io/backend.h"
#include "utils/rand.h"

/* One end of a stream. It reads what the peer wrote into `in`. */
struct zk_sim_end {
    struct zk_sim_end *peer; /* NULL: closed */
    struct zk_sim_world *world;
    unsigned char *in; /* ring of `capacity` bytes */
    size_t capacity, head, length;
    struct zk_list waiting; /* operations, by op->link */
    int fd;
};

struct zk_sim_world {
    zk_time_t now;
    struct zk_rand rand;
    uint32_t stream_capacity;
    struct zk_list due;       /* operations to complete at the next poll */
    struct zk_sim_end **ends; /* by descriptor - ZK_SIM_FD_FIRST */
    uint32_t n_ends, cap_ends;
    bool deadlock;
};

extern const struct zk_backend_ops zk__backend_sim;

/* The world of the calling task's runtime; NULL if it is not simulated. */
struct zk_sim_world *zk__sim_world(void);
void zk__sim_world_fini(struct zk_sim_world *world);

#endif
