"""``inspect``: the contents of an IGVM file. It needs no dodo.py and works in any folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coconut_tasks.called import called
from coconut_tasks.errors import EXIT_FAILED, EXIT_USAGE, UsageError, tell
from coconut_tasks.tasks.command import OwnCommand, switch

if TYPE_CHECKING:
    from coconut_tasks.igvm.parse import IgvmFile
    from coconut_tasks.reports.inspect import Digests


class InspectCommand(OwnCommand):
    """``inspect``: exit status 0 if all files are valid, otherwise 1 or 2."""

    name = "inspect"
    doc_purpose = "show the contents of IGVM files and what SEV-SNP measures"
    doc_usage = "FILE.igvm..."
    doc_description = """
        Shows the header, platforms, initialization headers and directives of each file, and its SEV-SNP launch digest. Consecutive pages of
        one kind are one line, with the SHA-384 of their contents if they are measured.

        Exit status: 0 success, 1 a file is not a valid IGVM file, 2 wrong usage or an unreadable file.
    """
    cmd_options = (
        switch("all", "show a line for each page"),
        switch("json", "print everything as JSON"),
    )
    examples = (
        "doit inspect bin/coconut-qemu.igvm",
        "doit inspect --json bin/coconut-qemu.igvm > qemu.json",
    )

    def execute(self, opt_values: Any, pos_args: Sequence[str]) -> int:
        from coconut_tasks.igvm.fields import FORMAT
        from coconut_tasks.reports.inspect import as_json, as_text
        from coconut_tasks.reports.results import head
        from coconut_tasks.wording import printable

        _, words = self.given_variables()
        names = [*pos_args, *words]
        if not names:
            raise UsageError(
                "wrong-words",
                f"inspect: no file given; for example: {called().command('inspect', 'bin/coconut-qemu.igvm')}",
            )
        status, shown = 0, 0
        out = self.json_stream or sys.stdout
        if opt_values["json"]:
            self.written = True
            fields = json.dumps({**head("inspect"), "format": FORMAT})
            out.write(f'{fields[:-1]}, "files": [')
        for name in names:
            read = _read(name)
            if isinstance(read, int):
                status = max(status, read)
                continue
            file, digests = read
            if opt_values["json"]:
                out.write(",\n" if shown else "\n")
                out.writelines(as_json(printable(name), file, digests))
            else:
                out.writelines(_lines(as_text(printable(name), file, digests, every=opt_values["all"])))
            shown += 1
        if opt_values["json"]:
            out.write("\n]}\n")
        return status


def _lines(lines: Iterator[str]) -> Iterator[str]:
    return (f"{line}\n" for line in lines)


def _read(name: str) -> tuple[IgvmFile, Digests | None] | int:
    """A valid file and its launch digests, or an exit status after printing the error."""
    from coconut_tasks.igvm.error import IgvmError
    from coconut_tasks.igvm.parse import parse
    from coconut_tasks.igvm.read import read_igvm
    from coconut_tasks.wording import printable

    try:
        file = parse(read_igvm(Path(name)))
        for_snp = _for_snp(file)
    except OSError as error:
        tell(error)
        return EXIT_USAGE
    except IgvmError as error:
        tell(error, printable(name))
        return EXIT_FAILED
    return file, _digests(file) if for_snp else None


def _for_snp(file: IgvmFile) -> bool:
    """Whether the file is for SEV-SNP. Raises IgvmError for an invalid header anywhere in the file."""
    from coconut_tasks.igvm.values import SEV_SNP, SupportedPlatform

    found = False
    for header in file.headers():
        found |= isinstance(header, SupportedPlatform) and header.platform_type == SEV_SNP
    return found


def _digests(file: IgvmFile) -> Digests:
    from coconut_tasks.igvm.error import IgvmError
    from coconut_tasks.igvm.launch import MeasureOptions
    from coconut_tasks.igvm.measure import measure
    from coconut_tasks.reports.inspect import Digests

    try:
        plain, native = (
            measure(file.data, MeasureOptions(native_zero=native, check_id_block=False)).digest.hex()
            for native in (False, True)
        )
    except IgvmError as error:
        return Digests(wrong=str(error))
    return Digests(plain, native)
