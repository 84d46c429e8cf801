/* SPDX-License-Identifier: MIT */
/*
 * asm.h - symbols and notes of the assembly files, the same for every ELF
 * processor.
 *
 * A function is global to the library and hidden outside it, typed and sized,
 * so that profilers and unwinders know where it begins and ends.
 */
#ifndef ZK_ARCH_ASM_H
#define ZK_ARCH_ASM_H

/* clang-format off */

#define ZK_FUNC_BEGIN(name)                                                    \
    .text;                                                                     \
    .p2align 4;                                                                \
    .globl  name;                                                              \
    .hidden name;                                                              \
    .type   name, %function;                                                   \
    name:                                                                      \
    .cfi_startproc

#define ZK_FUNC_END(name)                                                      \
    .cfi_endproc;                                                              \
    .size   name, . - name

/* This object needs no executable stack. */
#define ZK_NOTE_STACK .section .note.GNU-stack, "", %progbits

/*
 * What this object promises to the linker, which keeps a promise only if every
 * object of the program makes it (the ..._FEATURE_1_AND properties of the
 * psABIs): which word, and which bits of it.
 */
#define ZK_NOTE_PROPERTY(word, bits)                                           \
    .section .note.gnu.property, "a", %note;                                   \
    .p2align 3;                                                                \
    .long   4;          /* length of the name */                               \
    .long   16;         /* length of the description */                        \
    .long   5;          /* NT_GNU_PROPERTY_TYPE_0 */                           \
    .asciz  "GNU";                                                             \
    .long   word;                                                              \
    .long   4;          /* length of the bits */                               \
    .long   bits;                                                              \
    .long   0           /* padding to 8 */

/* clang-format on */

#endif
