"""``diff``: what changed between two builds. It needs no dodo.py, and works in any folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coconut_tasks.errors import EXIT_FAILED, UsageError
from coconut_tasks.options import process_words
from coconut_tasks.tasks.command import OwnCommand, switch

if TYPE_CHECKING:
    from coconut_tasks.compare.record import Beside
    from coconut_tasks.compare.side import Side


class DiffCommand(OwnCommand):
    """``diff``: status 0 if nothing differs, 1 if something does, else 2."""

    name = "diff"
    doc_purpose = "show what changed between two builds, and why their launch digests differ"
    doc_usage = "FILE_A FILE_B"
    doc_description = """
        Each of the two is an IGVM file, the output of 'doit inspect --json', or of a build its .provenance.json or .launch-digest.json.
        Told are, the causes first: recipe, options, source, tools, commands, environment, input files, launch settings, parts, and the
        pages of the image; with both images at hand also the first byte that differs in each page.
        Exit status: 0 the same, 1 something differs, 2 wrong use, or a file that cannot be compared.
    """
    cmd_options = (switch("json", "everything, for programs"),)
    examples = (
        "doit diff old/coconut-qemu.igvm bin/coconut-qemu.igvm",
        "doit diff old/coconut-qemu.igvm.provenance.json bin/coconut-qemu.igvm.provenance.json",
    )

    def execute(self, opt_values: Any, pos_args: Sequence[str]) -> int:
        from coconut_tasks.compare.changes import compare
        from coconut_tasks.reports.changes import changes_json, changes_text

        _, words = self.given_variables()
        names = [*pos_args, *words]
        if words:  # doit keeps words with = from its commands; which file is the old one depends on the order
            names.sort(key=process_words().index)
        if len(names) != 2:
            raise UsageError(
                "wrong-words", "diff: which two? for example: doit diff old/coconut-qemu.igvm bin/coconut-qemu.igvm"
            )
        old, new = (_read(name) for name in names)
        changes = compare(old, new)
        if opt_values["json"]:
            import json

            json.dump(changes_json(changes), sys.stdout, indent=2)
            print()
        else:
            print("\n".join(changes_text(changes)))
        return 0 if changes.same else EXIT_FAILED


def _read(name: str) -> Side:
    """One of the two. Raises UsageError or OSError for what cannot be compared."""
    from coconut_tasks.compare.sides import MOST_JSON, read_side
    from coconut_tasks.igvm.error import IgvmError
    from coconut_tasks.igvm.read import read_igvm_or_start
    from coconut_tasks.wording import printable

    path = Path(name)
    shown = printable(name)
    try:
        data = read_igvm_or_start(path, MOST_JSON + 1)
    except IgvmError as error:
        raise UsageError(error.id, f"{shown}: {error}") from error
    try:
        return read_side(shown, data, images_beside(path))
    except MemoryError:
        raise UsageError("too-large", f"{shown}: not enough memory to compare it") from None


def images_beside(path: Path) -> Beside:
    """The images in a file's folder, by their names."""
    from coconut_tasks.igvm.error import IgvmError
    from coconut_tasks.igvm.read import read_igvm

    def read(name: str) -> bytearray | None:
        file = path.parent / name
        try:
            return read_igvm(file) if file.is_file() else None
        except (OSError, ValueError, IgvmError):
            return None

    return read
