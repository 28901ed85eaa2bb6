// SPDX-License-Identifier: MIT

//! The common part of both loaders: find the kernel in the launch image, copy it to its address, jump to it.

use crate::arch;
use crate::console::{COM1, Console};
use crate::elf::Elf;
use crate::layout::{BootParams, KERNEL_LOAD_END, KERNEL_LOAD_GPA};
use core::fmt::Write;
use core::panic::PanicInfo;

/// The builder's parameter page.
#[cfg(target_os = "none")]
pub fn boot_params() -> Option<BootParams> {
    // SAFETY: the launch image always has this page, and nothing writes to it.
    let page = unsafe { core::slice::from_raw_parts(crate::layout::PARAMS_GPA as *const u8, BootParams::BYTES) };
    BootParams::from_bytes(page)
}

/// The fall-back build has no launch image below it.
#[cfg(target_os = "linux")]
pub fn boot_params() -> Option<BootParams> {
    None
}

/// Copy the kernel's segments, return its entry point.
///
/// # Safety
/// `params` must describe the memory that this code runs in, and the range for the kernel must be unused.
unsafe fn place_kernel(params: &BootParams) -> Result<u64, &'static str> {
    // SAFETY: the caller vouches for the region.
    let file = unsafe { core::slice::from_raw_parts(params.kernel.gpa as *const u8, params.kernel.size as usize) };
    let elf = Elf::parse(file).ok_or("the kernel is no ELF file")?;
    for segment in elf.segments() {
        let segment = segment.ok_or("a segment of the kernel is cut off")?;
        let end = segment.address.checked_add(segment.size).ok_or("a segment of the kernel is too large")?;
        if segment.address < KERNEL_LOAD_GPA || end > KERNEL_LOAD_END {
            return Err("a segment of the kernel lies outside its range");
        }
        let to = segment.address as *mut u8;
        // SAFETY: the range is inside the one for the kernel, and the file lies below it.
        unsafe {
            to.copy_from_nonoverlapping(segment.data.as_ptr(), segment.data.len());
            to.add(segment.data.len()).write_bytes(0, segment.size as usize - segment.data.len());
        }
    }
    Ok(elf.entry)
}

/// Run the loader called `name`.
pub fn run(name: &str) -> ! {
    let params = boot_params();
    let port = params.map_or(COM1, |params| params.console_port as u16);
    let mut console = Console::new(port);
    let _ = writeln!(console, "[{name}] started");
    let Some(params) = params else {
        let _ = writeln!(console, "[{name}] no parameter page");
        arch::stop(1);
    };
    // SAFETY: we have just been started by the launch image, with nothing else in memory.
    match unsafe { place_kernel(&params) } {
        Ok(entry) => {
            let _ = writeln!(console, "[{name}] kernel at {entry:#x}");
            // SAFETY: the entry point is in the code that was just copied.
            let start: extern "C" fn() -> ! = unsafe { core::mem::transmute(entry as usize) };
            start()
        }
        Err(message) => {
            let _ = writeln!(console, "[{name}] {message}");
            arch::stop(1)
        }
    }
}

/// The common end of every panic handler.
pub fn panicked(name: &str, info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Console::new(COM1), "[{name}] {info}");
    arch::stop(101)
}
