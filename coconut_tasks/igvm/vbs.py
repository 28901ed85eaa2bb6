"""The boot digest with which Hyper-V's virtualization-based security (VBS) measures a guest, for ``vsm``.

A chain of SHA-256, from 32 zero bytes: each entry makes it the SHA-256 of the digest so far and the entry's chunk. The chunks are those of
crate ``igvm`` 0.5, module ``measurement::vbs``, which names the C structure ``VBS_VM_BOOT_MEASUREMENT_CHUNK``. All begin with the number of
their bytes, their type and 8 zero bytes (little-endian, offsets in bytes):

- A page (type 2, 0x1020 bytes): 0x10 metadata, 0x18 page number, 0x20 the page's 4096 bytes. Metadata is 0 for a measured page and 4 for an
  unmeasured one, whose bytes count as zeroes. A parameter area is such pages. An error range is pages with metadata 7: readable, writable,
  unmeasured.
- A register of the first processor (type 0, 0x30 bytes): 0x14 VTL, 0x1c its name (Hyper-V TLFS, ``HV_REGISTER_NAME``), 0x20 its value.

Pages come in the order of the directives, registers after all pages, in the order in which contexts and registers are in the file. The
value of a register counts as its 16 bytes are in the file. VBS has normal pages only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.launch import ZERO_PAGE, Launch
from coconut_tasks.igvm.parse import IgvmFile
from coconut_tasks.igvm.platforms import VSM
from coconut_tasks.igvm.rules import Rules
from coconut_tasks.igvm.values import (
    NORMAL,
    PAGE_DATA_TYPES,
    PAGE_SIZE,
    ErrorRange,
    Header,
    PageData,
    VbsMeasurement,
    VpContext,
)

_PAGE = struct.Struct("<IIQQQ")
_PAGE_TYPE, _PAGE_BYTES = 2, _PAGE.size + PAGE_SIZE
_METADATA = {"normal": 0, "unmeasured": 4, "error range": 7}
_REGISTER = struct.Struct("<II8x4xB7xI16s")
_REGISTER_TYPE = 0
_IN_FILE = struct.Struct("<BI11x16s")
"""``VbsVpContextRegister``: VTL, name, padding, value."""
_PIECE = 2047
"""Bytes; up to here hashlib keeps the GIL, which is faster than getting it back."""


class VbsLaunch(Launch):
    """The boot digest."""

    platform = VSM

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._digest = bytes(VSM.size)
        self._contexts: list[VpContext] = []

    @classmethod
    def check(cls, page: PageData) -> None:
        if page.data_type != NORMAL:
            raise IgvmError(
                "not-measurable",
                page.offset,
                f"page of type {PAGE_DATA_TYPES[page.data_type]} at {page.gpa:#x} for {VSM.title}",
                "expected normal pages only",
            )
        super().check(page)

    @classmethod
    def other_kind(cls, header: Header, owner: int | None) -> str:
        match header:
            case ErrorRange():
                return "error range"
            case VpContext():
                return "registers" if owner == VSM.number else ""
            case _:
                return super().other_kind(header, owner)

    def add(self, kind: str, gpa: int, file_offset: int = 0) -> None:
        content = self.content(file_offset) if kind == "normal" else ZERO_PAGE
        chunk = sha256(self._digest + _PAGE.pack(_PAGE_BYTES, _PAGE_TYPE, 0, _METADATA[kind], gpa // PAGE_SIZE))
        for at in range(0, PAGE_SIZE, _PIECE):
            chunk.update(content[at : at + _PIECE])
        self._digest = chunk.digest()
        self.seen_content(kind, gpa, file_offset)

    def see(self, header: Header, rules: Rules) -> None:
        match header:
            case ErrorRange():
                if not self.options.qemu_order:
                    self._end_run()
                start = header.gpa // PAGE_SIZE * PAGE_SIZE
                size = -(-header.size_bytes // PAGE_SIZE) * PAGE_SIZE
                self.add_without_content(header, start, size, "error range", "an error range")
            case VpContext() if rules.is_vsm(header):
                self._contexts.append(header)
            case VbsMeasurement():
                self.expected, self.expected_at = header.boot_measurement_digest[: VSM.size], header.offset
            case _:
                pass

    def end(self) -> bytes:
        for context in self._contexts:
            for vtl, name, value in registers_at(self.file, context.offset, context.file_offset):
                register = _REGISTER.pack(_REGISTER.size, _REGISTER_TYPE, vtl, name, value)
                self._digest = sha256(self._digest + register).digest()
        return self._digest


def registers_at(file: IgvmFile, offset: int, file_offset: int) -> Iterator[tuple[int, int, bytes]]:
    """VTL, name and value of each register of a VSM context, of which both offsets are given; the rules have checked it."""
    count = int.from_bytes(file.content(offset, file_offset, 4, "VSM context"), "little")
    content = file.content(offset, file_offset + 4, count * _IN_FILE.size, "VSM context")
    return _IN_FILE.iter_unpack(content)


def differs(offset: int, expected: bytes, found: bytes) -> IgvmError:
    """Another digest than that in the file's VBS measurement."""
    return IgvmError(
        "vbs-measurement-differs",
        offset,
        f"the VBS measurement expects boot digest {expected.hex()}",
        f"the file has {found.hex()}",
    )
