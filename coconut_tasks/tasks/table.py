"""What this project adds to doit, by the names of its plugins. ``hatch_build.py`` makes the package's entry points of it."""

from __future__ import annotations

_DOITS = ("run", "list", "info", "clean", "forget", "ignore")
"""doit's own commands that are changed."""
_OURS = (
    *("why", "plan", "log", "graph", "timeline", "size", "watch", "verify", "sign", "reproduce"),
    *("validate", "new", "inspect", "diff", "completion"),
)
"""Each is in a module of its name."""
_REFUSED = {"reset-dep": "ResetDep", "dumpdb": "DumpDB", "strace": "Strace", "tabcompletion": "TabCompletion"}


def _class(module: str, kind: str) -> str:
    return f"coconut_tasks.{module}:{kind}Command"


COMMANDS = {
    **{name: _class("tasks.doit_commands", name.title()) for name in _DOITS},
    **{name: _class(f"commands.{name}", name.title()) for name in _OURS},
    "help": _class("tasks.command", "Help"),
}
REFUSED = {name: _class("tasks.doit_commands", kind) for name, kind in _REFUSED.items()}
"""doit's own commands that our tasks cannot have."""
PLUGINS = {
    "BACKEND": {"coconut": "coconut_tasks.records.store:Store"},
    "COMMAND": {**COMMANDS, **REFUSED},
}
