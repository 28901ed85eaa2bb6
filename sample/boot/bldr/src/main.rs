// SPDX-License-Identifier: MIT

//! bldr: the boot loader, in its own package.

#![no_std]
#![no_main]

use svsm_common::loader;

svsm_common::entry!(from32 bldr_main);

extern "C" fn bldr_main() -> ! {
    loader::run("bldr")
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    loader::panicked("bldr", info)
}
