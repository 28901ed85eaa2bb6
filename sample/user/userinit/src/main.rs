// SPDX-License-Identifier: MIT

//! The first module that the kernel starts.

#![no_std]
#![no_main]

use userlib::println;

userlib::module!(main);

fn main() -> u8 {
    println!("userinit {}: ready", env!("CARGO_PKG_VERSION"));
    0
}
