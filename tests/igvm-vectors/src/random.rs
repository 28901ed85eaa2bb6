// SPDX-License-Identifier: MIT

//! Random IGVM files with every header that the igvm crate can write.

use crate::digest::{self, Options};
use crate::second;
use igvm::hv_defs::Vtl;
use igvm::registers::{AArch64Register, SegmentRegister, TableRegister, X86Register};
use igvm::snp_defs::SevVmsa;
use igvm::{Arch, IgvmDirectiveHeader, IgvmFile, IgvmInitializationHeader, IgvmPlatformHeader, IgvmRevision};
use igvm_defs::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use zerocopy::{FromZeros, IntoBytes};

const PAGE: u64 = PAGE_SIZE_4K;
const KVM_VMSA_GPA: u64 = 0xffff_ffff_f000;

/// SplitMix64: the same files from a seed everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|byte| *byte = self.next() as u8);
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// Of a page: its first bytes, at least one.
    fn content(&mut self) -> Vec<u8> {
        let mut data = vec![0; 1 + self.below(PAGE) as usize];
        self.fill(&mut data);
        data
    }

    fn gpa(&mut self) -> u64 {
        match self.below(20) {
            0 => KVM_VMSA_GPA,
            1 => u64::MAX & !(PAGE - 1),
            2 => self.next() & !(PAGE - 1),
            _ => self.below(1 << 20) * PAGE,
        }
    }
}

struct Builder {
    random: Random,
    arch: Arch,
    platforms: Vec<(u32, IgvmPlatformType)>,
    areas: Vec<u32>,
    next_area: u32,
    directives: Vec<IgvmDirectiveHeader>,
}

/// The bytes of a file.
pub fn file(seed: u64) -> Vec<u8> {
    (0..).find_map(|attempt| attempt_at(seed.wrapping_mul(0x1_0001).wrapping_add(attempt << 40))).unwrap()
}

/// None where the headers don't go together: not all that the crate wants is known here.
fn attempt_at(seed: u64) -> Option<Vec<u8>> {
    let mut random = Random(seed);
    let revision = match random.below(5) {
        0 => IgvmRevision::V2 { arch: Arch::AArch64, page_size: PAGE as u32 },
        1 | 2 => IgvmRevision::V2 { arch: Arch::X64, page_size: PAGE as u32 },
        _ => IgvmRevision::V1,
    };
    let arch = if let IgvmRevision::V2 { arch, .. } = revision { arch } else { Arch::X64 };
    let mut builder =
        Builder { random, arch, platforms: Vec::new(), areas: Vec::new(), next_area: 0, directives: Vec::new() };
    let platforms = builder.platforms();
    let initializations = builder.initializations();
    for _ in 0..builder.random.below(30) {
        builder.directive();
    }
    builder.last();
    let build = |directives: &[IgvmDirectiveHeader]| {
        let mut bytes = Vec::new();
        catch_unwind(AssertUnwindSafe(|| {
            IgvmFile::new(revision, platforms.clone(), initializations.clone(), directives.to_vec())
                .and_then(|file| file.serialize(&mut bytes))
                .map(|()| bytes)
        }))
        .ok()?
        .ok()
    };
    let bytes = build(&builder.directives)?;
    if !builder.random.one_in(4) {
        return Some(bytes);
    }
    // An ID block, or a VBS measurement: often with the right digest.
    let file = catch_unwind(|| IgvmFile::new_from_binary(&bytes, None).ok()).ok().flatten();
    let mode = builder.random.below(16);
    if mode & 1 == 0 {
        let options = Options { check_kvm: false, native_zero: mode & 2 != 0, check_id_block: false };
        let measure = || digest::measure(file.as_ref()?, &options).ok();
        let right = catch_unwind(AssertUnwindSafe(measure)).ok().flatten();
        let ld = if mode < 12 { right.unwrap_or([7; 48]) } else { builder.random.array() };
        let block = builder.id_block(ld);
        builder.directives.push(block);
    } else {
        let mut boot_digest = builder.random.array();
        if let (Some(right), true) = (file.as_ref().and_then(second::vsm), mode < 12) {
            boot_digest[..32].copy_from_slice(&right);
        }
        let measurement = builder.vbs_measurement(boot_digest);
        builder.directives.push(measurement);
    }
    build(&builder.directives)
}

