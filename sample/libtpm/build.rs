// SPDX-License-Identifier: MIT

//! Builds the C code as carelessly as SVSM's own script: with two makefiles that ignore the compiler from their
//! environment, one of which works in the source folder, and with Rust source that is generated beside the
//! handwritten source on each run.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn make(folder: &Path, makefile: &Path) {
    let source = makefile.parent().expect("a makefile is in a folder");
    let mut make = Command::new("make");
    make.arg("-C").arg(folder).arg("-f").arg(makefile).env("SOURCE", source);
    let status = make.status().expect("make is needed");
    assert!(status.success(), "make ended with {status}");
}

fn main() {
    let package = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let package = Path::new(&package);
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    make(&package.join("fnv"), &package.join("fnv/Makefile"));
    make(Path::new(&out), &package.join("c/Makefile"));

    let header = fs::read_to_string(package.join("c/tpm.h")).expect("c/tpm.h is there");
    let constants = header.lines().filter_map(|line| line.strip_prefix("#define TPM_")?.split_once(' '));
    let text: String = constants.map(|(name, value)| format!("pub const {name}: u32 = {value};\n")).collect();
    fs::write(package.join("src/constants.rs"), text).expect("src can be written");

    println!("cargo:rustc-link-search={}", package.join("fnv").display());
    println!("cargo:rustc-link-search={out}");
    println!("cargo:rustc-link-lib=static=tpm");
    println!("cargo:rustc-link-lib=static=fnv");
    // The objects in there are newer than the run that made them.
    println!("cargo:rerun-if-changed=fnv");
    println!("cargo:rerun-if-changed=c");
}
