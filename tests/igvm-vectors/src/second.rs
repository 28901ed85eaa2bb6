// SPDX-License-Identifier: MIT

//! Second opinions on measurements: those of crate igvm, and for what no crate measures, code that is as simple as possible.

use hmac_sha512::sha384::Hash;
use igvm::measurement::{generate_snp_measurement, generate_tdx_measurement, generate_vbs_measurement};
use igvm::snp_defs::{SevSelector, SevVmsa};
use igvm::{IgvmDirectiveHeader, IgvmFile, IgvmPlatformHeader};
use igvm_defs::{IgvmPageDataType, IgvmPlatformType, PAGE_SIZE_4K};
use std::panic::{AssertUnwindSafe, catch_unwind};
use zerocopy::{FromZeros, IntoBytes};

const PAGE: usize = PAGE_SIZE_4K as usize;
/// Where KVM puts each VMSA.
const KVM_VMSA_GPA: u64 = 0xffff_ffff_f000;
/// Limit on pages without content, 1 GiB.
const MOST: u64 = 1 << 18;
/// As many pages as are worth the time.
const MANY: u64 = 1 << 13;
/// What the several processors of one file's guest are.
const PROCESSORS: u32 = 3;
const SIGNATURE: u32 = 0x00a0_0f11;

const NAMES: [&str; 13] = [
    "snp",
    "snp-qemu",
    "snp-kvm",
    "snp-kvm-qemu",
    "snp-debug-swap",
    "tdp",
    "tdp-plain",
    "tdp-two-pass",
    "tdp-qemu",
    "tdp-qemu-two-pass",
    "vsm",
    "vsm-checked",
    "vsm-qemu",
];

/// A word for each of `NAMES`: hex digits, 'refused', or why nothing was computed: 'endless' or 'long'.
pub fn opinions(file: Option<&IgvmFile>) -> Vec<String> {
    let tell = |name: &str| -> String {
        let kind = match &name[..3] {
            "snp" => IgvmPlatformType::SEV_SNP,
            "tdp" => IgvmPlatformType::TDX,
            _ => IgvmPlatformType::VSM_ISOLATION,
        };
        let Some((file, mask)) = file.and_then(|file| Some((file, mask_of(file, kind)?))) else {
            return "refused".into();
        };
        match bare_pages(file, mask, kind) {
            pages if pages > MOST => return "endless".into(),
            pages if pages > MANY => return "long".into(),
            _ => {}
        }
        match catch_unwind(AssertUnwindSafe(|| opinion(name, file, mask))) {
            Ok(Some(digest)) => digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            _ => "refused".into(),
        }
    };
    NAMES.iter().map(|name| format!("{name}={}", tell(name))).collect()
}

/// The boot digest, unless it takes long.
pub fn vsm(file: &IgvmFile) -> Option<Vec<u8>> {
    let mask = mask_of(file, IgvmPlatformType::VSM_ISOLATION)?;
    if bare_pages(file, mask, IgvmPlatformType::VSM_ISOLATION) > MANY {
        return None;
    }
    catch_unwind(AssertUnwindSafe(|| opinion("vsm", file, mask))).ok().flatten()
}