impl Builder {
    fn platforms(&mut self) -> Vec<IgvmPlatformHeader> {
        let kinds: &[IgvmPlatformType] = match self.arch {
            Arch::X64 => &[
                IgvmPlatformType::SEV_SNP,
                IgvmPlatformType::NATIVE,
                IgvmPlatformType::VSM_ISOLATION,
                IgvmPlatformType::TDX,
                IgvmPlatformType::SEV,
                IgvmPlatformType::SEV_ES,
            ],
            Arch::AArch64 => &[IgvmPlatformType::CCA, IgvmPlatformType::VSM_ISOLATION],
        };
        let mut headers = Vec::new();
        for kind in kinds {
            // The platforms that measure are what the files are for.
            let rare = match *kind {
                IgvmPlatformType::SEV_SNP => self.random.one_in(15),
                IgvmPlatformType::VSM_ISOLATION | IgvmPlatformType::TDX => self.random.one_in(4),
                _ => !self.random.one_in(4),
            };
            if rare {
                continue;
            }
            let bits = if self.random.one_in(2) { 8 } else { 32 };
            let mut compatibility_mask = 1 << self.random.below(bits);
            // Platforms may share a mask.
            while self.platforms.iter().any(|(mask, _)| *mask == compatibility_mask) && !self.random.one_in(8) {
                compatibility_mask = 1 << self.random.below(bits);
            }
            let shared_gpa_boundary = match *kind {
                IgvmPlatformType::NATIVE | IgvmPlatformType::VSM_ISOLATION => 0,
                _ => 1 << self.random.below(64),
            };
            self.platforms.push((compatibility_mask, *kind));
            headers.push(IgvmPlatformHeader::SupportedPlatform(IGVM_VHS_SUPPORTED_PLATFORM {
                compatibility_mask,
                highest_vtl: if self.random.one_in(2) { 2 } else { 0 },
                platform_type: *kind,
                platform_version: 1,
                shared_gpa_boundary,
            }));
        }
        headers
    }

    /// A mask of the file's platforms, and sometimes of others.
    fn mask(&mut self) -> u32 {
        let mut mask = if self.random.one_in(10) { self.random.next() as u32 } else { 0 };
        for index in 0..self.platforms.len() {
            if !self.random.one_in(4) {
                mask |= self.platforms[index].0;
            }
        }
        mask
    }

    fn mask_of(&mut self, kinds: &[IgvmPlatformType]) -> Option<u32> {
        self.platforms.iter().find(|(_, kind)| kinds.contains(kind)).map(|(mask, _)| *mask)
    }

    fn initializations(&mut self) -> Vec<IgvmInitializationHeader> {
        let mut headers = Vec::new();
        if !self.random.one_in(4) {
            let policy = self.random.next();
            headers.push(IgvmInitializationHeader::GuestPolicy { policy, compatibility_mask: self.mask() });
        }
        if let (Some(compatibility_mask), true) = (self.mask_of(&[IgvmPlatformType::CCA]), self.random.one_in(2)) {
            let ones = self.random.next();
            headers.push(IgvmInitializationHeader::CcaPolicy {
                compatibility_mask,
                attributes_required_zeroes: self.random.next() & !ones,
                attributes_required_ones: ones,
                hash_algorithm: CcaHashAlgorithm(self.random.below(3) as u8),
                lfa_policy: CcaLfaPolicy(self.random.below(2) as u8),
            });
        }
        // A relocation is of a VSM context's state.
        if let (Some(compatibility_mask), true) =
            (self.mask_of(&[IgvmPlatformType::VSM_ISOLATION]), self.random.one_in(3))
        {
            let vtl = Vtl::try_from(self.random.below(3) as u8).unwrap();
            for _ in 0..self.random.below(3) {
                let relocation_alignment = PAGE << self.random.below(4);
                headers.push(IgvmInitializationHeader::RelocatableRegion {
                    compatibility_mask,
                    relocation_alignment,
                    relocation_region_gpa: self.random.below(1 << 20) * relocation_alignment,
                    relocation_region_size: (1 + self.random.below(8)) * PAGE,
                    minimum_relocation_gpa: self.random.below(100) * relocation_alignment,
                    maximum_relocation_gpa: self.random.below(1 << 30) * relocation_alignment,
                    is_vtl2: self.random.one_in(2),
                    apply_rip_offset: self.random.one_in(2),
                    apply_gdtr_offset: self.random.one_in(2),
                    vp_index: 0,
                    vtl,
                });
            }
            if self.random.one_in(2) {
                let size = 1 + self.random.below(8);
                headers.push(IgvmInitializationHeader::PageTableRelocationRegion {
                    compatibility_mask,
                    gpa: self.random.gpa() >> 1 & !(PAGE - 1),
                    size: size * PAGE,
                    used_size: self.random.below(size + 1) * PAGE,
                    vp_index: 0,
                    vtl,
                });
            }
            self.vsm_context(compatibility_mask, vtl);
        }
        headers
    }

