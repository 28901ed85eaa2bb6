"""Measure an IGVM file, and write the launch measurement down in the formats in which it is taken further."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coconut_tasks import __version__
from coconut_tasks.effects.meanwhile import Meanwhile
from coconut_tasks.effects.place import write_whole
from coconut_tasks.errors import StepError
from coconut_tasks.papers import reference_values
from coconut_tasks.step import Command, Measurement
from coconut_tasks.tools.igvmmeasure import printed_digest
from coconut_tasks.world import World

if TYPE_CHECKING:
    from coconut_tasks.igvm.snp import Measured, MeasuredPage

FORMAT = 1
"""Version of the JSON file's format; a change of meaning raises it."""


def measure(work: Measurement, world: World, log: Path) -> None:
    """Run igvmmeasure, compute the digest once more, and write it as hex text, as JSON and as reference values.

    Raises:
        StepError: igvmmeasure failed, or printed no launch digest, or another one than we have.
    """
    ours = Meanwhile(partial(_ours, work, world))
    try:
        printed = world.run(work.measure, log)
    finally:
        ours.wait()
    digest = printed_digest(printed)
    if digest is None:
        shown = printed.strip() or "nothing"
        raise StepError(
            "igvmmeasure ended well, but printed no single line 'Launch Digest: <96 hex digits>'\n"
            f"  command: {work.measure}\n  log: {log}\n  it printed: {shown}"
        )
    measured = _agreed(work, digest, ours.result(), world, log)
    text = json.dumps(measurement(work, digest, world), indent=2) + "\n"
    for path, content in (
        (work.hex, f"{digest}\n".encode()),
        (work.json, text.encode()),
        (work.reference_values, reference_values.trustee(measured.digest)),
        (work.corim, reference_values.corim(measured.digest, measured.guest_svn)),
    ):
        write_whole(Path(world.path(path)), content)


def measurement(work: Measurement, digest: str, world: World) -> dict[str, Any]:
    """The content of the JSON file: the digest, what it is of, and every launch setting that it depends on."""
    igvm = world.path(work.igvm)
    return {
        "format": FORMAT,
        "digest": digest,
        "algorithm": "sha384",
        "kind": "SEV-SNP launch digest",
        "target": work.target,
        "platform": "snp",
        "platforms": list(work.platforms),
        "policy": work.policy,
        "check_kvm": work.check_kvm,
        "measure_native_zeroes": work.native_zero,
        "reproducible": world.reproducible is not None,
        "tool": {"name": "igvmmeasure", "command": list(work.measure.argv), "sha256": world.sha256(work.tool)},
        "checked_by": {"name": "coconut-tasks", "version": __version__},
        "igvm": {"file": work.shown, "size": Path(igvm).stat().st_size, "sha256": world.sha256(work.igvm)},
    }


def _ours(work: Measurement, world: World) -> tuple[Measured, Sequence[MeasuredPage]] | str:
    """Our own measurement, and the pages that it is of; why there is none, where there is none."""
    # A run that measures nothing need not wait for these.
    from coconut_tasks.igvm import snp
    from coconut_tasks.igvm.error import IgvmError

    # The tree's igvmmeasure decides: headers that a newer one reads are no fault.
    options = snp.Options(work.check_kvm, work.native_zero, tolerant=True)
    try:
        return snp.measure_pages(Path(world.path(work.igvm)).read_bytes(), options)
    except IgvmError as error:
        return f"none: {error}"


def _agreed(
    work: Measurement,
    digest: str,
    ours: tuple[Measured, Sequence[MeasuredPage]] | str,
    world: World,
    log: Path,
) -> Measured:
    """Raises StepError unless it is the same digest: a wrong one is found only when a guest is refused its secrets."""
    found = ours if isinstance(ours, str) else ours[0].digest.hex()
    if isinstance(ours, str) or found != digest:
        file = world.path(work.igvm)
        flags = [flag for flag, on in (("--check-kvm", work.check_kvm), ("--native-zero", work.native_zero)) if on]
        raise StepError(
            f"igvmmeasure and coconut-tasks disagree on what is measured; nothing was written (docs/measurement.md: where they may)\n"
            f"  igvmmeasure:   {digest}\n    command: {work.measure}\n"
            f"  coconut-tasks: {found}\n    command: {Command(('coconut-measure', *flags, file))}\n"
            f"  file: {file}\n  log: {log}"
        )
    measured, pages = ours
    world.shared(_pages_key(work.igvm, work.native_zero, world), lambda: pages)  # the provenance tells them
    return measured


def pages_of(igvm: str, native_zero: bool, world: World) -> Sequence[MeasuredPage]:
    """The pages of a file that was measured, in this run or in an earlier one."""
    from coconut_tasks.igvm.snp import Options, measured_pages  # as above

    options = Options(native_zero=native_zero, check_id_block=False, tolerant=True)
    file = Path(world.path(igvm))
    return world.shared(_pages_key(igvm, native_zero, world), lambda: measured_pages(file.read_bytes(), options))


def _pages_key(igvm: str, native_zero: bool, world: World) -> tuple[str, str, bool]:
    return "pages", world.sha256(igvm), native_zero
