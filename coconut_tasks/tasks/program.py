"""doit's own program, for front ends and for what is typed on its command line."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Any

from doit.cmd_base import DodoTaskLoader, DoitCmdBase
from doit.doit_cmd import DoitMain
from doit.version import VERSION


def doit_version() -> str:
    """As ``0.37.0``."""
    return ".".join(map(str, VERSION))


def command_classes() -> dict[str, Any]:
    """Every command that doit has here, by its name."""
    found: dict[str, Any] = DoitMain(config_filenames=()).get_cmds().to_dict()
    return found


def is_on_tasks(command: Any) -> bool:
    """Whether it loads a dodo.py."""
    return issubclass(command, DoitCmdBase)


def options_of(command: Any) -> list[dict[str, Any]]:
    """All options of a command, as doit takes them."""
    more = (*DodoTaskLoader.cmd_options, *command.base_options) if is_on_tasks(command) else ()
    return [*command.cmd_options, *more]


def listed_tasks() -> list[str]:
    """The tasks of the dodo.py that is here, as ``doit list --all`` shows them."""
    said = io.StringIO()
    with redirect_stdout(said):
        DoitMain().run(["list", "--all"])
    return [line.strip() for line in said.getvalue().splitlines() if line]