    fn vsm_context(&mut self, compatibility_mask: u32, vtl: Vtl) {
        let random = &mut self.random;
        let context = match self.arch {
            Arch::X64 => {
                let table = TableRegister { base: random.next(), limit: random.next() as u16 };
                let segment = SegmentRegister {
                    base: random.next(),
                    limit: random.next() as u32,
                    selector: random.next() as u16,
                    attributes: random.next() as u16,
                };
                let mut registers = all_x64(table, segment, random.next());
                if random.one_in(2) {
                    registers.truncate(1 + random.below(registers.len() as u64) as usize);
                }
                IgvmDirectiveHeader::X64VbsVpContext { vtl, registers, compatibility_mask }
            }
            Arch::AArch64 => {
                let mut registers = all_aarch64(random.next());
                if random.one_in(2) {
                    registers.truncate(1 + random.below(registers.len() as u64) as usize);
                }
                IgvmDirectiveHeader::AArch64VbsVpContext { vtl, registers, compatibility_mask }
            }
        };
        self.directives.push(context);
    }

    fn page(&mut self) -> IgvmDirectiveHeader {
        let mut compatibility_mask = self.mask();
        let vsm = self.mask_of(&[IgvmPlatformType::VSM_ISOLATION]).unwrap_or_default();
        let random = &mut self.random;
        let flags = IgvmPageDataFlags::new()
            .with_unmeasured(random.one_in(5))
            .with_shared(random.one_in(8))
            .with_is_2mb_page(random.one_in(150))
            .with_reserved(if random.one_in(40) { random.next() as u32 >> 3 } else { 0 });
        let data_type = IgvmPageDataType(if random.one_in(3) { random.below(4) as u16 } else { 0 });
        if data_type != IgvmPageDataType::NORMAL && !random.one_in(40) {
            compatibility_mask &= !vsm; // It has normal pages only.
        }
        let data = match random.below(5) {
            0 | 1 => Vec::new(),
            2 => vec![random.below(3) as u8; PAGE as usize],
            _ => random.content(),
        };
        IgvmDirectiveHeader::PageData { gpa: random.gpa(), compatibility_mask, flags, data_type, data }
    }

    /// Pages after each other, as QEMU's loader adds them together; sometimes one is different.
    fn run(&mut self) {
        let mut page = self.page();
        for _ in 0..2 + self.random.below(5) {
            self.directives.push(page.clone());
            if self.random.one_in(12) {
                // Not all of it is for the platforms of the pages.
                let header = self.no_page();
                self.directives.push(header);
            }
            let mask = self.mask();
            let random = &mut self.random;
            let IgvmDirectiveHeader::PageData { gpa, compatibility_mask, flags, data_type, data } = &mut page else {
                unreachable!()
            };
            *gpa = gpa.wrapping_add(PAGE);
            if !data.is_empty() {
                *data = random.content();
            }
            match random.below(40) {
                0 => *gpa = gpa.wrapping_add(PAGE),
                1 => *gpa = gpa.wrapping_sub(2 * PAGE),
                2 => *flags = flags.with_unmeasured(!flags.unmeasured()),
                3 => *flags = flags.with_shared(!flags.shared()),
                4 => *flags = flags.with_reserved(flags.reserved() ^ 1 << random.below(29)),
                5 => *compatibility_mask = if data_type.0 == 0 { mask } else { *compatibility_mask & mask },
                6 => *data_type = IgvmPageDataType::NORMAL,
                7 if data.is_empty() => *data = random.content(),
                7 => data.clear(),
                _ => {}
            }
        }
        self.directives.push(page);
    }

    /// A header that adds no page, except to a platform with error ranges.
    fn no_page(&mut self) -> IgvmDirectiveHeader {
        let compatibility_mask = self.mask();
        let random = &mut self.random;
        if random.one_in(2) {
            return IgvmDirectiveHeader::RequiredMemory {
                gpa: random.gpa(),
                compatibility_mask,
                number_of_bytes: random.next() as u32 & !0xfff,
                vtl2_protectable: random.one_in(2),
            };
        }
        let size_bytes = match random.below(20) {
            0 => random.next() as u32 | 1 << 30,
            1 => random.below(64 * PAGE) as u32,
            2 => 0,
            3..10 => (random.below(5) * PAGE) as u32,
            _ => random.below(4 * PAGE) as u32,
        };
        IgvmDirectiveHeader::ErrorRange { gpa: random.gpa(), compatibility_mask, size_bytes }
    }

