"""``diff``: what changed between two builds. It needs no dodo.py, and works in any folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coconut_tasks.called import called
from coconut_tasks.errors import EXIT_FAILED, UsageError
from coconut_tasks.options import process_words
from coconut_tasks.tasks.command import OwnCommand, switch

if TYPE_CHECKING:
    from coconut_tasks.compare.record import Beside
    from coconut_tasks.compare.side import Side


_SHOWN = 16
"""Digits of a digest on the command line that it is called by."""


class DiffCommand(OwnCommand):
    """``diff``: status 0 if nothing differs, 1 if something does, else 2."""

    name = "diff"
    doc_purpose = "show what changed between two builds, and why their launch digests differ"
    doc_usage = "FILE_A FILE_B"
    doc_description = """
        Each of the two is an IGVM file, the output of 'doit inspect --json', the .provenance.json or .launch-digest.json of a build, - for
        standard input, or a launch digest in any form that 'doit verify' takes. A digest alone says only whether the digests are the same.
        The causes come first: recipe, options, source, tools, commands, environment, input files, launch settings, parts, then the pages of
        the image; with both images at hand, also the first byte that differs in each page.
        Exit status: 0 the same, 1 something differs, 2 wrong use, or a file that cannot be compared.
    """
    cmd_options = (switch("json", "everything, for programs"),)
    examples = (
        "doit diff old/coconut-qemu.igvm bin/coconut-qemu.igvm",
        "doit diff old/coconut-qemu.igvm.provenance.json bin/coconut-qemu.igvm.provenance.json",
        "doit diff measured.txt bin/coconut-qemu.igvm  # what igvmmeasure printed, and an image",
    )

    def execute(self, opt_values: Any, pos_args: Sequence[str]) -> int:
        from coconut_tasks.compare.changes import compare
        from coconut_tasks.reports.changes import changes_json, changes_text, changes_words
        from coconut_tasks.terminal import marked, terminal_at

        _, words = self.given_variables()
        names = [*pos_args, *words]
        if words:  # doit keeps words with = from its commands; which file is the old one depends on the order
            names.sort(key=process_words().index)
        if len(names) != 2:
            raise UsageError(
                "wrong-words",
                f"diff: expected two files, for example: {called().command('diff', 'old/coconut-qemu.igvm', 'bin/coconut-qemu.igvm')}",
            )
        if names == ["-", "-"]:
            raise UsageError("wrong-words", "diff: standard input can be only one of the two")
        old, new = (_read(name) for name in names)
        changes = compare(old, new)
        if opt_values["json"]:
            self.document = changes_json(changes)
        else:
            print(marked("\n".join(changes_text(changes)), terminal_at(sys.stdout), changes_words(changes)))
        return 0 if changes.same else EXIT_FAILED


def _read(name: str) -> Side:
    """One of the two. Raises UsageError or OSError for what cannot be compared."""
    from coconut_tasks.compare.sides import of_digests, read_side
    from coconut_tasks.evidence.digests import digest_in, near_miss
    from coconut_tasks.wording import printable

    path = Path(name)
    if digest_in(name) and not path.is_file():
        return of_digests(f"{name[:_SHOWN]}…", name.encode())
    shown = "standard input" if name == "-" else printable(name)
    try:
        return read_side(shown, read_content(shown, 0 if name == "-" else path), images_beside(path))
    except MemoryError:
        raise UsageError("too-large", f"{shown}: not enough memory to compare it") from None
    except FileNotFoundError as error:
        if wrong := near_miss(name):
            raise UsageError("not-comparable", f"{shown}: {wrong}") from error
        raise


def read_content(shown: str, path: Path | int) -> bytearray:
    """The bytes of a file, or of an open descriptor; not more than one more than a JSON file may have, if it is no image.

    Raises:
        UsageError: it begins like an IGVM file, and is none.
        OSError, ValueError: it cannot be read.
    """
    from coconut_tasks.compare.sides import MOST_JSON
    from coconut_tasks.igvm.error import IgvmError
    from coconut_tasks.igvm.read import read_igvm_or_start

    try:
        return read_igvm_or_start(path, MOST_JSON + 1)
    except IgvmError as error:
        raise UsageError(error.id, f"{shown}: {error}") from error


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
