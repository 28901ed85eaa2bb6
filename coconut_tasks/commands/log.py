"""``log``: the output of a step's tools."""

from __future__ import annotations

from coconut_tasks.errors import UsageError
from coconut_tasks.tasks.task_command import ReportCommand

# The rest is imported where it is used: doit loads this class for its own help, with any dodo.py.


class LogCommand(ReportCommand):
    """``log``."""

    name = "log"
    doc_purpose = "show the full output of a step's last run"
    examples = ("doit log kernel:svsm", "doit log  # list the logs")

    def _execute(self) -> int:
        from coconut_tasks.reports.logs import list_of_logs
        from coconut_tasks.terminal import shown, terminal_of

        nodes = self.nodes
        if not self.asked:
            logs = [(node.step.name, node.workspace.log(node.step)) for node in nodes]
            stats = [(name, path.stat()) for name, path in logs if path.exists()]
            self.outstream.write(list_of_logs([(name, stat.st_mtime, stat.st_size) for name, stat in stats]))
            return 0
        terminal = terminal_of(self.outstream, nodes[0].workspace.environment)
        chosen = self.named_nodes(self.asked)
        for node in chosen:
            path = node.workspace.log(node.step)
            if not node.step.commands:
                raise UsageError("no-log", f"log: {node.step.name} starts no process, so it has no log")
            if not path.exists():
                raise UsageError(
                    "not-run-yet", f"log: {node.step.name} has not run yet, or not since {path.parent} was removed"
                )
            head = f"==> {node.step.name} <==\n" if len(chosen) > 1 else ""
            self.outstream.write(head + shown(path.read_text(encoding="utf-8", errors="replace"), terminal))
        return 0
