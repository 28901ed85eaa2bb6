// SPDX-License-Identifier: MIT

//! A heap that only grows: enough for a kernel that frees nothing.

use core::sync::atomic::{AtomicUsize, Ordering};

const SIZE: usize = 256 * 1024;

static USED: AtomicUsize = AtomicUsize::new(0);

/// Set aside `size` bytes, return their offset in the heap; None when there is no room.
#[cfg_attr(not(any(test, feature = "uefivars")), allow(dead_code))]
pub fn reserve(size: usize) -> Option<usize> {
    let rounded = size.checked_next_multiple_of(16)?;
    let take = |used: usize| used.checked_add(rounded).filter(|end| *end <= SIZE);
    USED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()
}

pub fn free() -> usize {
    SIZE - USED.load(Ordering::Relaxed)
}
