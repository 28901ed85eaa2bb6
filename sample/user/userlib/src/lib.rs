// SPDX-License-Identifier: MIT

//! The runtime of a user-space module: start, exit, and console.

#![no_std]

pub use svsm_common;

use core::fmt::{Arguments, Write};
use svsm_common::arch;
use svsm_common::console::{COM1, Console};

pub fn print(text: Arguments<'_>) {
    // If the console doesn't work, there is nowhere to report it.
    let _ = Console::new(COM1).write_fmt(text);
}

/// Leave the module.
pub fn exit(status: u8) -> ! {
    arch::stop(status)
}

#[macro_export]
macro_rules! println {
    ($($text:tt)*) => { $crate::print(format_args!("{}\n", format_args!($($text)*))) };
}

/// Make `$main`, a `fn() -> u8`, the module's main function.
#[macro_export]
macro_rules! module {
    ($main:path) => {
        // A test executable for a hosted target is compiled for unwinding, so it needs the language items.
        #[cfg(all(test, target_os = "linux"))]
        extern crate std;

        $crate::svsm_common::entry!(module_start);

        extern "C" fn module_start() -> ! {
            $crate::exit($main())
        }

        #[cfg(not(all(test, target_os = "linux")))]
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::println!("{}: {info}", env!("CARGO_PKG_NAME"));
            $crate::exit(101)
        }
    };
}
