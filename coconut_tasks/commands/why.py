"""``why``: why each step would run, or why not."""

from __future__ import annotations

from coconut_tasks.tasks.command import switch
from coconut_tasks.tasks.task_command import ReportCommand

# The rest is imported where it is used: doit loads this class for its own help, with any dodo.py.


class WhyCommand(ReportCommand):
    """``why``."""

    name = "why"
    shows_notes = True
    doc_purpose = "explain why each step would run, or why not"
    cmd_options = (switch("json", "print the result as JSON"),)
    examples = ("doit why", "doit why RECIPE=config/qemu.json igvm:qemu")

    def _execute(self, json: bool) -> int:
        from coconut_tasks.reports.why import WORDS, why_text
        from coconut_tasks.terminal import marked, terminal_at

        self.tell_what_is_missing()
        if json:
            from coconut_tasks.reports.outlook import why_json

            self.document = why_json(self.head("why"), self.forecasts().values())
            return 0
        text = why_text(self.forecasts().values(), self.asked)
        self.outstream.write(marked(text, terminal_at(self.outstream), WORDS))
        return 0
