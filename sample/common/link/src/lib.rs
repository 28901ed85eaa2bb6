// SPDX-License-Identifier: MIT

//! Linker arguments for the freestanding binaries, to be called from their build scripts.

use std::env;
use std::path::Path;

/// Link the binary `bin` of the calling package with the linker script `script`, a path relative to that package.
///
/// On the bare-metal target the linker gets its arguments directly from rustc. On a hosted target, the fall-back if the
/// bare-metal one isn't installed, a C compiler calls the linker: it must add neither start files nor PIE.
pub fn use_script(bin: &str, script: &str) {
    let package = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let path = Path::new(&package).join(script);
    let path = path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()));

    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={script}");

    let mut args = vec![format!("-T{}", path.display())];
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        args.extend(["--build-id=none", "-zmax-page-size=4096", "-znorelro"].map(String::from));
    } else {
        // There are no shared libraries, so there must be no dynamic linker. `-static` would be clearer, but rustc
        // names shared libraries for the test executables, see kernel/src/main.rs. Their presence must not make a linker
        // leave our own functions to a dynamic linker either.
        let linker = "-Wl,--no-dynamic-linker,--exclude-libs=ALL,--build-id=none,-z,max-page-size=4096,-z,norelro";
        args.extend(["-nostartfiles", "-no-pie", linker].map(String::from));
    }
    for arg in args {
        println!("cargo:rustc-link-arg-bin={bin}={arg}");
    }
}
