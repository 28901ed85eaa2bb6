"""``timeline``: where the last run spent its time."""

from __future__ import annotations

import json
from pathlib import Path

from coconut_tasks.commands.output import own_file, put
from coconut_tasks.errors import UsageError
from coconut_tasks.tasks.command import text_option
from coconut_tasks.tasks.task_command import ReportCommand

# The rest is imported where it is used: doit loads this class for its own help, with any dodo.py.


class TimelineCommand(ReportCommand):
    """``timeline``."""

    name = "timeline"
    doc_purpose = "show where the last run spent its time"
    doc_usage = "[VARIABLE=value ...]"
    cmd_options = (
        text_option("output", "the page to write, with a trace beside it [default: bin/timeline.html]", "o"),
    )
    examples = ("doit timeline", "doit timeline -o /tmp/build.html")

    def _execute(self, output: str) -> int:
        from coconut_tasks.records.history import History
        from coconut_tasks.reports import timeline

        workspace = self.nodes[0].workspace
        found = History(workspace.state).last_run()
        if found is None:
            raise UsageError("nothing-built", f"timeline: nothing has been built yet in {workspace.bin}")
        if output == "-":
            self.outstream.write(timeline.html(found))
            return 0
        page = output or own_file(workspace, "timeline.html")
        trace = str(Path(output).with_suffix(".json")) if output else own_file(workspace, "timeline.json")
        put(timeline.html(found), page, self.outstream)
        put(json.dumps(timeline.chrome_trace(found)), trace, self.outstream)
        path = timeline.critical_path(found)
        seconds = {step.name: timeline.work_seconds(step) for step in found.steps}
        chain = " → ".join(f"{name} {seconds[name]:.1f} s" for name in path)
        count = sum(step.result == "cached" for step in found.steps)
        cached = f", {count} of {len(found.steps)} steps from the cache" if count else ""
        self.outstream.write(f"{found.command}: {found.seconds:.1f} s{cached}; the longest chain: {chain}\n")
        return 0
