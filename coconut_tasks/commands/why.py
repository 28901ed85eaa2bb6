"""``doit why``: why each step would run, or why not."""

from __future__ import annotations

from coconut_tasks.tasks.task_command import ReportCommand

# The rest is imported when it is needed: doit loads the class for its own help, for any dodo.py.


class WhyCommand(ReportCommand):
    """``why``."""

    name = "why"
    doc_purpose = "say why each step would run, or why not"
    examples = ("doit why", "doit why RECIPE=config/qemu.json igvm:qemu")

    def _execute(self) -> int:
        from coconut_tasks.reports.why import WORDS, why_text
        from coconut_tasks.terminal import marked, terminal_at

        self.tell_what_is_missing()
        text = why_text(self.forecasts().values(), self.asked)
        self.outstream.write(marked(text, terminal_at(self.outstream), WORDS))
        return 0
