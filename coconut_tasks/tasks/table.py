"""The commands, by name: doit's plugins, which ``hatch_build.py`` turns into entry points of the package, and those of ``coconut``."""

from __future__ import annotations

_DOITS = ("run", "list", "info", "clean", "forget", "ignore")
"""doit's own commands, changed."""
_OURS = (
    *("why", "plan", "log", "graph", "timeline", "size", "watch", "verify", "sign", "reproduce"),
    *("validate", "new", "inspect", "diff", "cache", "completion"),
)
"""Each is in the module of the same name."""
_REFUSED = {"reset-dep": "ResetDep", "dumpdb": "DumpDB", "strace": "Strace", "tabcompletion": "TabCompletion"}


def _class(module: str, kind: str) -> str:
    return f"coconut_tasks.{module}:{kind}Command"


COMMANDS = {
    **{name: _class("tasks.doit_commands", name.title()) for name in _DOITS},
    **{name: _class(f"commands.{name}", name.title()) for name in _OURS},
    "help": _class("tasks.help", "Help"),
}
REFUSED = {name: _class("tasks.doit_commands", kind) for name, kind in _REFUSED.items()}
"""doit's own commands that do not work with our tasks."""
PLUGINS = {
    "BACKEND": {"coconut": "coconut_tasks.records.store:Store"},
    "COMMAND": {**COMMANDS, **REFUSED},
}
MEASURE = "measure"
"""The command of ``coconut`` that is also a separate program. It cannot be a command of doit, where a group of tasks has this name."""
MEASURE_PURPOSE = "print the launch measurements of an IGVM file"
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
    "other": ("cache", "clean", "forget", "ignore", "completion", "help"),
}
"""The commands as help groups them."""
