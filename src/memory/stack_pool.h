/* SPDX-License-Identifier: MIT */
/* stack_pool.h - what stack.c asks of stack_pool.c; private to memory/. */
#ifndef ZK_MEMORY_STACK_POOL_H
#define ZK_MEMORY_STACK_POOL_H

#include "memory/memory.h"

/* What guards there are. 0 or -errno; any thread, once. */
int zk__stack_guard_init(void);

/* The caller serialises calls for one class. */

/* Map address space for at least one more stack and, if it can be had, for
 * `want` or more; `mapped` are there. How many were added, or -ENOMEM. */
int zk__stack_chunk_map(unsigned class_index, uint32_t mapped, uint32_t want);
/* A stack that was never handed out, without a guard; NULL if there is none. */
struct zk_stack *zk__stack_chunk_take(unsigned class_index);

/* Any thread: put the guard below a stack that nobody uses yet. */
void zk__stack_guard(struct zk_stack *stack);
uint64_t zk__stack_unguarded(void);
int zk__stack_guard_kind(void);

#endif