fn opinion(name: &str, file: &IgvmFile, mask: u32) -> Option<Vec<u8>> {
    let directives = file.directives();
    match name {
        "snp" => generate_snp_measurement(file.initializations(), directives, mask).ok().map(Vec::from),
        "snp-qemu" => snp(&in_runs(directives, mask, Loader::Qemu), directives, true, None),
        "snp-kvm" => {
            let first = only_vmsa(directives, mask)?;
            snp(&in_runs(directives, mask, Loader::Kvm), directives, false, Some(first))
        }
        "snp-kvm-qemu" => {
            let first = only_vmsa(directives, mask)?;
            snp(&in_runs(directives, mask, Loader::Qemu), directives, true, Some(first))
        }
        "snp-debug-swap" => {
            opinion("snp-qemu", file, mask)?;
            let mut vmsa = *only_vmsa(directives, mask)?;
            vmsa.sev_features = vmsa.sev_features.with_debug_swap(!vmsa.sev_features.debug_swap());
            Some(Hash::hash(vmsa.as_bytes()).to_vec())
        }
        "tdp" => generate_tdx_measurement(directives, mask).ok().map(Vec::from),
        "tdp-plain" => tdx(&in_runs(directives, mask, Loader::InOrder), directives, false),
        "tdp-two-pass" => tdx(&in_runs(directives, mask, Loader::InOrder), directives, true),
        "tdp-qemu" => tdx(&in_runs(directives, mask, Loader::Qemu), directives, false),
        "tdp-qemu-two-pass" => tdx(&in_runs(directives, mask, Loader::Qemu), directives, true),
        "vsm" => generate_vbs_measurement(directives, mask).ok().map(Vec::from),
        "vsm-qemu" => {
            let areas = directives.iter().filter(|one| matches!(one, IgvmDirectiveHeader::ParameterArea { .. }));
            let moved: Vec<_> =
                areas.chain(in_runs(directives, mask, Loader::Qemu).into_iter().flatten()).cloned().collect();
            generate_vbs_measurement(&moved, mask).ok().map(Vec::from)
        }
        _ => {
            let digest = opinion(name.strip_suffix("-checked")?, file, mask)?;
            let wanted = directives.iter().rev().find_map(|directive| match directive {
                IgvmDirectiveHeader::VbsMeasurement { compatibility_mask, boot_measurement_digest, .. } => {
                    (compatibility_mask & mask != 0).then_some(&boot_measurement_digest[..digest.len()])
                }
                _ => None,
            });
            wanted.is_none_or(|wanted| wanted == digest).then_some(digest)
        }
    }
}

fn mask_of(file: &IgvmFile, kind: IgvmPlatformType) -> Option<u32> {
    file.platforms().iter().find_map(|header| {
        let IgvmPlatformHeader::SupportedPlatform(platform) = header;
        (platform.platform_type == kind).then_some(platform.compatibility_mask)
    })
}

fn applies(directive: &IgvmDirectiveHeader, mask: u32) -> bool {
    directive.compatibility_mask().is_some_and(|theirs| theirs & mask != 0)
}

/// Bytes of a parameter area.
fn area_size(directives: &[IgvmDirectiveHeader], index: u32) -> u64 {
    let size = |directive: &IgvmDirectiveHeader| match directive {
        IgvmDirectiveHeader::ParameterArea { number_of_bytes, parameter_area_index, .. } => {
            (*parameter_area_index == index).then_some(*number_of_bytes)
        }
        _ => None,
    };
    directives.iter().find_map(size).unwrap_or_default()
}

/// How many pages without content the file asks for.
fn bare_pages(file: &IgvmFile, mask: u32, kind: IgvmPlatformType) -> u64 {
    let pages = |directive: &IgvmDirectiveHeader| match directive {
        IgvmDirectiveHeader::ParameterInsert(insert) => {
            area_size(file.directives(), insert.parameter_area_index) / PAGE_SIZE_4K
        }
        IgvmDirectiveHeader::ErrorRange { size_bytes, .. } if kind == IgvmPlatformType::VSM_ISOLATION => {
            u64::from(*size_bytes).div_ceil(PAGE_SIZE_4K)
        }
        _ => 0,
    };
    file.directives().iter().filter(|one| applies(one, mask)).map(pages).fold(0, u64::saturating_add)
}

/// What decides the order.
#[derive(Clone, Copy, PartialEq)]
enum Loader {
    /// As in the file.
    InOrder,
    /// VMSAs after all else.
    Kvm,
    /// That, and a run of pages only when another one begins.
    Qemu,
}

type Runs<'a> = Vec<Vec<&'a IgvmDirectiveHeader>>;