    fn area(&mut self) {
        let number_of_bytes = PAGE * self.random.below(5);
        let mut initial_data = Vec::new();
        if number_of_bytes > 0 && self.random.one_in(3) {
            initial_data = vec![self.random.next() as u8; 1 + self.random.below(number_of_bytes) as usize];
        }
        let parameter_area_index = self.next_area;
        self.next_area += 1 + self.random.below(3) as u32;
        self.areas.push(parameter_area_index);
        self.directives.push(IgvmDirectiveHeader::ParameterArea {
            number_of_bytes,
            parameter_area_index,
            initial_data,
        });
    }

    fn directive(&mut self) {
        let compatibility_mask = self.mask();
        let header = match self.random.below(20) {
            0..=5 => self.page(),
            6..=8 => return self.run(),
            9 | 10 => return self.area(),
            11 | 12 if !self.areas.is_empty() => {
                let index = self.random.below(self.areas.len() as u64) as usize;
                let parameter = IGVM_VHS_PARAMETER {
                    parameter_area_index: self.areas[index],
                    byte_offset: self.random.below(4096) as u32,
                };
                parameters(parameter)[self.random.below(10) as usize].clone()
            }
            13 | 14 if !self.areas.is_empty() => {
                let index = self.random.below(self.areas.len() as u64) as usize;
                IgvmDirectiveHeader::ParameterInsert(IGVM_VHS_PARAMETER_INSERT {
                    gpa: self.random.gpa(),
                    compatibility_mask,
                    parameter_area_index: self.areas.swap_remove(index),
                })
            }
            15 | 16 => self.no_page(),
            17 if self.random.one_in(3) => {
                let ld = self.random.array();
                self.id_block(ld)
            }
            18 if self.random.one_in(8) => {
                let boot_digest = self.random.array();
                self.vbs_measurement(boot_digest)
            }
            19 => return self.context(),
            _ => self.page(),
        };
        self.directives.push(header);
    }

    /// The initial state of a processor of any platform.
    fn context(&mut self) {
        if self.platforms.is_empty() {
            return;
        }
        let index = self.random.below(self.platforms.len() as u64) as usize;
        let (compatibility_mask, kind) = self.platforms[index];
        let vp_index = self.random.below(3) as u16;
        match kind {
            IgvmPlatformType::SEV_SNP | IgvmPlatformType::SEV_ES => {
                let gpa = if self.random.one_in(2) { KVM_VMSA_GPA } else { self.random.gpa() };
                self.vmsa(gpa, compatibility_mask, vp_index);
            }
            IgvmPlatformType::NATIVE | IgvmPlatformType::SEV => {
                let mut context = IgvmNativeVpContextX64::new_box_zeroed().unwrap();
                self.random.fill(context.as_mut_bytes());
                self.directives.push(IgvmDirectiveHeader::X64NativeVpContext { compatibility_mask, vp_index, context });
            }
            IgvmPlatformType::CCA => {
                let mut context = IgvmVpContextAArch64Cca::new_box_zeroed().unwrap();
                self.random.fill(context.as_mut_bytes());
                self.directives.push(IgvmDirectiveHeader::AArch64CcaVpContext {
                    compatibility_mask,
                    vp_index,
                    context,
                });
            }
            IgvmPlatformType::VSM_ISOLATION => {
                let vtl = Vtl::try_from(self.random.below(3) as u8).unwrap();
                self.vsm_context(compatibility_mask, vtl);
            }
            _ => {}
        }
    }

    fn vmsa(&mut self, gpa: u64, compatibility_mask: u32, vp_index: u16) {
        let mut vmsa = SevVmsa::new_box_zeroed().unwrap();
        self.random.fill(vmsa.as_mut_bytes());
        if !self.random.one_in(4) {
            vmsa.cr0 = if self.random.one_in(2) { 0x30 } else { 0x31 };
        }
        self.directives.push(IgvmDirectiveHeader::SnpVpContext { gpa, compatibility_mask, vp_index, vmsa });
    }

    /// What most files end with: a VMSA where KVM wants it.
    fn last(&mut self) {
        if let (Some(mask), true) = (self.mask_of(&[IgvmPlatformType::SEV_SNP]), !self.random.one_in(3)) {
            self.vmsa(KVM_VMSA_GPA, mask, 0);
        }
    }

