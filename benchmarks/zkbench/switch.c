/* SPDX-License-Identifier: MIT */
/*
 * switch.c - the bare cost of changing stacks, without a scheduler.
 *
 * `switch` is two contexts in two loops and proves little: it measures branch
 * prediction at its best. `switch_deep` is what parked tasks look like; see
 * chain.h. Both use the library's own switch, from its internal header.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "chain.h"
#include "context/context.h"
#include "zkbench.h"

enum { STACK_BYTES = 65536 };

/* One thread, so these are plain variables. */
static void *main_sp; /* the thread's own stack */
static void *context_sp[CHAIN_CONTEXTS];
static chain_fn context_chain[CHAIN_CONTEXTS];
static unsigned current; /* index of the one that runs */
static uint64_t switches, switches_end;
static uint64_t depth_sum; /* what the chains returned */

static char *stacks_map(void)
{
    void *p = mmap(NULL, (size_t)CHAIN_CONTEXTS * STACK_BYTES,
                   PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* The end of stack `i`, each a little lower than a multiple of the stride:
 * equal low bits would put all frames into the same cache sets. */
static void *stack_top(char *stacks, unsigned i)
{
    return stacks + (size_t)(i + 1) * STACK_BYTES - (size_t)i * 256;
}

/* ---- switch -------------------------------------------------------------- */

static void pair_entry(void *prev)
{
    (void)prev;
    for (;;)
        zk__context_switch(&context_sp[0], main_sp, NULL);
}

static int switch_run(const struct bench_options *options)
{
    char *stacks = stacks_map();
    uint64_t start, rounds = options->n / 2;

    if (stacks == NULL)
        return workload_fail("stacks", -ENOMEM);
    context_sp[0] = zk__context_make(stack_top(stacks, 0), pair_entry);
    for (unsigned i = 0; i < 1000; i++)
        zk__context_switch(&main_sp, context_sp[0], NULL);
    start = bench_now();
    for (uint64_t i = 0; i < rounds; i++)
        zk__context_switch(&main_sp, context_sp[0], NULL);
    bench_print(options, "switch",
                (double)(bench_now() - start) / (double)(2 * rounds),
                "ns/switch");
    munmap(stacks, (size_t)CHAIN_CONTEXTS * STACK_BYTES);
    return 0;
}

/* ---- switch_deep --------------------------------------------------------- */

static unsigned long bench_park(unsigned long x)
{
    unsigned self = current;

    if (switches++ == switches_end) {
        zk__context_switch(&context_sp[self], main_sp, NULL);
        return x;
    }
    current = (self + 1) % CHAIN_CONTEXTS;
    zk__context_switch(&context_sp[self], context_sp[current], NULL);
    return x;
}

static void deep_entry(void *prev)
{
    chain_fn chain = context_chain[current];

    (void)prev;
    for (;;)
        depth_sum += chain(0);
}

/* Let the ring go round for `n` switches. Each context stays where it is, so
 * that the next call goes on. */
static void deep_turn(uint64_t n)
{
    switches = 0;
    switches_end = n;
    zk__context_switch(&main_sp, context_sp[current], NULL);
}

static int deep_measure(const struct bench_options *options, char *stacks,
                        const struct chain_depth *depth, unsigned mix)
{
    char figure[64];
    uint64_t start, sum;

    current = 0;
    for (unsigned i = 0; i < CHAIN_CONTEXTS; i++) {
        context_chain[i] = depth->family[mix == 0 ? 0 : i % 2];
        context_sp[i] = zk__context_make(stack_top(stacks, i), deep_entry);
    }
    deep_turn(1000 * CHAIN_CONTEXTS);
    sum = depth_sum;
    start = bench_now();
    deep_turn(options->n);
    start = bench_now() - start;
    sum = depth_sum - sum;
    /* A return through the chain adds two a frame. There is one for each
     * switch and one for going on after the turn before. */
    if (sum != (options->n + 1) * depth->frames * 2)
        return workload_fail("switch_deep: wrong sum", -EIO);
    snprintf(figure, sizeof figure, "switch_deep_%s_%u", chain_mixes[mix],
             depth->frames);
    bench_print(options, figure, (double)start / (double)options->n,
                "ns/switch");
    return 0;
}

static int switch_deep_run(const struct bench_options *options)
{
    char *stacks = stacks_map();
    int rc = 0;

    if (stacks == NULL)
        return workload_fail("stacks", -ENOMEM);
    for (unsigned mix = 0; mix < CHAIN_MIXES && rc == 0; mix++)
        for (unsigned d = 0; d < CHAIN_DEPTHS && rc == 0; d++)
            rc = deep_measure(options, stacks, &chain_depths[d], mix);
    munmap(stacks, (size_t)CHAIN_CONTEXTS * STACK_BYTES);
    return rc;
}

const struct workload switch_workloads[] = {
    {"switch", "two contexts in a bare loop", 50000000, switch_run},
    {"switch_deep",
     "16 contexts parked 1, 4, 8 frames deep; one and two chains", 20000000,
     switch_deep_run},
    {0},
};
