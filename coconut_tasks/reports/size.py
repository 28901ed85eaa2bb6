"""The sizes of an IGVM file and its parts, and what changed since the previous build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coconut_tasks.dataclass import dataclass
from coconut_tasks.records.sizes import Sizes


@dataclass(frozen=True, slots=True)
class ImageSizes:
    """The last build of an IGVM file."""

    path: str
    """Its absolute path in the output folder."""
    in_bin: bool
    """Whether the file in the output folder is this build, not another variant."""
    is_current: bool
    """Whether its parts on the disk still have these sizes; not after a build that failed or left the image out."""
    now: Sizes
    before: Sizes | None
    """The sizes in the previous build of the same variant."""


def size_table(place: str, now: Sizes, before: Sizes | None) -> str:
    """The table of one file: a row for each part with its bytes and the change since the previous build."""
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


def size_json(head: Mapping[str, Any], images: Sequence[ImageSizes]) -> dict[str, Any]:
    """The same as JSON."""
    return {
        **head,
        "images": [
            {
                "path": image.path,
                "in_bin": image.in_bin,
                "now": image.now.as_json(),
                "before": image.before.as_json() if image.before else None,
            }
            for image in images
        ],
    }


def _change(now: int, before: int | None) -> str:
    if before is None:
        return ""
    if now == before:
        return "="
    return f"{now - before:+,}"