    fn id_block(&mut self, ld: [u8; 48]) -> IgvmDirectiveHeader {
        let random = &mut self.random;
        let signature =
            |random: &mut Random| IGVM_VHS_SNP_ID_BLOCK_SIGNATURE { r_comp: random.array(), s_comp: random.array() };
        let key = |random: &mut Random| IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY {
            curve: random.next() as u32,
            reserved: random.next() as u32,
            qx: random.array(),
            qy: random.array(),
        };
        let (id_key_signature, author_key_signature) = (Box::new(signature(random)), Box::new(signature(random)));
        let (id_public_key, author_public_key) = (Box::new(key(random)), Box::new(key(random)));
        IgvmDirectiveHeader::SnpIdBlock {
            author_key_enabled: self.random.below(2) as u8,
            reserved: self.random.array(),
            ld,
            family_id: self.random.array(),
            image_id: self.random.array(),
            version: self.random.next() as u32,
            guest_svn: self.random.next() as u32,
            id_key_algorithm: 1,
            author_key_algorithm: 1,
            id_key_signature,
            id_public_key,
            author_key_signature,
            author_public_key,
            compatibility_mask: self.mask(),
        }
    }

    fn vbs_measurement(&mut self, boot_digest: [u8; 64]) -> IgvmDirectiveHeader {
        let compatibility_mask = self.mask();
        let random = &mut self.random;
        IgvmDirectiveHeader::VbsMeasurement {
            compatibility_mask,
            version: random.next() as u32,
            product_id: random.next() as u32,
            module_id: random.next() as u32,
            security_version: random.next() as u32,
            policy_flags: random.next() as u32,
            boot_digest_algo: random.next() as u32,
            signing_algo: random.next() as u32,
            boot_measurement_digest: Box::new(boot_digest),
            signature: Box::new(random.array()),
            public_key: Box::new(random.array()),
        }
    }
}

fn parameters(parameter: IGVM_VHS_PARAMETER) -> [IgvmDirectiveHeader; 10] {
    [
        IgvmDirectiveHeader::VpCount(parameter),
        IgvmDirectiveHeader::EnvironmentInfo(parameter),
        IgvmDirectiveHeader::Srat(parameter),
        IgvmDirectiveHeader::Madt(parameter),
        IgvmDirectiveHeader::Slit(parameter),
        IgvmDirectiveHeader::Pptt(parameter),
        IgvmDirectiveHeader::MmioRanges(parameter),
        IgvmDirectiveHeader::MemoryMap(parameter),
        IgvmDirectiveHeader::CommandLine(parameter),
        IgvmDirectiveHeader::DeviceTree(parameter),
    ]
}

fn all_x64(table: TableRegister, segment: SegmentRegister, value: u64) -> Vec<X86Register> {
    use X86Register::*;
    let tables = [Gdtr, Idtr].map(|register: fn(TableRegister) -> X86Register| register(table));
    let segments = [Ds, Es, Fs, Gs, Ss, Cs, Tr].map(|register: fn(SegmentRegister) -> X86Register| register(segment));
    let values: [fn(u64) -> X86Register; 32] = [
        Cr0,
        Cr3,
        Cr4,
        Efer,
        Pat,
        Rbp,
        Rip,
        Rsi,
        Rsp,
        R8,
        R9,
        R10,
        R11,
        R12,
        Rflags,
        MtrrDefType,
        MtrrPhysBase0,
        MtrrPhysMask0,
        MtrrPhysBase1,
        MtrrPhysMask1,
        MtrrPhysBase2,
        MtrrPhysMask2,
        MtrrPhysBase3,
        MtrrPhysMask3,
        MtrrPhysBase4,
        MtrrPhysMask4,
        MtrrFix64k00000,
        MtrrFix16k80000,
        MtrrFix4kE0000,
        MtrrFix4kE8000,
        MtrrFix4kF0000,
        MtrrFix4kF8000,
    ];
    tables.into_iter().chain(segments).chain(values.map(|register| register(value))).collect()
}

fn all_aarch64(value: u64) -> Vec<AArch64Register> {
    use AArch64Register::*;
    let registers: [fn(u64) -> AArch64Register; 16] =
        [Pc, X0, X1, X2, X3, X4, X5, X6, X7, Cpsr, SctlrEl1, TcrEl1, MairEl1, VbarEl1, Ttbr0El1, Ttbr1El1];
    registers.map(|register| register(value)).into()
}
