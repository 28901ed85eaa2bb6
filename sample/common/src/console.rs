// SPDX-License-Identifier: MIT

//! An output console on a serial port.

use core::fmt;

/// I/O address of the first serial port.
pub const COM1: u16 = 0x3f8;

pub struct Console {
    #[cfg_attr(not(target_os = "none"), allow(dead_code))]
    port: u16,
}

impl Console {
    pub const fn new(port: u16) -> Self {
        Self { port }
    }
}

#[cfg(target_os = "none")]
impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const STATUS: u16 = 5;
        const READY: u8 = 0x20;
        for byte in text.bytes() {
            // SAFETY: a serial port accepts writes at any time; we wait until it has taken the previous byte.
            unsafe {
                while crate::arch::inb(self.port + STATUS) & READY == 0 {
                    core::hint::spin_loop();
                }
                crate::arch::outb(self.port, byte);
            }
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let written: isize;
            // SAFETY: write(2) only reads the bytes that it is given.
            unsafe {
                core::arch::asm!(
                    "syscall",
                    inout("rax") 1_isize => written,
                    in("rdi") 1,
                    in("rsi") rest.as_ptr(),
                    in("rdx") rest.len(),
                    out("rcx") _,
                    out("r11") _,
                    options(nostack),
                );
            }
            let written = usize::try_from(written).map_err(|_| fmt::Error)?;
            rest = rest.get(written..).ok_or(fmt::Error)?;
        }
        Ok(())
    }
}
