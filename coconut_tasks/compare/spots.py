"""Where two files differ: the section, entry or piece, and the bytes there."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence

from coconut_tasks.dataclass import dataclass
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.fields import flag_names, header_name
from coconut_tasks.igvm.parse import parse
from coconut_tasks.igvm.values import PAGE_DATA_TYPES, PAGE_SIZE, CorimData, Header, PageData, VpContext

_SHOWN = 16
"""Bytes of each file that are shown at a difference."""
_BLOCK = 65536
"""How many bytes are compared at once."""
_TEXT = 6
"""Shorter runs of printable characters are not considered text."""
_TEXT_SHOWN = 120
_HEADERS = ("the ELF header", "the program headers", "the section headers", "the fixed header")
_HEADER_OF = "header of "
_CHECKSUM = range(20, 24)
"""Position in an IGVM file."""


@dataclass(frozen=True, slots=True)
class Region:
    """A named part of a file: ``data[start:end]``."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Spot:
    """The first difference in a region, or in a whole file."""

    place: tuple[str, ...]
    """From the outermost region inwards; empty if the file's structure is unknown."""
    offset: int
    """Offset in the innermost region."""
    at: int
    """Offset in the first file."""
    old: bytes
    """The bytes there, starting a little before the difference if that is text."""
    new: bytes
    lengths: tuple[int, int]
    """Lengths of the innermost region in both files; 0 for a file without it."""


def elf_regions(data: bytes) -> list[Region]:
    """The headers and sections of an ELF file (System V ABI: little endian, 32 or 64 bits).

    Raises:
        ValueError: it is not an ELF file of this kind.
    """
    if data[:4] != b"\x7fELF" or data[4:6] not in (b"\1\1", b"\2\1"):
        raise ValueError("not a little-endian ELF file")
    wide = data[4] == 2
    try:
        phoff, shoff = struct.unpack_from("<QQ" if wide else "<II", data, 32 if wide else 28)
        ehsize, phsize, phnum, shsize, shnum, names = struct.unpack_from("<6H", data, 52 if wide else 40)
        headers = [struct.unpack_from("<IIQQQQ" if wide else "<IIIIII", data, shoff + i * shsize) for i in range(shnum)]
        start = headers[names][4] if names < shnum else 0
        found = [
            Region(_HEADERS[0], 0, ehsize),
            Region(_HEADERS[1], phoff, phoff + phsize * phnum),
            Region(_HEADERS[2], shoff, shoff + shsize * shnum),
        ]
        for name, kind, _, _, offset, size in headers:
            if kind not in (0, 8):  # SHT_NULL and SHT_NOBITS have nothing in the file
                text = data[start + name : data.index(0, start + name)].decode(errors="replace")
                found.append(Region(f"section {text}", offset, offset + size))
    except (struct.error, OverflowError) as error:
        raise ValueError(str(error)) from error
    return sorted(found, key=lambda region: region.start)


def igvm_regions(data: bytes) -> list[Region]:
    """The headers of an IGVM file and the content of each page. File offsets and the checksum are in no region: they differ because
    something else does.

    Raises:
        ValueError: it is not an IGVM file.
    """
    found = [Region(_HEADERS[3], 0, _CHECKSUM.start)]
    try:
        file = parse(data)
        for header in file.headers():
            start = header.offset
            end = start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")
            name, place = _igvm_names(header)
            where = getattr(header, "file_offset", None)
            if where is None:
                found.append(Region(name, start, end))
                continue
            field = start + 8 + (4 if isinstance(header, CorimData) else 12)
            found += [Region(name, start, field), Region(f"{name}, after its offset", field + 4, end)]
            if where and place:
                size = file.fixed.page_size if isinstance(header, PageData) else PAGE_SIZE
                found.append(Region(place, where, where + size))
    except IgvmError as error:
        raise ValueError(str(error)) from error
    return found


def _igvm_names(header: Header) -> tuple[str, str]:
    """A header's name, and the page that it places, else an empty string."""
    if isinstance(header, PageData):
        kind = " ".join([PAGE_DATA_TYPES[header.data_type], *flag_names(header.flags)])
        return f"{_HEADER_OF}page {header.gpa:#x}", f"page {header.gpa:#x} {kind}"
    if isinstance(header, VpContext):
        return f"{_HEADER_OF}VP context {header.gpa:#x}", f"page {header.gpa:#x} VP context"
    gpa = getattr(header, "gpa", None)
    return f"{_HEADER_OF}{header_name(header)}{'' if gpa is None else f' {gpa:#x}'}", ""


READERS: tuple[Callable[[bytes], list[Region]], ...] = (elf_regions, igvm_regions)
"""Each returns the regions of files in its format, and raises ValueError for others. Add the reader of a new format here."""


