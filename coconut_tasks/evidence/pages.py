"""The measured pages of an image, one line of text each, with the part that is there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from coconut_tasks.igvm.launch import MeasuredPage, page_hash
from coconut_tasks.igvm.snp import PAGE_KINDS
from coconut_tasks.igvm.values import PAGE_SIZE

_PAGE = r"0x([0-9a-f]{1,16}) ([a-z]+|error range) ([0-9a-f]{96}|-)(?: (\S.*)\+0x([0-9a-f]{1,16}))?"
_KINDS = {*PAGE_KINDS, "error range"}

Blocks = Mapping[str, Sequence[tuple[str, int]]]
"""Where a page's bytes are found, as part and offset, by their SHA-384 as hex text."""


def blocks_of(parts: Mapping[str, bytes]) -> Blocks:
    """The pages of parts: builders place parts from the start of a page, and pad the last page with zeroes."""
    found: dict[str, list[tuple[str, int]]] = {}
    for name, content in parts.items():
        for start in range(0, len(content), PAGE_SIZE):
            block = content[start : start + PAGE_SIZE].ljust(PAGE_SIZE, b"\0")
            found.setdefault(page_hash(block).hex(), []).append((name, start))
    return found


def page_texts(pages: Iterable[MeasuredPage], blocks: Blocks) -> Iterator[str]:
    """``0x800000 normal <sha384> kernel:svsm+0x1000`` for each page: address, kind, digest of the content or ``-``, and the part.

    A part is found by its bytes. If the same bytes are in several places, the one that follows the previous page is chosen.
    """
    following: tuple[str, int] | None = None
    for page in pages:
        found = None
        if page.file_offset and page.kind == "normal":
            places = blocks.get(page.content, ())
            found = following if following in places else next(iter(places), None)
        following = (found[0], found[1] + PAGE_SIZE) if found else None
        where = f" {found[0]}+{found[1]:#x}" if found else ""
        yield f"{page.gpa:#x} {page.kind} {page.content or '-'}{where}"


def read_page(text: str) -> tuple[MeasuredPage, str, int] | None:
    """The page that such a text describes, its part (empty if none is named) and the offset in it; None for any other text.

    The text does not say where the bytes are in the image: ``file_offset`` is 0.
    """
    match = re.fullmatch(_PAGE, text)
    if match is None or match[2] not in _KINDS:
        return None
    gpa, kind, content, part, offset = match.groups()
    return MeasuredPage(int(gpa, 16), kind, content.strip("-"), 0), part or "", int(offset or "0", 16)
