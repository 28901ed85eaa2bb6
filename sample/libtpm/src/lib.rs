// SPDX-License-Identifier: MIT

//! The kernel's interface to the C code.

#![no_std]

mod constants;

pub use constants::START;

unsafe extern "C" {
    static tpm_build: [u8; 4];
    fn tpm_extend(register: u32, event: *const u8, size: usize) -> u32;
}

/// Fold the event into the register, return the new value.
pub fn extend(register: u32, event: &[u8]) -> u32 {
    // SAFETY: the C code reads `size` bytes from `event` on.
    unsafe { tpm_extend(register, event.as_ptr(), event.len()) }
}

/// The C code's name for its build.
pub fn build() -> &'static [u8] {
    // SAFETY: it is never written.
    unsafe { &tpm_build }
}
