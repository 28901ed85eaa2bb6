"""``igvmmeasure``."""

from __future__ import annotations

import re

from coconut_tasks.recipe.model import Target
from coconut_tasks.steps.command import Command

_DIGEST = re.compile(r"^\s*Launch Digest:\s*([0-9A-Fa-f]{96})\s*$", re.MULTILINE)


def igvmmeasure_command(igvmmeasure: str, target: Target, igvm: str) -> Command:
    """Print the launch digest of an IGVM file."""
    argv = [igvmmeasure]
    if target.check_kvm:
        argv.append("--check-kvm")
    if target.measure_native_zeroes:
        argv.append("--native-zero")
    return Command((*argv, igvm, "measure"))


def printed_digest(printed: str) -> str | None:
    """The SEV-SNP launch digest that igvmmeasure printed, as 96 lower-case hex digits; None unless there is exactly one."""
    found: list[str] = _DIGEST.findall(printed)
    return found[0].lower() if len(found) == 1 else None
