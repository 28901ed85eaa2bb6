"""``graph``: the steps as a picture."""

from __future__ import annotations

import os

from coconut_tasks.commands.output import own_file, put
from coconut_tasks.errors import UsageError
from coconut_tasks.tasks.command import switch, text_option
from coconut_tasks.tasks.task_command import ReportCommand

# The rest is imported where it is used: doit loads this class for its own help, with any dodo.py.


class GraphCommand(ReportCommand):
    """``graph``."""

    name = "graph"
    doc_purpose = "draw the dependency graph of the steps and mark the stale ones"
    cmd_options = (
        {
            **text_option("format", "the format [default: by the suffix of the output file, else svg]"),
            "choices": (("svg", ""), ("dot", ""), ("mermaid", "")),
        },
        text_option(
            "output",
            "the file to write, or - for standard output [default: bin/graph.svg, or standard output for text]",
            "o",
        ),
        switch("all", "draw each module, even if there are many", "a"),
    )
    examples = ("doit graph", "doit graph --format=mermaid", "doit graph -o build.dot")

    def _execute(self, format: str, output: str, all: bool) -> int:
        from coconut_tasks.freshness.forecast import Fate
        from coconut_tasks.reports import graph
        from coconut_tasks.steps.step import direct_needs
        from coconut_tasks.wording import either

        kinds = {".svg": "svg", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".mermaid": "mermaid"}
        ending = os.path.splitext(output)[1]
        kind = format or kinds.get(ending, "" if ending else "svg")
        if not kind:
            raise UsageError(
                "no-such-format",
                f"graph: '{output}': unknown suffix; expected {either(list(kinds))}, or use --format",
            )
        states = {
            Fate.RUNS: graph.NodeState.STALE,
            Fate.CACHED: graph.NodeState.STALE,
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
