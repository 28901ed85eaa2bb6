"""The SEV-SNP launch digest of an IGVM file, as igvmmeasure computes it: the same digest, and the same files refused.

The firmware keeps a digest of 48 bytes, initially zeroes. For each page that the hypervisor adds before the guest starts, it becomes
the SHA-384 of a PAGE_INFO structure of 0x70 bytes (SEV-SNP firmware ABI, "Guest launch"; offsets in bytes):

====  ====  =====================================================================================
0x00    48  the digest so far
0x30    48  SHA-384 of the page's 4096 bytes for normal pages and VMSAs, otherwise zeroes
0x60     2  0x70, the length of the structure
0x62     1  page type: 1 normal, 2 VMSA, 3 zero, 4 unmeasured, 5 secrets, 6 CPUID
0x63     1  whether it is part of the initial migration image: 0
0x64     1  reserved
0x65     3  permissions of VMPL 1 to 3: 0
0x68     8  guest physical address
====  ====  =====================================================================================

So an unmeasured page counts with its address and type, but not with its content. Pages are added in the order of the directives.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from hashlib import sha384
from typing import Any

from coconut_tasks.igvm import kvm
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.launch import Launch, MeasuredPage, page_hash
from coconut_tasks.igvm.platforms import SNP
from coconut_tasks.igvm.rules import WITH_VMSA, Rules
from coconut_tasks.igvm.values import (
    CPUID_DATA,
    CPUID_XF,
    PAGE_SIZE,
    SECRETS,
    SHARED,
    UNMEASURED,
    Header,
    PageData,
    ParameterInsert,
    SnpIdBlock,
    VpContext,
)

_TAIL = struct.Struct("<HB5xQ")
"""PAGE_INFO from offset 0x60 on."""
_PAGE_INFO_SIZE = 0x70
_NO_CONTENT = bytes(SNP.size)
_ZEROES = sha384(bytes(PAGE_SIZE)).digest()
_MOST_HASHES = 1 << 16
"""Limit on the cached hashes of page contents."""
PAGE_KINDS = {"normal": 1, "vmsa": 2, "zero": 3, "unmeasured": 4, "secrets": 5, "cpuid": 6}
"""PAGE_TYPE of the firmware ABI, command SNP_LAUNCH_UPDATE, in words."""


def kind_of_page(flags: int, data_type: int) -> str:
    """How a page of 4 KiB is measured, by its header: one of ``PAGE_KINDS``; empty for a shared page, which is not measured.

    A normal page without data may be measured as a zero page (``MeasureOptions.native_zero``). The rules are igvmmeasure's.
    """
    if flags & SHARED:
        return ""
    if data_type == SECRETS:
        return "secrets"
    if data_type in (CPUID_DATA, CPUID_XF):
        return "cpuid"
    return "unmeasured" if flags & UNMEASURED else "normal"


def chained(pages: Iterable[MeasuredPage]) -> str:
    """The launch digest of pages, as hex text, to check whether a list of pages matches a digest."""
    digest = bytes(SNP.size)
    for page in pages:
        digest = _next(digest, page.kind, page.gpa, bytes.fromhex(page.content) or _NO_CONTENT)
    return digest.hex()


def extended_by_vmsa(digest: bytes, vmsa: bytes) -> bytes:
    """The digest after KVM has measured a VMSA."""
    return _next(digest, "vmsa", kvm.VMSA_GPA, page_hash(vmsa))


class SnpLaunch(Launch):
    """The digest, page by page."""

    platform = SNP

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._hashes = {0: _ZEROES}
        """File offset → SHA-384 of the page there; igvmbuilder stores equal pages once."""
        self._vmsas_last = self.options.qemu_order or self.options.processors > 1
        """As KVM measures them."""
        self._vmsa_seen = False
        self.vmsas: list[VpContext] = []
        """Those in the file."""
        self.digest = bytes(SNP.size)

    def see(self, header: Header, rules: Rules) -> None:
        match header:
            case VpContext() if rules.is_vmsa(header):
                self._take_vmsa(header)
            case SnpIdBlock():
                self.expected, self.expected_at, self.guest_svn = header.ld, header.offset, header.guest_svn
            case _:
                pass

    def page(self, page: PageData, place: int) -> None:
        self._before_vmsa(page)
        super().page(page, place)

    def insert(self, insert: ParameterInsert, size: int) -> None:
        self._before_vmsa(insert)
        super().insert(insert, size)

    def kind_of(self, page: PageData) -> str:
        kind = kind_of_page(page.flags, page.data_type)
        return "zero" if kind == "normal" and not page.file_offset and self.options.native_zero else kind

    @classmethod
    def page_kind(cls, page: PageData) -> str:
        return kind_of_page(page.flags, page.data_type)

    @classmethod
    def other_kind(cls, header: Header, owner: int | None) -> str:
        if isinstance(header, VpContext):
            return "vmsa" if owner in WITH_VMSA else ""
        return super().other_kind(header, owner)

    def add(self, kind: str, gpa: int, file_offset: int = 0) -> None:
        if kind == "normal":
            self._extend(kind, gpa, self._hash(file_offset), file_offset)
        else:
            self._extend(kind, gpa)

    def end(self) -> bytes:
        if self._vmsas_last and self.options.vmsas:
            for vmsa in self.vmsas:
                self._add_vmsa(vmsa, kvm.VMSA_GPA)
        if self.options.processors > 1:
            if len(self.vmsas) != 1:
                raise IgvmError(
                    "not-measurable",
                    self.file.fixed.variable_header_offset,
                    f"the file has {len(self.vmsas)} VMSAs for SEV-SNP",
                    "expected one, since KVM makes those of the other processors itself",
                )
            other = page_hash(kvm.reset_vmsa(self.vmsa_of(self.vmsas[0]), self.options.signature))
            for _ in range(1, self.options.processors):
                self._extend("vmsa", kvm.VMSA_GPA, other)
        return self.digest

    def vmsa_of(self, context: VpContext) -> bytes:
        """The 4096 bytes of a VMSA in the file."""
        return bytes(self.file.content(context.offset, context.file_offset, PAGE_SIZE, "VMSA"))

    def _take_vmsa(self, context: VpContext) -> None:
        if self.options.check_kvm:
            self._check_kvm(context)
        self._vmsa_seen = True
        self.vmsas.append(context)
        if not self._vmsas_last and self.options.vmsas:
            self._end_run()
            self._add_vmsa(context, context.gpa)

    def _add_vmsa(self, context: VpContext, gpa: int) -> None:
        self._extend("vmsa", gpa, page_hash(self.vmsa_of(context)), context.file_offset)

    def _check_kvm(self, context: VpContext) -> None:
        """Raises IgvmError if KVM would measure it differently."""
        cr0 = int.from_bytes(self.vmsa_of(context)[kvm.CR0_AT], "little")
        if self._vmsa_seen:
            raise IgvmError(
                "kvm-differs",
                context.offset,
                "KVM check: there is a second VMSA",
                "expected one, since KVM makes the others itself",
            )
        if context.gpa != kvm.VMSA_GPA:
            raise IgvmError(
                "kvm-differs",
                context.offset,
                f"KVM check: the VMSA is at {context.gpa:#x}",
                f"expected {kvm.VMSA_GPA:#x}, where KVM puts it",
            )
        if cr0 not in kvm.CR0:
            raise IgvmError(
                "kvm-differs",
                context.offset,
                f"KVM check: CR0 in the VMSA is {cr0:#x}",
                f"expected {' or '.join(map(hex, kvm.CR0))}, with which KVM starts a guest",
            )

    def _before_vmsa(self, header: PageData | ParameterInsert) -> None:
        if self._vmsa_seen and self.options.check_kvm:
            raise IgvmError(
                "kvm-differs",
                header.offset,
                f"KVM check: page at {header.gpa:#x} comes after the VMSA",
                "expected the VMSA last, as KVM measures it",
            )

    def _hash(self, file_offset: int) -> bytes:
        known = self._hashes.get(file_offset)
        if known is None:
            known = page_hash(bytes(self.content(file_offset)))
            if len(self._hashes) < _MOST_HASHES:
                self._hashes[file_offset] = known
        return known

    def _extend(self, kind: str, gpa: int, content: bytes = _NO_CONTENT, file_offset: int = 0) -> None:
        self.digest = _next(self.digest, kind, gpa, content)
        self.seen(kind, gpa, b"" if content is _NO_CONTENT else content, file_offset)


def differs(offset: int, expected: bytes, found: bytes, *, with_native_zero: bool | None) -> IgvmError:
    """Another digest than that in the file's ID block. ``with_native_zero`` is the value of that option with which it has the expected one,
    None if neither gives it."""
    remedy = f"the file has {found.hex()}"
    if with_native_zero is not None:
        way = "with --native-zero" if with_native_zero else "without --native-zero"
        remedy += f"; {way} (in a recipe: measure-native-zeroes) it has the expected one"
    return IgvmError("id-block-differs", offset, f"the ID block expects launch digest {expected.hex()}", remedy)


def _next(digest: bytes, kind: str, gpa: int, content: bytes) -> bytes:
    return sha384(digest + content + _TAIL.pack(_PAGE_INFO_SIZE, PAGE_KINDS[kind], gpa)).digest()
