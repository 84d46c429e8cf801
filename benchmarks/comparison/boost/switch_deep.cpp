// SPDX-License-Identifier: MIT
//
// switch_deep.cpp - boost.context beside zkbench's `switch` and `switch_deep`:
// the same chains and the same accounting over its bare jump_fcontext().

#include <boost/context/detail/fcontext.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

#include "common/bench.h"
#include "zkbench/chain.h"

using boost::context::detail::fcontext_t;
using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

namespace {

constexpr std::size_t stack_bytes = 65536;

fcontext_t main_sp;
fcontext_t context_sp[CHAIN_CONTEXTS];
chain_fn context_chain[CHAIN_CONTEXTS];
unsigned current;
std::uint64_t switches, switches_end, depth_sum;

char *stacks_map()
{
    void *p = mmap(nullptr, CHAIN_CONTEXTS * stack_bytes,
                   PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

    if (p == MAP_FAILED)
        std::exit(1);
    return static_cast<char *>(p);
}

fcontext_t context_make(char *stacks, unsigned i, void (*entry)(transfer_t))
{
    return make_fcontext(stacks + (i + 1) * stack_bytes - i * 256,
                         stack_bytes - i * 256, entry);
}

// What comes back names where the one who jumped is to be stored.
void jump(fcontext_t *from, fcontext_t to)
{
    transfer_t t = jump_fcontext(to, from);

    *static_cast<fcontext_t *>(t.data) = t.fctx;
}

void pair_entry(transfer_t t)
{
    *static_cast<fcontext_t *>(t.data) = t.fctx;
    for (;;)
        jump(&context_sp[0], main_sp);
}

void switch_run(const bench_options *options)
{
    char *stacks = stacks_map();
    std::uint64_t start, rounds = options->n / 2;

    context_sp[0] = context_make(stacks, 0, pair_entry);
    for (unsigned i = 0; i < 1000; i++)
        jump(&main_sp, context_sp[0]);
    start = bench_now();
    for (std::uint64_t i = 0; i < rounds; i++)
        jump(&main_sp, context_sp[0]);
    bench_print(options, "switch",
                double(bench_now() - start) / double(2 * rounds), "ns/switch");
}

void deep_entry(transfer_t t)
{
    chain_fn chain = context_chain[current];

    *static_cast<fcontext_t *>(t.data) = t.fctx;
    for (;;)
        depth_sum += chain(0);
}

void deep_turn(std::uint64_t n)
{
    switches = 0;
    switches_end = n;
    jump(&main_sp, context_sp[current]);
}

void deep_measure(const bench_options *options, char *stacks,
                  const chain_depth *depth, unsigned mix)
{
    char figure[64];
    std::uint64_t start, sum;

    current = 0;
    for (unsigned i = 0; i < CHAIN_CONTEXTS; i++) {
        context_chain[i] = depth->family[mix == 0 ? 0 : i % 2];
        context_sp[i] = context_make(stacks, i, deep_entry);
    }
    deep_turn(1000 * CHAIN_CONTEXTS);
    sum = depth_sum;
    start = bench_now();
    deep_turn(options->n);
    start = bench_now() - start;
    sum = depth_sum - sum;
    if (sum != (options->n + 1) * depth->frames * 2) {
        std::fprintf(stderr, "switch_deep: wrong sum\n");
        std::exit(1);
    }
    std::snprintf(figure, sizeof figure, "switch_deep_%s_%u",
                  chain_mixes[mix], depth->frames);
    bench_print(options, figure, double(start) / double(options->n),
                "ns/switch");
}

void switch_deep_run(const bench_options *options)
{
    char *stacks = stacks_map();

    for (unsigned mix = 0; mix < CHAIN_MIXES; mix++)
        for (unsigned d = 0; d < CHAIN_DEPTHS; d++)
            deep_measure(options, stacks, &chain_depths[d], mix);
}

} // namespace

static unsigned long bench_park(unsigned long x)
{
    unsigned self = current;

    if (switches++ == switches_end) {
        jump(&context_sp[self], main_sp);
        return x;
    }
    current = (self + 1) % CHAIN_CONTEXTS;
    jump(&context_sp[self], context_sp[current]);
    return x;
}

int main(int argc, char **argv)
{
    bench_options options;

    if (bench_options_parse(&options, "boost", argc, argv) < 0)
        return 2;
    if (std::strcmp(options.workload, "switch") == 0) {
        options.n = options.n != 0 ? options.n : 50000000;
        switch_run(&options);
    } else if (std::strcmp(options.workload, "switch_deep") == 0) {
        options.n = options.n != 0 ? options.n : 20000000;
        switch_deep_run(&options);
    } else {
        std::fprintf(stderr, "workloads: switch, switch_deep\n");
        return 2;
    }
    return 0;
}
