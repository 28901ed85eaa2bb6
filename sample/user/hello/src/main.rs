// SPDX-License-Identifier: MIT

//! A second module.

#![no_std]
#![no_main]

use userlib::println;

userlib::module!(main);

fn main() -> u8 {
    println!("Hello from user space");
    0
}
