"""doit's own program, for front ends and completion."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Any

from doit.cmd_base import DodoTaskLoader, DoitCmdBase
from doit.doit_cmd import DoitMain
from doit.version import VERSION


def doit_version() -> str:
    """doit's version, for example ``0.37.0``."""
    return ".".join(map(str, VERSION))


def command_classes() -> dict[str, Any]:
    """Every command of doit, plugins included, by name."""
    found: dict[str, Any] = DoitMain(config_filenames=()).get_cmds().to_dict()
    return found


def is_on_tasks(command: Any) -> bool:
    """Whether it loads a dodo.py."""
    return issubclass(command, DoitCmdBase)


def options_of(command: Any) -> list[dict[str, Any]]:
    """All options of a command, in the form that doit takes."""
    more = (*DodoTaskLoader.cmd_options, *command.base_options) if is_on_tasks(command) else ()
    return [*command.cmd_options, *more]


def listed_tasks() -> list[str]:
    """The tasks of the dodo.py in this folder, as lines of ``doit list --all``."""
    said = io.StringIO()
    with redirect_stdout(said):
        DoitMain().run(["list", "--all"])
    return [line.strip() for line in said.getvalue().splitlines() if line]
