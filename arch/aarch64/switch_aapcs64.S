/* SPDX-License-Identifier: MIT */
/*
 * switch_aapcs64.S - the context switch: AArch64, AAPCS64.
 *
 * Preserved across a call (AAPCS64 6.1.1, 6.1.2) and therefore saved: x19-x28,
 * x29, x30, sp and d8-d15, of the vector registers the low halves only. All
 * others are dead for the caller. Not saved on purpose: FPCR, which belongs to
 * the worker (zk__context_fpenv_get() is for tasks that want their own); x18,
 * the platform's; the signal mask; the TLS base, since a context may resume on
 * another thread.
 *
 * Left by `ret`, so that the processor's return stack stays balanced.
 *
 * With return address signing x30 is signed on entry and authenticated before
 * the `ret`. The modifier is the stack pointer at the call, and a context
 * resumes with the stack pointer that it had then. The CFI holds at each
 * instruction: two suspended contexts have the same layout, so the rule for the
 * CFA does not change with the stack pointer.
 */
#include "asm.h"
#include "frame.h"

#define BTI_C hint #34

#if defined(ZK_PAC_KEY_A)
#define SIGN hint #25; .cfi_negate_ra_state         /* paciasp */
#define AUTHENTICATE hint #29; .cfi_negate_ra_state /* autiasp */
#define FEATURES 3                                  /* BTI, PAC */
#elif defined(ZK_PAC_KEY_B)
#define SIGN .cfi_b_key_frame; hint #27; .cfi_negate_ra_state /* pacibsp */
#define AUTHENTICATE hint #31; .cfi_negate_ra_state           /* autibsp */
#define FEATURES 3
#else
#define SIGN
#define AUTHENTICATE
#define FEATURES 1 /* BTI */
#endif

