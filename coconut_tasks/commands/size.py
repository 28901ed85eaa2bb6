"""``size``: the sizes of each IGVM file and its parts."""

from __future__ import annotations

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
        for node, on_disk in sizes_of(nodes):
            path = workspace.path(node.step.publish[0][1])
            in_bin, made = (workspace.files.digest(file) for file in (path, workspace.path(node.step.outputs[0])))
            known = history.sizes(node.step.record)
            # What is on record is of the image, while its parts may have been built again since.
            last = next((at for at in reversed(range(len(known))) if known[at].digest in (in_bin, made)), None)
            now = on_disk if last is None else known[last]
            if now is not None:
                before = known[:last][-1:]
                images.append(
                    ImageSizes(path, now.digest == in_bin, now == on_disk, now, before[0] if before else None)
                )
        if not images:
            raise UsageError(
                "nothing-built", f"size: no IGVM file of these recipes has been built yet in {workspace.bin}"
            )
        if json:
            self.document = size_json(self.head("size"), images)
            return 0
        for image in images:
            notes = {
                "as of the last good build": not image.is_current,
                "the last build; bin/ has another file": not image.in_bin,
            }
            note = "; ".join(text for text, holds in notes.items() if holds)
            place = from_here(image.path) + (f" ({note})" if note else "")
            self.outstream.write(size_table(place, image.now, image.before))
        return 0
