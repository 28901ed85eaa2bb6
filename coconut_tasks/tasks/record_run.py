"""What is recorded about a run for the reports: where its time went, and the sizes of the images."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from coconut_tasks.called import called
from coconut_tasks.effects.stopwatch import Stopwatch
from coconut_tasks.options import process_words
from coconut_tasks.records.history import Exchange, History
from coconut_tasks.records.sizes import Sizes
from coconut_tasks.records.timeline import Span, StepTime, Timeline
from coconut_tasks.steps.action import FsImage
from coconut_tasks.steps.step import direct_needs
from coconut_tasks.tasks.node import GOOD, Node, StepResult
from coconut_tasks.workspace.workspace import Workspace

if TYPE_CHECKING:
    from coconut_tasks.cache.cache import Cache  # a run without a cache loads nothing of it

_RESULTS = {
    StepResult.BUILT: "built",
    StepResult.PLACED: "placed",
    StepResult.CACHED: "cached",
    StepResult.FAILED: "failed",
}


def record_run(nodes: Sequence[Node], whole: Stopwatch, jobs: int) -> None:
    """Record a run in the state folder; ``nodes`` are all its steps, each after those that it needs."""
    history = History(nodes[0].workspace.state)
    history.record_run(_timeline(nodes, whole, jobs))
    built = [node for node in nodes if node.result is StepResult.BUILT]
    history.record_durations({node.step.record: node.seconds for node in built})
    crates = nodes[0].workspace.run_state.crates
    history.record_crates({node.step.record: crates[node.step.name] for node in built if node.step.name in crates})
    # After a failure, the parts may be newer than the image, or missing.
    history.record_sizes(
        {node.step.record: sizes for node, sizes in sizes_of(nodes) if sizes is not None and node.result in GOOD}
    )


def record_exchange(workspace: Workspace, cache: Cache, whole: Stopwatch) -> None:
    """Record what a run exchanged with the cache."""
    traffic, began = cache.traffic, time.time() - (time.monotonic() - whole.start)
    found = Exchange(began, cache.shown, traffic.hits, traffic.misses, traffic.received, traffic.sent)
    History(workspace.state).record_exchange(found)


def sizes_of(nodes: Sequence[Node]) -> list[tuple[Node, Sizes | None]]:
    """The steps that make IGVM files, each with the sizes of its files as they are now; None if one is missing."""
    makers = {output: node for node in nodes for output in node.step.outputs}
    return [(node, _sizes(node, makers)) for node in nodes if node.step.action.is_image and node.step.publish]


def _sizes(node: Node, makers: Mapping[str, Node]) -> Sizes | None:
    workspace = node.workspace
    parts: dict[str, int] = {}
    modules: dict[str, int] = {}
    for path in node.step.inputs:
        maker = makers.get(path)
        if maker is None or maker.step.stage == "tool":
            continue
        stat = workspace.files.stat(workspace.path(path))
        if stat is None:
            return None
        parts[maker.step.name.partition("@")[0]] = stat[2]
        if isinstance(maker.step.action, FsImage):
            files = {name: workspace.files.stat(workspace.path(file)) for name, file in maker.step.action.files}
            modules |= {name: found[2] for name, found in files.items() if found}
    output = workspace.path(node.step.outputs[0])
    whole, digest = workspace.files.stat(output), workspace.files.digest(output)
    return Sizes(digest, whole[2], parts, modules) if whole and digest else None


def _timeline(nodes: Sequence[Node], whole: Stopwatch, jobs: int) -> Timeline:
    now = time.monotonic()
    ran = {node.step.name: node for node in nodes if node.result in _RESULTS and node.watch}
    needs = _needs(nodes, ran)
    steps = []
    for name, node in ran.items():
        watch = node.watch
        assert watch is not None
        steps.append(
            StepTime(
                name,
                node.step.stage,
                _RESULTS[node.result],  # type: ignore[index]  # only steps that ran are in `ran`
                watch.start - whole.start,
                (watch.end or now) - whole.start,
                needs[name],
                tuple(
                    Span(lap.what, lap.waiting, lap.start - whole.start, lap.end - whole.start) for lap in watch.laps
                ),
            )
        )
    return Timeline(
        shlex.join([called().program, *process_words()]),
        time.time() - (now - whole.start),
        now - whole.start,
        jobs,
        sum(node.result is StepResult.FRESH for node in nodes),
        tuple(sorted(steps, key=lambda step: step.start)),
    )


def _needs(nodes: Sequence[Node], ran: Mapping[str, Node]) -> dict[str, tuple[str, ...]]:
    """For each step, the steps that ran and had to be done first, directly or through steps that did not run."""
    found: dict[str, tuple[str, ...]] = {}
    for name, direct in direct_needs(node.step for node in nodes).items():
        closed = [[need] if need in ran else found.get(need, ()) for need in direct]
        found[name] = tuple(dict.fromkeys(need for needs in closed for need in needs))
    return found
