// SPDX-License-Identifier: MIT

//! The kernel: a sketch that starts like the real one, prints its name, and shows what the image contains.

#![no_std]
#![no_main]

mod boot;
mod console;
#[cfg(feature = "enable-gdb")]
mod gdb;
mod heap;
#[cfg(test)]
mod testing;
#[cfg(feature = "uefivars")]
mod uefivars;
#[cfg(feature = "vtpm")]
mod vtpm;

// A test executable for a hosted target is always compiled for unwinding, so it needs the standard library's language
// items. The bare-metal target has no unwinding.
#[cfg(all(test, target_os = "linux"))]
extern crate std;

use svsm_common::arch;

svsm_common::entry!(svsm_main);

extern "C" fn svsm_main() -> ! {
    let boot = boot::Boot::read();
    console::init(boot.console_port());
    println!("COCONUT sample SVSM {}", release::version());

    #[cfg(test)]
    testing::run();

    #[cfg(not(test))]
    {
        start(&boot);
        arch::stop(0)
    }
}

#[cfg_attr(test, allow(dead_code))]
fn start(boot: &boot::Boot) {
    log!("hypervisor: {}", boot.hypervisor());
    boot.for_each_module(|path, size| println!("module {path}: {size} bytes"));

    #[cfg(feature = "vtpm")]
    println!("vTPM: boot event {:08x}", vtpm::Vtpm::new().extend(release::version().as_bytes()));
    #[cfg(feature = "uefivars")]
    println!("UEFI variables: {} bytes", uefivars::Store::new().free());
    #[cfg(feature = "enable-gdb")]
    gdb::announce();

    println!("heap: {} bytes free", heap::free());
}

#[cfg(not(all(test, target_os = "linux")))]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    println!("{info}");
    arch::stop(101)
}
