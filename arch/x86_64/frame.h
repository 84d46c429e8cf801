/* SPDX-License-Identifier: MIT */
/*
 * frame.h - what a suspended context leaves on its stack: x86_64, System V.
 *
 * Read by switch_sysv.S and by C. The saved stack pointer is the address of a
 * struct zk_frame.
 */
#ifndef ZK_ARCH_FRAME_H
#define ZK_ARCH_FRAME_H

#define ZK_FRAME_R15 0
#define ZK_FRAME_R14 8
#define ZK_FRAME_R13 16
#define ZK_FRAME_R12 24
#define ZK_FRAME_RBX 32
#define ZK_FRAME_RBP 40
#define ZK_FRAME_PC 48
#define ZK_FRAME_SIZE 56

/* Above the frame, up to the end of the stack, when a context is made: a null
 * return address, and a word for alignment. */
#define ZK_FRAME_BASE 16

/* Where in zk__context_trampoline() a context begins. Unwinders look up the
 * byte before a return address; the trampoline has a nop there to be found. */
#define ZK_FRAME_LANDING 1

#ifndef __ASSEMBLER__

#include <stddef.h>
#include <stdint.h>

struct zk_frame {
    uint64_t r15, r14, r13, r12;
    uint64_t rbx; /* first frame: the entry */
    uint64_t rbp; /* first frame: 0, the end of the frame chain */
    uint64_t pc;  /* where zk__context_switch() returns to */
};

_Static_assert(offsetof(struct zk_frame, r15) == ZK_FRAME_R15, "frame.h");
_Static_assert(offsetof(struct zk_frame, r14) == ZK_FRAME_R14, "frame.h");
_Static_assert(offsetof(struct zk_frame, r13) == ZK_FRAME_R13, "frame.h");
_Static_assert(offsetof(struct zk_frame, r12) == ZK_FRAME_R12, "frame.h");
_Static_assert(offsetof(struct zk_frame, rbx) == ZK_FRAME_RBX, "frame.h");
_Static_assert(offsetof(struct zk_frame, rbp) == ZK_FRAME_RBP, "frame.h");
_Static_assert(offsetof(struct zk_frame, pc) == ZK_FRAME_PC, "frame.h");
_Static_assert(sizeof(struct zk_frame) == ZK_FRAME_SIZE, "frame.h");

/* switch_sysv.S: takes entry in rbx and prev in rax. */
void zk__context_trampoline(void);

/* `f` is zeroed. Resuming it calls `entry` through the trampoline. */
static inline void zk__frame_init(struct zk_frame *f, uintptr_t entry)
{
    f->rbx = entry;
    f->pc = (uintptr_t)zk__context_trampoline + ZK_FRAME_LANDING;
}

#endif
#endif
