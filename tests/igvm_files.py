"""IGVM files made by hand, to test what no igvm crate writes."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.launch import MeasureOptions
from coconut_tasks.igvm.measure import measure
from coconut_tasks.igvm.platforms import SNP as SNP_PLATFORM
from coconut_tasks.igvm.platforms import MeasuredPlatform

SNP, TDX, VSM = 1, 2, 4
"""Compatibility masks."""
GOLDEN = Path(__file__).parent / "igvm"
MODES = [MeasureOptions(bool(mode & 4), bool(mode & 2), bool(mode & 1)) for mode in range(8)]
"""In the order of ``igvm-vectors``."""


def answers(data: bytes) -> list[str]:
    """Our answers in each mode, as ``igvm-vectors`` prints those of igvmmeasure."""
    return [answer(data, mode) for mode in MODES]


def answer(data: bytes, options: MeasureOptions, platform: MeasuredPlatform = SNP_PLATFORM) -> str:
    try:
        return measure(data, options, platform).digest.hex()
    except IgvmError:
        return "refused"


def header(header_type: int, body: bytes) -> bytes:
    return struct.pack("<II", header_type, len(body)) + body + bytes(-len(body) % 8)


def platform(mask: int = SNP, kind: int = 2, vtl: int = 2, version: int = 1, boundary: int = 0) -> bytes:
    return header(0x1, struct.pack("<IBBHQ", mask, vtl, kind, version, boundary))


def page(gpa: int, file_offset: int = 0, flags: int = 0, data_type: int = 0, mask: int = SNP) -> bytes:
    return header(0x302, struct.pack("<QIIIHH", gpa, mask, file_offset, flags, data_type, 0))


def area(index: int, size: int, file_offset: int = 0) -> bytes:
    return header(0x301, struct.pack("<QII", size, index, file_offset))


def insert(index: int, gpa: int, mask: int = SNP) -> bytes:
    return header(0x303, struct.pack("<QII", gpa, mask, index))


def error_range(gpa: int, size: int, mask: int = VSM) -> bytes:
    return header(0x30D, struct.pack("<QII", gpa, mask, size))


def vp_context(gpa: int, file_offset: int, mask: int = SNP, vp_index: int = 0) -> bytes:
    return header(0x304, struct.pack("<QIIHH", gpa, mask, file_offset, vp_index, 0))


def igvm(*headers: bytes, data: bytes = bytes(4096), offset: int = 24, version: int = 1) -> bytes:
    """A file; ``offset`` is where its variable headers begin."""
    body = b"".join(headers)
    more = struct.pack("<II", 0, 4096) if version == 2 else b""
    total = offset + len(body) + len(data)
    fixed = struct.pack("<4s5I", b"IGVM", version, offset, len(body), total, 0) + more
    return with_checksum(fixed + bytes(offset - len(fixed)) + body + data)


def data_at(*headers: bytes, offset: int = 24) -> int:
    """Where the file data of ``igvm`` begins."""
    return offset + sum(map(len, headers))


def with_checksum(data: bytes | bytearray) -> bytes:
    """The same file with the checksum that it must have, as far as there are headers."""
    content = bytearray(data)
    if len(content) < 24:
        return bytes(content)
    version, offset, size = struct.unpack_from("<3I", content, 4)
    content[20:24] = bytes(4)
    fixed = bytes(content[: 32 if version == 2 else 24])
    content[20:24] = struct.pack("<I", zlib.crc32(content[offset : offset + size], zlib.crc32(fixed)))
    return bytes(content)
