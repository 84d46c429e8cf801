/* SPDX-License-Identifier: MIT */
/*
 * frame.h - what a suspended context leaves on its stack: AArch64, AAPCS64.
 *
 * Read by switch_aapcs64.S and by C. The saved stack pointer is the address of
 * a struct zk_frame.
 */
#ifndef ZK_ARCH_FRAME_H
#define ZK_ARCH_FRAME_H

#define ZK_FRAME_X29 0 /* with x30: a frame record, so that chains hold */
#define ZK_FRAME_X19 16
#define ZK_FRAME_D8 96
#define ZK_FRAME_SIZE 160

/* Above the frame, up to the end of the stack, when a context is made: an empty
 * frame record. */
#define ZK_FRAME_BASE 16

/* Where in zk__context_trampoline() a context begins. Unwinders look up the
 * byte before a return address; the trampoline has a nop there to be found. */
#define ZK_FRAME_LANDING 4

/* Return addresses are signed with the stack pointer, by one of two keys; the
 * instructions are hints, so that old assemblers and processors take them. */
#if defined(__ARM_FEATURE_PAC_DEFAULT) && (__ARM_FEATURE_PAC_DEFAULT & 1)
#define ZK_PAC_KEY_A 1
#elif defined(__ARM_FEATURE_PAC_DEFAULT) && (__ARM_FEATURE_PAC_DEFAULT & 2)
#define ZK_PAC_KEY_B 1
#endif

#ifndef __ASSEMBLER__

#include <stddef.h>
#include <stdint.h>

struct zk_frame {
    uint64_t x29;   /* first frame: 0, the end of the frame chain */
    uint64_t pc;    /* x30: where zk__context_switch() returns to */
    uint64_t x[10]; /* x19-x28; first frame: x19 is the entry */
    uint64_t d[8];  /* d8-d15: the low halves of v8-v15 */
};

_Static_assert(offsetof(struct zk_frame, x29) == ZK_FRAME_X29, "frame.h");
_Static_assert(offsetof(struct zk_frame, x) == ZK_FRAME_X19, "frame.h");
_Static_assert(offsetof(struct zk_frame, d) == ZK_FRAME_D8, "frame.h");
_Static_assert(sizeof(struct zk_frame) == ZK_FRAME_SIZE, "frame.h");

/* switch_aapcs64.S: takes entry in x19 and prev in x0. */
void zk__context_trampoline(void);

/* A return address as zk__context_switch() would have stored it, had it been
 * called with the stack pointer at the end of `f`. */
static inline uint64_t zk__frame_sign(uint64_t pc, const struct zk_frame *f)
{
#if defined(ZK_PAC_KEY_A) || defined(ZK_PAC_KEY_B)
    register uint64_t x17 __asm__("x17") = pc;
    register uint64_t x16 __asm__("x16") = (uint64_t)(uintptr_t)(f + 1);

#if defined(ZK_PAC_KEY_A)
    __asm__("hint #8" : "+r"(x17) : "r"(x16)); /* pacia1716 */
#else
    __asm__("hint #10" : "+r"(x17) : "r"(x16)); /* pacib1716 */
#endif
    return x17;
#else
    (void)f;
    return pc;
#endif
}

/* `f` is zeroed. Resuming it calls `entry` through the trampoline. */
static inline void zk__frame_init(struct zk_frame *f, uintptr_t entry)
{
    f->x[0] = entry;
    f->pc = zk__frame_sign((uintptr_t)zk__context_trampoline + ZK_FRAME_LANDING,
                           f);
}

#endif
#endif
