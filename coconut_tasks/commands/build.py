"""``coconut build``, and ``coconut-build``, the same command with xbuild's flags."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any, TextIO

from coconut_tasks import __version__
from coconut_tasks.errors import EXIT_USAGE, UsageError, tell
from coconut_tasks.options import process_words
from coconut_tasks.tasks.command import switch
from coconut_tasks.tasks.doit_commands import RunCommand
from coconut_tasks.tasks.interrupt import mend_streams
from coconut_tasks.tasks.loader import OwnLoader
from coconut_tasks.tasks.namespace import namespace
from coconut_tasks.workspace.session import Session


class BuildCommand(RunCommand):
    """``build``: as doit's ``run``."""

    name = "build"
    doc_purpose = "build what is stale and measure the images"
    cmd_options = (*RunCommand.cmd_options, switch("plan_only", "show what would run, like plan, but run nothing"))
    examples: tuple[str, ...] = (
        "coconut build configs/qemu-target.json",
        "coconut build --release --features attest configs/qemu-target.json",
        "coconut build igvm:qemu -j1 -k  # one step and what it needs, one at a time, continue after a failure",
    )

    planned: Mapping[str, Any] | None = None
    """With ``--dry-run``, the document of ``plan``."""

    def execute(self, params: Any, args: Any) -> Any:
        if not params["plan_only"]:
            return super().execute(params, args)
        from coconut_tasks.commands.plan import PlanCommand

        plan = PlanCommand(task_loader=self.loader, bin_name=self.bin_name)
        plan.always = params["always"]
        values, _ = plan.cmdparser.parse([])
        values.update(params)
        status = plan.execute(values, args)
        self.planned = plan.document
        return status

    def result(self, status: int) -> Mapping[str, Any] | None:
        return self.planned or super().result(status)


class XbuildCommand(BuildCommand):
    """``coconut-build``: takes the same arguments as ``cargo xbuild``."""

    doc_usage = "RECIPE ..."
    cmd_options = (
        *BuildCommand.cmd_options,
        {**switch("print-config", "print the recipes as JSON, with all defaults, before the build"), "short": "p"},
    )
    examples = ("coconut-build --release -f attest,userinit:extra configs/qemu-target.json",)
    recipes_to: TextIO | None = None
    """The stream for the recipes, if they are printed."""

    def execute(self, params: Any, args: Any) -> Any:
        if not args:
            tell(
                UsageError(
                    "wrong-words", "coconut-build: no recipe given; for example: coconut-build configs/qemu-target.json"
                )
            )
            return EXIT_USAGE
        if not params["print-config"]:
            return super().execute(params, args)
        self.recipes_to = sys.stdout
        with redirect_stdout(sys.stderr):
            return super().execute(params, args)

    def begin(self, session: Session) -> None:
        super().begin(session)
        if self.recipes_to is not None:
            from coconut_tasks.reports.recipe import recipe_json
            from coconut_tasks.reports.results import pretty
            from coconut_tasks.tasks.interrupt import nobody_reads

            try:
                self.recipes_to.write(pretty([recipe_json(recipe) for recipe in session.recipes]))
                self.recipes_to.flush()
            except BrokenPipeError:  # but the build continues
                nobody_reads(self.recipes_to)


def main(words: Sequence[str] | None = None) -> int:
    """Entry point of ``coconut-build``. Exit status: 0 success, 1 a step failed, 2 wrong usage or an invalid recipe."""
    mend_streams()
    words = list(process_words() if words is None else words)
    if words[:1] == ["--version"]:
        print(f"coconut-build {__version__}")
        return 0
    return int(xbuild().parse_execute(words))


def xbuild() -> XbuildCommand:
    """The command, ready to parse a command line."""
    return XbuildCommand(task_loader=OwnLoader("build", ["build"], namespace, xbuild=True), bin_name="coconut-build")
