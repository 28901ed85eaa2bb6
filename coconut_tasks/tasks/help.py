"""``help``, and ``--help`` without a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from doit.cmd_base import DoitCmdBase
from doit.cmd_help import Help as DoitHelp
from doit.exceptions import InvalidDodoFile

from coconut_tasks.called import called
from coconut_tasks.errors import EXIT_USAGE, CoconutError, UsageError, did_you_mean, tell
from coconut_tasks.tasks.command import asks_for_help
from coconut_tasks.tasks.dodo_file import is_of_others
from coconut_tasks.tasks.guesses import meant_by
from coconut_tasks.tasks.help_text import as_called, help_text, overview, two_columns
from coconut_tasks.tasks.loader import OwnLoader
from coconut_tasks.tasks.table import MEASURE, MEASURE_PURPOSE, REFUSED

_PLAIN_USAGE = DoitHelp.print_usage


def print_usage(self: Any, commands: Mapping[str, Any]) -> None:
    """Print the table of commands; doit's own with a dodo.py that is not ours."""
    if is_of_others() and not isinstance(self.loader, OwnLoader):
        _PLAIN_USAGE(self, commands)
        return
    purposes = {name: one.doc_purpose for name, one in commands.items() if name not in REFUSED}
    if called().is_coconut:
        purposes[MEASURE] = MEASURE_PURPOSE
    put(overview(purposes))


def put(text: str) -> None:
    """Print to a reader that may close the pipe early."""
    from coconut_tasks.tasks.interrupt import nobody_reads

    try:
        print(text, flush=True)
    except BrokenPipeError:
        nobody_reads()


# For `--help`, doit uses its own class even if a plugin is called help. It loads the plugins, and so this module, before that.
DoitHelp.print_usage = print_usage


class HelpCommand(DoitHelp):  # type: ignore[misc]
    """``help``: as doit's, but it also explains itself and message IDs, and an unknown word is an error."""

    name = "help"
    doc_purpose = "show help for a command, a step or a message ID"
    doc_usage = "[COMMAND | STEP | ID]"
    examples = ("doit help validate", "doit help igvm:qemu", "doit help no-such-recipe  # explain a message")

    def help(self) -> str:
        return help_text(self)

    def parse_execute(self, in_args: Sequence[str]) -> Any:
        if asks_for_help(in_args):
            print(self.help())
            return 0
        return super().parse_execute(in_args)

    def execute(self, params: Any, args: Sequence[str]) -> Any:
        is_own = isinstance(self.loader, OwnLoader)
        if not args or (not is_own and (args[0] == "task" or is_of_others())):
            return super().execute(params, args)
        return max(self._explain(params, word) for word in args)

    def _explain(self, params: Any, word: str) -> int:
        from coconut_tasks.explanations import explanations

        known = explanations()
        id = word.strip("[]").lower()  # as copied from a message
        if id in known:  # first, since the message may be the reason that no task can be loaded
            entry = known[id]
            rows = [("why", as_called(entry.why)), ("what to do", as_called(entry.do))]
            put("\n".join([f"{id}: {as_called(entry.means)}", "", *two_columns(rows)]))
            return 0
        if word in self.cmds:
            return int(super().execute(params, [word]))
        self.task_list: list[Any] = []
        with suppress(InvalidDodoFile, CoconutError):  # without a tree or with a wrong recipe, there are no steps
            if DoitCmdBase.execute(self, params, [word]):
                return 0
        right = {*self.cmds, *known, *(str(one.name) for one in self.task_list)}
        what = f"'{word}' is not a command, a step or a message ID"
        more = f"'{called().command('help')}' lists the commands"
        tell(UsageError("no-such-topic", f"{what}{meant_by(word) or did_you_mean(word, right)}; {more}"))
        return EXIT_USAGE
