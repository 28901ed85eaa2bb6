"""``reproduce``: build twice in different environments and compare."""

from __future__ import annotations

import time

from coconut_tasks.errors import EXIT_FAILED, StepError, UsageError, tell
from coconut_tasks.tasks.command import switch
from coconut_tasks.tasks.standing import stand
from coconut_tasks.tasks.task_command import ReportCommand

# The rest is imported where it is used: doit loads this class for its own help, with any dodo.py.


class ReproduceCommand(ReportCommand):
    """``reproduce``."""

    name = "reproduce"
    shows_notes = True
    doc_purpose = "build twice from scratch in different folders and environments, and compare every byte"
    doc_usage = "[VARIABLE=value ...]"
    cmd_options = (switch("keep", "keep the two copies even if nothing differs"),)
    examples = ("doit reproduce RECIPE=config/qemu.json", "doit reproduce --keep RECIPE=config/qemu.json RELEASE=1")

    def _execute(self, keep: bool) -> int:
        from coconut_tasks.compare.reproduce import diffoscope, remove, reproduce
        from coconut_tasks.layout import REPRODUCE
        from coconut_tasks.reports.reproduced import reproduced_text
        from coconut_tasks.tasks.interrupt import listen
        from coconut_tasks.tasks.preflight import take_lock

        if self.asked:
            raise UsageError(
                "takes-no-task", f"reproduce: '{self.asked[0]}' is a step; expected only recipes, which it builds whole"
            )
        assert self.session is not None
        session, workspace = self.session, self.session.workspace
        if problems := take_lock(workspace):
            raise UsageError.of(problems)
        listen()
        folder = workspace.state / REPRODUCE
        started = time.monotonic()
        try:
            result = reproduce(session, folder, self._say)
        except StepError as error:
            tell(StepError("build-for-reproduce", f"reproduce: one of the two builds failed: {error}"))
            return EXIT_FAILED
        report = diffoscope(result.differences, folder, session.options.environment)
        self._say(reproduced_text(result, time.monotonic() - started, report, stand()))
        if not (result.differences or keep):
            remove(folder)
        return EXIT_FAILED if result.differences else 0

    def _say(self, text: str) -> None:
        self.outstream.write(f"{text}\n")
        self.outstream.flush()
