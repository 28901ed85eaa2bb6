// SPDX-License-Identifier: MIT

//! The SEV-SNP launch digest: a chain of SHA-384 over one PAGE_INFO structure for each page that the hypervisor adds.

use igvm::{IgvmDirectiveHeader, IgvmFile, IgvmPlatformHeader};
use igvm_defs::{IgvmPageDataType, IgvmPlatformType, PAGE_SIZE_4K};
use hmac_sha512::sha384::Hash;
use std::collections::HashMap;
use zerocopy::IntoBytes;

pub type LaunchDigest = [u8; 48];

const PAGE_SIZE: usize = PAGE_SIZE_4K as usize;
/// Size of PAGE_INFO.
const PAGE_INFO_SIZE: usize = 0x70;
/// KVM puts every VMSA at this address, whatever the file says.
const KVM_VMSA_GPA: u64 = 0xffff_ffff_f000;
/// KVM starts a guest with one of these values: in real mode, in protected mode.
const KVM_CR0: [u64; 2] = [0x30, 0x31];

#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub check_kvm: bool,
    pub native_zero: bool,
    pub check_id_block: bool,
}

/// PAGE_TYPE of the SEV-SNP firmware interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum PageType {
    Normal = 1,
    Vmsa = 2,
    Zero = 3,
    Unmeasured = 4,
    Secrets = 5,
    Cpuid = 6,
}

fn sha384(bytes: &[u8]) -> LaunchDigest {
    Hash::hash(bytes)
}

/// The digest after another page. Only normal pages and VMSAs have contents, which are hashed as a whole page.
fn extend(current: &LaunchDigest, page_type: PageType, gpa: u64, contents: Option<&[u8]>) -> LaunchDigest {
    let mut info = [0; PAGE_INFO_SIZE];
    info[..48].copy_from_slice(current);
    if let Some(data) = contents {
        let mut page = [0; PAGE_SIZE];
        page[..data.len()].copy_from_slice(data);
        info[48..96].copy_from_slice(&sha384(&page));
    }
    info[96..98].copy_from_slice(&(PAGE_INFO_SIZE as u16).to_le_bytes());
    info[98] = page_type as u8;
    // Bytes 99 to 103: not part of a migration image, no permissions for lower privilege levels.
    info[104..].copy_from_slice(&gpa.to_le_bytes());
    sha384(&info)
}

/// The compatibility mask of the file's SEV-SNP platform.
fn snp_mask(file: &IgvmFile) -> Result<u32, String> {
    let mask = file.platforms().iter().find_map(|header| {
        let IgvmPlatformHeader::SupportedPlatform(platform) = header;
        (platform.platform_type == IgvmPlatformType::SEV_SNP).then_some(platform.compatibility_mask)
    });
    mask.ok_or_else(|| "the file doesn't support the SEV-SNP platform".into())
}

pub fn measure(file: &IgvmFile, options: &Options) -> Result<LaunchDigest, String> {
    let mask = snp_mask(file)?;
    let applies =
        |directive: &&IgvmDirectiveHeader| directive.compatibility_mask().is_none_or(|theirs| theirs & mask != 0);
    let directives: Vec<_> = file.directives().iter().filter(applies).collect();
    if options.check_kvm {
        check_kvm(&directives)?;
    }

    let mut digest = [0; 48];
    let mut areas = HashMap::new();
    let mut expected = None;
    for directive in directives {
        match directive {
            IgvmDirectiveHeader::PageData { flags, .. } if flags.shared() => {}
            IgvmDirectiveHeader::PageData { gpa, flags, data_type, data, .. } => {
                if flags.is_2mb_page() {
                    return Err(format!("page {gpa:#x}: pages of 2 MiB are not supported"));
                }
                let (page_type, contents) = match *data_type {
                    IgvmPageDataType::SECRETS => (PageType::Secrets, None),
                    IgvmPageDataType::CPUID_DATA | IgvmPageDataType::CPUID_XF => (PageType::Cpuid, None),
                    _ if flags.unmeasured() => (PageType::Unmeasured, None),
                    _ if data.is_empty() && options.native_zero => (PageType::Zero, None),
                    _ => (PageType::Normal, Some(data.as_slice())),
                };
                digest = extend(&digest, page_type, *gpa, contents);
            }
            IgvmDirectiveHeader::ParameterArea { number_of_bytes, parameter_area_index, .. } => {
                areas.insert(*parameter_area_index, *number_of_bytes);
            }
            IgvmDirectiveHeader::ParameterInsert(insert) => {
                let size = areas.remove(&insert.parameter_area_index).unwrap_or_default();
                for offset in (0..size).step_by(PAGE_SIZE) {
                    digest = extend(&digest, PageType::Unmeasured, insert.gpa + offset, None);
                }
            }
            IgvmDirectiveHeader::SnpVpContext { gpa, vmsa, .. } => {
                digest = extend(&digest, PageType::Vmsa, *gpa, Some(vmsa.as_bytes()));
            }
            IgvmDirectiveHeader::SnpIdBlock { ld, .. } => expected = Some(*ld),
            _ => {}
        }
    }
    if options.check_id_block && expected.is_some_and(|expected| expected != digest) {
        return Err("the launch digest differs from the one in the ID block".into());
    }
    Ok(digest)
}

