"""How large the parts of an IGVM file are, and what changed since the build before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coconut_tasks.records.sizes import Sizes


def size_table(place: str, now: Sizes, before: Sizes | None) -> str:
    """The report of one file: a row for each part, the bytes, and the change since the build before."""
    rows = [(place, now.whole, before.whole if before else None)]
    known: Mapping[str, int] = before.parts if before else {}
    for name in dict.fromkeys((*now.parts, *known)):
        rows.append((f"  {name}", now.parts.get(name, 0), known.get(name, 0) if before else None))
        if name.startswith("fs:"):
            inside: Mapping[str, int] = before.modules if before else {}
            rows += [
                (f"    /{path}", now.modules.get(path, 0), inside.get(path, 0) if before else None)
                for path in sorted(now.modules.keys() | inside.keys())
            ]
    texts = [(name, f"{size:,}", _change(size, old)) for name, size, old in rows]
    widths = [max(len(text[column]) for text in texts) for column in range(3)]
    lines = [
        f"{name:<{widths[0]}}  {size:>{widths[1]}} bytes  {change:>{widths[2]}}".rstrip()
        for name, size, change in texts
    ]
    return "\n".join(lines) + "\n"


def size_json(files: Sequence[tuple[str, Sizes, Sizes | None]]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "format": 1,
        "files": [
            {"file": place, "now": now.as_json(), "before": before.as_json() if before else None}
            for place, now, before in files
        ],
    }


def _change(now: int, before: int | None) -> str:
    if before is None:
        return ""
    if now == before:
        return "="
    return f"{now - before:+,}"
