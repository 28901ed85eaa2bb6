"""The commands, by name: doit's plugins, of which ``hatch_build.py`` makes the package's entry points, and those of ``coconut``."""

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
    "help": _class("tasks.help", "Help"),
}
REFUSED = {name: _class("tasks.doit_commands", kind) for name, kind in _REFUSED.items()}
"""doit's own commands that our tasks cannot have."""
PLUGINS = {
    "BACKEND": {"coconut": "coconut_tasks.records.store:Store"},
    "COMMAND": {**COMMANDS, **REFUSED},
}
MEASURE = "measure"
"""The command of ``coconut`` that is a program of its own too; a name that doit has no room for, as a group of tasks has it."""
MEASURE_PURPOSE = "print the launch digest of an IGVM file"
COCONUT = {
    "build": _class("commands.build", "Build"),
    MEASURE: "",
    **{name: place for name, place in COMMANDS.items() if name not in ("run", "ignore")},
}
GROUPS = {
    "build": ("run", "build", "plan", "why", "watch", "verify", "reproduce"),
    "look at builds": ("list", "info", "log", "graph", "timeline", "size"),
    "look at images": ("inspect", MEASURE, "diff", "sign"),
    "write recipes": ("new", "validate"),
    "and": ("clean", "forget", "ignore", "completion", "help"),
}
"""How help shows them: what belongs together."""
