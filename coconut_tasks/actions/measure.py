"""Measure an IGVM file for each of its platforms, and write the launch measurements in each of their formats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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

FORMAT = 2
"""Version of the JSON file's format; a change of meaning raises it. Version 1 was about SEV-SNP alone."""


def measure(action: Measurement, workspace: Workspace, log: Path) -> None:
    """Run igvmmeasure for SEV-SNP, compute the measurements ourselves as well, and write them as hex text, JSON and reference values.

    Raises:
        StepError: igvmmeasure failed, printed no launch digest, or printed a different one from ours; or a platform cannot be measured.
    """
    ours = Meanwhile(partial(_ours, action, workspace))
    printed = None
    try:
        if action.measure is not None:
            printed = workspace.run(action.measure, log)
    finally:
        ours.wait()
    computed = ours.result()
    if printed is not None:
        _check(action, _digest_in(printed, action, log), computed["snp"], workspace, log)
    measured = _all_measured(action, computed, workspace)
    text = json.dumps(measurement(action, measured, workspace), indent=2) + "\n"
    for path, content in (
        *((path, f"{measured[platform].digest.hex()}\n".encode()) for platform, path in action.hexes),
        (action.json, text.encode()),
        (action.reference_values, reference_values.trustee(measured.values())),
        (action.corim, reference_values.corim(measured.values())),
    ):
        write_whole(Path(workspace.path(path)), content)


def measurement(action: Measurement, measured: Mapping[str, Measured], workspace: Workspace) -> dict[str, Any]:
    """The content of the JSON file: the digests, what they measure, and every launch setting that they depend on.

    Its first members are those of format 1, which knew only SEV-SNP; an image without it does not have them. Nor has it what the recipe
    says for SEV-SNP alone, which decides nothing of it.
    """
    igvm = workspace.path(action.igvm)
    ours = {"name": "coconut-tasks", "version": __version__}
    snp: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    tool = None
    if action.measure is not None and action.tool is not None:
        tool = {"name": "igvmmeasure", "command": list(action.measure.argv), "sha256": workspace.sha256(action.tool)}
        snp = {**_digest_members(measured["snp"]), "platform": "snp"}
        settings = {
            "policy": action.policy,
            "check_kvm": action.check_kvm,
            "measure_native_zeroes": action.native_zero,
        }
    return {
        "format": FORMAT,
        **{name: snp[name] for name in ("digest", "algorithm", "kind") if snp},
        "target": action.target,
        **({"platform": "snp"} if snp else {}),
        "platforms": list(action.platforms),
        **settings,
        "reproducible": workspace.reproducible is not None,
        **({"tool": tool, "checked_by": ours} if snp else {}),
        "measurements": [
            {
                "platform": platform,
                **_digest_members(one),
                "computed_by": [tool, ours] if platform == "snp" else [ours],
                **({"two_pass": False} if platform == "tdp" else {}),
            }
            for platform, one in measured.items()
        ],
        "igvm": {"file": action.shown, "size": Path(igvm).stat().st_size, "sha256": workspace.sha256(action.igvm)},
    }


def _digest_members(measured: Measured) -> dict[str, str]:
    platform = measured.platform
    return {"digest": measured.digest.hex(), "algorithm": platform.algorithm, "kind": platform.kind}


Computed = tuple["Measured", "Sequence[MeasuredPage]"] | str
"""A measurement and its pages, or why there is none."""


def _ours(action: Measurement, workspace: Workspace) -> dict[str, Computed]:
    """Our own measurements by platform."""
    # Imported here: a run that measures nothing does not need them.
    from coconut_tasks.igvm.error import IgvmError
    from coconut_tasks.igvm.launch import MeasureOptions
    from coconut_tasks.igvm.measure import measure_pages
    from coconut_tasks.igvm.platforms import MEASURED

    # The tree's igvmmeasure decides: headers that only a newer version reads are not errors.
    options = MeasureOptions(action.check_kvm, action.native_zero, tolerant=True)
    data = Path(workspace.path(action.igvm)).read_bytes()
    found: dict[str, Computed] = {}
    for platform, _ in action.hexes:
        try:
            found[platform] = measure_pages(data, options, MEASURED[platform])
        except IgvmError as error:
            found[platform] = str(error)
    return found


def _digest_in(printed: str, action: Measurement, log: Path) -> str:
    """Raises StepError if igvmmeasure has printed anything else than one digest."""
    digest = printed_digest(printed)
    if digest is None:
        shown = printed.strip() or "nothing"
        raise StepError(
            "no-digest-printed",
            "igvmmeasure succeeded, but did not print exactly one line 'Launch Digest: <96 hex digits>'\n"
            f"  command: {action.measure}\n  log: {log}\n  it printed: {shown}",
        )
    return digest


def _check(action: Measurement, digest: str, ours: Computed, workspace: Workspace, log: Path) -> None:
    """Raises StepError unless the digests agree: otherwise a wrong one would be noticed only when a guest is refused its secrets."""
    found = f"none: {ours}" if isinstance(ours, str) else ours[0].digest.hex()
    if found != digest:
        file = workspace.path(action.igvm)
        flags = [flag for flag, on in (("--check-kvm", action.check_kvm), ("--native-zero", action.native_zero)) if on]
        raise StepError(
            "digests-disagree",
            f"igvmmeasure and coconut-tasks compute different digests; nothing was written (see docs/measurement.md)\n"
            f"  igvmmeasure:   {digest}\n    command: {action.measure}\n"
            f"  coconut-tasks: {found}\n    command: {Command(('coconut-measure', *flags, file))}\n"
            f"  file: {file}\n  log: {log}",
        )


def _all_measured(action: Measurement, computed: Mapping[str, Computed], workspace: Workspace) -> dict[str, Measured]:
    """Raises StepError if a platform has no measurement."""
    found: dict[str, Measured] = {}
    for platform, one in computed.items():
        if isinstance(one, str):
            from coconut_tasks.igvm.platforms import MEASURED

            file = workspace.path(action.igvm)
            raise StepError(
                "no-measurement",
                f"the image has no {MEASURED[platform].kind}; nothing was written (see docs/measurement.md)\n"
                f"  coconut-tasks: {one}\n    command: {Command(('coconut-measure', f'--platform={platform}', file))}",
            )
        found[platform], pages = one
        key = _pages_key(action.igvm, platform, action.native_zero, workspace)
        workspace.shared(key, partial(_same, pages))  # for the provenance
    return found


def _same(pages: Sequence[MeasuredPage]) -> Sequence[MeasuredPage]:
    return pages


def pages_of(igvm: str, platform: str, native_zero: bool, workspace: Workspace) -> Sequence[MeasuredPage]:
    """The pages of a file that was measured in this run or an earlier one."""
    from coconut_tasks.igvm.launch import MeasureOptions  # as above
    from coconut_tasks.igvm.measure import measured_pages
    from coconut_tasks.igvm.platforms import MEASURED

    options = MeasureOptions(native_zero=native_zero, check_id_block=False, tolerant=True)
    file = Path(workspace.path(igvm))
    return workspace.shared(
        _pages_key(igvm, platform, native_zero, workspace),
        lambda: measured_pages(file.read_bytes(), options, MEASURED[platform]),
    )


def _pages_key(igvm: str, platform: str, native_zero: bool, workspace: Workspace) -> tuple[str, str, str, bool]:
    return "pages", workspace.sha256(igvm), platform, native_zero
