// SPDX-License-Identifier: MIT

//! A stand-in for the virtual TPM: one register that can be extended.

pub struct Vtpm {
    register: u32,
}

impl Vtpm {
    pub const fn new() -> Self {
        Self { register: 0x811c_9dc5 }
    }

    /// Fold the event into the register (FNV-1a), return the new value.
    pub fn extend(&mut self, event: &[u8]) -> u32 {
        for byte in event {
            self.register = (self.register ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
        self.register
    }
}
