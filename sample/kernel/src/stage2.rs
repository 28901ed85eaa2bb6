// SPDX-License-Identifier: MIT

//! stage2: the loader of older trees, a second binary of the kernel's package.

#![no_std]
#![no_main]

use svsm_common::loader;

svsm_common::entry!(from32 stage2_main);

extern "C" fn stage2_main() -> ! {
    loader::run("stage2")
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    loader::panicked("stage2", info)
}
