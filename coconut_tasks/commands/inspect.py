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
    from coconut_tasks.igvm.error import IgvmError
    from coconut_tasks.igvm.launch import Measured
    from coconut_tasks.igvm.parse import IgvmFile
    from coconut_tasks.igvm.platforms import MeasuredPlatform
    from coconut_tasks.reports.inspect import Digests


class InspectCommand(OwnCommand):
    """``inspect``: exit status 0 if no file is broken, otherwise 1 or 2."""

    name = "inspect"
    doc_purpose = "show the contents of IGVM files and what each platform measures"
    doc_usage = "FILE.igvm..."
    doc_description = """
        Shows the header, platforms, initialization headers and directives of each file, and its SEV-SNP launch digest, TDX MRTD and VBS
        boot digest. Consecutive pages of one kind are one line, with the SHA-384 of their contents if they are measured. A file that is
        newer than this program is shown as far as it is understood, without digests.

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
        from coconut_tasks.igvm.error import IgvmError
        from coconut_tasks.igvm.fields import FORMAT
        from coconut_tasks.reports.inspect import as_json, as_text, digest_lines
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
            file = _read(name)
            if isinstance(file, int):
                status = max(status, file)
                continue
            try:
                if opt_values["json"]:
                    digests = _digests(file)
                    out.write(",\n" if shown else "\n")
                    out.writelines(as_json(printable(name), file, *digests))
                    shown += 1
                else:
                    out.writelines(_lines(as_text(printable(name), file, every=opt_values["all"])))
                    out.writelines(_lines(digest_lines(_digests(file))))
            except IgvmError as error:
                out.flush()  # before the error, what was right
                tell(error, printable(name))
                status = max(status, EXIT_FAILED)
        if opt_values["json"]:
            out.write("\n]}\n")
        return status


def _lines(lines: Iterator[str]) -> Iterator[str]:
    return (f"{line}\n" for line in lines)


def _read(name: str) -> IgvmFile | int:
    """A file, or an exit status after printing the error."""
    from coconut_tasks.igvm.error import IgvmError
    from coconut_tasks.igvm.parse import parse
    from coconut_tasks.igvm.read import read_igvm
    from coconut_tasks.wording import printable

    try:
        return parse(read_igvm(Path(name), lenient=True), lenient=True)
    except OSError as error:
        tell(error)
        return EXIT_USAGE
    except IgvmError as error:
        tell(error, printable(name))
        return EXIT_FAILED


def _digests(file: IgvmFile) -> list[Digests]:
    """What each platform of the file measures. Raises IgvmError for an invalid header anywhere in the file."""
    from coconut_tasks.igvm.declared import DeclaredPlatforms
    from coconut_tasks.igvm.error import IgvmError
    from coconut_tasks.igvm.launch import MeasureOptions
    from coconut_tasks.igvm.measure import measure_all
    from coconut_tasks.igvm.platforms import MEASURED
    from coconut_tasks.reports.inspect import Digests

    declared = DeclaredPlatforms()
    for header in file.headers():
        declared.see(header)
    if not declared.words:
        return []
    try:
        # Measuring is strict, so it reads the file anew.
        found = measure_all(file.data, MeasureOptions(check_id_block=False))
    except IgvmError as error:
        return [Digests(wrong=str(error), platform=one) for one in MEASURED.values() if one.word in declared.words]
    return [_digests_of(file, MEASURED[word], outcome) for word, outcome in found.items()]


def _digests_of(file: IgvmFile, platform: MeasuredPlatform, plain: Measured | IgvmError) -> Digests:
    from coconut_tasks.igvm.error import IgvmError
    from coconut_tasks.igvm.launch import MeasureOptions
    from coconut_tasks.igvm.measure import measure
    from coconut_tasks.igvm.platforms import SNP, TDP
    from coconut_tasks.reports.inspect import Digests

    if isinstance(plain, IgvmError):
        return Digests(wrong=str(plain), platform=platform)
    other = ""
    if platform in (SNP, TDP):
        way = MeasureOptions(native_zero=platform is SNP, two_pass=platform is TDP, check_id_block=False)
        other = measure(file.data, way, platform).digest.hex()
    return Digests(plain.digest.hex(), other, platform=platform)