#define SAVED(slot) ((slot) - ZK_FRAME_SIZE) /* from the CFA */
#define SAVE(a, b, slot)                                                       \
    stp     a, b, [sp, #(slot)];                                               \
    .cfi_offset a, SAVED(slot);                                                \
    .cfi_offset b, SAVED((slot) + 8)
#define LOAD(a, b, slot)                                                       \
    ldp     a, b, [sp, #(slot)];                                               \
    .cfi_restore a;                                                            \
    .cfi_restore b

/*
 * void *zk__context_switch(void **from_sp, void *to_sp, void *prev)
 *                          x0              x1           x2
 * Suspend the caller, storing its stack pointer in *from_sp, and resume the
 * frame at to_sp. Returns `prev` there.
 */
ZK_FUNC_BEGIN(zk__context_switch)
    BTI_C
    SIGN
    stp     x29, x30, [sp, #-ZK_FRAME_SIZE]!
    .cfi_adjust_cfa_offset ZK_FRAME_SIZE
    .cfi_offset x29, SAVED(ZK_FRAME_X29)
    .cfi_offset x30, SAVED(ZK_FRAME_X29 + 8)
    SAVE(x19, x20, ZK_FRAME_X19)
    SAVE(x21, x22, ZK_FRAME_X19 + 16)
    SAVE(x23, x24, ZK_FRAME_X19 + 32)
    SAVE(x25, x26, ZK_FRAME_X19 + 48)
    SAVE(x27, x28, ZK_FRAME_X19 + 64)
    SAVE(d8, d9, ZK_FRAME_D8)
    SAVE(d10, d11, ZK_FRAME_D8 + 16)
    SAVE(d12, d13, ZK_FRAME_D8 + 32)
    SAVE(d14, d15, ZK_FRAME_D8 + 48)

    mov     x9, sp
    str     x9, [x0]
    mov     sp, x1
    mov     x0, x2

    LOAD(d14, d15, ZK_FRAME_D8 + 48)
    LOAD(d12, d13, ZK_FRAME_D8 + 32)
    LOAD(d10, d11, ZK_FRAME_D8 + 16)
    LOAD(d8, d9, ZK_FRAME_D8)
    LOAD(x27, x28, ZK_FRAME_X19 + 64)
    LOAD(x25, x26, ZK_FRAME_X19 + 48)
    LOAD(x23, x24, ZK_FRAME_X19 + 32)
    LOAD(x21, x22, ZK_FRAME_X19 + 16)
    LOAD(x19, x20, ZK_FRAME_X19)
    ldp     x29, x30, [sp], #ZK_FRAME_SIZE
    .cfi_restore x29
    .cfi_restore x30
    .cfi_adjust_cfa_offset -ZK_FRAME_SIZE
    AUTHENTICATE
    ret
ZK_FUNC_END(zk__context_switch)

/*
 * The first return address of a context, reached by `ret` with x19 = entry,
 * x0 = prev, x29 = 0 and the stack as zk__context_make() left it: aligned to
 * 16, an empty frame record below the end. Outermost for every unwinder.
 */
ZK_FUNC_BEGIN(zk__context_trampoline)
    .cfi_undefined x30
    .cfi_def_cfa sp, ZK_FRAME_BASE
    nop             /* ZK_FRAME_LANDING */
    mov     x30, xzr
    blr     x19
    brk     #1  /* entry returned */
ZK_FUNC_END(zk__context_trampoline)

/*
 * void zk__context_launch(void **from_sp, void *top, zk_context_entry entry,
 *                         x0              x1         x2
 *                         void *prev)
 *                         x3
 * Suspend the caller as zk__context_switch() does and call entry(prev) on a
 * fresh stack that ends at `top`: no frame is made to be taken apart at once.
 */
ZK_FUNC_BEGIN(zk__context_launch)
    BTI_C
    SIGN
    stp     x29, x30, [sp, #-ZK_FRAME_SIZE]!
    .cfi_adjust_cfa_offset ZK_FRAME_SIZE
    .cfi_offset x29, SAVED(ZK_FRAME_X29)
    .cfi_offset x30, SAVED(ZK_FRAME_X29 + 8)
    SAVE(x19, x20, ZK_FRAME_X19)
    SAVE(x21, x22, ZK_FRAME_X19 + 16)
    SAVE(x23, x24, ZK_FRAME_X19 + 32)
    SAVE(x25, x26, ZK_FRAME_X19 + 48)
    SAVE(x27, x28, ZK_FRAME_X19 + 64)
    SAVE(d8, d9, ZK_FRAME_D8)
    SAVE(d10, d11, ZK_FRAME_D8 + 16)
    SAVE(d12, d13, ZK_FRAME_D8 + 32)
    SAVE(d14, d15, ZK_FRAME_D8 + 48)

    mov     x9, sp
    str     x9, [x0]
    sub     sp, x1, #ZK_FRAME_BASE
    .cfi_undefined x30              /* the outermost frame of a new stack */
    .cfi_def_cfa sp, ZK_FRAME_BASE
    stp     xzr, xzr, [sp]
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x3
    blr     x2
    brk     #1
ZK_FUNC_END(zk__context_launch)

/*
 * void zk__context_start(void *top, zk_context_entry entry, void *prev)
 *                        x0         x1                      x2
 * Drop every frame and call entry(prev) on a stack that ends at `top`.
 */
ZK_FUNC_BEGIN(zk__context_start)
    BTI_C
    sub     sp, x0, #ZK_FRAME_BASE  /* never at `top`: not this stack */
    .cfi_undefined x30              /* the caller is gone */
    .cfi_def_cfa sp, ZK_FRAME_BASE
    stp     xzr, xzr, [sp]
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x2
    blr     x1
    brk     #1
ZK_FUNC_END(zk__context_start)

/* uint64_t zk__context_fpenv_get(void) */
ZK_FUNC_BEGIN(zk__context_fpenv_get)
    BTI_C
    mrs     x0, fpcr
    ret
ZK_FUNC_END(zk__context_fpenv_get)

/* void zk__context_fpenv_set(uint64_t env) */
ZK_FUNC_BEGIN(zk__context_fpenv_set)
    BTI_C
    msr     fpcr, x0
    ret
ZK_FUNC_END(zk__context_fpenv_set)

/* GNU_PROPERTY_AARCH64_FEATURE_1_AND */
    ZK_NOTE_PROPERTY(0xc0000000, FEATURES)
    ZK_NOTE_STACK
