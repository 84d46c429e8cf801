/* SPDX-License-Identifier: MIT */
/*
 * context.h - suspend one stack, resume another.
 *
 * A suspended context is its stack pointer; everything else is in the frame it
 * points to (arch/<cpu>/frame.h).
 */
#ifndef ZK_CONTEXT_CONTEXT_H
#define ZK_CONTEXT_CONTEXT_H

#include "utils/compiler.h"

/*
 * Suspend the caller: store its stack pointer in *from_sp, resume `to_sp`.
 * Returns, when something switches back, the `prev` that it passed. The caller
 * may be on another thread by then.
 */
void *zk__context_switch(void **from_sp, void *to_sp, void *prev);

/* What runs first on a new stack: `prev` as in zk__context_switch(). Must not
 * return. */
typedef void (*zk_context_entry)(void *prev);

/*
 * Prepare a stack so that zk__context_switch() to the returned pointer calls
 * `entry` there. `top` is the end of the stack, aligned to 16.
 */
void *zk__context_make(void *top, zk_context_entry entry);

/*
 * zk__context_make() and zk__context_switch() in one: suspend the caller and
 * call `entry(prev)` on the fresh stack that ends at `top`. Returns as a switch
 * does.
 */
void *zk__context_launch(void **from_sp, void *top, zk_context_entry entry,
                         void *prev);

/*
 * Drop the caller's frames and call `entry(prev)` on a fresh stack that ends at
 * `top`. `top` may be the end of the caller's own stack: a finished task makes
 * room for the next one without a switch.
 */
ZK_NORETURN void zk__context_start(void *top, zk_context_entry entry,
                                   void *prev);

/*
 * Floating point control of the calling thread: mxcsr (with its exception
 * flags) and the x87 control word above it, or FPCR. A value from get is good
 * for set, on any thread. A switch touches none of it.
 */
uint64_t zk__context_fpenv_get(void);
void zk__context_fpenv_set(uint64_t env);

#endif
