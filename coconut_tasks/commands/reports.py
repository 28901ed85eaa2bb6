"""doit commands that tell about builds and build nothing: why, plan, log, graph, timeline, size."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coconut_tasks.errors import UsageError
from coconut_tasks.tasks.command import switch, text_option
from coconut_tasks.tasks.standing import from_here, stand
from coconut_tasks.tasks.task_command import ReportCommand

# The rest is imported when it is needed: doit loads these classes for its own help, for any dodo.py.


class WhyCommand(ReportCommand):
    """``why``."""

    name = "why"
    doc_purpose = "say why each step would run, or why not"
    examples = ("doit why", "doit why RECIPE=config/qemu.json igvm:qemu")

    def _execute(self) -> int:
        from coconut_tasks.reports.why import why_text

        self.tell_what_is_missing()
        self.outstream.write(why_text(self.forecasts().values(), self.asked))
        return 0


class PlanCommand(ReportCommand):
    """``plan``."""

    name = "plan"
    doc_purpose = "show what would run, as commands that can be copied, and run nothing"
    cmd_options = (switch("json", "for programs"),)
    examples = ("doit plan", "doit plan --json RELEASE=1 igvm:qemu")

    def _execute(self, json: bool) -> int:
        from coconut_tasks.reports.plan import plan_json, plan_text

        self.tell_what_is_missing()
        nodes = self.nodes
        workspace = nodes[0].workspace
        forecasts = list(self.forecasts().values())
        if json:
            self.outstream.write(_pretty(plan_json(workspace.tree, workspace.recipes, forecasts)))
        else:
            self.outstream.write(plan_text(workspace.tree, forecasts))
        return 0


class LogCommand(ReportCommand):
    """``log``."""

    name = "log"
    doc_purpose = "show all that a step's last run printed"
    examples = ("doit log kernel:svsm", "doit log")

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
        chosen = self._chosen(nodes)
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

    def _chosen(self, nodes: Sequence[Any]) -> list[Any]:
        """The steps that were named, alone or by their group, and not what they need."""
        names = set(self.asked)
        return [node for node in nodes if names & {node.step.name, node.step.stage, node.step.name.partition("@")[0]}]


class GraphCommand(ReportCommand):
    """``graph``."""

    name = "graph"
    doc_purpose = "draw the steps and what needs what, the stale ones marked"
    cmd_options = (
        {
            **text_option("format", "what to write; without it, what the output file's ending says, else svg"),
            "choices": (("svg", ""), ("dot", ""), ("mermaid", "")),
        },
        text_option(
            "output",
            "the file to write, - for standard output (default: bin/graph.svg; text goes to standard output)",
            "o",
        ),
        switch("all", "draw each module, however many there are", "a"),
    )
    examples = ("doit graph", "doit graph --format=mermaid", "doit graph -o build.dot")

    def _execute(self, format: str, output: str, all: bool) -> int:
        from coconut_tasks.freshness.forecast import Fate
        from coconut_tasks.reports import graph
        from coconut_tasks.steps.step import direct_needs

        kinds = {".svg": "svg", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".mermaid": "mermaid"}
        ending = os.path.splitext(output)[1]
        kind = format or kinds.get(ending, "" if ending else "svg")
        if not kind:
            raise UsageError(
                "no-such-format",
                f"graph: '{output}': no format has that ending: {', '.join(kinds)}; or --format names one",
            )
        states = {
            Fate.RUNS: graph.NodeState.STALE,
            Fate.PLACES: graph.NodeState.STALE,
            Fate.MAYBE: graph.NodeState.MAYBE,
            Fate.RESTS: graph.NodeState.FRESH,
            Fate.IGNORED: graph.NodeState.IGNORED,
        }
        nodes = self.nodes
        needs = direct_needs(node.step for node in nodes)
        drawn = [
            graph.GraphNode(
                found.step.name,
                found.step.stage,
                found.step.doc,
                states[found.fate],
                "; ".join(found.reasons),
                needs[found.step.name],
            )
            for found in self.forecasts().values()
        ]
        group = False if all else None
        if kind == "svg":
            title = ", ".join(nodes[0].workspace.recipes)
            text = graph.render_svg(drawn, title=title, group=group)
        else:
            text = (graph.render_dot if kind == "dot" else graph.render_mermaid)(drawn, group=group)
        put(text, output or ("-" if kind != "svg" else own_file(nodes[0].workspace, "graph.svg")), self.outstream)
        return 0


class TimelineCommand(ReportCommand):
    """``timeline``."""

    name = "timeline"
    doc_purpose = "show where the time of the last run went"
    doc_usage = "[VARIABLE=value ...]"
    cmd_options = (
        text_option("output", "the page to write (default: bin/timeline.html; the trace goes beside it)", "o"),
    )
    examples = ("doit timeline", "doit timeline -o /tmp/build.html")

    def _execute(self, output: str) -> int:
        from coconut_tasks.records.history import History
        from coconut_tasks.reports import timeline

        workspace = self.nodes[0].workspace
        found = History(workspace.state).last_run()
        if found is None:
            raise UsageError("nothing-built", f"timeline: nothing was built yet in {workspace.bin}")
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
        self.outstream.write(f"{found.command}: {found.seconds:.1f} s; the longest chain: {chain}\n")
        return 0


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
            self.outstream.write(_pretty(size_json(shown)))
        else:
            self.outstream.write("".join(size_table(*file) for file in shown))
        return 0

    def _place(self, workspace: Any, name: str, now: Any) -> str:
        place = os.path.join(workspace.bin, name)
        is_there = workspace.files.digest(place) == now.digest
        return from_here(place) + ("" if is_there else " (as built last; bin/ holds another one)")


def own_file(workspace: Any, name: str) -> str:
    """The path of a file below the output folder. Raises UsageError for one that is there and not ours."""
    from coconut_tasks.tasks.preflight import foreign_files

    path = os.path.join(workspace.bin, name)
    if foreign_files([path], workspace):
        raise UsageError(
            "foreign-file", f"{from_here(path)} is there, and this program did not make it: -o names another file"
        )
    workspace.placed.add(path)
    return path


def put(text: str, output: str, stream: Any) -> None:
    """Write to a file, which is named then, or for ``-`` to the stream."""
    from coconut_tasks.effects.place import write_whole

    if output == "-":
        stream.write(text)
        return
    path = Path(stand(), output)
    if not path.parent.is_dir():
        raise UsageError("no-such-folder", f"-o: '{output}': there is no folder {path.parent}")
    write_whole(path, text.encode())
    stream.write(f"{from_here(path)}: written\n")


def _pretty(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"
