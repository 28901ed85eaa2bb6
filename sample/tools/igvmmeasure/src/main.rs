// SPDX-License-Identifier: MIT

//! igvmmeasure: prints the launch digest that SEV-SNP firmware will report for an IGVM file.

mod digest;

use digest::Options;
use igvm::IgvmFile;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: igvmmeasure [--check-kvm] [--native-zero] FILE measure [--bare] [--ignore-idblock]

  --check-kvm       make sure that KVM will measure the file's VMSA as it stands
  --native-zero     count pages without data as the platform's zero pages, not as pages full of zeroes
  --bare            print nothing but the digest
  --ignore-idblock  don't compare the digest with the one in the file's ID block";

struct Arguments {
    options: Options,
    bare: bool,
    file: PathBuf,
}

fn parse(args: impl Iterator<Item = std::ffi::OsString>) -> Result<Option<Arguments>, String> {
    let mut options = Options::default();
    let (mut bare, mut ignore_id_block, mut file, mut measure) = (false, false, None, false);
    for arg in args {
        match arg.to_str() {
            Some("-h" | "--help") => return Ok(None),
            Some("--check-kvm") => options.check_kvm = true,
            Some("--native-zero") => options.native_zero = true,
            Some("--bare") => bare = true,
            Some("--ignore-idblock") => ignore_id_block = true,
            Some(text) if text.starts_with('-') => return Err(format!("unexpected option: {text}")),
            Some("measure") if file.is_some() && !measure => measure = true,
            _ if file.is_none() => file = Some(PathBuf::from(arg)),
            _ => return Err(format!("unexpected argument: {}", arg.display())),
        }
    }
    options.check_id_block = !ignore_id_block;
    let file = file.ok_or("the file is missing")?;
    if !measure {
        return Err("the command is missing".into());
    }
    Ok(Some(Arguments { options, bare, file }))
}

/// Parse the file. The library trusts lengths, so check those of the whole file first.
fn read(bytes: &[u8]) -> Result<IgvmFile, String> {
    let word = |at: usize| bytes.get(at..at + 4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    if word(0) != Some(u32::from_le_bytes(*b"IGVM")) {
        return Err("not an IGVM file".into());
    }
    if word(16).map(|size| size as usize) != Some(bytes.len()) {
        return Err("the file doesn't have the length that its header names".into());
    }
    IgvmFile::new_from_binary(bytes, None).map_err(|error| error.to_string())
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let name = arguments.file.display();
    let bytes = std::fs::read(&arguments.file).map_err(|error| format!("{name}: {error}"))?;
    let file = read(&bytes).map_err(|error| format!("{name}: {error}"))?;
    let digest = digest::measure(&file, &arguments.options).map_err(|error| format!("{name}: {error}"))?;
    let digest: String = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    if arguments.bare {
        println!("{digest}");
    } else {
        let line = format!("Launch Digest: {digest}");
        let frame = "=".repeat(line.len());
        println!("{frame}\nigvmmeasure '{name}'\n{line}\n{frame}");
    }
    Ok(())
}

fn main() -> ExitCode {
    match parse(std::env::args_os().skip(1)) {
        Ok(None) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Some(arguments)) => match run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                eprintln!("igvmmeasure: {message}");
                ExitCode::FAILURE
            }
        },
        Err(message) => {
            eprintln!("igvmmeasure: {message}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}
