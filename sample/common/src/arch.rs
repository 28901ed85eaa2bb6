// SPDX-License-Identifier: MIT

//! The few machine instructions that Rust cannot express.

use core::arch::asm;

/// Stop forever; only the fall-back build has an exit status.
#[cfg(target_os = "none")]
pub fn stop(_status: u8) -> ! {
    loop {
        // SAFETY: waiting with interrupts off changes no memory.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

#[cfg(target_os = "linux")]
pub fn stop(status: u8) -> ! {
    // SAFETY: exit_group doesn't return.
    unsafe { asm!("syscall", in("rax") 231, in("rdi") u64::from(status), options(noreturn, nostack)) }
}

/// Write a byte to an I/O port.
///
/// # Safety
/// The device at the port must accept writes now.
#[cfg(target_os = "none")]
pub unsafe fn outb(port: u16, value: u8) {
    // SAFETY: the caller vouches for the port.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) }
}

/// Read a byte from an I/O port.
///
/// # Safety
/// The device at the port must accept reads now.
#[cfg(target_os = "none")]
pub unsafe fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: the caller vouches for the port.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// A `_start` that calls `$main`, an `extern "C" fn() -> !`.
///
/// With `from32` the code begins in 32-bit protected mode without paging, which is how a hypervisor enters a loader: it
/// maps the low 4 GiB one to one and switches to long mode. The fall-back build has no need of that.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        core::arch::global_asm!(
            ".pushsection .text.start, \"ax\", @progbits",
            ".globl _start",
            "_start:",
            "xor ebp, ebp",
            "and rsp, -16",
            "call {main}",
            "ud2",
            ".popsection",
            main = sym $main,
        );
    };
    (from32 $main:path) => {
        #[cfg(target_os = "linux")]
        $crate::entry!($main);
        #[cfg(target_os = "none")]
        core::arch::global_asm!(
            ".pushsection .text.start, \"ax\", @progbits",
            ".code32",
            ".globl _start",
            "_start:",
            "cli",
            "cld",
            // Level 4 has one entry, level 3 four, and the four tables of level 2 follow one another.
            "mov dword ptr [{tables}], {tables} + 0x1003",
            "mov edi, {tables} + 0x1000",
            "mov eax, {tables} + 0x2003",
            "mov ecx, 4",
            "2:",
            "mov [edi], eax",
            "add edi, 8",
            "add eax, 0x1000",
            "dec ecx",
            "jnz 2b",
            "mov edi, {tables} + 0x2000",
            "mov eax, 0x83",
            "mov ecx, 2048",
            "3:",
            "mov [edi], eax",
            "add edi, 8",
            "add eax, 0x200000",
            "dec ecx",
            "jnz 3b",
            // PAE, then the long-mode bit of EFER, then paging.
            "mov eax, cr4",
            "or eax, 0x620",
            "mov cr4, eax",
            "mov eax, {tables}",
            "mov cr3, eax",
            "mov ecx, 0xc0000080",
            "rdmsr",
            "or eax, 0x100",
            "wrmsr",
            "mov eax, cr0",
            "or eax, 0x80000001",
            "mov cr0, eax",
            // A far return reaches the 64-bit code segment.
            "mov esp, {stack}",
            "lgdt [.Lgdt_pointer]",
            "push 8",
            "mov eax, offset .Llong_mode",
            "push eax",
            "retf",
            ".code64",
            ".Llong_mode:",
            "mov eax, 16",
            "mov ds, eax",
            "mov es, eax",
            "mov ss, eax",
            "mov esp, {stack}",
            "xor ebp, ebp",
            "call {main}",
            "ud2",
            ".balign 8",
            ".Lgdt:",
            ".quad 0",
            ".quad 0x00af9b000000ffff",
            ".quad 0x00cf93000000ffff",
            ".Lgdt_pointer:",
            ".short 23",
            ".long .Lgdt",
            ".popsection",
            tables = const $crate::layout::PAGE_TABLES_GPA,
            stack = const $crate::layout::STACK_GPA + $crate::layout::STACK_PAGES * $crate::layout::PAGE_SIZE,
            main = sym $main,
        );
    };
}