/// The platform's directives in the order in which a loader takes them, pages in runs, anything else alone.
///
/// A page belongs to the run before it if it is the next directive, at the next address, with the same mask, flags and type, and both or
/// neither have data.
fn in_runs(directives: &[IgvmDirectiveHeader], mask: u32, loader: Loader) -> Runs<'_> {
    use IgvmDirectiveHeader::{PageData, SnpVpContext};
    let (mut taken, mut run, mut last): (Runs, Vec<&IgvmDirectiveHeader>, Runs) = Default::default();
    let mut end_of_run = 0;
    for (index, directive) in directives.iter().enumerate().filter(|(_, directive)| applies(directive, mask)) {
        let page = matches!(directive, PageData { .. });
        let joins =
            page && index == end_of_run && run.last().is_some_and(|before| follow_each_other(before, directive));
        if !joins && (page || loader != Loader::Qemu) && !run.is_empty() {
            taken.push(std::mem::take(&mut run));
        }
        match directive {
            PageData { .. } => {
                run.push(directive);
                end_of_run = index + 1;
            }
            SnpVpContext { .. } if loader != Loader::InOrder => last.push(vec![directive]),
            _ => taken.push(vec![directive]),
        }
    }
    taken.extend([run].into_iter().filter(|run| !run.is_empty()));
    taken.extend(last);
    taken
}

fn follow_each_other(one: &IgvmDirectiveHeader, other: &IgvmDirectiveHeader) -> bool {
    let key = |page: &IgvmDirectiveHeader| match page {
        IgvmDirectiveHeader::PageData { gpa, compatibility_mask, flags, data_type, data } => {
            (u128::from(*gpa), (*compatibility_mask, u32::from(*flags), *data_type, data.is_empty()))
        }
        _ => unreachable!(),
    };
    let ((gpa, like), (other_gpa, other_like)) = (key(one), key(other));
    gpa + u128::from(PAGE_SIZE_4K) == other_gpa && like == other_like
}

fn only_vmsa(directives: &[IgvmDirectiveHeader], mask: u32) -> Option<&SevVmsa> {
    let vmsa = |directive: &'_ IgvmDirectiveHeader| matches!(directive, IgvmDirectiveHeader::SnpVpContext { .. });
    let mut found = directives.iter().filter(|directive| applies(directive, mask) && vmsa(directive));
    match (found.next(), found.next()) {
        (Some(IgvmDirectiveHeader::SnpVpContext { vmsa, .. }), None) => Some(vmsa),
        _ => None,
    }
}

/// The addresses of an inserted area; None beyond the end of memory.
fn inserted(directives: &[IgvmDirectiveHeader], index: u32, gpa: u64) -> Option<Vec<u64>> {
    (0..area_size(directives, index)).step_by(PAGE).map(|at| gpa.checked_add(at)).collect()
}

fn whole_page(data: &[u8]) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[..data.len()].copy_from_slice(data);
    page
}

/// MRTD; None for a page of 2 MiB.
fn tdx(runs: &Runs, directives: &[IgvmDirectiveHeader], two_pass: bool) -> Option<Vec<u8>> {
    let hash = std::cell::RefCell::new(Hash::new());
    let block = |what: &[u8], gpa: u64| {
        let mut block = [0; 128];
        block[..what.len()].copy_from_slice(what);
        block[16..24].copy_from_slice(&gpa.to_le_bytes());
        hash.borrow_mut().update(block);
    };
    let add = |gpa: u64| block(b"MEM.PAGE.ADD", gpa);
    let extend = |gpa: u64, data: &[u8]| {
        for (index, chunk) in whole_page(data).chunks(256).enumerate() {
            block(b"MR.EXTEND", gpa + 256 * index as u64);
            hash.borrow_mut().update(chunk);
        }
    };
    for run in runs {
        let mut later = Vec::new();
        for directive in run {
            match directive {
                IgvmDirectiveHeader::PageData { flags, .. } if flags.shared() => {}
                IgvmDirectiveHeader::PageData { flags, .. } if flags.is_2mb_page() => return None,
                IgvmDirectiveHeader::PageData { gpa, flags, data, .. } => {
                    add(*gpa);
                    if flags.unmeasured() {
                    } else if two_pass {
                        later.push((*gpa, data));
                    } else {
                        extend(*gpa, data);
                    }
                }
                IgvmDirectiveHeader::ParameterInsert(insert) => {
                    inserted(directives, insert.parameter_area_index, insert.gpa)?.into_iter().for_each(add);
                }
                _ => {}
            }
        }
        for (gpa, data) in later {
            extend(gpa, data);
        }
    }
    Some(hash.into_inner().finalize().to_vec())
}

