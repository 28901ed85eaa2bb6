"""What all commands on tasks share: this project's exit codes, help and hints. With any other dodo.py they work as in doit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from doit.cmd_base import DoitCmdBase
from doit.cmdparse import CmdParseError
from doit.control import TaskControl
from doit.dependency import DatabaseException
from doit.exceptions import InvalidCommand, InvalidDodoFile, InvalidTask

from coconut_tasks.errors import EXIT_USAGE, CoconutError, UsageError, did_you_mean, tell, tell_line

if TYPE_CHECKING:
    from coconut_tasks.freshness.forecast import Forecast
    from coconut_tasks.tasks.node import Node
    from coconut_tasks.workspace.session import Session

# The rest is imported where it is used: in an environment with this package, doit uses these classes for any dodo.py, and they must not
# make it slower.

SESSION = "coconut"
"""The name of the session in ``DOIT_CONFIG``, and so in a command's parameters."""


class TaskCommand:
    """Fills gaps of doit: exit status 3 for a wrong command line, no hint for a misspelt task, a traceback for Ctrl-C."""

    name: str
    loader: Any = None
    examples: tuple[str, ...] = ()
    """Whole command lines of doit, each with an optional ``  # `` comment."""
    asked: Sequence[str] = ()
    """The steps on the command line."""
    session: Session | None = None
    """The session once our dodo.py is loaded; None with any other."""
    expects = False
    """Whether a word may be the expected launch digest."""
    quiet = False
    """Nothing is printed unless something is built."""
    shows_notes = False
    """Notes and warnings on what the next build does are about what it shows, too."""
    builds = False
    """Whether it starts builds, rather than only looking at them."""
    document: Mapping[str, Any] | None = None
    """With ``--json``, the document that the command made."""
    written = False
    """Whether the command wrote the document itself, as in ``OwnCommand``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if any(str(getattr(stream, "encoding", "")).lower() != "utf-8" for stream in (sys.stdout, sys.stderr)):
            from coconut_tasks.tasks.interrupt import mend_streams

            mend_streams()  # before doit saves one
        super().__init__(*args, **kwargs)

    @property
    def is_own(self) -> bool:
        """Whether it is a command of ``coconut``."""
        return getattr(self.loader, "of_coconut", False)

    @property
    def is_ours(self) -> bool:
        """Whether the tasks are ours, as far as that is known before they are loaded."""
        return self.is_own or has_our_tasks()

    def get_options(self) -> Any:
        options = super().get_options()  # type: ignore[misc]
        if self.is_own:
            self.loader.spell(options)
        return options

    def parse_execute(self, in_args: Any) -> Any:
        if ("--help" in in_args or "-h" in in_args) and (self.is_ours or in_args[0] in ("--help", "-h")):
            sys.stdout.write(f"{self.help()}\n")
            return 0
        command: Any = self
        if "json" in command.config_vals or any(word.startswith("--j") for word in in_args):
            from coconut_tasks.tasks.command import in_order
            from coconut_tasks.tasks.json_output import asks_for_json, with_json

            if asks_for_json(self, in_order(in_args, command.cmdparser) if self.is_own else in_args):
                return with_json(self, lambda: self._parse_execute(in_args))
        return self._parse_execute(in_args)

    def result(self, status: int) -> Mapping[str, Any] | None:
        """With ``--json``, the document of a command with this exit status; None if there are only errors to report."""
        return self.document

    def _parse_execute(self, in_args: Any) -> Any:
        command: Any = self
        try:
            if self.is_own:
                from coconut_tasks.tasks.command import options_first, whole_options

                whole_options(in_args, command.cmdparser)
                in_args = options_first(in_args, command.cmdparser)
            return super().parse_execute(in_args)  # type: ignore[misc]
        except CmdParseError as error:
            if not self.is_ours:
                raise
            from coconut_tasks.tasks.command import parse_error

            tell(parse_error(error, command.name, command.cmdparser))
            return EXIT_USAGE

    def help(self) -> Any:
        from coconut_tasks.tasks.dodo_file import is_of_others
        from coconut_tasks.tasks.help_text import help_text
        from coconut_tasks.variables import variables_of

        if self.is_own or not is_of_others():
            return help_text(self, {} if self.is_own else variables_of(self.name))
        return super().help()  # type: ignore[misc]

    def execute(self, params: Any, args: Any) -> Any:
        self.loader.load_tasks = self._begun(self.loader.load_tasks, params)
        self.asked = self.loader.take(params, args, expects=self.expects) if self.is_own else args
        try:
            status = super().execute(params, self.asked)  # type: ignore[misc]
            sys.stdout.flush()  # here a closed pipe is not mistaken for an error
            return status
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, InvalidDodoFile) and not dodo_is_named(params):
                error = no_dodo()
            if not params.get(SESSION) and not self.is_own and not isinstance(error, CoconutError):
                raise
            status = self._told(error, self.asked, params)
            if status is None:
                raise
            return status

    def _begun(self, load_tasks: Callable[..., Any], params: Any) -> Callable[..., Any]:
        """The loader's ``load_tasks``, which first calls ``begin``: doit has no hook for a loaded dodo.py."""

        def begun(**given: Any) -> Any:
            self.session = params.get(SESSION)
            if self.session is not None:
                self.begin(self.session)
            return load_tasks(**given)

        return begun

    def begin(self, session: Session) -> None:
        """Called with the session before its tasks are created.

        Raises:
            UsageError: the command cannot work on this session.
        """
        from coconut_tasks.variables import VERIFY

        if session.options.expect is not None and self.name != VERIFY:
            raise UsageError("variable-not-used", f"EXPECT: only {VERIFY} uses it")
        if self.builds and session.source.copy_to:
            from coconut_tasks.tasks.standing import start_again
            from coconut_tasks.workspace.source import copy_tree

            copy_tree(session.source)
            start_again()
        if (self.builds or self.shows_notes) and not self.quiet:
            for note in session.notes:
                tell_line(note.shown)

    def other_words(self) -> Sequence[str]:
        """Words other than tasks that a user may have meant."""
        return ()

    @cached_property
    def nodes(self) -> list[Node]:
        """The selected steps and all that they need, in the order of the plan."""
        from coconut_tasks.tasks.supervisor import needed_nodes

        command: Any = self
        control = TaskControl(command.task_list)
        control.process(command.sel_tasks)
        found = needed_nodes(control.tasks, control.selected_tasks)
        if not found:
            raise self.no_step()
        return found

    def named_nodes(self, names: Collection[str]) -> list[Node]:
        """The steps that these names mean, alone or by a group, without those that they need."""
        found = [node for node in self.nodes if node.is_asked_by(names)]
        if not found:
            raise self.no_step()
        return found

    def no_step(self) -> UsageError:
        """The error if a command gets only tasks that are not ours."""
        return UsageError(
            "no-step-asked",
            f"{self.name}: no step of a recipe given; '{self.line('list', *([] if self.is_own else ['--all']))}' lists them",
        )

    def forecasts(self) -> dict[str, Forecast]:
        """What the next build would do with each step, by name."""
        from coconut_tasks.freshness.forecast import forecast

        nodes = self.nodes
        return forecast((node.assess(look_in_cache=True) for node in nodes), nodes[0].workspace.path)

    def line(self, command: str, *words: str) -> str:
        """A command line for the same recipes, tree and variant that users can paste."""
        if self.session is not None:
            return self.session.options.line(command, *words)
        from coconut_tasks.called import called

        return called().command(command, *words)

    def head(self, kind: str) -> dict[str, Any]:
        """The first fields of this command's JSON document."""
        from coconut_tasks.reports.results import build_head

        assert self.session is not None
        return build_head(kind, self.session.workspace.tree, self.session.workspace.recipes)

    def _told(self, error: BaseException, args: Any, params: Any) -> int | None:
        """Print an error that a user can cause and return its exit status; None for an internal error."""
        from coconut_tasks.tasks.interrupt import end, nobody_reads

        if isinstance(error, KeyboardInterrupt):
            return end(error)
        if params.get("backend") != "coconut" and params.get(SESSION):
            error = UsageError("other-backend", "--backend: these tasks work only with 'coconut', which is the default")
        if isinstance(error, BrokenPipeError):
            return nobody_reads()
        if isinstance(error, CoconutError | OSError | DatabaseException):
            tell(error)
            return EXIT_USAGE
        tasks = {task.name for task in getattr(self, "task_list", ())}
        wrong = [word for word in args if word not in tasks]
        # `info` raises KeyError for an unknown task, and other commands do not name the task.
        if isinstance(error, InvalidCommand | InvalidTask) or (isinstance(error, KeyError) and wrong):
            from coconut_tasks.tasks.guesses import meant_by, step_or_recipe

            right = {*tasks, *self.other_words()}
            for word in wrong:
                recipe = ""
                if self.is_own and self.session is not None:
                    from coconut_tasks.workspace.source import recipe_meant

                    recipe = recipe_meant(word, self.session.options, self.session.source.tree)
                meant = meant_by(word) or step_or_recipe(word, tasks, recipe) or did_you_mean(word, right)
                tell(UsageError("no-such-task", f"'{word}' is not a {'step' if self.is_own else 'task'}{meant}"))
            if not wrong:
                tell(UsageError("no-such-task", str(error)))
            return EXIT_USAGE
        return None


class ReportCommand(TaskCommand, DoitCmdBase):  # type: ignore[misc]
    """A command that reports on builds or builds in its own way, with the selected steps and all that they need."""

    doc_usage = "[TASK ...] [VARIABLE=value ...]"

    def tell_what_is_missing(self) -> None:
        """Print on standard error what would end a build before its first step."""
        from coconut_tasks.tasks.preflight import preflight

        for problem in preflight(self.nodes):
            tell_line(f"note: a build would fail immediately: {problem.shown}")


def dodo_is_named(params: Any) -> bool:
    """Whether there is a dodo.py, or an option that says which one to load."""
    from coconut_tasks.tasks.dodo_file import dodo_file

    named = any(params.get(name) for name in ("cwdPath", "seek_file")) or params.get("dodoFile") != "dodo.py"
    return named or dodo_file().exists()


def no_dodo() -> UsageError:
    return UsageError(
        "no-dodo-file",
        "no dodo.py in this folder; use 'coconut build RECIPE', which needs none, or write one (see 'coconut help no-dodo-file')",
    )


def has_our_tasks() -> bool:
    from coconut_tasks.tasks.dodo_file import dodo_file, is_ours

    return is_ours(dodo_file())
