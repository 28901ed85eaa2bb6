// SPDX-License-Identifier: MIT

//! The IGVM file: which pages, where, for which platforms.

use crate::context;
use igvm::{Arch, IgvmDirectiveHeader, IgvmFile, IgvmInitializationHeader, IgvmPlatformHeader, IgvmRevision};
use igvm_defs::{
    IGVM_VHS_PARAMETER, IGVM_VHS_PARAMETER_INSERT, IGVM_VHS_SUPPORTED_PLATFORM, IgvmPageDataFlags, IgvmPageDataType,
    IgvmPlatformType,
};
use svsm_layout as layout;
use svsm_layout::{BootParams, PAGE_SIZE, Region};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hypervisor {
    Qemu = 1,
    HyperV = 2,
    Vanadium = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Platform {
    Native,
    Snp,
    Tdp,
    Vsm,
}

impl Platform {
    fn mask(self) -> u32 {
        1 << self as u32
    }

    fn header(self, vtom: u64) -> IgvmPlatformHeader {
        let (platform_type, highest_vtl, shared_gpa_boundary) = match self {
            Self::Native => (IgvmPlatformType::NATIVE, 0, 0),
            Self::Snp => (IgvmPlatformType::SEV_SNP, 2, vtom),
            Self::Tdp => (IgvmPlatformType::TDX, 2, vtom),
            Self::Vsm => (IgvmPlatformType::VSM_ISOLATION, 2, 0),
        };
        IgvmPlatformHeader::SupportedPlatform(IGVM_VHS_SUPPORTED_PLATFORM {
            compatibility_mask: self.mask(),
            highest_vtl,
            platform_type,
            platform_version: 1,
            shared_gpa_boundary,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub hypervisor: Hypervisor,
    /// Sorted, each at most once.
    pub platforms: Vec<Platform>,
    /// SEV-SNP's guest policy, if the file has one.
    pub policy: Option<u64>,
    /// I/O address.
    pub console_port: u16,
    pub no_vtom: bool,
    pub sort: bool,
}

impl Options {
    fn mask(&self) -> u32 {
        self.platforms.iter().fold(0, |mask, platform| mask | platform.mask())
    }

    /// Addresses above this one are shared with the host; 0 if unused.
    pub fn vtom(&self) -> u64 {
        if self.no_vtom { 0 } else { 1 << 46 }
    }
}

/// The contents of the input files.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    pub kernel: Vec<u8>,
    pub loader: Option<Vec<u8>>,
    pub stage1: Option<Vec<u8>>,
    pub firmware: Option<Vec<u8>>,
    pub filesystem: Option<Vec<u8>>,
}

fn whole_pages(size: usize) -> u64 {
    (size as u64).next_multiple_of(PAGE_SIZE)
}

/// The directives that put pages into guest memory.
struct Pages {
    mask: u32,
    directives: Vec<IgvmDirectiveHeader>,
}

impl Pages {
    fn add(&mut self, gpa: u64, mask: u32, unmeasured: bool, data_type: IgvmPageDataType, data: &[u8]) {
        let compatibility_mask = mask & self.mask;
        if compatibility_mask == 0 {
            return;
        }
        let flags = IgvmPageDataFlags::new().with_unmeasured(unmeasured);
        let data = data.to_vec();
        self.directives.push(IgvmDirectiveHeader::PageData { gpa, compatibility_mask, flags, data_type, data });
    }

    fn zeroes(&mut self, gpa: u64, count: u64) {
        for index in 0..count {
            self.add(gpa + index * PAGE_SIZE, self.mask, false, IgvmPageDataType::NORMAL, &[]);
        }
    }

    /// A file's contents from `gpa` on; they must end before `limit`.
    fn file(&mut self, what: &str, gpa: u64, limit: u64, mask: u32, data: &[u8]) -> Result<Region, String> {
        if whole_pages(data.len()) > limit.saturating_sub(gpa) {
            return Err(format!("{what} is too large: {} bytes, there is room for {}", data.len(), limit - gpa));
        }
        for (page, address) in data.chunks(PAGE_SIZE as usize).zip((gpa..).step_by(PAGE_SIZE as usize)) {
            self.add(address, mask, false, IgvmPageDataType::NORMAL, page);
        }
        Ok(Region { gpa, size: data.len() as u64 })
    }
}

pub fn build(options: &Options, parts: &Parts) -> Result<IgvmFile, String> {
    let all = options.mask();
    let snp = Platform::Snp.mask();
    let mut pages = Pages { mask: all, directives: Vec::new() };

    // The parts, from below.
    if let Some(loader) = &parts.loader {
        pages.file("the loader", layout::LOADER_GPA, layout::LOADER_END, all, loader)?;
    }
    if parts.kernel.is_empty() {
        return Err("the kernel is empty".into());
    }
    let kernel = pages.file("the kernel", layout::KERNEL_GPA, layout::KERNEL_END, all, &parts.kernel)?;
    let mut filesystem = Region::default();
    if let Some(data) = &parts.filesystem {
        let gpa = kernel.gpa + whole_pages(parts.kernel.len());
        filesystem = pages.file("the file-system image", gpa, layout::KERNEL_END, all, data)?;
    }
    let mut firmware = Region::default();
    if let Some(data) = &parts.firmware {
        let gpa = layout::FIRMWARE_END.saturating_sub(whole_pages(data.len())).max(layout::KERNEL_LOAD_END);
        firmware = pages.file("the firmware", gpa, layout::FIRMWARE_END, all, data)?;
    }
    if let Some(data) = &parts.stage1 {
        let gpa = layout::STAGE1_END.saturating_sub(whole_pages(data.len())).max(layout::FIRMWARE_END);
        pages.file("stage1", gpa, layout::STAGE1_END, Platform::Tdp.mask(), data)?;
    }

    // What the loader reads and writes.
    let params = BootParams {
        hypervisor: options.hypervisor as u32,
        console_port: options.console_port.into(),
        vtom: options.vtom(),
        kernel,
        filesystem,
        firmware,
    };
    pages.add(layout::PARAMS_GPA, all, false, IgvmPageDataType::NORMAL, &params.to_bytes());
    pages.add(layout::SECRETS_GPA, snp, false, IgvmPageDataType::SECRETS, &[]);
    pages.add(layout::CPUID_GPA, snp, false, IgvmPageDataType::CPUID_DATA, &[]);
    pages.add(layout::MAILBOX_GPA, all, true, IgvmPageDataType::NORMAL, &[]);
    pages.zeroes(layout::PAGE_TABLES_GPA, layout::PAGE_TABLES_PAGES);
    pages.zeroes(layout::STACK_GPA, layout::STACK_PAGES);
    pages.directives.push(IgvmDirectiveHeader::ParameterInsert(IGVM_VHS_PARAMETER_INSERT {
        gpa: layout::MEMORY_MAP_GPA,
        compatibility_mask: all,
        parameter_area_index: 0,
    }));
    if options.sort {
        pages.directives.sort_by_key(gpa);
    }

    // A parameter area must be known before it is used. The processors come last: KVM measures its VMSA at the end.
    let mut directives = vec![
        IgvmDirectiveHeader::ParameterArea {
            number_of_bytes: PAGE_SIZE,
            parameter_area_index: 0,
            initial_data: Vec::new(),
        },
        IgvmDirectiveHeader::MemoryMap(IGVM_VHS_PARAMETER { parameter_area_index: 0, byte_offset: 0 }),
    ];
    directives.append(&mut pages.directives);
    let chosen = |platform: &Platform| options.platforms.contains(platform);
    if chosen(&Platform::Native) {
        directives.push(context::native(Platform::Native.mask()));
    }
    if chosen(&Platform::Vsm) {
        directives.push(context::vsm(Platform::Vsm.mask()));
    }
    let mut initializations = Vec::new();
    if chosen(&Platform::Snp) {
        directives.push(context::snp(options, snp));
        if let Some(policy) = options.policy {
            initializations.push(IgvmInitializationHeader::GuestPolicy { policy, compatibility_mask: snp });
        }
    }

    // Version 1 of the format has no initial state for native guests.
    let revision = if chosen(&Platform::Native) {
        IgvmRevision::V2 { arch: Arch::X64, page_size: PAGE_SIZE as u32 }
    } else {
        IgvmRevision::V1
    };
    let platforms = options.platforms.iter().map(|platform| platform.header(options.vtom())).collect();
    IgvmFile::new(revision, platforms, initializations, directives).map_err(|error| error.to_string())
}

/// The address of a directive that has one.
fn gpa(directive: &IgvmDirectiveHeader) -> Option<u64> {
    match directive {
        IgvmDirectiveHeader::PageData { gpa, .. } | IgvmDirectiveHeader::SnpVpContext { gpa, .. } => Some(*gpa),
        IgvmDirectiveHeader::ParameterInsert(insert) => Some(insert.gpa),
        _ => None,
    }
}

/// One line for each header, in the file's order.
pub fn describe(file: &IgvmFile) -> Vec<String> {
    let mut lines = Vec::new();
    for IgvmPlatformHeader::SupportedPlatform(platform) in file.platforms() {
        lines.push(format!("platform {:?}, mask {:#x}", platform.platform_type, platform.compatibility_mask));
    }
    for initialization in file.initializations() {
        if let IgvmInitializationHeader::GuestPolicy { policy, compatibility_mask } = initialization {
            lines.push(format!("guest policy {policy:#x}, mask {compatibility_mask:#x}"));
        }
    }
    for directive in file.directives() {
        let what = match directive {
            IgvmDirectiveHeader::PageData { data_type, flags, data, .. } => match *data_type {
                IgvmPageDataType::SECRETS => "secrets page",
                IgvmPageDataType::CPUID_DATA => "CPUID page",
                _ if flags.unmeasured() => "unmeasured page",
                _ if data.is_empty() => "zero page",
                _ => "page",
            },
            IgvmDirectiveHeader::ParameterArea { .. } => "parameter area",
            IgvmDirectiveHeader::MemoryMap(_) => "memory map",
            IgvmDirectiveHeader::ParameterInsert(_) => "parameter insert",
            IgvmDirectiveHeader::SnpVpContext { .. } => "SNP processor",
            IgvmDirectiveHeader::X64VbsVpContext { .. } => "VSM processor",
            IgvmDirectiveHeader::X64NativeVpContext { .. } => "native processor",
            _ => "other",
        };
        let address = gpa(directive).map(|gpa| format!(" {gpa:#x}")).unwrap_or_default();
        let mask = directive.compatibility_mask().map(|mask| format!(", mask {mask:#x}")).unwrap_or_default();
        lines.push(format!("{what}{address}{mask}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Platform; 4] = [Platform::Native, Platform::Snp, Platform::Tdp, Platform::Vsm];

    fn options() -> Options {
        Options {
            hypervisor: Hypervisor::Qemu,
            platforms: ALL.to_vec(),
            policy: Some(0x30000),
            console_port: 0x3f8,
            no_vtom: false,
            sort: true,
        }
    }

    fn parts() -> Parts {
        Parts {
            kernel: vec![1; 10_000],
            loader: Some(vec![2; 5_000]),
            stage1: Some(vec![3; 4_096]),
            firmware: Some(vec![4; 9_000]),
            filesystem: Some(vec![5; 100]),
        }
    }

    fn bytes(options: &Options, parts: &Parts) -> Vec<u8> {
        let mut bytes = Vec::new();
        build(options, parts).unwrap().serialize(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_file_comes_back() {
        for hypervisor in [Hypervisor::Qemu, Hypervisor::HyperV, Hypervisor::Vanadium] {
            for platforms in ALL.iter().map(|one| vec![*one]).chain([ALL.to_vec(), ALL[1..].to_vec()]) {
                let options = Options { hypervisor, platforms, ..options() };
                let built = build(&options, &parts()).unwrap();
                let read = IgvmFile::new_from_binary(&bytes(&options, &parts()), None).unwrap();
                assert_eq!(built.platforms(), read.platforms());
                assert_eq!(built.initializations(), read.initializations());
                assert_eq!(describe(&built), describe(&read));
            }
        }
    }

    #[test]
    fn pages_are_sorted_and_the_vmsa_is_last() {
        let file = build(&options(), &parts()).unwrap();
        let addresses: Vec<_> = file.directives().iter().filter_map(gpa).collect();
        assert!(addresses.is_sorted());
        assert_eq!(addresses.last(), Some(&0xffff_ffff_f000));
        assert!(matches!(file.directives().last(), Some(IgvmDirectiveHeader::SnpVpContext { .. })));
        let unsorted = build(&Options { sort: false, ..options() }, &parts()).unwrap();
        assert!(!unsorted.directives().iter().filter_map(gpa).is_sorted());
    }

    #[test]
    fn no_page_is_there_twice() {
        let file = build(&Options { hypervisor: Hypervisor::HyperV, ..options() }, &parts()).unwrap();
        let mut addresses: Vec<_> = file.directives().iter().filter_map(gpa).collect();
        let count = addresses.len();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), count);
    }

    #[test]
    fn every_option_and_part_changes_the_bytes() {
        let mut seen = vec![bytes(&options(), &parts())];
        let change_options: [fn(&mut Options); 6] = [
            |options| options.hypervisor = Hypervisor::Vanadium,
            |options| options.platforms = vec![Platform::Snp],
            |options| options.policy = Some(0xb0000),
            |options| options.console_port = 0x3e8,
            |options| options.no_vtom = true,
            |options| options.sort = false,
        ];
        for change in change_options {
            let mut changed = options();
            change(&mut changed);
            seen.push(bytes(&changed, &parts()));
        }
        let change_parts: [fn(&mut Parts); 5] = [
            |parts| parts.kernel[9_999] = 0,
            |parts| parts.loader = None,
            |parts| parts.stage1 = None,
            |parts| parts.firmware = None,
            |parts| parts.filesystem = None,
        ];
        for change in change_parts {
            let mut changed = parts();
            change(&mut changed);
            seen.push(bytes(&options(), &changed));
        }
        assert_eq!(bytes(&options(), &parts()), seen[0]);
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn parts_must_fit() {
        let large = Parts { loader: Some(vec![0; 0x80_0000]), ..parts() };
        assert!(build(&options(), &large).unwrap_err().contains("the loader is too large"));
        assert!(build(&options(), &Parts::default()).unwrap_err().contains("kernel is empty"));
    }
}
