// SPDX-License-Identifier: MIT

//! Code that the kernel, its loaders and the user modules share.
//!
//! Everything here compiles for `x86_64-unknown-none`, and for a Linux target as a fall-back: there the console is
//! standard output, and stopping means to leave the process.

#![no_std]

pub mod arch;
pub mod console;
pub mod elf;
pub mod loader;
#[cfg(target_os = "linux")]
mod mem;

pub use svsm_layout as layout;
