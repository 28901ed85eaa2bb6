/* SPDX-License-Identifier: MIT */

/*
 * The first code of a TD: its virtual processors start in 32-bit protected mode at the reset vector. One of them goes
 * on to the loader, the others wait.
 *
 * Two builds use this file. The C preprocessor takes the next line as it is meant; rustc's assembler takes it for a
 * comment and gets the same file put before this one. A release build defines the symbol RELEASE.
 */
#include "stage1.inc"

    .section .stage1, "ax", @progbits
    .code32
    .globl _start
_start:
    cli
    cld
    /* The index of the virtual processor. */
    testl %esi, %esi
    jnz 1f
.ifndef RELEASE
    movb $'1', %al
    outb %al, $DEBUG_PORT
.endif
    movl $LOADER_GPA, %eax
    jmp *%eax
1:
    hlt
    jmp 1b

    .section .reset, "ax", @progbits
    .code32
    .globl reset_vector
reset_vector:
    jmp _start
    .balign 16, 0x90
    .code64
