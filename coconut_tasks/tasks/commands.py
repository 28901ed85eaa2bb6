"""doit's own commands with this project's exit codes and hints; on any other dodo.py they are just doit's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from doit.cmd_clean import Clean as DoitClean
from doit.cmd_completion import TabCompletion as DoitTabCompletion
from doit.cmd_dumpdb import DumpDB as DoitDumpDB
from doit.cmd_forget import Forget as DoitForget
from doit.cmd_ignore import Ignore as DoitIgnore
from doit.cmd_info import Info as DoitInfo
from doit.cmd_list import List as DoitList
from doit.cmd_resetdep import ResetDep as DoitResetDep
from doit.cmd_run import Run as DoitRun
from doit.cmd_strace import Strace as DoitStrace
from doit.cmdparse import CmdParseError
from doit.dependency import DatabaseException
from doit.exceptions import InvalidCommand, InvalidTask

from coconut_tasks.errors import EXIT_FAILED, EXIT_USAGE, CoconutError, UsageError, did_you_mean, tell

if TYPE_CHECKING:
    from coconut_tasks.papers.expected import Expectation

# The rest is imported when it is needed: in an environment that has this package, these classes serve any other dodo.py too,
# and must not make it slower.

_DOIT_ERROR = 2


class Ours:
    """Fills gaps of doit: it ends with 3 for a wrong command line, has no hint for a misspelt task, and shows tracebacks for Ctrl-C."""

    name: str
    examples: tuple[str, ...] = ()
    """Whole command lines, and behind ``  # `` what one is for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if any(str(getattr(stream, "encoding", "")).lower() != "utf-8" for stream in (sys.stdout, sys.stderr)):
            from coconut_tasks.tasks.interrupt import mend_streams

            mend_streams()  # before doit takes hold of one
        super().__init__(*args, **kwargs)

    def parse_execute(self, in_args: Any) -> Any:
        if ("--help" in in_args or "-h" in in_args) and (_has_our_tasks() or in_args[0] in ("--help", "-h")):
            sys.stdout.write(f"{self.help()}\n")
            return 0
        try:
            return super().parse_execute(in_args)  # type: ignore[misc]
        except CmdParseError as error:
            if not _has_our_tasks():
                raise
            from coconut_tasks.tasks.help import parse_error

            command: Any = self
            sys.stderr.write(f"error: {parse_error(error, command.name, command.cmdparser)}\n")
            return EXIT_USAGE

    def help(self) -> Any:
        from coconut_tasks.options import variables_of
        from coconut_tasks.tasks.dodo_file import dodo_file
        from coconut_tasks.tasks.help import help_text

        if _has_our_tasks() or not dodo_file().exists():
            return help_text(self, variables_of(self.name))
        return super().help()  # type: ignore[misc]

    def execute(self, params: Any, args: Any) -> Any:
        try:
            status = super().execute(params, args)  # type: ignore[misc]
            sys.stdout.flush()  # here, where a closed pipe can be told from an error
            return status
        except (Exception, KeyboardInterrupt) as error:
            if not params.get("coconut") and not isinstance(error, CoconutError):
                raise
            status = self._told(error, args, params)
            if status is None:
                raise
            return status

    def _told(self, error: BaseException, args: Any, params: Any) -> int | None:
        """The exit status of an error that a user can cause, after telling it; None for one of ours."""
        from coconut_tasks.tasks.interrupt import end, nobody_reads

        if isinstance(error, KeyboardInterrupt):
            return end(error)
        if params.get("backend") != "coconut" and params.get("coconut"):
            error = UsageError("--backend: the records of these tasks are kept by 'coconut', which is the default")
        if isinstance(error, BrokenPipeError):
            return nobody_reads()
        if isinstance(error, CoconutError | OSError | DatabaseException):
            # What the machine refuses is told with the file that it is about.
            tell(error)
            return EXIT_USAGE
        tasks = {task.name for task in getattr(self, "task_list", ())}
        wrong = [word for word in args if word not in tasks]
        # `info` of an unknown task ends in a KeyError, and others do not name it.
        if isinstance(error, InvalidCommand | InvalidTask) or (isinstance(error, KeyError) and wrong):
            # The first word of a run may have been meant as a command.
            commands = self.loader.cmd_names if isinstance(self, DoitRun) else ()
            lines = [f"'{word}' is not a task{did_you_mean(word, {*tasks, *commands})}" for word in wrong] or [
                str(error)
            ]
            sys.stderr.write("".join(f"error: {line}\n" for line in lines))
            return EXIT_USAGE
        return None


