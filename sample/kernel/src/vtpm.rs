// SPDX-License-Identifier: MIT

//! A stand-in for the virtual TPM: one register that can be extended, by C code.

pub struct Vtpm {
    register: u32,
}

impl Vtpm {
    pub const fn new() -> Self {
        Self { register: libtpm::START }
    }

    /// Fold the event into the register (FNV-1a), return the new value.
    pub fn extend(&mut self, event: &[u8]) -> u32 {
        debug_assert!(libtpm::build().starts_with(b"TPM "));
        self.register = libtpm::extend(self.register, event);
        self.register
    }
}
