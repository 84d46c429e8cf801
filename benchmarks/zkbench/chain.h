/* SPDX-License-Identifier: MIT */
/*
 * chain.h - two families of functions that call one another down to
 * bench_park(), for switch_deep. Also compiled as C++, for the peer.
 *
 * A switch is cheap to mispredict only where nothing returns: a coroutine that
 * parks N frames deep comes back through N returns, and each is predicted from
 * what the processor remembers of calls. So a context here returns to the
 * bottom of its chain and calls down again before every switch.
 *
 * Every level is a function of its own that has something to do after the
 * call, else the compiler would turn it into a jump. The two families differ
 * in their addresses and in a comment for the assembler, without which the
 * compiler would find them equal and keep one.
 */
#ifndef ZKBENCH_CHAIN_H
#define ZKBENCH_CHAIN_H

/* Defined by the program: suspend this context, resume the next. */
static __attribute__((noinline)) unsigned long bench_park(unsigned long x);

#define CHAIN_LEVEL(name, below)                                               \
    static __attribute__((noinline)) unsigned long name(unsigned long x)       \
    {                                                                          \
        x = below(x + 1);                                                      \
        __asm__ volatile("# " #name : "+r"(x));                                \
        return x + 1;                                                          \
    }

#define CHAIN(family)                                                          \
    CHAIN_LEVEL(family##_1, bench_park)                                        \
    CHAIN_LEVEL(family##_2, family##_1)                                        \
    CHAIN_LEVEL(family##_3, family##_2)                                        \
    CHAIN_LEVEL(family##_4, family##_3)                                        \
    CHAIN_LEVEL(family##_5, family##_4)                                        \
    CHAIN_LEVEL(family##_6, family##_5)                                        \
    CHAIN_LEVEL(family##_7, family##_6)                                        \
    CHAIN_LEVEL(family##_8, family##_7)

CHAIN(chain_a)
CHAIN(chain_b)

enum { CHAIN_CONTEXTS = 16, CHAIN_DEPTHS = 3, CHAIN_MIXES = 2 };

typedef unsigned long (*chain_fn)(unsigned long x);

struct chain_depth {
    unsigned frames;
    chain_fn family[2];
};

static const struct chain_depth chain_depths[CHAIN_DEPTHS] = {
    {1, {chain_a_1, chain_b_1}},
    {4, {chain_a_4, chain_b_4}},
    {8, {chain_a_8, chain_b_8}},
};

static const char *const chain_mixes[CHAIN_MIXES] = {"same", "two"};

#endif
