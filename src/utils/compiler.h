/* SPDX-License-Identifier: MIT */
/* compiler.h - attributes, assertions and small macros. */
#ifndef ZK_UTILS_COMPILER_H
#define ZK_UTILS_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZK_CACHE_LINE 64

#define ZK_INLINE static inline __attribute__((always_inline))
#define ZK_NOINLINE __attribute__((noinline))
#define ZK_COLD __attribute__((cold, noinline))
#define ZK_NORETURN __attribute__((noreturn))
#define ZK_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define ZK_ALIGNED(n) __attribute__((aligned(n)))
#define ZK_WEAK __attribute__((weak))
#define ZK_UNUSED __attribute__((unused))

#define zk_likely(x) __builtin_expect(!!(x), 1)
#define zk_unlikely(x) __builtin_expect(!!(x), 0)

/*
 * For functions that read a thread-local: their result must be computed anew
 * at each call, also when the optimiser sees the whole program. A task calls
 * them on one thread and again on another.
 */
#if defined(__clang__)
#define ZK_OPAQUE __attribute__((noinline))
#else
#define ZK_OPAQUE __attribute__((noipa))
#endif

/* Makes `x` unknown to the optimiser: the second half of ZK_OPAQUE. */
#define zk_launder(x) __asm__ volatile("" : "+r"(x) : : "memory")

#define container_of(ptr, type, member)                                        \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define ZK_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The processor's hint that this is a spin loop. */
ZK_INLINE void zk_cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* Prints expression, place, task and worker, then aborts. src/scheduler owns
 * it, since it knows the task. */
ZK_COLD ZK_NORETURN void zk__assert_failed(const char *expr, const char *file,
                                           int line);

/* An invariant of ours; stays on in release builds. */
#define ZK_ASSERT(x)                                                           \
    (zk_likely(x) ? (void)0 : zk__assert_failed(#x, __FILE__, __LINE__))

/* An invariant that costs a walk; debug builds only. */
#if defined(ZK_DEBUG)
#define ZK_DEBUG_ASSERT(x) ZK_ASSERT(x)
#else
#define ZK_DEBUG_ASSERT(x) ((void)sizeof(!(x)))
#endif

#endif
