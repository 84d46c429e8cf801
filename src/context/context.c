/* SPDX-License-Identifier: MIT */
/*
 * context.c - the first frame of a context.
 *
 * A context is suspended inside zk__context_switch(), always: its stack pointer
 * is the address of a struct zk_frame and resuming it is loading that frame and
 * returning. So a new context is made by writing the frame that a switch would
 * have left, with the trampoline as its return address:
 *
 *      top ->  +------------------------+
 *              | ZK_FRAME_BASE of zeros |  a null return address: the end of
 *              +------------------------+  the stack for who scans it
 *              | struct zk_frame        |  pc = trampoline, entry in a saved
 *      sp  ->  +------------------------+  register, frame pointer = 0
 *
 * Invariants
 *   I1  A saved stack pointer points at a whole frame, and nothing below it is
 *       live: neither ABI lets a caller keep anything there across a call.
 *   I2  Whoever switches hands `prev` over; the one that lands must look at it
 *       before anything else. Only then is the frame of `prev` complete, and
 *       only then may another thread learn that `prev` can be resumed.
 *   I3  An unwinder that walks any context, running or suspended, ends at the
 *       trampoline (or at zk__context_start()), whose return address is marked
 *       undefined. It never reads above `top`.
 *
 * Floating point control words belong to the worker, not to the context: a
 * context that changes the rounding mode changes it for whatever runs next on
 * that thread. Saving and loading them would about double the cost of a switch,
 * and hardly any program changes them.
 *
 * Rejected: leaving by an indirect jump, faster in a loop of two contexts and
 * two to three times slower once the resumed frames return; an inline switch
 * that lets the compiler save what is live, 1-3 ns faster and in need of a
 * clobber list that each compiler understands differently.
 *
 * Tests: tests/arch/sentinel_test.c fills every preserved register and unwinds
 * from each instruction; tests/unit/context_test.c.
 */
#include "context/context.h"

#include <string.h>

#include "frame.h"

_Static_assert(ZK_FRAME_BASE % 16 == 0, "a context starts with sp aligned");

void *zk__context_make(void *top, zk_context_entry entry)
{
    char *base = (char *)top - ZK_FRAME_BASE;
    struct zk_frame *frame = (struct zk_frame *)(void *)base - 1;

    ZK_ASSERT((uintptr_t)top % 16 == 0);
    ZK_ASSERT(entry != NULL);
    memset(frame, 0, sizeof *frame + ZK_FRAME_BASE);
    zk__frame_init(frame, (uintptr_t)entry);
    return frame;
}
