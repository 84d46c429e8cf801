/* SPDX-License-Identifier: MIT */
/*
 * fault.h - make the n-th request to the system fail, for tests.
 *
 * Compiled in only with -DZK_FAULTS=1; otherwise ZK_FAULT() is false and the
 * branch behind it disappears.
 */
#ifndef ZK_UTILS_FAULT_H
#define ZK_UTILS_FAULT_H

#include "utils/compiler.h"

enum zk_fault_point {
    ZK_FAULT_ALLOC,  /* heap: NULL */
    ZK_FAULT_MAP,    /* zk__vm_map(): -ENOMEM */
    ZK_FAULT_THREAD, /* zk__thread_create(): -EAGAIN */
    ZK_FAULT_FD,     /* calls that make a descriptor: -EMFILE */
    ZK_N_FAULT_POINTS,
};

#if defined(ZK_FAULTS)
/* The `after`-th request from now fails, 1 being the next. 0: none does. */
void zk__fault_set(enum zk_fault_point point, uint64_t after);
/* The same for `times` requests in a row. */
void zk__fault_repeat(enum zk_fault_point point, uint64_t after,
                      uint64_t times);
/* Counts one request; true if it has to fail. Any thread. */
bool zk__fault_hit(enum zk_fault_point point);
#define ZK_FAULT(point) zk_unlikely(zk__fault_hit(point))
#else
#define ZK_FAULT(point) false
#endif

#endif
