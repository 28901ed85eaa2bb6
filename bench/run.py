"""How long builds take, compared with other ways to build. One command, `./doitw bench`, prints the tables of docs/performance.md.

For each case, every builder makes the same change to its own copy of the sample and is then timed, in turn, run by run; a ratio is the
median of the ratios of the runs.

(a) all commands of the recipe one after the other, as the old builders do, but without the version file that they rewrite each time;
(b) all cargo commands of the recipe, and nothing else; (b1) for an edit, the one cargo command that it concerns;
(c) ninja on the same graph, with cargo's dep-info as depfiles.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import real
import scale
from contenders import Tree, command_of, one_package, recipes
from large import C_FILES, HEADERS, RUST_FILES
from measure import environment, ratio, timed, where

from coconut_tasks.options import from_words
from coconut_tasks.steps.action import CargoItem
from coconut_tasks.workspace.session import open_session

BUILDERS = ("ours", "serial", "cargo", "ninja")


class Race:
    """All builders, each with its tree."""

    def __init__(self, folder: Path, extra_modules: int = 0, heavy: int = 0, *, large: bool = False) -> None:
        self.trees = {
            builder: Tree(folder / builder, recipes(extra_modules, all_targets=large)) for builder in (*BUILDERS, "one")
        }
        for tree in self.trees.values():
            tree.folder.mkdir(parents=True)
            tree.lay(extra_modules, heavy, large=large)
        self.env = environment()
        tree = self.trees["ours"]
        options = from_words(["RECIPE=a.json", "SVSM=svsm", "BIN=bin"], os.environ, str(tree.folder))
        items = (step.action for step in open_session(options).plan.steps if step.stage == "kernel")
        self.triple = next(str(item.triple) for item in items if isinstance(item, CargoItem))
        self.number = 0

    def run(self, builder: str, recipe: str = "a") -> float:
        argv, place = command_of(builder, recipe)
        return timed(argv, self.trees[builder].folder / place, self.env)[0]

    def one(self, package: str) -> float:
        tree = self.trees["one"]
        return timed(one_package(package, self.triple, tree.recipes["a"]), tree.source, self.env)[0]

    def case(self, change: Callable[[Tree], str], runs: int, package: str | None = None) -> dict[str, list[float]]:
        """Each builder after the same change, ``runs`` times; ``change`` says which recipe is built after it."""
        seconds: dict[str, list[float]] = {builder: [] for builder in (*BUILDERS, *(["one"] if package else []))}
        for _ in range(runs):
            self.number += 1
            for builder, found in seconds.items():
                recipe = change(self.trees[builder])
                time.sleep(0.05)
                if builder == "one":
                    assert package is not None
                    found.append(self.one(package))
                else:
                    found.append(self.run(builder, recipe))
        return seconds

    # The changes

    def nothing(self, tree: Tree) -> str:
        return "a"

    def touch(self, tree: Tree) -> str:
        os.utime(tree.source / "kernel" / "src" / "main.rs")
        return "a"

    def edit(self, file: str) -> Callable[[Tree], str]:
        def change(tree: Tree) -> str:
            path = tree.source / file
            path.write_text(
                f'{path.read_text()}\n#[used]\npub static MARK{self.number}: [u8; 8] = *b"{self.number:08}";\n'
            )
            return "a"

        return change

    def comment(self, tree: Tree) -> str:
        path = tree.source / "kernel" / "src" / "main.rs"
        path.write_text(f"{path.read_text()}\n// {self.number}\n")
        return "a"

    def recipe(self, tree: Tree) -> str:
        tree.recipes["a"]["igvm"]["qemu"]["policy"] = f"0x3{self.number:04x}"
        tree.write()
        return "a"

    def other_recipe(self, tree: Tree) -> str:
        return "ab"[self.number % 2]

    def cold(self, tree: Tree) -> str:
        tree.forget()
        return "a"


def row(name: str, seconds: dict[str, list[float]]) -> str:
    ours = seconds["ours"]
    cells = [f"{statistics.median(ours):.3f} s"]
    for builder in ("serial", "cargo", "one", "ninja"):
        if builder in seconds:
            cells += [f"{statistics.median(seconds[builder]):.3f} s", f"{ratio(ours, seconds[builder]):.2f}"]
        else:
            cells += ["", ""]
    return f"| {name} | " + " | ".join(cells) + " |"


HEAD = """\
| case | ours | (a) serial | ours/(a) | (b) cargo | ours/(b) | (b1) one package | ours/(b1) | (c) ninja | ours/(c) |
|---|---|---|---|---|---|---|---|---|---|"""


def noop_against_doit(race: Race, folder: Path, runs: int) -> str:
    """The no-op compared with doit on an empty dodo.py in the same environment."""
    empty = folder / "empty"
    empty.mkdir()
    (empty / "dodo.py").write_text("")
    ours, theirs = [], []
    for _ in range(runs):
        ours.append(race.run("ours"))
        theirs.append(timed([sys.executable, "-m", "doit"], empty, race.env)[0])
    return (
        f"No-op: {statistics.median(ours):.3f} s; doit with an empty dodo.py: {statistics.median(theirs):.3f} s; "
        f"ratio {ratio(ours, theirs):.2f}."
    )


def many_modules(extra: int, runs: int) -> None:
    """The no-op in a tree where (a) has more to call."""
    with tempfile.TemporaryDirectory() as name:
        race = Race(Path(name), extra_modules=extra)
        for builder in BUILDERS:
            race.run(builder)
        print(f"The sample with {extra} more modules:\n\n{HEAD}")
        print(row("no-op", race.case(race.nothing, runs)) + "\n", flush=True)


def heavy_kernel(functions: int, runs: int) -> None:
    """An edit in a kernel that is slow to compile."""
    with tempfile.TemporaryDirectory() as name:
        race = Race(Path(name), heavy=functions)
        for builder in BUILDERS:
            race.run(builder)
        race.one("svsm")
        print(f"The sample with {functions} more functions in its kernel:\n\n{HEAD}")
        edited = race.case(race.edit("kernel/src/main.rs"), runs, "svsm")
        print(row("an edited kernel source", edited) + "\n", flush=True)


def real_size(functions: int, runs: int) -> None:
    """Everyday cases in a tree of realistic size."""
    with tempfile.TemporaryDirectory() as name:
        race = Race(Path(name), heavy=functions, large=True)
        for recipe in "aba":
            for builder in BUILDERS:
                race.run(builder, recipe)
        for package in ("svsm", "userinit"):
            race.one(package)
        print(f"A tree of realistic size: {C_FILES + HEADERS + RUST_FILES} more C and Rust files, 3 targets:\n\n{HEAD}")
        print(row("no-op", race.case(race.nothing, runs)), flush=True)
        print(row("a touched file", race.case(race.touch, runs, "svsm")), flush=True)
        edits = {
            "a comment in the kernel": race.case(race.comment, runs, "svsm"),
            "an edited kernel source": race.case(race.edit("kernel/src/main.rs"), runs, "svsm"),
        }
        for title, seconds in edits.items():
            print(row(title, seconds), flush=True)
        print(row("an edited module", race.case(race.edit("user/userinit/src/main.rs"), runs, "userinit")), flush=True)
        print(row("the recipe's policy", race.case(race.recipe, runs)), flush=True)
        print(row("recipe A ↔ B", race.case(race.other_recipe, runs)) + "\n", flush=True)
        for title, seconds in edits.items():
            beyond = statistics.median(
                ours - 1.1 * cargo for ours, cargo in zip(seconds["ours"], seconds["one"], strict=True)
            )
            print(f"Beyond 1.1 times its one cargo command, {title} takes {beyond:.2f} s.")
        print(f"{noop_against_doit(race, Path(name), runs)}\n", flush=True)


def main() -> None:
    """Print the tables."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--runs", type=int, default=7, help="runs of each case")
    flags.add_argument("--cold-runs", type=int, default=3, help="runs of the cold build")
    flags.add_argument("--extra-modules", type=int, default=70, help="extra modules in the tree with many")
    flags.add_argument("--heavy", type=int, nargs="*", default=[3000, 8000], help="extra functions in the slow kernel")
    flags.add_argument("--files", type=int, default=10_000, help="source files of the large trees")
    flags.add_argument("--modules", type=int, nargs="*", default=[10, 100, 1000], help="modules of the large trees")
    flags.add_argument(
        "--size", type=int, default=2500, help="extra functions in the kernel of the tree of realistic size"
    )
    flags.add_argument(
        "--tree", type=Path, help="a real SVSM tree: print only its table, compared with its own builder"
    )
    given = flags.parse_args()
    print(f"{where()}; medians of {given.runs} runs, {given.cold_runs} for the cold build.\n", flush=True)
    if given.tree is not None:
        real.table(given.tree.absolute(), given.runs)
        return
    with tempfile.TemporaryDirectory() as name:
        race = Race(Path(name))
        print(HEAD, flush=True)
        cold = race.case(race.cold, given.cold_runs)
        race.one("svsm")
        race.one("userinit")
        for builder in BUILDERS:
            race.run(builder, "b")
            race.run(builder, "a")
        cases: list[tuple[str, Callable[[Tree], str], str | None]] = [
            ("no-op", race.nothing, None),
            ("a touched file", race.touch, "svsm"),
            ("an edited kernel source", race.edit("kernel/src/main.rs"), "svsm"),
            ("an edited module", race.edit("user/userinit/src/main.rs"), "userinit"),
            ("the recipe's policy", race.recipe, None),
            ("recipe A ↔ B", race.other_recipe, None),
        ]
        for title, change, package in cases:
            print(row(title, race.case(change, given.runs, package)), flush=True)
        print(row("cold build", cold), flush=True)
        print(f"\n{noop_against_doit(race, Path(name), given.runs)}\n", flush=True)
    many_modules(given.extra_modules, given.runs)
    for functions in given.heavy:
        heavy_kernel(functions, given.runs)
    real_size(given.size, given.runs)
    scale.table(given.modules, given.files, given.runs)


if __name__ == "__main__":
    main()
