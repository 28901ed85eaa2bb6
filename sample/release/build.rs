// SPDX-License-Identifier: MIT

//! Writes src/git_version.rs, as carelessly as SVSM's own script does: at each run, cut off and then written, with the
//! same text or not, and without a word to cargo about what it depends on. So cargo runs it at every call.

use std::fs::File;
use std::io::Write;
use std::process::Command;

/// Git's output without the line end; None when git isn't there, or when it has nothing to say about this folder.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim_end().to_string())
}

fn main() -> std::io::Result<()> {
    let version = git(&["describe", "--always", "--dirty=+"]).unwrap_or_default();
    let version = version.strip_prefix('v').unwrap_or(&version);
    let mut file = File::create("src/git_version.rs")?;
    writeln!(file, "// Generated from `git describe` by the build; changes here are overwritten.\n//\n")?;
    writeln!(file, "pub const GIT_VERSION: &str = {version:?};")
}
