// SPDX-License-Identifier: MIT

//! Checks of the interface between modules and kernel, only in the test build.

#![no_std]
#![no_main]

use userlib::println;

userlib::module!(main);

#[cfg(not(test))]
fn main() -> u8 {
    println!("uapi_tester: this is not the test build");
    1
}

#[cfg(test)]
fn main() -> u8 {
    let tests: [(&str, fn() -> bool); 2] =
        [("stack_is_writable", stack_is_writable), ("data_is_zeroed", data_is_zeroed)];
    let mut failed = 0;
    for (name, run) in tests {
        let passed = run();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u8::from(!passed);
    }
    u8::from(failed != 0)
}

#[cfg(test)]
fn stack_is_writable() -> bool {
    let bytes = core::hint::black_box([0x5a_u8; 2048]);
    bytes.iter().all(|byte| *byte == 0x5a)
}

#[cfg(test)]
fn data_is_zeroed() -> bool {
    use core::sync::atomic::{AtomicU64, Ordering};
    static WORDS: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
    WORDS.iter().all(|word| word.load(Ordering::Relaxed) == 0)
}
