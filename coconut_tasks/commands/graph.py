"""``doit graph``: the steps as a picture."""

from __future__ import annotations

import os

from coconut_tasks.commands.output import own_file, put
from coconut_tasks.errors import UsageError
from coconut_tasks.tasks.command import switch, text_option
from coconut_tasks.tasks.task_command import ReportCommand

# The rest is imported when it is needed: doit loads the class for its own help, for any dodo.py.


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
