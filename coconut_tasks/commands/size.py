"""``doit size``: the parts of each IGVM file in bytes."""

from __future__ import annotations

import os

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
        from coconut_tasks.reports.size import ImageSizes, size_json, size_table
        from coconut_tasks.tasks.record_run import sizes_of

        nodes = self.nodes
        workspace = nodes[0].workspace
        history = History(workspace.state)
        images = []
        for name, now in sizes_of(nodes):
            path = os.path.join(workspace.bin, name)
            in_bin = workspace.files.digest(path) == now.digest
            images.append(ImageSizes(path, in_bin, now, history.before(name, now)))
        if not images:
            raise UsageError(
                "nothing-built", f"size: no IGVM file of these recipes has been built yet in {workspace.bin}"
            )
        if json:
            self.document = size_json(self.head("size"), images)
            return 0
        for image in images:
            place = from_here(image.path) + ("" if image.in_bin else " (as built last; bin/ holds another one)")
            self.outstream.write(size_table(place, image.now, image.before))
        return 0
