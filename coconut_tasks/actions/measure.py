"""Measure an IGVM file and write the launch measurement in each of its formats."""

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
from coconut_tasks.evidence import reference_values
from coconut_tasks.steps.action import Measurement
from coconut_tasks.steps.command import Command
from coconut_tasks.tools.igvmmeasure import printed_digest
from coconut_tasks.workspace.workspace import Workspace

if TYPE_CHECKING:
    from coconut_tasks.igvm.launch import Measured, MeasuredPage

FORMAT = 1
"""Version of the JSON file's format; a change of meaning raises it."""


def measure(action: Measurement, workspace: Workspace, log: Path) -> None:
    """Run igvmmeasure, compute the digest ourselves as well, and write it as hex text, JSON and reference values.

    Raises:
        StepError: igvmmeasure failed, printed no launch digest, or printed a different one from ours.
    """
    ours = Meanwhile(partial(_ours, action, workspace))
    try:
        printed = workspace.run(action.measure, log)
    finally:
        ours.wait()
    digest = printed_digest(printed)
    if digest is None:
        shown = printed.strip() or "nothing"
        raise StepError(
            "no-digest-printed",
            "igvmmeasure succeeded, but did not print exactly one line 'Launch Digest: <96 hex digits>'\n"
            f"  command: {action.measure}\n  log: {log}\n  it printed: {shown}",
        )
    measured = _agreed(action, digest, ours.result(), workspace, log)
    text = json.dumps(measurement(action, digest, workspace), indent=2) + "\n"
    for path, content in (
        (action.hex, f"{digest}\n".encode()),
        (action.json, text.encode()),
        (action.reference_values, reference_values.trustee(measured.digest)),
        (action.corim, reference_values.corim(measured.digest, measured.guest_svn)),
    ):
        write_whole(Path(workspace.path(path)), content)


def measurement(action: Measurement, digest: str, workspace: Workspace) -> dict[str, Any]:
    """The content of the JSON file: the digest, what it measures, and every launch setting that it depends on."""
    igvm = workspace.path(action.igvm)
    return {
        "format": FORMAT,
        "digest": digest,
        "algorithm": "sha384",
        "kind": "SEV-SNP launch digest",
        "target": action.target,
        "platform": "snp",
        "platforms": list(action.platforms),
        "policy": action.policy,
        "check_kvm": action.check_kvm,
        "measure_native_zeroes": action.native_zero,
        "reproducible": workspace.reproducible is not None,
        "tool": {"name": "igvmmeasure", "command": list(action.measure.argv), "sha256": workspace.sha256(action.tool)},
        "checked_by": {"name": "coconut-tasks", "version": __version__},
        "igvm": {"file": action.shown, "size": Path(igvm).stat().st_size, "sha256": workspace.sha256(action.igvm)},
    }


def _ours(action: Measurement, workspace: Workspace) -> tuple[Measured, Sequence[MeasuredPage]] | str:
    """Our own measurement and its pages, or why there is none."""
    # Imported here: a run that measures nothing does not need them.
    from coconut_tasks.igvm.error import IgvmError
    from coconut_tasks.igvm.launch import MeasureOptions
    from coconut_tasks.igvm.measure import measure_pages

    # The tree's igvmmeasure decides: headers that only a newer version reads are not errors.
    options = MeasureOptions(action.check_kvm, action.native_zero, tolerant=True)
    try:
        return measure_pages(Path(workspace.path(action.igvm)).read_bytes(), options)
    except IgvmError as error:
        return f"none: {error}"


def _agreed(
    action: Measurement,
    digest: str,
    ours: tuple[Measured, Sequence[MeasuredPage]] | str,
    workspace: Workspace,
    log: Path,
) -> Measured:
    """Raises StepError unless the digests agree: otherwise a wrong one would be noticed only when a guest is refused its secrets."""
    found = ours if isinstance(ours, str) else ours[0].digest.hex()
    if isinstance(ours, str) or found != digest:
        file = workspace.path(action.igvm)
        flags = [flag for flag, on in (("--check-kvm", action.check_kvm), ("--native-zero", action.native_zero)) if on]
        raise StepError(
            "digests-disagree",
            f"igvmmeasure and coconut-tasks compute different digests; nothing was written (see docs/measurement.md)\n"
            f"  igvmmeasure:   {digest}\n    command: {action.measure}\n"
            f"  coconut-tasks: {found}\n    command: {Command(('coconut-measure', *flags, file))}\n"
            f"  file: {file}\n  log: {log}",
        )
    measured, pages = ours
    workspace.shared(_pages_key(action.igvm, action.native_zero, workspace), lambda: pages)  # for the provenance
    return measured


def pages_of(igvm: str, native_zero: bool, workspace: Workspace) -> Sequence[MeasuredPage]:
    """The pages of a file that was measured in this run or an earlier one."""
    from coconut_tasks.igvm.launch import MeasureOptions  # as above
    from coconut_tasks.igvm.measure import measured_pages

    options = MeasureOptions(native_zero=native_zero, check_id_block=False, tolerant=True)
    file = Path(workspace.path(igvm))
    return workspace.shared(
        _pages_key(igvm, native_zero, workspace), lambda: measured_pages(file.read_bytes(), options)
    )


def _pages_key(igvm: str, native_zero: bool, workspace: Workspace) -> tuple[str, str, bool]:
    return "pages", workspace.sha256(igvm), native_zero
