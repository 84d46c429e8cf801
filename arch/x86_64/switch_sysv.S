/* SPDX-License-Identifier: MIT */
/*
 * switch_sysv.S - the context switch: x86_64, System V AMD64 psABI.
 *
 * Preserved across a call (psABI 3.2.1, figure 3.4) and therefore saved: rbx
 * rbp r12-r15 and the stack pointer. All other registers are dead for the
 * caller, DF is clear. Not saved on purpose: mxcsr and the x87 control word,
 * which belong to the worker (zk__context_fpenv_get() is for tasks that want
 * their own); the signal mask; the TLS base, since a context may resume on
 * another thread.
 *
 * Every call here has a `ret` and every `ret` a call. Leaving by `jmp` through
 * a register instead would leave an entry on the processor's return stack, and
 * every `ret` of the resumed frames would be mispredicted. Landing on the
 * trampoline by `ret` costs one misprediction in the life of a context.
 *
 * The CFI holds at each instruction: two suspended contexts have the same
 * layout, so the rule for the CFA does not change with the stack pointer. The
 * shadow stack (SHSTK) is not switched, so the property note does not claim
 * it; indirect branch tracking is supported.
 */
#include "asm.h"
#include "frame.h"

#define SAVED(slot) ((slot) - ZK_FRAME_SIZE) /* from the CFA */
#define PUSH(reg, slot)                                                        \
    pushq   %reg;                                                              \
    .cfi_adjust_cfa_offset 8;                                                  \
    .cfi_offset reg, SAVED(slot)
#define POP(reg)                                                               \
    popq    %reg;                                                              \
    .cfi_adjust_cfa_offset -8;                                                 \
    .cfi_restore reg

/*
 * void *zk__context_switch(void **from_sp, void *to_sp, void *prev)
 *                          rdi             rsi          rdx
 * Suspend the caller, storing its stack pointer in *from_sp, and resume the
 * frame at to_sp. Returns `prev` there.
 */
ZK_FUNC_BEGIN(zk__context_switch)
    endbr64
    PUSH(rbp, ZK_FRAME_RBP)
    PUSH(rbx, ZK_FRAME_RBX)
    PUSH(r12, ZK_FRAME_R12)
    PUSH(r13, ZK_FRAME_R13)
    PUSH(r14, ZK_FRAME_R14)
    PUSH(r15, ZK_FRAME_R15)

    movq    %rsp, (%rdi)
    movq    %rsi, %rsp
    movq    %rdx, %rax

    POP(r15)
    POP(r14)
    POP(r13)
    POP(r12)
    POP(rbx)
    POP(rbp)
    ret
ZK_FUNC_END(zk__context_switch)

/*
 * The first return address of a context, reached by `ret` with rbx = entry,
 * rax = prev, rbp = 0 and the stack as zk__context_make() left it: aligned to
 * 16, a null return address below the end. Outermost for every unwinder.
 */
ZK_FUNC_BEGIN(zk__context_trampoline)
    .cfi_undefined rip
    .cfi_def_cfa rsp, ZK_FRAME_BASE
    nop             /* ZK_FRAME_LANDING */
    movq    %rax, %rdi
    call    *%rbx
    ud2     /* entry returned */
ZK_FUNC_END(zk__context_trampoline)

/*
 * void zk__context_launch(void **from_sp, void *top, zk_context_entry entry,
 *                         rdi             rsi        rdx
 *                         void *prev)
 *                         rcx
 * Suspend the caller as zk__context_switch() does and call entry(prev) on a
 * fresh stack that ends at `top`: no frame is made to be taken apart at once.
 */
ZK_FUNC_BEGIN(zk__context_launch)
    endbr64
    PUSH(rbp, ZK_FRAME_RBP)
    PUSH(rbx, ZK_FRAME_RBX)
    PUSH(r12, ZK_FRAME_R12)
    PUSH(r13, ZK_FRAME_R13)
    PUSH(r14, ZK_FRAME_R14)
    PUSH(r15, ZK_FRAME_R15)
    movq    %rsp, (%rdi)
    leaq    -ZK_FRAME_BASE(%rsi), %rsp
    .cfi_undefined rip                  /* the outermost frame of a new stack */
    .cfi_def_cfa rsp, ZK_FRAME_BASE
    xorl    %ebp, %ebp
    movq    %rbp, (%rsp)
    movq    %rbp, 8(%rsp)
    movq    %rcx, %rdi
    call    *%rdx
    ud2
ZK_FUNC_END(zk__context_launch)

/*
 * void zk__context_start(void *top, zk_context_entry entry, void *prev)
 *                        rdi        rsi                     rdx
 * Drop every frame and call entry(prev) on a stack that ends at `top`.
 */
ZK_FUNC_BEGIN(zk__context_start)
    endbr64
    leaq    -ZK_FRAME_BASE(%rdi), %rsp  /* never at `top`: not this stack */
    .cfi_undefined rip                  /* the caller is gone */
    .cfi_def_cfa rsp, ZK_FRAME_BASE
    xorl    %ebp, %ebp
    movq    %rbp, (%rsp)
    movq    %rbp, 8(%rsp)
    movq    %rdx, %rdi
    call    *%rsi
    ud2
ZK_FUNC_END(zk__context_start)

/*
 * uint64_t zk__context_fpenv_get(void)
 * mxcsr in the low half, the x87 control word above it.
 */
ZK_FUNC_BEGIN(zk__context_fpenv_get)
    endbr64
    stmxcsr -8(%rsp)
    fnstcw  -4(%rsp)
    movl    -8(%rsp), %eax      /* as they were stored: one load of both */
    movzwl  -4(%rsp), %ecx      /* would have to wait for the stores */
    shlq    $32, %rcx
    orq     %rcx, %rax
    ret
ZK_FUNC_END(zk__context_fpenv_get)

/* void zk__context_fpenv_set(uint64_t env) */
ZK_FUNC_BEGIN(zk__context_fpenv_set)
    endbr64
    movq    %rdi, -8(%rsp)
    ldmxcsr -8(%rsp)
    fldcw   -4(%rsp)
    ret
ZK_FUNC_END(zk__context_fpenv_set)

/* GNU_PROPERTY_X86_FEATURE_1_AND: IBT */
    ZK_NOTE_PROPERTY(0xc0000002, 1)
    ZK_NOTE_STACK