_QUIET = {
    "name": "quiet",
    "short": "q",
    "long": "quiet",
    "type": bool,
    "default": False,
    "help": "say nothing if nothing is to be done",
}


class Run(Ours, DoitRun):  # type: ignore[misc]
    """``run``: a failed step ends with 1, whatever else could not run because of it."""

    name = "run"
    doc_usage = "[TASK ...] [VARIABLE=value ...]"
    cmd_options = (*DoitRun.cmd_options, _QUIET)
    at_work = False
    """This process runs tasks, and does not only look at them."""
    compares = False
    """What it builds will be compared with ``expectation``."""
    refusal = ""
    """Why the command at work is not for tasks of ours; empty for one that is."""
    expectation: Expectation | None = None
    examples = (
        "doit RECIPE=config/qemu.json  # builds and measures",
        "doit igvm:qemu RELEASE=1  # just what that needs",
        "doit -n 1 -c kernel  # one step at a time, and on after a failure",
    )

    def execute(self, params: Any, args: Any) -> Any:
        Run.at_work = True
        status = super().execute(params, args)
        if params.get("coconut") and status == _DOIT_ERROR:
            from coconut_tasks.tasks.supervise import Supervisor

            if Supervisor.latest is not None and not Supervisor.latest.internal_error:
                return EXIT_FAILED
        return status

    def _execute(
        self,
        outfile: Any,
        verbosity: Any = None,
        always: Any = False,
        continue_: Any = False,
        reporter: Any = "console",
        num_process: int = 0,
        par_type: str = "process",
        single: Any = False,
        auto_delayed_regex: Any = False,
        force_verbosity: Any = False,
        failure_verbosity: Any = 0,
        pdb: Any = False,
        quiet: bool = False,
    ) -> Any:
        # doit finds out by their names which parameters to pass, so they are all here.
        if any((task.meta or {}).get("coconut") for task in self.task_list):
            from coconut_tasks.tasks.reporter import Reporter
            from coconut_tasks.tasks.supervise import Supervisor, supervised

            if outfile is None:  # doit's default is of the start, when it may have been closed
                outfile = sys.stdout
            Supervisor.jobs = num_process or 1
            Reporter.quiet = quiet
            if num_process < 0:
                raise UsageError(f"-n: {num_process} is not a number of steps at once: 0 or more")
            if num_process and par_type != "thread":
                raise UsageError(f"-P: '{par_type}' does not work here: thread, which is the default")
            reporter = supervised(self.reporters[reporter] if isinstance(reporter, str) else reporter)
        return super()._execute(
            outfile,
            verbosity,
            always,
            continue_,
            reporter,
            num_process,
            par_type,
            single,
            auto_delayed_regex,
            force_verbosity,
            failure_verbosity,
            pdb,
        )


class List(Ours, DoitList):  # type: ignore[misc]
    """``list``."""

    name = "list"
    examples = ("doit list --all  # the steps too", "doit list --all --status RECIPE=config/hyperv.json")


