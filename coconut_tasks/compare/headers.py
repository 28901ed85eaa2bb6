"""Which headers of two IGVM files differ, except for differences that the pages show already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from coconut_tasks.compare.image import address, snp_mask
from coconut_tasks.compare.side import Side
from coconut_tasks.compare.values import ONLY_NEW, ONLY_OLD, Change

_PLACES = {"offset", "file_offset", "measured"}
"""Positions in the file, which say nothing about the content, and what follows from other fields."""
_NAMES = ("gpa", "parameter_area_index", "byte_offset")
"""What identifies a header besides its type."""
_PAGES = ("page data", "parameter insert", "VP context")


def changed_headers(old: Side, new: Side, told: Set[int], *, measured: bool) -> Iterator[Change]:
    """Headers by type and address, and the fields that differ.

    ``told`` are the addresses of pages that are reported as pages; ``measured`` says whether only pages that SEV-SNP measures are.
    """
    before, after = (_by_name(side.headers or (), told, measured=measured) for side in (old, new))
    for name in {**before, **after}:
        a, b = before.get(name), after.get(name)
        if a is None or b is None:
            yield Change(name, a and dict(a), b and dict(b), ONLY_NEW if a is None else ONLY_OLD)
            continue
        # One side may lack the digest of what is not measured.
        fields = [field for field in a if field in b and a[field] != b[field] and field not in _PLACES]
        if fields:
            words = ", ".join(f"{field} {a[field]} → {b[field]}" for field in fields)
            yield Change(name, {field: a[field] for field in fields}, {field: b[field] for field in fields}, words)


def _by_name(headers: Sequence[Mapping[str, Any]], told: Set[int], *, measured: bool) -> dict[str, Mapping[str, Any]]:
    counted: Counter[str] = Counter()
    found: dict[str, Mapping[str, Any]] = {}
    snp = snp_mask(headers)
    for header in headers:
        kind, mask = str(header.get("type")), header.get("compatibility_mask")
        name = " ".join([kind, *(str(header[one]) for one in _NAMES if one in header)])
        if name == kind and mask is not None:
            name = f"{kind} of mask {mask}"
        counted[name] += 1
        by_pages = address(mask) & snp if measured else kind == "page data"
        if kind in _PAGES and by_pages and address(header.get("gpa")) in told:
            continue
        found[name if counted[name] == 1 else f"{name} ({counted[name]})"] = header
    return found
