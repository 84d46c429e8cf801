/* SPDX-License-Identifier: MIT */
/* sentinel_aarch64.S - what sentinel_test.c cannot say in C. */
#include "asm.h"

#define FRAME 192
#define SAVE(a, b, slot)                                                       \
    stp     a, b, [sp, #(slot)];                                               \
    .cfi_rel_offset a, slot;                                                   \
    .cfi_rel_offset b, (slot) + 8
#define LOAD(a, b, slot)                                                       \
    ldp     a, b, [sp, #(slot)];                                               \
    .cfi_restore a;                                                            \
    .cfi_restore b
#define FILL(n, reg) add reg, x3, n
#define FILL_FP(n, reg)                                                        \
    add     x9, x3, n;                                                        \
    fmov    reg, x9
#define CHECK(n, reg)                                                          \
    add     x9, x3, n;                                                        \
    eor     x9, x9, reg;                                                       \
    orr     x0, x0, x9
#define CHECK_FP(n, reg)                                                       \
    fmov    x10, reg;                                                          \
    CHECK(n, x10)

/*
 * uint64_t sentinel_switch(void **from_sp, void *to_sp, void *prev,
 *                          uint64_t seed, void **landed)
 * zk__context_switch() with seed + 1, ... in every preserved register. What it
 * returned goes to *landed. 0 if all registers came back.
 */
ZK_FUNC_BEGIN(sentinel_switch)
    hint    #34
    sub     sp, sp, #FRAME
    .cfi_adjust_cfa_offset FRAME
    SAVE(x29, x30, 0)
    SAVE(x19, x20, 16)
    SAVE(x21, x22, 32)
    SAVE(x23, x24, 48)
    SAVE(x25, x26, 64)
    SAVE(x27, x28, 80)
    SAVE(d8, d9, 96)
    SAVE(d10, d11, 112)
    SAVE(d12, d13, 128)
    SAVE(d14, d15, 144)
    stp     x3, x4, [sp, #160]
    FILL(1, x19)
    FILL(2, x20)
    FILL(3, x21)
    FILL(4, x22)
    FILL(5, x23)
    FILL(6, x24)
    FILL(7, x25)
    FILL(8, x26)
    FILL(9, x27)
    FILL(10, x28)
    FILL(11, x29)
    FILL_FP(12, d8)
    FILL_FP(13, d9)
    FILL_FP(14, d10)
    FILL_FP(15, d11)
    FILL_FP(16, d12)
    FILL_FP(17, d13)
    FILL_FP(18, d14)
    FILL_FP(19, d15)
    bl      zk__context_switch
    ldp     x3, x4, [sp, #160]
    str     x0, [x4]
    mov     x0, xzr
    CHECK(1, x19)
    CHECK(2, x20)
    CHECK(3, x21)
    CHECK(4, x22)
    CHECK(5, x23)
    CHECK(6, x24)
    CHECK(7, x25)
    CHECK(8, x26)
    CHECK(9, x27)
    CHECK(10, x28)
    CHECK(11, x29)
    CHECK_FP(12, d8)
    CHECK_FP(13, d9)
    CHECK_FP(14, d10)
    CHECK_FP(15, d11)
    CHECK_FP(16, d12)
    CHECK_FP(17, d13)
    CHECK_FP(18, d14)
    CHECK_FP(19, d15)
    LOAD(d14, d15, 144)
    LOAD(d12, d13, 128)
    LOAD(d10, d11, 112)
    LOAD(d8, d9, 96)
    LOAD(x27, x28, 80)
    LOAD(x25, x26, 64)
    LOAD(x23, x24, 48)
    LOAD(x21, x22, 32)
    LOAD(x19, x20, 16)
    LOAD(x29, x30, 0)
    add     sp, sp, #FRAME
    .cfi_adjust_cfa_offset -FRAME
    ret
ZK_FUNC_END(sentinel_switch)

/* int sentinel_step(int on): a process cannot single-step itself here. */
ZK_FUNC_BEGIN(sentinel_step)
    hint    #34
    mov     w0, wzr
    ret
ZK_FUNC_END(sentinel_step)

/* DWARF numbers of the registers in the order of their sentinels. */
    .section .rodata
    .globl  sentinel_columns
    .hidden sentinel_columns
    .type   sentinel_columns, %object
    .p2align 2
sentinel_columns:
    .long   19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, -1
    .size   sentinel_columns, . - sentinel_columns

    ZK_NOTE_PROPERTY(0xc0000000, 1)
    ZK_NOTE_STACK
