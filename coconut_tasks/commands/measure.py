"""``coconut-measure``: the launch measurements of an IGVM file, without any other tool. It imports only what that needs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from coconut_tasks import __version__
from coconut_tasks.commands.arguments import Arguments
from coconut_tasks.errors import EXIT_FAILED, EXIT_USAGE, UsageError, tell
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.kvm import MOST_PROCESSORS, SIGNATURES
from coconut_tasks.igvm.launch import Measured, MeasureOptions
from coconut_tasks.igvm.measure import measure, measure_all
from coconut_tasks.igvm.platforms import MEASURED, SNP
from coconut_tasks.igvm.read import read_igvm
from coconut_tasks.wording import shown

FORMAT = 2
"""Version of the output of ``--json``; a change of meaning raises it. Version 1 was about SEV-SNP alone."""


def main(argv: Sequence[str] | None = None, name: str = "coconut-measure") -> int:
    """Entry point of the program called ``name``.

    Exit status: 0 success, 1 the file cannot be measured, 2 wrong usage or an unreadable file.
    """
    try:
        given = _parser(name).parse_args(argv)
        ways = _ways(given)
    except UsageError as error:
        tell(error)
        return EXIT_USAGE
    path = Path(given.file)
    # The name may not be valid UTF-8, but is printed.
    given.file = os.fsencode(given.file).decode(errors="replace")
    try:
        data = read_igvm(path)
        status = 0
        for options, how in ways:
            measured = _measured(given, data, options)
            for one in measured.values():
                if isinstance(one, IgvmError):
                    tell(one, given.file)
                    status = EXIT_FAILED
            found = {word: one for word, one in measured.items() if isinstance(one, Measured)}
            if found:
                print(_shown(given, data, found, options, how), flush=True)
    except IgvmError as error:
        tell(error, given.file)
        return EXIT_FAILED
    except BrokenPipeError:
        from coconut_tasks.tasks.interrupt import nobody_reads

        return nobody_reads()
    except OSError as error:
        tell(error)
        return EXIT_USAGE
    return status


def _ways(given: argparse.Namespace) -> list[tuple[MeasureOptions, str]]:
    """How to measure, with what is said of it: once, but with several processors of unknown type once for each type.

    Raises:
        UsageError: options that do not go together.
    """
    if given.vcpus > 1 and given.platform not in (None, SNP.word):
        raise UsageError(
            "options-together", "--vcpus: only SEV-SNP measures processors; remove it or use --platform=snp"
        )
    if given.vcpu_type and given.vcpus == 1:
        raise UsageError(
            "options-together", "--vcpu-type: add --vcpus with 2 or more; KVM takes the first one's state from the file"
        )
    if given.vcpus > 1 and not given.vcpu_type and (given.bare or given.json):
        option = "--bare" if given.bare else "--json"
        known = ", ".join(SIGNATURES)
        raise UsageError(
            "options-together", f"{option}: --vcpus has a digest for each type of processor; add --vcpu-type ({known})"
        )
    plain = MeasureOptions(
        given.check_kvm,
        given.native_zero,
        check_id_block=not given.ignore_idblock,
        two_pass=given.two_pass,
        qemu_order=given.qemu_order,
        processors=given.vcpus,
    )
    if given.vcpus == 1:
        return [(plain, "")]
    types: list[str] = [given.vcpu_type] if given.vcpu_type else list(SIGNATURES)
    return [
        # An ID block has the digest of one processor or of all, so it says nothing here.
        (
            replace(plain, signature=SIGNATURES[one], check_id_block=False),
            f" ({given.vcpus} processors of type {one})",
        )
        for one in types
    ]


def _measured(
    given: argparse.Namespace, data: bytearray, options: MeasureOptions
) -> Mapping[str, Measured | IgvmError]:
    """The measurements that are asked for.

    Raises:
        IgvmError: there is none.
    """
    if given.platform:
        return {given.platform: measure(data, options, MEASURED[given.platform])}
    if options.processors > 1:
        return {SNP.word: measure(data, options)}
    found = measure_all(data, options)
    if not found or (given.bare and len(found) > 1 and SNP.word not in found):
        measure(data, options)  # says what is missing
    if given.bare:
        word = SNP.word if SNP.word in found else next(iter(found))
        return {word: found[word]}
    return found


def _shown(
    given: argparse.Namespace, data: bytearray, measured: Mapping[str, Measured], options: MeasureOptions, how: str
) -> str:
    if given.bare:
        return next(iter(measured.values())).digest.hex()
    if not given.json:
        return "\n".join(f"{given.file}: {one.platform.kind} {one.digest.hex()}{how}" for one in measured.values())
    import json
    from hashlib import sha256

    from coconut_tasks.reports.results import head

    snp = {**_members(measured["snp"]), "platform": "snp"} if "snp" in measured else {}
    content = {
        **head("measure"),
        "format": FORMAT,
        **{name: value for name, value in snp.items() if name not in ("pages", "id_block")},
        "check_kvm": given.check_kvm,
        "measure_native_zeroes": given.native_zero,
        "two_pass": options.two_pass,
        "qemu_order": options.qemu_order,
        "processors": {"count": options.processors, "type": given.vcpu_type},
        **{name: snp[name] for name in ("pages", "id_block") if snp},
        "measurements": [{"platform": word, **_members(one)} for word, one in measured.items()],
        "tool": {"name": "coconut-measure", "version": __version__},
        "igvm": {"file": given.file, "size": len(data), "sha256": sha256(data).hexdigest()},
    }
    return json.dumps(content, indent=2)


def _members(one: Measured) -> dict[str, Any]:
    return {
        "digest": one.digest.hex(),
        "algorithm": one.platform.algorithm,
        "kind": one.platform.kind,
        "pages": one.pages,
        "id_block": one.id_block.hex() if one.id_block else None,
    }


def _parser(name: str) -> argparse.ArgumentParser:
    parser = Arguments(
        prog=name,
        description="Print what SEV-SNP, TDX and VBS report for a guest started from this IGVM file: launch digest, MRTD, boot digest.",
        epilog="Exit status: 0 success; 1 the file cannot be measured, or it expects another digest itself; 2 wrong usage or an "
        "unreadable file. See docs/measurement.md for what is measured.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE.igvm")
    parser.add_argument(
        "--platform", choices=list(MEASURED), help="only this platform's; default: all that the file is for"
    )
    parser.add_argument("--check-kvm", action="store_true", help="snp: fail if KVM would measure the file differently")
    parser.add_argument(
        "--native-zero",
        action="store_true",
        help="snp: measure pages without data as the platform's zero pages, not as pages full of zeroes",
    )
    parser.add_argument(
        "--two-pass",
        action="store_true",
        help="tdp: add all pages of a run before the first is extended, as early versions of QEMU for TDX do",
    )
    parser.add_argument(
        "--qemu-order", action="store_true", help="add pages in the order of QEMU's IGVM loader, VMSAs last"
    )
    parser.add_argument(
        "--vcpus",
        metavar="N",
        type=_count,
        default=1,
        help="snp: KVM measures a VMSA for each of N processors; one digest for each type of processor",
    )
    parser.add_argument("--vcpu-type", choices=list(SIGNATURES), help="the type of these processors, QEMU's -cpu")
    parser.add_argument(
        "--ignore-idblock",
        action="store_true",
        help="ignore the digest that the file's ID block or VBS measurement expects",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the digests and everything they depend on as JSON")
    form.add_argument("--bare", action="store_true", help="print only the digest, SEV-SNP's if the file has several")
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _count(word: str) -> int:
    if not word.isascii() or not word.isdigit() or not 1 <= int(word) <= MOST_PROCESSORS:
        raise argparse.ArgumentTypeError(f"{shown(word)}; expected a number from 1 to {MOST_PROCESSORS}")
    return int(word)


if __name__ == "__main__":
    sys.exit(main())
