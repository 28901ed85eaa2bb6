"""Measure an IGVM file and write the launch measurement down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from coconut_tasks.effects.place import write_whole
from coconut_tasks.effects.process import run
from coconut_tasks.errors import StepError
from coconut_tasks.step import Measurement
from coconut_tasks.tools.igvmmeasure import launch_digest
from coconut_tasks.world import World

FORMAT = 1
"""Version of the JSON file's format; a change of meaning raises it."""


def measure(work: Measurement, world: World, log: Path) -> None:
    """Run igvmmeasure and write the digest as hex text and as JSON.

    Raises:
        StepError: it failed, or printed no launch digest.
    """
    printed = run(work.measure, world.tree, world.environment, log)
    digest = launch_digest(printed)
    if digest is None:
        shown = printed.strip() or "nothing"
        raise StepError(
            "igvmmeasure ended well, but printed no single line 'Launch Digest: <96 hex digits>'\n"
            f"  command: {work.measure}\n  log: {log}\n  it printed: {shown}"
        )
    write_whole(Path(world.path(work.hex)), f"{digest}\n".encode())
    text = json.dumps(measurement(work, digest, world), indent=2) + "\n"
    write_whole(Path(world.path(work.json)), text.encode())


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
        "tool": {"name": "igvmmeasure", "command": list(work.measure.argv), "sha256": _sha256(work.tool, world)},
        "igvm": {"file": work.shown, "size": Path(igvm).stat().st_size, "sha256": _sha256(work.igvm, world)},
    }


def _sha256(spelt: str, world: World) -> str:
    digest = world.files.digest(world.path(spelt))
    assert digest is not None
    return digest.partition(":")[2]
