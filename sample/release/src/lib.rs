// SPDX-License-Identifier: MIT

//! The version of this tree, from git.

#![no_std]

mod git_version;

pub use git_version::GIT_VERSION;

/// The version for people: git's, else the package's.
pub const fn version() -> &'static str {
    if GIT_VERSION.is_empty() { env!("CARGO_PKG_VERSION") } else { GIT_VERSION }
}
