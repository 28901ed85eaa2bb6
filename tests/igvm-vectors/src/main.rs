// SPDX-License-Identifier: MIT

//! igvm-vectors: writes random IGVM files, and tells what igvmmeasure makes of files.

#[path = "../../../sample/tools/igvmmeasure/src/digest.rs"]
mod digest;
mod random;
mod second;

use digest::Options;
use igvm::{IgvmDirectiveHeader, IgvmFile};
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: igvm-vectors generate SEED COUNT DIR   write COUNT files, and a line on each
       igvm-vectors measure                   a line on each file that is named on standard input

A line is a name and the answers for each (check_kvm, native_zero, check_id_block), from 000, 001, 010 to 111: a launch digest, 'refused',
or 'endless' where it would count the pages of a parameter area of more than 1 GiB. After them, PLATFORM-WAY=ANSWER for each second opinion,
which is 'endless' for more than 1 GiB of pages without content, and 'long' for a time that is not worth it.";

/// As igvmmeasure's main.rs reads a file.
fn read(bytes: &[u8]) -> Result<IgvmFile, String> {
    let word = |at: usize| bytes.get(at..at + 4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    if word(0) != Some(u32::from_le_bytes(*b"IGVM")) || word(16).map(|size| size as usize) != Some(bytes.len()) {
        return Err("not an IGVM file of this length".into());
    }
    let file = IgvmFile::new_from_binary(bytes, None).map_err(|error| error.to_string())?;
    // Our crate has feature corim, and igvmmeasure's does not.
    let (mut at, end) = (word(8).unwrap() as usize, (word(8).unwrap() + word(12).unwrap()) as usize);
    while at < end {
        let (header, length) = (word(at).unwrap(), word(at + 4).unwrap());
        if let 0x104 | 0x105 = header {
            return Err("a CoRIM header".into());
        }
        at += 8 + length.next_multiple_of(8) as usize;
    }
    Ok(file)
}

/// Whether igvmmeasure would take very long, page by page.
fn endless(directive: &IgvmDirectiveHeader) -> bool {
    matches!(directive, IgvmDirectiveHeader::ParameterArea { number_of_bytes, .. } if *number_of_bytes > 1 << 30)
}

/// igvmmeasure's answers; it ends with a panic for some files, which is a refusal too.
fn answers(file: Option<&IgvmFile>) -> Vec<String> {
    (0..8)
        .map(|mode| {
            let options =
                Options { check_kvm: mode & 4 != 0, native_zero: mode & 2 != 0, check_id_block: mode & 1 != 0 };
            let Some(file) = file else { return "refused".into() };
            if file.directives().iter().any(endless) {
                return "endless".into();
            }
            match catch_unwind(AssertUnwindSafe(|| digest::measure(file, &options))) {
                Ok(Ok(digest)) => digest.iter().map(|byte| format!("{byte:02x}")).collect(),
                _ => "refused".into(),
            }
        })
        .collect()
}

fn tell(name: &str, bytes: &[u8]) {
    let file = catch_unwind(AssertUnwindSafe(|| read(bytes))).ok().and_then(Result::ok);
    let words = [answers(file.as_ref()), second::opinions(file.as_ref())].concat();
    writeln!(std::io::stdout(), "{name} {}", words.join(" ")).unwrap();
}

fn main() -> ExitCode {
    // A backtrace for each file on which a crate panics takes most of the time.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["generate", seed, count, folder] => {
            let (seed, count): (u64, u64) = (seed.parse().unwrap(), count.parse().unwrap());
            for index in 0..count {
                let bytes = random::file(seed.wrapping_mul(1_000_003).wrapping_add(index));
                let name = format!("{seed}-{index}.igvm");
                std::fs::write(Path::new(folder).join(&name), &bytes).unwrap();
                tell(&name, &bytes);
            }
        }
        ["measure"] => {
            for name in std::io::stdin().lock().lines() {
                let name = name.unwrap();
                tell(&name, &std::fs::read(&name).unwrap());
            }
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
