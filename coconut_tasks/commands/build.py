"""``coconut build``; and ``coconut-build``, which is the same with xbuild's flags."""

from __future__ import annotations

import sys
from collections.abc import Sequence
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
    """``build``: what ``run`` is for doit."""

    name = "build"
    doc_purpose = "build what is stale, and measure"
    cmd_options = (*RunCommand.cmd_options, switch("plan_only", "show what would run, as plan does, and run nothing"))
    examples: tuple[str, ...] = (
        "coconut build configs/qemu-target.json  # builds and measures",
        "coconut build --release --features attest configs/qemu-target.json",
        "coconut build igvm:qemu -j1 -k  # just what that needs, a step at a time, and on after a failure",
    )

    def execute(self, params: Any, args: Any) -> Any:
        if not params["plan_only"]:
            return super().execute(params, args)
        from coconut_tasks.commands.plan import PlanCommand

        plan = PlanCommand(task_loader=self.loader, bin_name=self.bin_name)
        values, _ = plan.cmdparser.parse([])
        values.update(params)
        return plan.execute(values, args)


class XbuildCommand(BuildCommand):
    """``coconut-build``: what somebody has typed after ``cargo xbuild`` means the same."""

    doc_usage = "RECIPE ..."
    cmd_options = (
        *BuildCommand.cmd_options,
        {**switch("print-config", "print the recipes as JSON, with all defaults, before the build"), "short": "p"},
    )
    examples = ("coconut-build --release -f attest,userinit:extra configs/qemu-target.json",)
    recipes_to: TextIO | None = None
    """Where the recipes are printed, if they are."""

    def execute(self, params: Any, args: Any) -> Any:
        if not args:
            tell(
                UsageError(
                    "wrong-words", "coconut-build: which recipe? for example: coconut-build configs/qemu-target.json"
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
            except BrokenPipeError:  # but the build goes on, as for any reader that leaves
                nobody_reads(self.recipes_to)


def main(words: Sequence[str] | None = None) -> int:
    """Entry point of ``coconut-build``; the result is the exit status: 0 fine, 1 a step failed, 2 wrong use or recipe."""
    mend_streams()
    words = list(process_words() if words is None else words)
    if words[:1] == ["--version"]:
        print(f"coconut-build {__version__}")
        return 0
    return int(xbuild().parse_execute(words))


def xbuild() -> XbuildCommand:
    """The command, which a command line can be given."""
    return XbuildCommand(task_loader=OwnLoader("build", ["build"], namespace, xbuild=True), bin_name="coconut-build")
