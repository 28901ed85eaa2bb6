// SPDX-License-Identifier: MIT

//! A stand-in for the store of UEFI variables.

use crate::heap;

const SIZE: usize = 64 * 1024;

pub struct Store {
    free: usize,
}

impl Store {
    pub fn new() -> Self {
        Self { free: heap::reserve(SIZE).map_or(0, |_| SIZE) }
    }

    pub fn free(&self) -> usize {
        self.free
    }
}