/// KVM measures the VMSA by itself, at the end and at its own address, so the file must agree with it.
fn check_kvm(directives: &[&IgvmDirectiveHeader]) -> Result<(), String> {
    let mut vmsa_seen = false;
    for directive in directives {
        match directive {
            IgvmDirectiveHeader::SnpVpContext { .. } if vmsa_seen => {
                return Err("KVM check: there is more than one VMSA".into());
            }
            IgvmDirectiveHeader::SnpVpContext { gpa, vmsa, .. } => {
                vmsa_seen = true;
                if *gpa != KVM_VMSA_GPA {
                    return Err(format!("KVM check: the VMSA is at {gpa:#x}, not at {KVM_VMSA_GPA:#x}"));
                }
                if !KVM_CR0.contains(&vmsa.cr0) {
                    return Err(format!("KVM check: CR0 of the VMSA is {:#x}, neither 0x30 nor 0x31", vmsa.cr0));
                }
            }
            IgvmDirectiveHeader::PageData { .. } | IgvmDirectiveHeader::ParameterInsert(_) if vmsa_seen => {
                return Err("KVM check: the VMSA isn't the last page".into());
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use igvm::snp_defs::SevVmsa;
    use igvm::{IgvmInitializationHeader, IgvmRevision};
    use igvm_defs::{IGVM_VHS_PARAMETER_INSERT, IGVM_VHS_SUPPORTED_PLATFORM, IgvmPageDataFlags};
    use zerocopy::FromZeros;

    const SNP: u32 = 1;
    const TDX: u32 = 4;

    fn hex(digest: &LaunchDigest) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn page(gpa: u64, mask: u32, data_type: IgvmPageDataType, data: &[u8]) -> IgvmDirectiveHeader {
        let flags = IgvmPageDataFlags::new();
        IgvmDirectiveHeader::PageData { gpa, compatibility_mask: mask, flags, data_type, data: data.to_vec() }
    }

    fn vmsa(gpa: u64, cr0: u64) -> IgvmDirectiveHeader {
        let mut vmsa = SevVmsa::new_box_zeroed().unwrap();
        vmsa.cr0 = cr0;
        IgvmDirectiveHeader::SnpVpContext { gpa, compatibility_mask: SNP, vp_index: 0, vmsa }
    }

    /// A file of these directives, written to its binary form and read back.
    fn file(platforms: &[(u32, IgvmPlatformType)], directives: Vec<IgvmDirectiveHeader>) -> IgvmFile {
        let platforms = platforms.iter().map(|(compatibility_mask, platform_type)| {
            IgvmPlatformHeader::SupportedPlatform(IGVM_VHS_SUPPORTED_PLATFORM {
                compatibility_mask: *compatibility_mask,
                highest_vtl: 2,
                platform_type: *platform_type,
                platform_version: 1,
                shared_gpa_boundary: 0,
            })
        });
        let policy = IgvmInitializationHeader::GuestPolicy { policy: 0x30000, compatibility_mask: SNP };
        let mut bytes = Vec::new();
        IgvmFile::new(IgvmRevision::V1, platforms.collect(), vec![policy], directives)
            .and_then(|file| file.serialize(&mut bytes))
            .unwrap();
        IgvmFile::new_from_binary(&bytes, None).unwrap()
    }

    fn both(directives: Vec<IgvmDirectiveHeader>) -> IgvmFile {
        file(&[(SNP, IgvmPlatformType::SEV_SNP), (TDX, IgvmPlatformType::TDX)], directives)
    }

    fn kinds() -> IgvmFile {
        both(vec![
            IgvmDirectiveHeader::ParameterArea { number_of_bytes: 8192, parameter_area_index: 0, initial_data: vec![] },
            page(0x1000, SNP | TDX, IgvmPageDataType::NORMAL, b"hello"),
            page(0x2000, SNP, IgvmPageDataType::NORMAL, b""),
            page(0x3000, TDX, IgvmPageDataType::NORMAL, b"not for SNP"),
            page(0x4000, SNP, IgvmPageDataType::SECRETS, b""),
            page(0x5000, SNP, IgvmPageDataType::CPUID_DATA, b"ignored"),
            IgvmDirectiveHeader::ParameterInsert(IGVM_VHS_PARAMETER_INSERT {
                gpa: 0x6000,
                compatibility_mask: SNP | TDX,
                parameter_area_index: 0,
            }),
            vmsa(KVM_VMSA_GPA, KVM_CR0[1]),
        ])
    }

    // The constants of the next three tests come from another implementation: `tests/launch_digest.py` beside the
    // sources computes them with Python's hashlib from the firmware interface's description.

    #[test]
    fn one_normal_page() {
        let digest = extend(&[0; 48], PageType::Normal, 0x1000, Some(b"hello"));
        assert_eq!(
            hex(&digest),
            "a9b6a1f2816ca571d1146515d17489d7270491f4a19f5a54a8509480b7aede35c1e90312089d67f8829af026ebeee33e"
        );
    }

    #[test]
    fn every_kind_of_page() {
        let digest = measure(&kinds(), &Options { check_kvm: true, ..Options::default() }).unwrap();
        assert_eq!(
            hex(&digest),
            "5a193b30a5526922b904079178138c8615daf0a515d8723f4459bd80f69d33821a9a4ab5101ef0ce34879cc63160c8cb"
        );
    }

    #[test]
    fn every_kind_of_page_with_native_zeroes() {
        let digest = measure(&kinds(), &Options { native_zero: true, ..Options::default() }).unwrap();
        assert_eq!(
            hex(&digest),
            "0377ac7c8c94a14470cb723ef41102144b2ca2468dd5432e868c1869a718936621cca54ec2b774604fed349a031455db"
        );
    }

    #[test]
    fn kvm_check() {
        let check = |directives| measure(&both(directives), &Options { check_kvm: true, ..Options::default() });
        let normal = || page(0x1000, SNP, IgvmPageDataType::NORMAL, b"hello");
        let good = || vmsa(KVM_VMSA_GPA, KVM_CR0[1]);
        assert!(check(vec![normal()]).is_ok());
        assert!(check(vec![normal(), good()]).is_ok());
        assert!(check(vec![normal(), good(), good()]).unwrap_err().contains("more than one"));
        assert!(check(vec![good(), normal()]).unwrap_err().contains("last page"));
        assert!(check(vec![normal(), vmsa(KVM_VMSA_GPA, KVM_CR0[0])]).is_ok());
        assert!(check(vec![normal(), vmsa(0x2000, KVM_CR0[1])]).unwrap_err().contains("0x2000"));
        assert!(check(vec![normal(), vmsa(KVM_VMSA_GPA, 0x11)]).unwrap_err().contains("CR0"));
    }

    #[test]
    fn without_snp_there_is_no_digest() {
        let other = file(&[(SNP, IgvmPlatformType::TDX)], vec![page(0x1000, SNP, IgvmPageDataType::NORMAL, b"hello")]);
        assert!(measure(&other, &Options::default()).unwrap_err().contains("SEV-SNP"));
    }
}
