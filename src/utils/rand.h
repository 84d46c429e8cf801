/* SPDX-License-Identifier: MIT */
/* rand.h - a small seeded generator (xorshift64*, Vigna 2016), one a worker. */
#ifndef ZK_UTILS_RAND_H
#define ZK_UTILS_RAND_H

#include "utils/compiler.h"

struct zk_rand {
    uint64_t state; /* never 0 */
};

ZK_INLINE void zk_rand_seed(struct zk_rand *r, uint64_t seed)
{
    seed += 0x9e3779b97f4a7c15u; /* splitmix64: spreads small seeds */
    seed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9u;
    seed = (seed ^ (seed >> 27)) * 0x94d049bb133111ebu;
    seed ^= seed >> 31;
    r->state = seed != 0 ? seed : 1;
}

ZK_INLINE uint64_t zk_rand_next(struct zk_rand *r)
{
    uint64_t x = r->state;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    r->state = x;
    return x * 0x2545f4914f6cdd1du;
}

/* 0..n-1, n > 0. Biased by less than 2^-32 for n < 2^32. */
ZK_INLINE uint32_t zk_rand_below(struct zk_rand *r, uint32_t n)
{
    return (uint32_t)(((zk_rand_next(r) >> 32) * n) >> 32);
}

#endif
