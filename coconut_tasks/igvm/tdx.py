"""MRTD, with which TDX reports what a trust domain was built from; for ``tdp``, TD partitioning, it is that of the SVSM.

The TDX module hashes the whole build with SHA-384. Two of its functions add to that, each a block of 128 bytes in which all that is not
named here is zero (Intel TDX Module ABI specification, TDH.MEM.PAGE.ADD and TDH.MR.EXTEND; offsets in bytes):

====  ====  =================================================================================================
0x00    16  ``MEM.PAGE.ADD`` for a page that is added, ``MR.EXTEND`` for 256 bytes of it that are measured
0x10     8  guest physical address
====  ====  =================================================================================================

After a block of MR.EXTEND follow the 256 bytes themselves. TDH.MR.FINALIZE ends the hash. Neither the page's permissions nor the state of
processors is in it.

A page that is not measured is added and not extended; the loader decides which (IGVM specification, flag unmeasured). TDX knows no page
types: the bytes of any page are measured unless the flag is set. The order is the loader's as well. Linux's KVM adds a page and extends it
before it adds the next (``tdx_gmem_post_populate``), and crate ``igvm`` 0.5 does the same, so that is the default. QEMU 8.2 of Ubuntu's and
Intel's early TDX packages adds all pages of a region, then extends all: ``MeasureOptions.two_pass``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha384
from typing import Any

from coconut_tasks.igvm.launch import Launch
from coconut_tasks.igvm.platforms import TDP
from coconut_tasks.igvm.values import PAGE_SIZE, PageData

_BLOCK = struct.Struct("<16sQ104x")
_ADD, _EXTEND = b"MEM.PAGE.ADD", b"MR.EXTEND"
_CHUNK = 256
"""Bytes that one MR.EXTEND measures."""
_OFFSETS = range(0, PAGE_SIZE, _CHUNK)


class TdxLaunch(Launch):
    """MRTD."""

    platform = TDP

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._hash = sha384()

    def add(self, kind: str, gpa: int, file_offset: int = 0) -> None:
        self._hash.update(_BLOCK.pack(_ADD, gpa))
        if kind == "normal":
            self._extend(gpa, file_offset)
        self.seen_content(kind, gpa, file_offset)

    def add_run(self, first: PageData, file_offsets: Sequence[int]) -> None:
        kind, start = self.kind_of(first), first.gpa
        if not self.options.two_pass or kind != "normal":
            super().add_run(first, file_offsets)
            return
        self.check(first)
        for gpa in range(start, start + len(file_offsets) * PAGE_SIZE, PAGE_SIZE):
            self._hash.update(_BLOCK.pack(_ADD, gpa))
        for number, file_offset in enumerate(file_offsets):
            self._extend(start + number * PAGE_SIZE, file_offset)
            self.seen_content(kind, start + number * PAGE_SIZE, file_offset)

    def end(self) -> bytes:
        return self._hash.digest()

    def _extend(self, gpa: int, file_offset: int) -> None:
        content, update, block = self.content(file_offset), self._hash.update, _BLOCK.pack
        for at in _OFFSETS:
            update(block(_EXTEND, gpa + at))
            update(content[at : at + _CHUNK])
