"""``packit``."""

from __future__ import annotations

from coconut_tasks.steps.command import Command


def packit_command(packit: str, root: str, output: str) -> Command:
    """Pack the folder ``root`` into a file-system image."""
    return Command((packit, "pack", "--input", root, "--output", output))
