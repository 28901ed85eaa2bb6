"""``size``: the sizes of each IGVM file and its parts."""

from __future__ import annotations

import os

from coconut_tasks.errors import UsageError
from coconut_tasks.tasks.command import switch
from coconut_tasks.tasks.standing import from_here
from coconut_tasks.tasks.task_command import ReportCommand

# The rest is imported where it is used: doit loads this class for its own help, with any dodo.py.


class SizeCommand(ReportCommand):
    """``size``."""

    name = "size"
    doc_purpose = "show the sizes of images and their parts, and what changed since the previous build"
    cmd_options = (switch("json", "print the result as JSON"),)
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
            place = from_here(image.path) + ("" if image.in_bin else " (the last build; bin/ has another file)")
            self.outstream.write(size_table(place, image.now, image.before))
        return 0
