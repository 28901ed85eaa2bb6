// SPDX-License-Identifier: MIT

//! igvmbuilder: puts the parts of an SVSM into one IGVM file.

mod args;
mod context;
mod image;

use args::{Arguments, Command};
use image::Parts;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

fn read(path: Option<&Path>) -> Result<Option<Vec<u8>>, String> {
    let Some(path) = path else { return Ok(None) };
    fs::read(path).map(Some).map_err(|error| format!("{}: {error}", path.display()))
}

/// Write beside the output and rename, so that the output is complete or missing.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    let result = fs::write(temporary, bytes).and_then(|()| fs::rename(temporary, path));
    result.map_err(|error| {
        let _ = fs::remove_file(temporary);
        format!("{}: {error}", path.display())
    })
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let parts = Parts {
        kernel: read(Some(&arguments.kernel))?.unwrap_or_default(),
        loader: read(arguments.loader.as_deref())?,
        stage1: read(arguments.tdx_stage1.as_deref())?,
        firmware: read(arguments.firmware.as_deref())?,
        filesystem: read(arguments.filesystem.as_deref())?,
    };
    let file = image::build(&arguments.options, &parts)?;
    if arguments.verbose {
        image::describe(&file).iter().for_each(|line| println!("{line}"));
    }
    let mut bytes = Vec::new();
    file.serialize(&mut bytes).map_err(|error| error.to_string())?;
    write(&arguments.output, &bytes)
}

fn main() -> ExitCode {
    match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => {
            println!("{}", args::USAGE);
            ExitCode::SUCCESS
        }
        Ok(Command::Build(arguments)) => match run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                eprintln!("igvmbuilder: {message}");
                ExitCode::FAILURE
            }
        },
        Err(message) => {
            eprintln!("igvmbuilder: {message}\n{}", args::USAGE);
            ExitCode::from(2)
        }
    }
}
