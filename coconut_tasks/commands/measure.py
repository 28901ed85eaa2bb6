"""``coconut-measure``: the launch digest of an IGVM file, without any other tool. It imports only what that needs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from coconut_tasks import __version__
from coconut_tasks.commands.arguments import Arguments
from coconut_tasks.errors import EXIT_FAILED, EXIT_USAGE, UsageError, tell
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.launch import Measured, MeasureOptions
from coconut_tasks.igvm.measure import measure
from coconut_tasks.igvm.read import read_igvm

FORMAT = 1
"""Version of the output of ``--json``; a change of meaning raises it."""


def main(argv: Sequence[str] | None = None, name: str = "coconut-measure") -> int:
    """Entry point of the program called ``name``.

    Exit status: 0 success, 1 the file cannot be measured, 2 wrong usage or an unreadable file.
    """
    try:
        given = _parser(name).parse_args(argv)
    except UsageError as error:
        tell(error)
        return EXIT_USAGE
    path = Path(given.file)
    # The name may not be valid UTF-8, but is printed.
    given.file = os.fsencode(given.file).decode(errors="replace")
    try:
        data = read_igvm(path)
        options = MeasureOptions(given.check_kvm, given.native_zero, check_id_block=not given.ignore_idblock)
        measured = measure(data, options)
        print(_shown(given, data, measured), flush=True)
    except IgvmError as error:
        tell(error, given.file)
        return EXIT_FAILED
    except BrokenPipeError:
        from coconut_tasks.tasks.interrupt import nobody_reads

        return nobody_reads()
    except OSError as error:
        tell(error)
        return EXIT_USAGE
    return 0


def _shown(given: argparse.Namespace, data: bytearray, measured: Measured) -> str:
    digest = measured.digest.hex()
    if given.bare:
        return digest
    if not given.json:
        return f"{given.file}: SEV-SNP launch digest {digest}"
    import json
    from hashlib import sha256

    from coconut_tasks.reports.results import head

    content = {
        **head("measure"),
        "format": FORMAT,
        "digest": digest,
        "algorithm": "sha384",
        "kind": "SEV-SNP launch digest",
        "platform": "snp",
        "check_kvm": given.check_kvm,
        "measure_native_zeroes": given.native_zero,
        "pages": measured.pages,
        "id_block": measured.id_block.hex() if measured.id_block else None,
        "tool": {"name": "coconut-measure", "version": __version__},
        "igvm": {"file": given.file, "size": len(data), "sha256": sha256(data).hexdigest()},
    }
    return json.dumps(content, indent=2)


def _parser(name: str) -> argparse.ArgumentParser:
    parser = Arguments(
        prog=name,
        description="Print the launch digest that SEV-SNP firmware reports for a guest started from this IGVM file.",
        epilog="Exit status: 0 success; 1 the file cannot be measured, or its ID block expects another digest; 2 wrong usage or an "
        "unreadable file. See docs/measurement.md for what is measured.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE.igvm")
    parser.add_argument("--check-kvm", action="store_true", help="fail if KVM would measure the file differently")
    parser.add_argument(
        "--native-zero",
        action="store_true",
        help="measure pages without data as the platform's zero pages, not as pages full of zeroes",
    )
    parser.add_argument(
        "--ignore-idblock", action="store_true", help="ignore the digest that the file's ID block expects"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the digest and everything it depends on as JSON")
    form.add_argument("--bare", action="store_true", help="print only the digest")
    parser.add_argument("--version", action="version", version=__version__)
    return parser


if __name__ == "__main__":
    sys.exit(main())
