"""``objcopy``."""

from __future__ import annotations

from coconut_tasks.steps.command import Command


def objcopy_command(format: str, source: str, output: str, *, release: bool) -> Command:
    """Copy a binary into another format (a BFD name); a debug build keeps its symbol table for backtraces on the console."""
    return Command(("objcopy", "-O", format, "--strip-unneeded" if release else "--strip-debug", source, output))
