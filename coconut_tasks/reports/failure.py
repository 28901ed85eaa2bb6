"""A failed step as an annotation of GitHub Actions."""

from __future__ import annotations

import os
import re

from coconut_tasks.reports.problems import workflow_command
from coconut_tasks.terminal import plain

_HEAD = re.compile(r"^(?:error|warning)(?:\[\w+\])?: .*", re.MULTILINE)
_PLACE = re.compile(r"^ *--> (.+):(\d+):(\d+)$", re.MULTILINE)
"""rustc's position of an error, on one of the next lines."""


def failure_annotation(step: str, message: str, log: str, tree: str, top: str) -> str:
    """A workflow command about a failed step with its message.

    If an error in its log has a position in a source file, the first such error is used. ``tree`` is the folder in which compilers ran,
    ``top`` the root of GitHub's relative paths; both are absolute. A file outside ``top`` appears only in the text.
    """
    properties: dict[str, object] = {"title": f"{step} failed"}
    found = _first_error(plain(log))
    if found is None:
        return workflow_command("error", properties, plain(message).partition("\n")[0])
    error, file, line, column = found
    path = os.path.relpath(os.path.join(tree, file), top)
    if path.startswith(os.pardir + os.sep):
        return workflow_command("error", properties, f"{error} ({file}:{line}:{column})")
    return workflow_command("error", {"file": path, "line": line, "col": column, **properties}, error)


def _first_error(log: str) -> tuple[str, str, int, int] | None:
    heads = list(_HEAD.finditer(log))
    ends = [*(head.start() for head in heads[1:]), len(log)]
    for head, end in zip(heads, ends, strict=False):
        if head[0].startswith("error") and (place := _PLACE.search(log, head.end(), end)):
            return head[0], place[1], int(place[2]), int(place[3])
    return None
