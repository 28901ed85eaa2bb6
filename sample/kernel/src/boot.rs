// SPDX-License-Identifier: MIT

//! The contents of the launch image.

use packit::Archive;
use svsm_common::console::COM1;
use svsm_common::layout::BootParams;
use svsm_common::loader;

pub struct Boot {
    params: Option<BootParams>,
}

impl Boot {
    pub fn read() -> Self {
        Self { params: loader::boot_params() }
    }

    pub fn console_port(&self) -> u16 {
        self.params.and_then(|params| params.console_port.try_into().ok()).unwrap_or(COM1)
    }

    pub fn hypervisor(&self) -> &'static str {
        match self.params.map(|params| params.hypervisor) {
            Some(1) => "QEMU",
            Some(2) => "Hyper-V",
            Some(3) => "Vanadium",
            _ => "unknown",
        }
    }

    /// Call `each` with the path and the size of every file in the file-system image.
    pub fn for_each_module(&self, each: impl FnMut(&str, usize)) {
        let Some(region) = self.params.map(|params| params.filesystem).filter(|region| region.size != 0) else {
            return;
        };
        // SAFETY: the loader has checked nothing, but the parameter page is measured, and nobody writes to the image.
        let image = unsafe { core::slice::from_raw_parts(region.gpa as *const u8, region.size as usize) };
        walk(image, each);
    }
}

/// The same for a given image; it ends at the first broken entry.
pub fn walk(image: &[u8], mut each: impl FnMut(&str, usize)) {
    for entry in Archive::open(image).into_iter().flatten() {
        let Ok(entry) = entry else { return };
        each(entry.path, entry.data.len());
    }
}
