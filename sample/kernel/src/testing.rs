// SPDX-License-Identifier: MIT

//! The kernel's own test runner: cargo's harness needs an operating system, and custom harnesses need nightly.

use crate::{arch, boot, heap, println};
use svsm_common::elf::Elf;
use svsm_common::layout::{BootParams, Region};

struct Test {
    name: &'static str,
    run: fn() -> bool,
}

const TESTS: &[Test] = &[
    Test { name: "params_round_trip", run: params_round_trip },
    Test { name: "params_need_magic", run: params_need_magic },
    Test { name: "elf_refuses_text", run: elf_refuses_text },
    Test { name: "archive_is_walked", run: archive_is_walked },
    Test { name: "heap_has_an_end", run: heap_has_an_end },
    #[cfg(feature = "vtpm")]
    Test { name: "vtpm_extends", run: vtpm_extends },
    #[cfg(feature = "enable-gdb")]
    Test { name: "gdb_checksum", run: gdb_checksum },
];

pub fn run() -> ! {
    let mut failed = 0;
    for test in TESTS {
        let passed = (test.run)();
        println!("test {} ... {}", test.name, if passed { "ok" } else { "FAILED" });
        failed += u8::from(!passed);
    }
    println!("{} tests, {failed} failed", TESTS.len());
    arch::stop(u8::from(failed != 0))
}

fn params_round_trip() -> bool {
    let params = BootParams {
        hypervisor: 2,
        console_port: 0x3e8,
        vtom: 1 << 46,
        kernel: Region { gpa: 0x100_0000, size: 0x1_2345 },
        filesystem: Region { gpa: 0x102_0000, size: 99 },
        firmware: Region::default(),
    };
    BootParams::from_bytes(&params.to_bytes()) == Some(params)
}

fn params_need_magic() -> bool {
    BootParams::from_bytes(&[0; BootParams::BYTES]).is_none()
}

fn elf_refuses_text() -> bool {
    Elf::parse(b"#!/bin/sh\n").is_none()
}

fn archive_is_walked() -> bool {
    let image = b"SVSMPACK\x01\0\0\0\x01\0\0\0\x04\0\0\0\x03\0\0\0\0\0\0\0initabc";
    let mut seen = 0;
    boot::walk(image, |path, size| seen += usize::from(path == "init" && size == 3));
    seen == 1
}

fn heap_has_an_end() -> bool {
    let before = heap::free();
    heap::reserve(24).is_some() && heap::free() == before - 32 && heap::reserve(before).is_none()
}

#[cfg(feature = "vtpm")]
fn vtpm_extends() -> bool {
    crate::vtpm::Vtpm::new().extend(b"a") == 0xe40c_292c
}

#[cfg(feature = "enable-gdb")]
fn gdb_checksum() -> bool {
    crate::gdb::checksum("OK") == 0x9a
}
