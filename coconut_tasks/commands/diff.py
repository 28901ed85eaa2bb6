"""``diff``: what changed between two builds. It needs no dodo.py and works in any folder."""

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


class DiffCommand(OwnCommand):
    """``diff``: exit status 0 if nothing differs, 1 if something does, otherwise 2."""

    name = "diff"
    doc_purpose = "show what changed between two builds and why their launch digests differ"
    doc_usage = "FILE_A FILE_B"
    doc_description = """
        Each side is an IGVM file, the output of 'doit inspect --json', the .provenance.json or .launch-digest.json of a build, - for
        standard input, or a launch digest in any form that 'doit verify' takes. With only a digest, just the digests are compared.

        Causes come first: recipe, options, source, tools, commands, environment, input files, launch settings and parts. The pages of the
        image follow; with both images, also the first byte that differs in each page. Causes need the .provenance.json of both builds; it
        is used by itself if it is beside an .igvm file. A build replaces the files in bin/, so copy those to compare first.

        Exit status: 0 the same, 1 something differs, 2 wrong usage or a file that cannot be compared.
    """
    cmd_options = (switch("json", "print everything as JSON"),)
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
        if words:  # doit does not pass words with = to its commands, but the order decides which file is the old one
            names.sort(key=process_words().index)
        if len(names) != 2:
            example = called().command("diff", "old/coconut-qemu.igvm", "bin/coconut-qemu.igvm")
            raise UsageError("wrong-words", f"diff: {len(names)} files given; expected two, for example: {example}")
        if names == ["-", "-"]:
            raise UsageError("wrong-words", "diff: only one of the two files can be standard input")
        old, new = (_read(name) for name in names)
        if old.sha256 != new.sha256:  # one image needs no explanation
            with_causes = [_with_causes(name, side) for name, side in zip(names, (old, new), strict=True)]
            if all(side.is_build_record for side in with_causes):
                old, new = with_causes
        changes = compare(old, new)
        if opt_values["json"]:
            self.document = changes_json(changes)
        else:
            print(marked("\n".join(changes_text(changes)), terminal_at(sys.stdout), changes_words(changes)))
        return 0 if changes.same else EXIT_FAILED


def _read(name: str) -> Side:
    """One side. Raises UsageError or OSError if it cannot be compared."""
    from coconut_tasks.compare.sides import of_digests, read_side
    from coconut_tasks.evidence.digests import boot_digest_in, digest_in, near_miss
    from coconut_tasks.wording import printable, short_digest

    path = Path(name)
    if (digest_in(name) or boot_digest_in(name)) and not path.is_file():
        return of_digests(short_digest(name), name.encode())
    shown = "standard input" if name == "-" else printable(name)
    try:
        return read_side(shown, read_content(shown, 0 if name == "-" else path, lenient=True), images_beside(path))
    except MemoryError:
        raise UsageError("too-large", f"{shown}: not enough memory to compare it") from None
    except IsADirectoryError as error:
        image = min(path.glob("*.igvm"), default=path / "coconut-qemu.igvm")
        raise UsageError(
            "not-comparable", f"{shown}: is a folder; expected a file, for example {printable(str(image))}"
        ) from error
    except FileNotFoundError as error:
        if wrong := near_miss(name):
            raise UsageError("not-comparable", f"{shown}: {wrong}") from error
        raise


def _with_causes(name: str, side: Side) -> Side:
    """An image with what the provenance statement beside it says, if that is about this image."""
    from dataclasses import replace

    from coconut_tasks.compare.sides import read_side
    from coconut_tasks.layout import PROVENANCE

    if side.data is None or side.is_build_record or name == "-":
        return side
    try:
        content = read_content(side.name, Path(name + PROVENANCE))
        told = read_side(side.name, content, lambda _: side.data)
    except (OSError, ValueError, UsageError):
        return side
    if told.data is not side.data:
        return side
    return replace(told, form=side.form, causes_from=side.name + PROVENANCE)


def read_content(shown: str, path: Path | int, *, lenient: bool = False) -> bytearray:
    """The bytes of a file or an open descriptor. If it is not an image, at most one byte more than a JSON file may have. ``lenient`` is for
    who tells no digest, see ``parse``.

    Raises:
        UsageError: it starts like an IGVM file, but is not a valid one.
        OSError, ValueError: it cannot be read.
    """
    from coconut_tasks.compare.sides import MOST_JSON
    from coconut_tasks.igvm.error import IgvmError
    from coconut_tasks.igvm.read import read_igvm_or_start

    try:
        return read_igvm_or_start(path, MOST_JSON + 1, lenient=lenient)
    except IgvmError as error:
        raise UsageError(error.id, f"{shown}: {error}") from error


def images_beside(path: Path) -> Beside:
    """The images in a file's folder, by name."""
    from coconut_tasks.igvm.error import IgvmError
    from coconut_tasks.igvm.read import read_igvm

    def read(name: str) -> bytearray | None:
        file = path.parent / name
        try:
            return read_igvm(file, lenient=True) if file.is_file() else None
        except (OSError, ValueError, IgvmError):
            return None

    return read
