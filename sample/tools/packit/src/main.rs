// SPDX-License-Identifier: MIT

//! packit: makes and lists file-system images.

mod host;

use packit::Archive;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: packit pack --input DIR --output FILE
       packit list --input FILE";

struct Failure {
    status: u8,
    message: String,
}

fn usage(message: impl Into<String>) -> Failure {
    Failure { status: 2, message: format!("{}\n{USAGE}", message.into()) }
}

fn failed(message: impl ToString) -> Failure {
    Failure { status: 1, message: message.to_string() }
}

fn run() -> Result<(), Failure> {
    let (mut command, mut input, mut output) = (None, None, None);
    let mut args = std::env::args_os().skip(1);
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy().into_owned();
        match text.as_str() {
            "-h" | "--help" => {
                println!("{USAGE}");
                return Ok(());
            }
            "--input" | "--output" => {
                let value = args.next().map(PathBuf::from).ok_or_else(|| usage(format!("{text} needs a value")))?;
                *if text == "--input" { &mut input } else { &mut output } = Some(value);
            }
            "pack" | "list" if command.is_none() => command = Some(text),
            _ => return Err(usage(format!("unexpected argument: {text}"))),
        }
    }
    let input = input.ok_or_else(|| usage("--input is missing"))?;
    match command.as_deref() {
        Some("pack") => {
            let output = output.ok_or_else(|| usage("--output is missing"))?;
            let image = host::collect(&input).and_then(|files| host::pack(&files)).map_err(failed)?;
            std::fs::write(&output, image).map_err(|error| failed(format!("{}: {error}", output.display())))
        }
        Some(_) => {
            let image = std::fs::read(&input).map_err(|error| failed(format!("{}: {error}", input.display())))?;
            let broken = |error| failed(format!("{}: broken archive: {error:?}", input.display()));
            for entry in Archive::open(&image).map_err(broken)? {
                let entry = entry.map_err(broken)?;
                println!("{:>10} {}", entry.data.len(), entry.path);
            }
            Ok(())
        }
        None => Err(usage("a command is missing")),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("packit: {}", failure.message);
            ExitCode::from(failure.status)
        }
    }
}
