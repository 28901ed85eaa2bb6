// SPDX-License-Identifier: MIT

//! Writes src/git_version.rs as carelessly as SVSM's own script: on each run it truncates and writes the file, even
//! with the same text, and does not tell cargo what it depends on, so cargo runs it on every call.

use std::fs::File;
use std::io::Write;
use std::process::Command;

/// Git's output without the line end; None if git isn't installed, or knows nothing about this folder.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim_end().to_string())
}

fn main() -> std::io::Result<()> {
    let version = git(&["describe", "--always", "--dirty=+"]).unwrap_or_default();
    let version = version.strip_prefix('v').unwrap_or(&version);
    let mut file = File::create("src/git_version.rs")?;
    // As in SVSM's own tree, coconut-tasks begins this file with other words, so the first build changes it.
    writeln!(file, "// Written by release/build.rs whenever cargo runs it\n//\n")?;
    writeln!(file, "pub const GIT_VERSION: &str = {version:?};")
}
