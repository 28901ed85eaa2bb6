"""``doit plan``: the commands of the next run, and none of them is run."""

from __future__ import annotations

from coconut_tasks.tasks.command import switch
from coconut_tasks.tasks.task_command import ReportCommand

# The rest is imported when it is needed: doit loads the class for its own help, for any dodo.py.


class PlanCommand(ReportCommand):
    """``plan``."""

    name = "plan"
    doc_purpose = "show what would run, as commands that can be copied, and run nothing"
    cmd_options = (switch("json", "for programs"),)
    examples = ("doit plan", "doit plan --json RELEASE=1 igvm:qemu")

    def _execute(self, json: bool) -> int:
        from coconut_tasks.reports.plan import plan_json, plan_text

        self.tell_what_is_missing()
        forecasts = list(self.forecasts().values())
        if json:
            self.document = plan_json(self.head("plan"), forecasts)
        else:
            self.outstream.write(plan_text(self.nodes[0].workspace.tree, forecasts))
        return 0
