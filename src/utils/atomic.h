/* SPDX-License-Identifier: MIT */
/*
 * atomic.h - C11 atomics with the order spelled at each use.
 *
 * zk_atomic_load(p, acquire) instead of atomic_load_explicit(p,
 * memory_order_acquire): shorter, and a model checker can put its own
 * definitions in place of these. Plain operators on atomics are not used.
 */
#ifndef ZK_UTILS_ATOMIC_H
#define ZK_UTILS_ATOMIC_H

#include <stdatomic.h>

#define zk_atomic_load(p, mo) atomic_load_explicit(p, memory_order_##mo)
#define zk_atomic_store(p, v, mo) atomic_store_explicit(p, v, memory_order_##mo)
#define zk_atomic_exchange(p, v, mo)                                           \
    atomic_exchange_explicit(p, v, memory_order_##mo)
#define zk_atomic_add(p, v, mo)                                                \
    atomic_fetch_add_explicit(p, v, memory_order_##mo)
#define zk_atomic_sub(p, v, mo)                                                \
    atomic_fetch_sub_explicit(p, v, memory_order_##mo)
#define zk_atomic_or(p, v, mo) atomic_fetch_or_explicit(p, v, memory_order_##mo)
#define zk_atomic_and(p, v, mo)                                                \
    atomic_fetch_and_explicit(p, v, memory_order_##mo)
/* Strong; on failure `*expected` is what was found. */
#define zk_atomic_cas(p, expected, v, ok, fail)                                \
    atomic_compare_exchange_strong_explicit(p, expected, v, memory_order_##ok, \
                                            memory_order_##fail)
#define zk_atomic_fence(mo) atomic_thread_fence(memory_order_##mo)
/* Orders against this thread only: the half that a membarrier completes. */
#define zk_atomic_signal_fence() atomic_signal_fence(memory_order_seq_cst)

/* A word only its owner writes and others may read: no read-modify-write. */
#define zk_counter_add(p, n)                                                   \
    zk_atomic_store(p, zk_atomic_load(p, relaxed) + (n), relaxed)

#endif
