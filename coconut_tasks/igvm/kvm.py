"""The VMSAs that Linux's KVM measures for SEV-SNP.

KVM makes each processor's VMSA itself and measures it when the launch is finished: after all pages, in the order of the processors, each
at one address (``snp_launch_update_vmsa`` and ``INITIAL_VMSA_GPA`` in ``arch/x86/kvm/svm/sev.c``). QEMU gives the first processor the state
that the IGVM file has; the others start as after a reset. Only a KVM with SVSM support, with the SVSM bit in its init-flags, measures the
first alone (coconut-svsm/svsm, issue 349).
"""

from __future__ import annotations

import struct

from coconut_tasks.igvm.values import PAGE_SIZE

VMSA_GPA = 0xFFFF_FFFF_F000
"""Where KVM puts each VMSA, whatever the file says."""
CR0 = (0x30, 0x31)
"""The values with which KVM starts a guest: in real mode and in protected mode. SVSM's igvmmeasure accepts both since commit abfb2783."""
CR0_AT = slice(0x158, 0x160)
"""Position of CR0 in a VMSA (AMD64 Architecture Programmer's Manual, volume 2, table "VMSA layout, SEV-ES")."""
MOST_PROCESSORS = 4096
"""Linux's largest ``KVM_MAX_VCPUS``."""
SIGNATURES = {
    "EPYC": 0x00800F12,
    "EPYC-Rome": 0x00830F10,
    "EPYC-Milan": 0x00A00F11,
    "EPYC-Genoa": 0x00A10F10,
    "EPYC-Turin": 0x00B00F00,
}
"""CPUID signatures of QEMU's processor types with SEV-SNP (``-cpu``; ``builtin_x86_defs`` in ``target/i386/cpu.c``); all versions of a type
have the same."""
_FEATURES = 0x3B0
"""Position of SEV_FEATURES in a VMSA."""
_DEBUG_SWAP = 1 << 5
_SEGMENT = struct.Struct("<HHIQ")
"""Selector, attributes, limit, base."""


def reset_vmsa(first: bytes, signature: int) -> bytes:
    """The VMSA of a processor after a reset, as QEMU and KVM make it, in a guest whose first processor has this VMSA.

    Values are those that the processor has after a reset (AMD64 Architecture Programmer's Manual, volume 2, "Processor Initialization
    State") and that QEMU sets then (``x86_cpu_reset_hold``): so sev-snp-measure makes it as well, for a firmware without a reset address.
    EFER has SVME set, CR4 MCE, and DX the signature. The features of SEV are the guest's.
    """
    vmsa = bytearray(PAGE_SIZE)
    for at, selector, attributes, limit, base in (
        (0x00, 0, 0x93, 0xFFFF, 0),  # ES
        (0x10, 0xF000, 0x9B, 0xFFFF, 0xFFFF0000),  # CS
        (0x20, 0, 0x93, 0xFFFF, 0),  # SS
        (0x30, 0, 0x93, 0xFFFF, 0),  # DS
        (0x40, 0, 0x93, 0xFFFF, 0),  # FS
        (0x50, 0, 0x93, 0xFFFF, 0),  # GS
        (0x60, 0, 0, 0xFFFF, 0),  # GDTR
        (0x70, 0, 0x82, 0xFFFF, 0),  # LDTR
        (0x80, 0, 0, 0xFFFF, 0),  # IDTR
        (0x90, 0, 0x8B, 0xFFFF, 0),  # TR
    ):
        _SEGMENT.pack_into(vmsa, at, selector, attributes, limit, base)
    for at, size, value in (
        (0xD0, 8, 0x1000),  # EFER
        (0x148, 8, 0x40),  # CR4
        (0x158, 8, 0x10),  # CR0
        (0x160, 8, 0x400),  # DR7
        (0x168, 8, 0xFFFF0FF0),  # DR6
        (0x170, 8, 0x2),  # RFLAGS
        (0x178, 8, 0xFFF0),  # RIP
        (0x268, 8, 0x7040600070406),  # PAT
        (0x310, 8, signature),  # RDX
        (0x3E8, 8, 1),  # XCR0
        (0x408, 4, 0x1F80),  # MXCSR
        (0x410, 2, 0x37F),  # x87 control word
    ):
        vmsa[at : at + size] = value.to_bytes(size, "little")
    vmsa[_FEATURES : _FEATURES + 8] = first[_FEATURES : _FEATURES + 8]
    return bytes(vmsa)


def with_debug_swap(vmsa: bytes) -> bytes:
    """The VMSA with the feature DEBUG_SWAP as the file does not have it: KVM sets it on all, depending on its version and parameters."""
    features = int.from_bytes(vmsa[_FEATURES : _FEATURES + 8], "little") ^ _DEBUG_SWAP
    return vmsa[:_FEATURES] + features.to_bytes(8, "little") + vmsa[_FEATURES + 8 :]
