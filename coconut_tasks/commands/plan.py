"""``plan``: the commands of the next build, without running them."""

from __future__ import annotations

from coconut_tasks.tasks.command import switch
from coconut_tasks.tasks.task_command import ReportCommand

# The rest is imported where it is used: doit loads this class for its own help, with any dodo.py.


class PlanCommand(ReportCommand):
    """``plan``."""

    name = "plan"
    doc_purpose = "show the commands that the next build would run"
    cmd_options = (switch("json", "print the result as JSON"),)
    shows_notes = True
    always = False
    """Steps that are up to date run too: ``build --always --dry-run``."""
    examples = ("doit plan", "doit plan --json RELEASE=1 igvm:qemu")

    def _execute(self, json: bool) -> int:
        from coconut_tasks.reports.plan import plan_json, plan_text

        self.tell_what_is_missing()
        forecasts = list(self.forecasts().values())
        if self.always:
            from coconut_tasks.freshness.forecast import always

            forecasts = [always(found) for found in forecasts]
        if json:
            self.document = plan_json(self.head("plan"), forecasts)
        else:
            self.outstream.write(plan_text(self.nodes[0].workspace.tree, forecasts))
        return 0
