// SPDX-License-Identifier: MIT

//! The guest physical memory at launch, as igvmbuilder writes it and as the loaders find it.
//!
//! | address      | what                                                     |
//! |--------------|----------------------------------------------------------|
//! | 0x0080_0000  | [`BootParams`], measured                                 |
//! | 0x0080_1000  | memory map, a parameter area that the host fills         |
//! | 0x0080_2000  | SNP secrets page                                         |
//! | 0x0080_3000  | SNP CPUID page                                           |
//! | 0x0080_4000  | mailbox, unmeasured                                      |
//! | 0x0080_5000  | page tables of the loader, six zero pages                |
//! | 0x0080_b000  | stack of the loader, four zero pages                     |
//! | 0x0080_f000  | VMSA of hypervisors that want it in ordinary memory      |
//! | 0x0081_0000  | loader, a flat image (stage2 or bldr)                    |
//! | 0x0100_0000  | kernel file as it is, then the file-system image         |
//! | 0x0400_0000  | where the loader puts the kernel's segments              |
//! | below 4 GiB  | firmware, its end at 0xffe0_0000; stage1, its end at 4 GiB |

#![no_std]

pub const PAGE_SIZE: u64 = 4096;

pub const PARAMS_GPA: u64 = 0x0080_0000;
pub const MEMORY_MAP_GPA: u64 = 0x0080_1000;
pub const SECRETS_GPA: u64 = 0x0080_2000;
pub const CPUID_GPA: u64 = 0x0080_3000;
pub const MAILBOX_GPA: u64 = 0x0080_4000;
pub const PAGE_TABLES_GPA: u64 = 0x0080_5000;
pub const PAGE_TABLES_PAGES: u64 = 6;
pub const STACK_GPA: u64 = 0x0080_b000;
pub const STACK_PAGES: u64 = 4;
pub const LOW_VMSA_GPA: u64 = 0x0080_f000;
pub const LOADER_GPA: u64 = 0x0081_0000;
pub const LOADER_END: u64 = 0x0100_0000;
pub const KERNEL_GPA: u64 = 0x0100_0000;
pub const KERNEL_END: u64 = 0x0400_0000;
pub const KERNEL_LOAD_GPA: u64 = 0x0400_0000;
pub const KERNEL_LOAD_END: u64 = 0x0800_0000;
pub const FIRMWARE_END: u64 = 0xffe0_0000;
pub const STAGE1_END: u64 = 0x1_0000_0000;

/// A part of the image in guest memory; size 0 when the image has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    pub gpa: u64,
    pub size: u64,
}

/// Parameters from the image's builder for the loader. One page, little endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootParams {
    /// 1 QEMU, 2 Hyper-V, 3 Vanadium.
    pub hypervisor: u32,
    /// I/O address of the console's serial port.
    pub console_port: u32,
    /// Top of private memory on SNP; 0 when it is not in use.
    pub vtom: u64,
    pub kernel: Region,
    pub filesystem: Region,
    pub firmware: Region,
}

impl BootParams {
    pub const MAGIC: [u8; 8] = *b"SVSMBOOT";
    pub const BYTES: usize = 72;

    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&Self::MAGIC);
        bytes[8..12].copy_from_slice(&self.hypervisor.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.console_port.to_le_bytes());
        let words = [
            self.vtom,
            self.kernel.gpa,
            self.kernel.size,
            self.filesystem.gpa,
            self.filesystem.size,
            self.firmware.gpa,
            self.firmware.size,
        ];
        for (slot, word) in bytes[16..].chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// None if the bytes are not a parameter page.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.get(..Self::BYTES)?.try_into().ok()?;
        if bytes[..8] != Self::MAGIC {
            return None;
        }
        let half = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let word = |at: usize| u64::from(half(at)) | u64::from(half(at + 4)) << 32;
        let region = |at: usize| Region { gpa: word(at), size: word(at + 8) };
        Some(Self {
            hypervisor: half(8),
            console_port: half(12),
            vtom: word(16),
            kernel: region(24),
            filesystem: region(40),
            firmware: region(56),
        })
    }
}