/// SEV-SNP's launch digest, with VMSAs at KVM's address and those that KVM makes itself for more processors than the first; None for a page
/// of 2 MiB.
fn snp(runs: &Runs, directives: &[IgvmDirectiveHeader], native_zero: bool, first: Option<&SevVmsa>) -> Option<Vec<u8>> {
    let mut digest = [0; 48];
    let mut extend = |page_type: u8, gpa: u64, content: Option<&[u8]>| {
        let mut info = [0; 0x70];
        info[..48].copy_from_slice(&digest);
        if let Some(content) = content {
            info[48..96].copy_from_slice(&Hash::hash(whole_page(content)));
        }
        info[0x60] = 0x70;
        info[0x62] = page_type;
        info[0x68..].copy_from_slice(&gpa.to_le_bytes());
        digest = Hash::hash(info);
    };
    for directive in runs.iter().flatten() {
        match directive {
            IgvmDirectiveHeader::PageData { flags, .. } if flags.shared() => {}
            IgvmDirectiveHeader::PageData { flags, .. } if flags.is_2mb_page() => return None,
            IgvmDirectiveHeader::PageData { gpa, flags, data_type, data, .. } => match *data_type {
                IgvmPageDataType::SECRETS => extend(5, *gpa, None),
                IgvmPageDataType::CPUID_DATA | IgvmPageDataType::CPUID_XF => extend(6, *gpa, None),
                _ if flags.unmeasured() => extend(4, *gpa, None),
                _ if native_zero && data.is_empty() => extend(3, *gpa, None),
                _ => extend(1, *gpa, Some(data)),
            },
            IgvmDirectiveHeader::ParameterInsert(insert) => {
                for gpa in inserted(directives, insert.parameter_area_index, insert.gpa)? {
                    extend(4, gpa, None);
                }
            }
            IgvmDirectiveHeader::SnpVpContext { vmsa, .. } => extend(2, KVM_VMSA_GPA, Some(vmsa.as_bytes())),
            _ => {}
        }
    }
    if let Some(first) = first {
        let other = after_reset(first, SIGNATURE);
        for _ in 1..PROCESSORS {
            extend(2, KVM_VMSA_GPA, Some(other.as_bytes()));
        }
    }
    Some(digest.to_vec())
}

/// The state of a processor that KVM has just reset, with QEMU's values.
fn after_reset(first: &SevVmsa, signature: u32) -> Box<SevVmsa> {
    let mut vmsa = SevVmsa::new_box_zeroed().unwrap();
    let segment = |attrib: u16| SevSelector { selector: 0, attrib, limit: 0xffff, base: 0 };
    let data = segment(0x93); // present, read and write, accessed
    (vmsa.es, vmsa.ss, vmsa.ds, vmsa.fs, vmsa.gs) = (data, data, data, data, data);
    vmsa.cs = SevSelector { selector: 0xf000, base: 0xffff_0000, ..segment(0x9b) };
    (vmsa.gdtr, vmsa.idtr) = (segment(0), segment(0));
    (vmsa.ldtr, vmsa.tr) = (segment(0x82), segment(0x8b));
    vmsa.efer = 1 << 12; // SVME
    vmsa.cr0 = 1 << 4; // ET
    vmsa.cr4 = 1 << 6; // MCE
    vmsa.dr6 = 0xffff_0ff0;
    vmsa.dr7 = 0x400;
    vmsa.rflags = 2;
    vmsa.rip = 0xfff0;
    vmsa.rdx = signature.into();
    vmsa.pat = 0x0007_0406_0007_0406;
    vmsa.xcr0 = 1;
    vmsa.mxcsr = 0x1f80;
    vmsa.x87_fcw = 0x37f;
    vmsa.sev_features = first.sev_features;
    vmsa
}
