// SPDX-License-Identifier: MIT

//! stage1 as a cargo package: the same assembly that the Makefile builds.

#![no_std]
#![no_main]

#[cfg(debug_assertions)]
core::arch::global_asm!(include_str!("../stage1.inc"), include_str!("../stage1.S"), options(att_syntax));

#[cfg(not(debug_assertions))]
core::arch::global_asm!(
    ".set RELEASE, 1",
    include_str!("../stage1.inc"),
    include_str!("../stage1.S"),
    options(att_syntax)
);

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
