"""doit's own commands with this project's exit codes and hints. With any other dodo.py they work as in doit."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
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
from doit.cmd_run import opt_outfile
from doit.cmd_strace import Strace as DoitStrace

from coconut_tasks.errors import EXIT_FAILED, EXIT_USAGE, UsageError, tell
from coconut_tasks.tasks.task_command import TaskCommand

if TYPE_CHECKING:
    from coconut_tasks.reports.outlook import StepFacts
    from coconut_tasks.tasks.node import Node
    from coconut_tasks.tasks.run import Run
    from coconut_tasks.workspace.session import Session

# The rest is imported where it is used: in an environment with this package, doit uses these classes for any dodo.py, and they must not
# make it slower.

_DOIT_ERROR = 2
_QUIET = {
    "name": "quiet",
    "short": "q",
    "long": "quiet",
    "type": bool,
    "default": False,
    "help": "print nothing if everything is up to date",
}
_JSON = {
    "name": "json",
    "long": "json",
    "type": bool,
    "default": False,
    "help": "print one JSON document on stdout, and all other output on stderr",
}


class RunCommand(TaskCommand, DoitRun):  # type: ignore[misc]
    """``run``: exits with 1 for a failed step, even if other steps could not run because of it."""

    name = "run"
    doc_purpose = "build what is stale"
    doc_usage = "[TASK ...] [VARIABLE=value ...]"
    cmd_options = (*DoitRun.cmd_options, _QUIET, _JSON)
    builds = True
    run: Run | None = None
    """The run of our tasks, once it has started."""
    kind = "build"
    """The kind of the JSON document."""
    examples: tuple[str, ...] = (
        "doit RECIPE=config/qemu.json  # build and measure the images",
        "doit igvm:qemu RELEASE=1  # one step and what it needs",
        "doit -n 1 -c kernel  # one step at a time, continue after a failure",
    )

    def execute(self, params: Any, args: Any) -> Any:
        self.quiet = params["quiet"]
        status = super().execute(params, args)
        if status == _DOIT_ERROR and self.run is not None and self.run.began and not self.run.internal_error:
            return EXIT_FAILED
        return status

    def result(self, status: int) -> Mapping[str, Any] | None:
        if self.run is None or not self.run.began:
            return None
        from coconut_tasks.reports.results import build_json
        from coconut_tasks.tasks.outcomes import image_outcomes, step_outcomes

        return build_json(self.head(self.kind), status, image_outcomes(self.run), step_outcomes(self.run.steps))

    def begin(self, session: Session) -> None:
        super().begin(session)
        # Other commands end before git does, which would keep the index locked for a moment and could block the user's git.
        if session.source.has_version_file:
            session.workspace.ask_version_ahead()

    def check(self, steps: Sequence[Node]) -> None:
        """Called before the first step runs. Raises UsageError for steps that this command cannot use."""

    def other_words(self) -> Sequence[str]:
        """The names of all commands."""
        names: Sequence[str] = self.loader.cmd_names
        return names

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
        json: bool = False,
    ) -> Any:
        # doit decides by name which parameters to pass, so all of them are declared here.
        if outfile is opt_outfile["default"]:  # this is the standard output when doit was imported
            outfile = sys.stdout
        if json and self.session is None:
            raise self.no_step()
        if self.session is not None:
            from coconut_tasks.tasks.run import Run
            from coconut_tasks.tasks.supervisor import supervised

            if num_process < (least := 1 if self.is_own else 0):  # to doit, 0 is one step at once, without threads
                raise UsageError(
                    "wrong-number",
                    f"-{self.cmdparser['num_process'].short}: {num_process} steps at once; expected {least} or more",
                )
            if num_process and par_type != "thread":
                raise UsageError(
                    "process-runner", f"-P: '{par_type}' does not work with these tasks; expected thread, the default"
                )
            self.run = Run(self.session, self.dep_manager.backend, num_process or 1, quiet, self.check)
            reporter = supervised(self.reporters[reporter] if isinstance(reporter, str) else reporter, self.run)
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


class ListCommand(TaskCommand, DoitList):  # type: ignore[misc]
    """``list``."""

    name = "list"
    doc_purpose = "list the steps"
    cmd_options = (
        *({**one, "help": "print only the names"} if one["name"] == "quiet" else one for one in DoitList.cmd_options),
        _JSON,
    )
    examples = (
        "doit list --all  # each step",
        "doit list --all --status RECIPE=config/hyperv.json  # with the state of each",
        "doit list --json  # all steps as JSON",
    )

    def _execute(
        self,
        subtasks: Any = False,
        quiet: Any = True,
        status: Any = False,
        private: Any = False,
        list_deps: Any = False,
        template: Any = None,
        sort: Any = "name",
        pos_args: Any = None,
        json: bool = False,
    ) -> Any:
        if not json:
            return super()._execute(subtasks, quiet, status, private, list_deps, template, sort, pos_args)
        from coconut_tasks.reports.outlook import list_json

        steps = [node.step for node in (self.named_nodes(pos_args) if pos_args else self.nodes)]
        self.document = list_json(self.head("list"), steps, self.forecasts() if status else {})
        return 0

    def _print_task(self, template: str, task: Any, status: bool, list_deps: bool, tasks: Any) -> None:
        if status and self.session is not None and not task.actions:
            # For doit, a group is never up to date.
            states = {self._state(tasks[name], tasks) for name in task.task_dep}
            worst = next((state for state in ("error", "run", "up-to-date") if state in states), "ignore")
            self.outstream.write(template.format(name=task.name, doc=task.doc, status=self.STATUS_MAP[worst]))
        else:
            super()._print_task(template, task, status, list_deps, tasks)

    def _state(self, task: Any, tasks: Any) -> str:
        if self.dep_manager.status_is_ignore(task):
            return "ignore"
        state: str = self.dep_manager.get_status(task, tasks).status
        return state


class InfoCommand(TaskCommand, DoitInfo):  # type: ignore[misc]
    """``info``: with the reasons in words, and exit status 0 for a stale task too, which is not a failure."""

    name = "info"
    doc_purpose = "show a step's inputs, outputs and commands, and why it is stale"
    cmd_options = (*DoitInfo.cmd_options, _JSON)
    examples = ("doit info igvm:qemu", "doit info --json igvm:qemu")

    def _execute(self, pos_args: Any, hide_status: bool = False, json: bool = False) -> Any:
        if self.session is None and not json:
            return super()._execute(pos_args, hide_status)
        if not pos_args:
            raise UsageError("wrong-words", f"info: no step given; for example: {self.line('info', 'igvm:qemu')}")
        if not json and not any(node.is_asked_by(pos_args) for node in self.nodes):
            return super()._execute(pos_args, hide_status)  # another task of the dodo.py
        found, workspace = self._facts(pos_args, hide_status), self.nodes[0].workspace
        if json:
            from coconut_tasks.reports.outlook import info_json

            self.document = info_json(self.head("info"), found, workspace.path)
        else:
            from coconut_tasks.reports.info import info_text
            from coconut_tasks.tasks.standing import from_here

            self.outstream.write(info_text(workspace.tree, found, workspace.path, from_here))
        return 0

    def _facts(self, names: Sequence[str], hide_status: bool) -> list[StepFacts]:
        from coconut_tasks.reports.outlook import StepFacts
        from coconut_tasks.steps.step import direct_needs

        needs = direct_needs(node.step for node in self.nodes)
        forecasts = {} if hide_status else self.forecasts()
        found = []
        for node in self.named_nodes(names):
            name = node.step.name
            found.append(StepFacts(node.step, node.inputs, needs[name], node.log, forecasts.get(name), node.cached))
        return found


class CleanCommand(TaskCommand, DoitClean):  # type: ignore[misc]
    """``clean``: waits for a run to end, and names what it removes, while doit names each task."""

    name = "clean"
    doc_purpose = "remove build outputs"
    doc_description = "Without STEP, removes everything that a build would make."
    examples = ("doit clean  # all outputs", "doit clean --dry-run igvm:qemu")

    def clean_tasks(self, tasks: Any, dryrun: bool, cleanforget: bool) -> None:
        from coconut_tasks.tasks.node import node_of
        from coconut_tasks.tasks.preflight import know_ours, take_lock
        from coconut_tasks.tasks.standing import from_here

        nodes = {task.name: node for task in tasks if (node := node_of(task))}
        if not nodes:
            super().clean_tasks(tasks, dryrun, cleanforget)
            return
        workspace = next(iter(nodes.values())).workspace
        if not dryrun and workspace.state.is_dir() and (problems := take_lock(workspace)):
            raise UsageError.of(problems)
        know_ours(workspace)
        removed = set()

        def say(path: str) -> None:
            if path not in removed:  # an image and its measurement both name the measurement's files
                removed.add(path)
                self.outstream.write(f"{'would remove' if dryrun else 'removed'} {from_here(path)}\n")

        for name, task in {task.name: task for task in tasks}.items():
            if node := nodes.get(name):
                node.clean(say, dry=dryrun)
            else:
                task.clean(self.outstream, dryrun)
            if cleanforget and not dryrun:
                self.dep_manager.remove(name)
        self.dep_manager.close()
        if not removed:
            self.outstream.write("nothing to remove\n")


class ForgetCommand(TaskCommand, DoitForget):  # type: ignore[misc]
    """``forget``."""

    name = "forget"
    doc_purpose = "make steps run again in the next build"
    examples = ("doit forget igvm:qemu",)


class IgnoreCommand(TaskCommand, DoitIgnore):  # type: ignore[misc]
    """``ignore``."""

    name = "ignore"
    doc_purpose = "skip steps until they are forgotten"
    examples = ("doit ignore module:hello  # until doit forget module:hello",)

    def execute(self, params: Any, args: Any) -> Any:
        if not args and self.is_ours:
            tell(UsageError("wrong-words", "ignore: no step given; for example: doit ignore module:hello"))
            return EXIT_USAGE
        return super().execute(params, args)


class _Refused(TaskCommand):
    """A command of doit that would damage the records of these tasks, or cannot read them."""

    instead = ""

    def parse_execute(self, in_args: Any) -> Any:
        if not self.is_ours:
            return super().parse_execute(in_args)
        tell(self._refusal())
        return EXIT_USAGE

    def begin(self, session: Session) -> None:
        # `-f` or a doit.cfg may have selected a dodo.py of ours.
        raise self._refusal()

    def _refusal(self) -> UsageError:
        return UsageError("command-refused", f"{self.name} does not work with coconut-tasks; {self.instead}")


class ResetDepCommand(_Refused, DoitResetDep):  # type: ignore[misc]
    """``reset-dep``: would record files from which nothing was built."""

    name = "reset-dep"
    instead = "use 'doit forget' to make steps run again, 'doit why' to see what is stale"


class DumpDBCommand(_Refused, DoitDumpDB):  # type: ignore[misc]
    """``dumpdb``: reads only doit's own files."""

    name = "dumpdb"
    instead = "use 'doit info STEP' or 'doit why' to see what is known about a step"


class StraceCommand(_Refused, DoitStrace):  # type: ignore[misc]
    """``strace``: runs only shell actions."""

    name = "strace"
    instead = "use 'doit info STEP' to see what a step reads"


class TabCompletionCommand(_Refused, DoitTabCompletion):  # type: ignore[misc]
    """``tabcompletion``: does not complete variables."""

    name = "tabcompletion"
    instead = "use 'doit completion bash|zsh|fish'"
