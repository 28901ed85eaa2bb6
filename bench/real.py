"""The same cases in a real SVSM tree, compared with the tree's own builder, in turn, in one run.

Each builder has its own copy of the tree. The single cargo command of an edit is timed in the old builder's copy, after another edit.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from measure import DODO, DOIT, environment, ratio, timed

from coconut_tasks.options import from_words
from coconut_tasks.steps.action import CargoItem
from coconut_tasks.tools.cargo import MESSAGES
from coconut_tasks.workspace.session import open_session

RECIPES = ("configs/all-targets.json", "configs/qemu-target.json")
KERNEL = ("kernel/src/svsm.rs", "kernel/src/lib.rs")
MODULE = ("user/init/src/main.rs", "user/init/src/lib.rs")
OFTEN = 11
"""Runs of a case that is compared with one cargo command: single runs vary by more than the difference to be measured."""
HEAD = """\
| case | ours | its own builder | ratio | one cargo command | ours beyond it | cargo calls | ours said |
|---|---|---|---|---|---|---|---|"""


@dataclass
class Times:
    """Seconds of each run of a case."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    cargo: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def row(self, name: str) -> str:
        """A row of the table: medians, and the median of the ratios run by run."""
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        beyond = ""
        if self.cargo:
            more = statistics.median(a - c for a, c in zip(self.ours, self.cargo, strict=True))
            beyond = f"{more:.2f} s"
        cargo = f"{statistics.median(self.cargo):.2f} s" if self.cargo else ""
        calls = ", ".join(sorted(map(str, set(self.calls))))
        said = "; ".join(sorted(set(self.said)))
        return f"| {name} | {ours:.2f} s | {theirs:.2f} s | {ratio(self.theirs, self.ours):.1f} | {cargo} | {beyond} | {calls} | {said} |"


class Race:
    """Two copies of a tree: ours, and its own builder's."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.ours, self.theirs = folder / "ours", folder / "theirs"
        for copy in (self.ours, self.theirs):
            shutil.copytree(source, copy, symlinks=True, ignore=shutil.ignore_patterns("target", "bin"))
        (folder / "dodo.py").write_text(DODO)
        self.folder = folder
        self.env = environment(BIN=str(self.ours / "bin"))
        self.builder = ["cargo", "xbuild"] if (source / "xbuild").is_dir() else ["./scripts/build.py"]
        self.recipes = [recipe for recipe in RECIPES if (source / recipe).exists()]
        self.number = 0
        session = open_session(from_words([f"RECIPE={self.recipes[0]}", f"SVSM={self.ours}"], self.env, str(folder)))
        works = {step.name: step.action for step in session.plan.steps}
        kernel = works["kernel:svsm"]
        assert isinstance(kernel, CargoItem)
        self.cargo = [word for word in kernel.build.argv if word != MESSAGES]

    def ours_in(self, recipe: str, times: Times) -> float:
        """One run of ours."""
        began = time.time()
        argv = [*DOIT, "-f", str(self.folder / "dodo.py"), f"RECIPE={recipe}", f"SVSM={self.ours}"]
        with tempfile.TemporaryFile("w+") as said:
            seconds, _ = timed(argv, self.ours, self.env, said)
            said.seek(0)
            text = said.read()
        logs = [log for log in (self.ours / "bin/.coconut/logs").glob("*.log") if log.stat().st_mtime > began]
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
        times.calls.append(sum(re.match(r"\$ (\S+=\S+ )*cargo ", line) is not None for line in lines))
        summary = re.search(r"^(up to date|\d+ (?:built|restored))", text, re.MULTILINE)
        times.said.append(summary[0] if summary else "?")
        return seconds

    def theirs_in(self, recipe: str) -> float:
        """One run of the tree's own builder."""
        return timed([*self.builder, recipe], self.theirs, self.env)[0]

    def case(self, change: Callable[[Path], None], runs: int, *, cargo: bool = False) -> Times:
        """Each builder after the same change, ``runs`` times."""
        times = Times()
        for _ in range(runs):
            self.number += 1
            change(self.ours)
            times.ours.append(self.ours_in(self.recipes[0], times))
            change(self.theirs)
            if cargo:
                times.cargo.append(timed(self.cargo, self.theirs, self.env)[0])
                self.number += 1
                change(self.theirs)
            times.theirs.append(self.theirs_in(self.recipes[0]))
        return times

    def in_turn(self, runs: int) -> Times:
        """Both recipes, one after the other."""
        times = Times()
        for _ in range(runs):
            times.ours.append(sum(self.ours_in(recipe, times) for recipe in self.recipes))
            times.theirs.append(sum(map(self.theirs_in, self.recipes)))
        return times

    # The changes

    def nothing(self, tree: Path) -> None:
        """No change."""

    def touch(self, tree: Path) -> None:
        """A kernel source gets a new time."""
        _first(tree, KERNEL).touch()

    def comment(self, tree: Path) -> None:
        """A kernel source gets a comment."""
        _append(_first(tree, KERNEL), f"\n// {self.number}\n")

    def edit(self, names: tuple[str, ...]) -> Callable[[Path], None]:
        """A source gets another value, which is in the program."""
        return lambda tree: _append(_first(tree, names), f"\n#[used]\nstatic MARK{self.number}: u64 = {self.number};\n")

    def policy(self, tree: Path) -> None:
        """Each target's policy in the recipe."""
        path = tree / self.recipes[0]
        recipe = json.loads(path.read_text())
        for target in recipe["igvm"].values():
            target["policy"] = f"0x3{self.number:04x}"
        path.write_text(json.dumps(recipe, indent=4))


def _first(tree: Path, names: tuple[str, ...]) -> Path:
    return next(tree / name for name in names if (tree / name).exists())


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def table(source: Path, runs: int) -> None:
    """Print the table: the cold build first, then everyday cases."""
    with tempfile.TemporaryDirectory() as name:
        race = Race(source, Path(name))
        print(f"{source.name}, {race.recipes[0]}, beside `{' '.join(race.builder)}`:\n\n{HEAD}", flush=True)
        print(race.case(race.nothing, 1).row("cold build"), flush=True)
        cases: tuple[tuple[str, Callable[[Path], None], bool], ...] = (
            ("no-op", race.nothing, False),
            ("a touched kernel source", race.touch, False),
            ("a comment in it", race.comment, True),
            ("an edited kernel source", race.edit(KERNEL), True),
            ("an edited module", race.edit(MODULE), False),
            ("the recipe's policy", race.policy, False),
        )
        for title, change, cargo in cases:
            print(race.case(change, max(runs, OFTEN) if cargo else runs, cargo=cargo).row(title), flush=True)
        race.in_turn(1)
        print(race.in_turn(runs).row("both recipes in turn") + "\n", flush=True)