def pieces(data: bytes, contents: Mapping[str, bytes]) -> list[Region]:
    """The regions of a file that contains other files as they are, by name: an uncompressed archive of any format."""
    found, after = [], 0
    for name, content in contents.items():
        start = data.find(content, after) if content else -1
        if start < 0:
            start = data.find(content) if content else -1
        if start >= 0:
            found.append(Region(name, start, start + len(content)))
            after = start + len(content)
    return sorted(found, key=lambda region: region.start)


def spots(old: bytes, new: bytes, regions: tuple[Sequence[Region], Sequence[Region]] | None = None) -> list[Spot]:
    """One spot for each region that differs; spots with readable text first, headers last.

    ``regions`` are the regions of the two files if known; else the readers find them.
    """
    found = list(_spots(old, new, (), 0, regions))
    return sorted(found, key=lambda spot: (not (text_in(spot.old) and text_in(spot.new)), _is_a_header(spot)))


def _is_a_header(spot: Spot) -> bool:
    # They have sizes and offsets of what is reported anyway.
    return bool(spot.place) and (spot.place[-1] in _HEADERS or spot.place[-1].startswith(_HEADER_OF))


def _spots(
    old: bytes,
    new: bytes,
    place: tuple[str, ...],
    base: int,
    regions: tuple[Sequence[Region], Sequence[Region]] | None = None,
) -> Iterator[Spot]:
    if old == new:
        return
    both = regions or _read(old, new)
    first, second = (_by_name(part) for part in both)
    inside = False
    for name in {**first, **second}:
        a, b = first.get(name), second.get(name)
        one, other = old[a.start : a.end] if a else b"", new[b.start : b.end] if b else b""
        for spot in _spots(one, other, (*place, name), base + a.start if a else base):
            inside = True
            yield spot
    if not inside:  # the structure is unknown, or the difference is between regions
        offset = _first_difference(old, new)
        start = offset
        # Where neither byte is text, the text before them is the same in both.
        in_text = any(map(_printable, old[offset : offset + 1] + new[offset : offset + 1]))
        while in_text and start > 0 and offset - start < _TEXT_SHOWN and _printable(old[start - 1]):
            start -= 1
        start = start if offset - start >= _TEXT else offset
        end = offset + _TEXT_SHOWN
        yield Spot(place, offset, base + offset, old[start:end], new[start:end], (len(old), len(new)))


def text_in(data: bytes) -> str:
    """The printable characters at the start of data; empty if there are too few to be text."""
    end = next((i for i, byte in enumerate(data) if not _printable(byte)), len(data))
    return data[:end].decode("ascii") if end >= _TEXT else ""


def strings_with(data: bytes, needle: bytes) -> list[str]:
    """The texts that start with ``needle``, each once."""
    found: dict[str, None] = {}
    at = data.find(needle)
    while at >= 0:
        end = at + len(needle)
        while end < len(data) and _printable(data[end]) and end - at < _TEXT_SHOWN:
            end += 1
        found[data[at:end].decode(errors="replace")] = None
        at = data.find(needle, end)
    return list(found)


def spot_text(spot: Spot, names: tuple[str, str]) -> list[str]:
    """Lines for a spot; ``names`` are the names of the two files."""
    where = ", ".join(spot.place) or "in the file"
    far = f"0x{spot.offset:x} in it, 0x{spot.at:x} in the file" if spot.place else f"0x{spot.at:x}"
    sizes = "" if spot.lengths[0] == spot.lengths[1] else f"; {spot.lengths[0]} and {spot.lengths[1]} bytes long"
    lines = [f"{where}: from {far}{sizes}"]
    width = max(map(len, names))
    for name, data in zip(names, (spot.old, spot.new), strict=True):
        text = text_in(data)
        shown = f'"{text}"' if text else data[:_SHOWN].hex(" ") or "nothing"
        lines.append(f"  {name:{width}}  {shown}")
    return lines


def _read(old: bytes, new: bytes) -> tuple[Sequence[Region], Sequence[Region]]:
    for reader in READERS:
        try:
            return reader(old), reader(new)
        except ValueError:
            continue
    return (), ()


def _first_difference(old: bytes, new: bytes) -> int:
    length = min(len(old), len(new))
    for start in range(0, length, _BLOCK):
        a, b = old[start : start + _BLOCK], new[start : start + _BLOCK]
        if a != b:
            return next((start + i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), length)
    return length


def _by_name(regions: Sequence[Region]) -> dict[str, Region]:
    named: dict[str, Region] = {}
    for region in regions:
        name, count = region.name, 1
        while name in named:
            count += 1
            name = f"{region.name} ({count})"
        named[name] = region
    return named


def _printable(byte: int) -> bool:
    return 0x20 <= byte < 0x7F
