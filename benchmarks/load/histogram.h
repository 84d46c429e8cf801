/* SPDX-License-Identifier: MIT */
/*
 * histogram.h - counts of latencies in buckets of at most 3 % width: 32 to
 * each power of two, so recording is a shift and an increment.
 */
#ifndef LOAD_HISTOGRAM_H
#define LOAD_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 32, HISTOGRAM_BUCKETS = 60 * HISTOGRAM_STEPS };

struct histogram {
    uint64_t bucket[HISTOGRAM_BUCKETS];
    uint64_t count, max;
};

static inline void histogram_record(struct histogram *h, uint64_t value)
{
    unsigned shift = 0;

    h->count++;
    if (value > h->max)
        h->max = value;
    if (value >= HISTOGRAM_STEPS)
        shift = 58 - (unsigned)__builtin_clzll(value);
    /* With shift 0 the buckets 0..63 are exact; later ones start at 32. */
    h->bucket[shift * HISTOGRAM_STEPS + (value >> shift)]++;
}

/* The value that `share` (0..1) of all are not above. */
static inline uint64_t histogram_quantile(const struct histogram *h,
                                          double share)
{
    uint64_t wanted = (uint64_t)(share * (double)h->count), seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        unsigned shift = i < 2 * HISTOGRAM_STEPS ? 0 : i / HISTOGRAM_STEPS - 1;
        uint64_t low = (uint64_t)(i - shift * HISTOGRAM_STEPS) << shift;
        uint64_t high = low + ((uint64_t)1 << shift) - 1;

        seen += h->bucket[i];
        if (seen > wanted)
            return high < h->max ? high : h->max;
    }
    return h->max;
}

#endif
