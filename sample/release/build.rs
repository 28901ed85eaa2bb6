// SPDX-License-Identifier: MIT

//! Writes src/git_version.rs.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

const FILE: &str = "src/git_version.rs";

/// Git's output without the line end; None when git isn't there, or when it has nothing to say about this folder.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim_end().to_string())
}

fn main() -> std::io::Result<()> {
    let version = git(&["describe", "--always", "--dirty=+"]).unwrap_or_default();
    let version = version.strip_prefix('v').unwrap_or(&version);
    let text = format!(
        "// Generated from `git describe` by the build; changes here are overwritten.\n\
         //\n\
         \n\
         pub const GIT_VERSION: &str = {version:?};\n"
    );
    if fs::read_to_string(FILE).ok().as_deref() != Some(&text) {
        fs::write(FILE, text)?;
        // Cargo compares the file's time with the start of this script. A file that the script itself wrote must not
        // look newer than that, or the next call would run everything once more.
        File::options().write(true).open(FILE)?.set_modified(SystemTime::now() - Duration::from_secs(2))?;
    }

    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={FILE}");
    // A path that doesn't exist would make cargo run this script at every call.
    for name in ["HEAD", "logs/HEAD", "packed-refs", "refs/tags"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    Ok(())
}
