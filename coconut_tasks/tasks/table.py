"""What this project adds to doit, by the names of its plugins. ``hatch_build.py`` makes the package's entry points of it."""

from __future__ import annotations

_PLACES = {
    "tasks.doit_commands": ("Run", "List", "Info", "Clean", "Forget", "Ignore"),
    "commands.reports": ("Why", "Plan", "Log", "Graph", "Timeline", "Size"),
    "commands.reproduce": ("Reproduce",),
    "commands.sign": ("Sign",),
    "commands.watch": ("Watch",),
    "commands.verify": ("Verify",),
    "commands.recipes": ("Validate", "New"),
    "commands.completion": ("Completion",),
    "commands.inspect": ("Inspect",),
    "commands.diff": ("Diff",),
    "tasks.command": ("Help",),
}
_REFUSED = {"reset-dep": "ResetDep", "dumpdb": "DumpDB", "strace": "Strace", "tabcompletion": "TabCompletion"}


def _class(module: str, kind: str) -> str:
    return f"coconut_tasks.{module}:{kind}Command"


COMMANDS = {kind.lower(): _class(module, kind) for module, kinds in _PLACES.items() for kind in kinds}
REFUSED = {name: _class("tasks.doit_commands", kind) for name, kind in _REFUSED.items()}
"""doit's own commands that our tasks cannot have."""
PLUGINS = {
    "BACKEND": {"coconut": "coconut_tasks.records.store:Store"},
    "COMMAND": {**COMMANDS, **REFUSED},
}
