"""``doit size``: the parts of each IGVM file in bytes."""

from __future__ import annotations

import os
from typing import Any

from coconut_tasks.commands.output import pretty
from coconut_tasks.errors import UsageError
from coconut_tasks.tasks.command import switch
from coconut_tasks.tasks.standing import from_here
from coconut_tasks.tasks.task_command import ReportCommand

# The rest is imported when it is needed: doit loads the class for its own help, for any dodo.py.


class SizeCommand(ReportCommand):
    """``size``."""

    name = "size"
    doc_purpose = "show the parts of each IGVM file in bytes, and what changed since the build before"
    cmd_options = (switch("json", "for programs"),)
    examples = ("doit size", "doit size --json RECIPE=config/qemu.json")

    def _execute(self, json: bool) -> int:
        from coconut_tasks.records.history import History
        from coconut_tasks.reports.size import size_json, size_table
        from coconut_tasks.tasks.record_run import sizes_of

        nodes = self.nodes
        workspace = nodes[0].workspace
        history = History(workspace.state)
        files = [(name, now, history.before(name, now)) for name, now in sizes_of(nodes)]
        if not files:
            raise UsageError(
                "nothing-built", f"size: no IGVM file of these recipes has been built yet in {workspace.bin}"
            )
        shown = [(self._place(workspace, name, now), now, before) for name, now, before in files]
        if json:
            self.outstream.write(pretty(size_json(shown)))
        else:
            self.outstream.write("".join(size_table(*file) for file in shown))
        return 0

    def _place(self, workspace: Any, name: str, now: Any) -> str:
        place = os.path.join(workspace.bin, name)
        is_there = workspace.files.digest(place) == now.digest
        return from_here(place) + ("" if is_there else " (as built last; bin/ holds another one)")
