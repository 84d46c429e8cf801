/* SPDX-License-Identifier: MIT */
/* sentinel_x86_64.S - what sentinel_test.c cannot say in C. */
#include "asm.h"

#define PUSH(reg)                                                              \
    pushq   %reg;                                                              \
    .cfi_adjust_cfa_offset 8;                                                  \
    .cfi_rel_offset reg, 0
#define POP(reg)                                                               \
    popq    %reg;                                                              \
    .cfi_adjust_cfa_offset -8;                                                 \
    .cfi_restore reg
#define FILL(n, reg) leaq n(%rcx), %reg
#define CHECK(n, reg)                                                          \
    leaq    n(%rcx), %rdx;                                                     \
    xorq    %reg, %rdx;                                                        \
    orq     %rdx, %rax

/*
 * uint64_t sentinel_switch(void **from_sp, void *to_sp, void *prev,
 *                          uint64_t seed, void **landed)
 * zk__context_switch() with seed + 1, ... in every preserved register. What it
 * returned goes to *landed. 0 if all registers came back.
 */
ZK_FUNC_BEGIN(sentinel_switch)
    endbr64
    PUSH(rbp)
    PUSH(rbx)
    PUSH(r12)
    PUSH(r13)
    PUSH(r14)
    PUSH(r15)
    subq    $24, %rsp
    .cfi_adjust_cfa_offset 24
    movq    %rcx, (%rsp)
    movq    %r8, 8(%rsp)
    FILL(1, rbx)
    FILL(2, rbp)
    FILL(3, r12)
    FILL(4, r13)
    FILL(5, r14)
    FILL(6, r15)
    call    zk__context_switch
    movq    8(%rsp), %rdx
    movq    %rax, (%rdx)
    movq    (%rsp), %rcx
    xorl    %eax, %eax
    CHECK(1, rbx)
    CHECK(2, rbp)
    CHECK(3, r12)
    CHECK(4, r13)
    CHECK(5, r14)
    CHECK(6, r15)
    addq    $24, %rsp
    .cfi_adjust_cfa_offset -24
    POP(r15)
    POP(r14)
    POP(r13)
    POP(r12)
    POP(rbx)
    POP(rbp)
    ret
ZK_FUNC_END(sentinel_switch)

/*
 * int sentinel_step(int on)
 * From now on a SIGTRAP after each instruction, or no longer. 0: cannot.
 */
ZK_FUNC_BEGIN(sentinel_step)
    endbr64
    pushfq
    .cfi_adjust_cfa_offset 8
    andq    $~0x100, (%rsp)
    shll    $8, %edi        /* TF is bit 8 */
    orq     %rdi, (%rsp)
    movl    $1, %eax
    popfq
    .cfi_adjust_cfa_offset -8
    ret
ZK_FUNC_END(sentinel_step)

/* DWARF numbers of the registers in the order of their sentinels. */
    .section .rodata
    .globl  sentinel_columns
    .hidden sentinel_columns
    .type   sentinel_columns, %object
    .p2align 2
sentinel_columns:
    .long   3, 6, 12, 13, 14, 15, -1
    .size   sentinel_columns, . - sentinel_columns

    ZK_NOTE_PROPERTY(0xc0000002, 1)
    ZK_NOTE_STACK
