// SPDX-License-Identifier: MIT

//! The command line: options in any order, `--name value` or `--name=value`.

use crate::image::{Hypervisor, Options, Platform};
use std::ffi::OsString;
use std::path::PathBuf;

pub const USAGE: &str = "\
usage: igvmbuilder [OPTIONS] --output OUT --kernel FILE PLATFORMS qemu|hyper-v|vanadium

  --output OUT        the IGVM file to write
  --policy POLICY     SEV-SNP guest policy, a hex number; with --snp only
  --kernel FILE       the kernel
  --stage2 FILE       the loader, by its old name
  --bldr FILE         the loader
  --tdx-stage1 FILE   the first stage on TDX
  --firmware FILE     guest firmware
  --filesystem FILE   file-system image
  --comport N         serial port of the console, 1 to 4 (default: 1)
  --no-vtom           don't use the top of memory that separates private from shared pages
  --sort              sort pages by address
  --verbose           print what goes into the file
  platforms, one or more: --native --snp --tdp --vsm";

#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    pub options: Options,
    pub verbose: bool,
    pub output: PathBuf,
    pub kernel: PathBuf,
    pub loader: Option<PathBuf>,
    pub tdx_stage1: Option<PathBuf>,
    pub firmware: Option<PathBuf>,
    pub filesystem: Option<PathBuf>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    Build(Box<Arguments>),
}

/// Put `value` into a slot that must be empty.
fn once<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<(), String> {
    if slot.replace(value).is_some() { Err(format!("{name} is there twice")) } else { Ok(()) }
}

fn policy(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let value = plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten();
    value.ok_or_else(|| format!("--policy: not a hex number of 64 bits: {text}"))
}

fn port(text: &str) -> Result<u16, String> {
    match text {
        "1" => Ok(0x3f8),
        "2" => Ok(0x2f8),
        "3" => Ok(0x3e8),
        "4" => Ok(0x2e8),
        _ => Err(format!("--comport: not a number from 1 to 4: {text}")),
    }
}

pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut args = args;
    let (mut output, mut kernel, mut loader, mut tdx_stage1) = (None, None, None, None);
    let (mut firmware, mut filesystem, mut snp_policy, mut console_port) = (None, None, None, None);
    let (mut hypervisor, mut sort, mut verbose, mut no_vtom) = (None, false, false, false);
    let mut platforms = Vec::new();

    while let Some(arg) = args.next() {
        let text = arg.to_str().ok_or_else(|| format!("unexpected argument: {}", arg.display()))?;
        let (name, mut inline) = match text.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
            _ => (text, None),
        };
        let mut value = || inline.take().or_else(|| args.next()).ok_or_else(|| format!("{name} needs a value"));
        let as_text = |value: OsString| value.into_string().map_err(|value| format!("{name}: {}", value.display()));
        match name {
            "--output" => once(&mut output, PathBuf::from(value()?), name)?,
            "--kernel" => once(&mut kernel, PathBuf::from(value()?), name)?,
            "--stage2" | "--bldr" => once(&mut loader, PathBuf::from(value()?), "the loader")?,
            "--tdx-stage1" => once(&mut tdx_stage1, PathBuf::from(value()?), name)?,
            "--firmware" => once(&mut firmware, PathBuf::from(value()?), name)?,
            "--filesystem" => once(&mut filesystem, PathBuf::from(value()?), name)?,
            "--policy" => once(&mut snp_policy, policy(&as_text(value()?)?)?, name)?,
            "--comport" => once(&mut console_port, port(&as_text(value()?)?)?, name)?,
            "--native" => platforms.push(Platform::Native),
            "--snp" => platforms.push(Platform::Snp),
            "--tdp" => platforms.push(Platform::Tdp),
            "--vsm" => platforms.push(Platform::Vsm),
            "--sort" => sort = true,
            "--verbose" => verbose = true,
            "--no-vtom" => no_vtom = true,
            "-h" | "--help" => return Ok(Command::Help),
            "qemu" => once(&mut hypervisor, Hypervisor::Qemu, "the target")?,
            "hyper-v" => once(&mut hypervisor, Hypervisor::HyperV, "the target")?,
            "vanadium" => once(&mut hypervisor, Hypervisor::Vanadium, "the target")?,
            _ => return Err(format!("unexpected argument: {text}")),
        }
        if inline.is_some() {
            return Err(format!("{name} takes no value"));
        }
    }

    // The order on the command line does not matter.
    platforms.sort();
    platforms.dedup();
    if platforms.is_empty() {
        return Err("no platform is chosen".into());
    }
    if snp_policy.is_some() && !platforms.contains(&Platform::Snp) {
        return Err("--policy is SEV-SNP's, and --snp is not there".into());
    }
    Ok(Command::Build(Box::new(Arguments {
        options: Options {
            hypervisor: hypervisor.ok_or("the target is missing")?,
            platforms,
            policy: snp_policy,
            console_port: console_port.unwrap_or(0x3f8),
            no_vtom,
            sort,
        },
        verbose,
        output: output.ok_or("--output is missing")?,
        kernel: kernel.ok_or("--kernel is missing")?,
        loader,
        tdx_stage1,
        firmware,
        filesystem,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(line: &str) -> Result<Arguments, String> {
        match parse(line.split_whitespace().map(OsString::from))? {
            Command::Build(arguments) => Ok(*arguments),
            Command::Help => Err("help".into()),
        }
    }

    #[test]
    fn the_order_means_nothing() {
        let one =
            build("--sort --output o --policy 0x30000 --bldr b --kernel k --comport 3 --snp --vsm hyper-v").unwrap();
        let other =
            build("hyper-v --vsm --snp --kernel=k --comport=3 --bldr=b --policy=30000 --output=o --sort").unwrap();
        assert_eq!(one, other);
        assert_eq!(one.options.console_port, 0x3e8);
        assert_eq!(one.options.policy, Some(0x30000));
    }

    #[test]
    fn a_policy_goes_with_snp_only() {
        assert_eq!(build("--output o --kernel k --native qemu").unwrap().options.policy, None);
        assert_eq!(build("--output o --kernel k --snp qemu").unwrap().options.policy, None);
    }

    #[test]
    fn mistakes_are_refused() {
        for (line, message) in [
            ("--output o --policy 30000 --kernel k --snp", "target"),
            ("--output o --policy 30000 --kernel k qemu", "platform"),
            ("--output o --policy 30000 --kernel k --native --tdp qemu", "--policy"),
            ("--output o --policy +3 --kernel k --snp qemu", "hex"),
            ("--output o --policy 30000 --kernel k --snp --comport 5 qemu", "--comport"),
            ("--output o --policy 30000 --kernel k --stage2 a --bldr b --snp qemu", "twice"),
            ("--output o --policy 30000 --kernel k --snp qemu xen", "xen"),
            ("--output o --policy 30000 --kernel k --snp=yes qemu", "no value"),
            ("--output o --policy 30000 --snp qemu --kernel", "--kernel"),
        ] {
            let error = build(line).unwrap_err();
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