class Info(Ours, DoitInfo):  # type: ignore[misc]
    """``info``: the reasons in words, and status 0 for a stale task too, which is no failure."""

    name = "info"
    examples = ("doit info igvm:qemu  # what it needs, and why it is stale",)

    def _execute(self, pos_args: Any, hide_status: bool = False) -> Any:
        from coconut_tasks.tasks.node import META, node_of

        task = next((task for task in self.task_list if [task.name] == list(pos_args)), None)
        node = node_of(task) if task else None
        members = [task for task in self.task_list if node_of(task) and task.subtask_of in pos_args]
        if task is None or not (node or members):
            return super()._execute(pos_args, hide_status)
        task.file_dep = sorted(task.file_dep)
        task.meta = {key: value for key, value in (task.meta or {}).items() if key != META}
        status = super()._execute(pos_args, True)
        if not hide_status:
            named = {f"{member.name}: ": found for member in members if (found := node_of(member))}
            named |= {"": node} if node else {}
            reasons = [f"{name}{reason}" for name, found in named.items() for reason in found.outlook().reasons]
            self.outstream.write(f"\nstatus     : {'run' if reasons else 'up-to-date'}\n")
            self.outstream.write("".join(f" * {reason}\n" for reason in reasons))
        return status


class Clean(Ours, DoitClean):  # type: ignore[misc]
    """``clean``: not while a run is at work."""

    name = "clean"
    examples = ("doit clean  # what the tasks made", "doit clean --dry-run igvm:qemu")

    def clean_tasks(self, tasks: Any, dryrun: bool, cleanforget: bool) -> None:
        from coconut_tasks.tasks.node import node_of
        from coconut_tasks.tasks.preflight import take_lock

        node = next((found for task in tasks if (found := node_of(task))), None)
        if node is not None and not dryrun and node.world.state.is_dir() and (problems := take_lock(node.world)):
            raise UsageError("\n".join(problems))
        super().clean_tasks(tasks, dryrun, cleanforget)


class Forget(Ours, DoitForget):  # type: ignore[misc]
    """``forget``."""

    name = "forget"
    examples = ("doit forget igvm:qemu  # build it next time",)


class Ignore(Ours, DoitIgnore):  # type: ignore[misc]
    """``ignore``."""

    name = "ignore"
    examples = ("doit ignore module:hello  # until doit forget module:hello",)

    def execute(self, params: Any, args: Any) -> Any:
        if not args and _has_our_tasks():
            tell(UsageError("ignore: name the steps, as module:hello: not all can be left out"))
            return EXIT_USAGE
        return super().execute(params, args)


class _Refused(Ours):
    """A command of doit that would spoil these tasks' records, or cannot read them."""

    instead = ""

    def parse_execute(self, in_args: Any) -> Any:
        if not _has_our_tasks():
            return super().parse_execute(in_args)
        sys.stderr.write(f"error: {self._refusal()}\n")
        return EXIT_USAGE

    def execute(self, params: Any, args: Any) -> Any:
        # Which dodo.py is loaded may be said by `-f` or a doit.cfg: ours, once it is, looks at this.
        Run.refusal = self._refusal()
        return super().execute(params, args)

    def _refusal(self) -> str:
        return f"{self.name} is not for tasks of coconut-tasks: {self.instead}"


class ResetDep(_Refused, DoitResetDep):  # type: ignore[misc]
    """``reset-dep``: it would record files that nothing was built from."""

    name = "reset-dep"
    instead = "'doit forget' makes steps run again, 'doit why' says what is stale"


class DumpDB(_Refused, DoitDumpDB):  # type: ignore[misc]
    """``dumpdb``: it reads doit's own files only."""

    name = "dumpdb"
    instead = "'doit info TASK' and 'doit why' say what is known of a step"


class Strace(_Refused, DoitStrace):  # type: ignore[misc]
    """``strace``: it runs shell actions only."""

    name = "strace"
    instead = "'doit info TASK' names all that a step reads"


class TabCompletion(_Refused, DoitTabCompletion):  # type: ignore[misc]
    """``tabcompletion``: it knows no variables."""

    name = "tabcompletion"
    instead = "'doit completion bash|zsh|fish'"


def _has_our_tasks() -> bool:
    from coconut_tasks.tasks.dodo_file import dodo_file, is_ours

    return is_ours(dodo_file())
