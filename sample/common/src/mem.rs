// SPDX-License-Identifier: MIT

//! The memory functions that compiled code calls. The bare-metal target has them in compiler_builtins; a Linux target
//! expects them in a C library, which we don't link.

use core::arch::{asm, global_asm};

// The core library of a hosted target is compiled for unwinding and names this function. Nobody unwinds here; in a test
// executable the standard library's function takes the place of this weak one.
global_asm!(
    ".pushsection .text.rust_eh_personality, \"ax\", @progbits",
    ".weak rust_eh_personality",
    "rust_eh_personality:",
    "ud2",
    ".popsection",
);

/// # Safety
/// As for C's memcpy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller vouches for both ranges.
    unsafe {
        asm!("rep movsb", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As for C's memmove.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if len == 0 || (to as usize).wrapping_sub(from as usize) >= len {
        // SAFETY: going upwards never reads a byte that it has overwritten.
        return unsafe { memcpy(to, from, len) };
    }
    // SAFETY: going downwards never reads a byte that it has overwritten; the ranges are the caller's.
    unsafe {
        asm!(
            "std", "rep movsb", "cld",
            inout("rcx") len => _,
            inout("rdi") to.add(len - 1) => _,
            inout("rsi") from.add(len - 1) => _,
            options(nostack),
        );
    }
    to
}

/// # Safety
/// As for C's memset.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(to: *mut u8, value: i32, len: usize) -> *mut u8 {
    // SAFETY: the caller vouches for the range.
    unsafe {
        asm!("rep stosb", inout("rcx") len => _, inout("rdi") to => _, in("al") value as u8, options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As for C's memcmp.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    let mut at = 0;
    while at < len {
        // SAFETY: the caller vouches for both ranges; a volatile read keeps this loop from becoming a call to itself.
        let (x, y) = unsafe { (a.add(at).read_volatile(), b.add(at).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        at += 1;
    }
    0
}

/// # Safety
/// As for C's bcmp.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(a, b, len) }
}
