// SPDX-License-Identifier: MIT

//! The initial state of a virtual processor: 32-bit protected mode without paging, at the loader's first byte.

use crate::image::{Hypervisor, Options};
use igvm::IgvmDirectiveHeader;
use igvm::hv_defs::Vtl;
use igvm::registers::{SegmentRegister, X86Register};
use igvm::snp_defs::{SevFeatures, SevSelector, SevVmsa};
use igvm_defs::IgvmNativeVpContextX64;
use svsm_layout::{LOADER_GPA, LOW_VMSA_GPA};
use zerocopy::FromZeros;

/// Protection, an FPU, and error reports of it.
const CR0: u64 = 0x31;
/// Machine checks.
const CR4: u64 = 0x40;
/// An SNP guest always runs with this bit.
const EFER_SVME: u64 = 0x1000;
const RFLAGS: u64 = 2;
const PAT: u64 = 0x0007_0406_0007_0406;
const CODE: u16 = 8;
const DATA: u16 = 16;
/// 32 bits, 4 KiB granularity, present, accessed; code can be read, data can be written.
const CODE_ATTRIBUTES: u16 = 0xc09b;
const DATA_ATTRIBUTES: u16 = 0xc093;
const LIMIT: u32 = 0xffff_ffff;
/// KVM always puts a VMSA at this address.
const KVM_VMSA_GPA: u64 = 0xffff_ffff_f000;

/// A VMSA has the granularity and size bits next to the type, without the gap.
fn vmsa_segment(selector: u16, attributes: u16) -> SevSelector {
    let attrib = attributes & 0xff | (attributes & 0xf000) >> 4;
    SevSelector { selector, attrib, limit: LIMIT, base: 0 }
}

pub fn snp(options: &Options, mask: u32) -> IgvmDirectiveHeader {
    let vtom = options.vtom();
    let mut vmsa = SevVmsa::new_box_zeroed().expect("there is memory for a page");
    let data = vmsa_segment(DATA, DATA_ATTRIBUTES);
    (vmsa.es, vmsa.ss, vmsa.ds, vmsa.fs, vmsa.gs) = (data, data, data, data, data);
    vmsa.cs = vmsa_segment(CODE, CODE_ATTRIBUTES);
    vmsa.gdtr.limit = 0xffff;
    vmsa.idtr.limit = 0xffff;
    vmsa.ldtr = SevSelector { selector: 0, attrib: 0x82, limit: 0xffff, base: 0 };
    vmsa.tr = SevSelector { selector: 0, attrib: 0x8b, limit: 0xffff, base: 0 };
    vmsa.efer = EFER_SVME;
    vmsa.cr0 = CR0;
    vmsa.cr4 = CR4;
    vmsa.dr6 = 0xffff_0ff0;
    vmsa.dr7 = 0x400;
    vmsa.rflags = RFLAGS;
    vmsa.rip = LOADER_GPA;
    vmsa.pat = PAT;
    vmsa.xcr0 = 1;
    vmsa.mxcsr = 0x1f80;
    vmsa.x87_fcw = 0x37f;
    vmsa.virtual_tom = vtom;
    vmsa.sev_features = SevFeatures::new().with_snp(true).with_vtom(vtom != 0);
    let gpa = match options.hypervisor {
        Hypervisor::Qemu | Hypervisor::Vanadium => KVM_VMSA_GPA,
        Hypervisor::HyperV => LOW_VMSA_GPA,
    };
    IgvmDirectiveHeader::SnpVpContext { gpa, compatibility_mask: mask, vp_index: 0, vmsa }
}

pub fn vsm(mask: u32) -> IgvmDirectiveHeader {
    let segment = |selector, attributes| SegmentRegister { base: 0, limit: LIMIT, selector, attributes };
    let registers = vec![
        X86Register::Cs(segment(CODE, CODE_ATTRIBUTES)),
        X86Register::Ds(segment(DATA, DATA_ATTRIBUTES)),
        X86Register::Es(segment(DATA, DATA_ATTRIBUTES)),
        X86Register::Fs(segment(DATA, DATA_ATTRIBUTES)),
        X86Register::Gs(segment(DATA, DATA_ATTRIBUTES)),
        X86Register::Ss(segment(DATA, DATA_ATTRIBUTES)),
        X86Register::Cr0(CR0),
        X86Register::Cr4(CR4),
        X86Register::Pat(PAT),
        X86Register::Rflags(RFLAGS),
        X86Register::Rip(LOADER_GPA),
    ];
    IgvmDirectiveHeader::X64VbsVpContext { vtl: Vtl::Vtl2, registers, compatibility_mask: mask }
}

pub fn native(mask: u32) -> IgvmDirectiveHeader {
    let mut context = IgvmNativeVpContextX64::new_box_zeroed().expect("there is memory for a page");
    context.code_selector = CODE;
    context.code_attributes = CODE_ATTRIBUTES;
    context.code_limit = LIMIT;
    context.data_selector = DATA;
    context.data_attributes = DATA_ATTRIBUTES;
    context.data_limit = LIMIT;
    context.cr0 = CR0;
    context.cr4 = CR4;
    context.rflags = RFLAGS;
    context.rip = LOADER_GPA;
    IgvmDirectiveHeader::X64NativeVpContext { compatibility_mask: mask, vp_index: 0, context }
}
