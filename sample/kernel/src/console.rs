// SPDX-License-Identifier: MIT

//! The kernel's console.

use core::fmt::{Arguments, Write};
use core::sync::atomic::{AtomicU16, Ordering};
use svsm_common::console::{COM1, Console};

static PORT: AtomicU16 = AtomicU16::new(COM1);

/// Select the serial port; the default is the first one.
pub fn init(port: u16) {
    PORT.store(port, Ordering::Relaxed);
}

pub fn print(text: Arguments<'_>) {
    // If the console doesn't work, there is nowhere to report it.
    let _ = Console::new(PORT.load(Ordering::Relaxed)).write_fmt(text);
}

#[macro_export]
macro_rules! println {
    ($($text:tt)*) => { $crate::console::print(format_args!("[SVSM] {}\n", format_args!($($text)*))) };
}

/// A message for developers: it reaches the console only with the feature `enable-console-log`.
#[macro_export]
macro_rules! log {
    ($($text:tt)*) => {
        if cfg!(feature = "enable-console-log") {
            $crate::println!($($text)*);
        }
    };
}
