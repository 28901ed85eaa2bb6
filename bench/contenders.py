"""The same recipe built in four ways, each in its own copy of the sample: this project, its commands one after the other as in the old
builders, cargo's part alone, and ninja on the same graph."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from large import add_inputs
from measure import DODO, DOIT, ROOT

from coconut_tasks.options import from_words
from coconut_tasks.plan.plan import Plan
from coconut_tasks.steps.action import CargoItem, FsImage, IgvmImage, MakeItem, Measurement
from coconut_tasks.steps.command import Command
from coconut_tasks.steps.step import Step
from coconut_tasks.tools.cargo import MESSAGES
from coconut_tasks.workspace.session import open_session

LEFT_OUT = shutil.ignore_patterns(
    "target", "bin", "git_version.rs", "constants.rs", "config.h", "*.o", "*.a", "*.d", "missing", ".git"
)
_STAGE1 = {"type": "make", "output_file": "bin/stage1-trampoline", "objcopy": "binary"}


def recipes(extra_modules: int, *, all_targets: bool = False) -> dict[str, dict[str, Any]]:
    """Two recipes that differ in features and target."""
    a = json.loads((ROOT / "config" / ("all-targets.json" if all_targets else "qemu.json")).read_text())
    a["kernel"]["tdx-stage1"] = _STAGE1
    a["fs"]["modules"] |= {
        "hello": {"path": "/hello"},
        **{name: {"path": f"/{name}"} for name in _extra(extra_modules)},
    }
    b = deepcopy(a)
    b["igvm"] = {"hyper-v": {"output": "b.igvm", "platforms": ["snp", "vsm"]}}
    b["kernel"]["svsm"] = {"features": "vtpm"}
    return {"a": a, "b": b}


def _extra(count: int) -> list[str]:
    return [f"hello{number:02}" for number in range(count)]


def _heavy(number: int) -> str:
    arms = "".join(f"{i} => x.rotate_left({i % 60}) ^ {number + i}, " for i in range(20))
    return (
        f"\npub fn heavy{number}(x: u64) -> u64 {{ match x % 21 {{ {arms}_ => x }} }}\n"
        f"#[used]\npub static HEAVY{number}: fn(u64) -> u64 = heavy{number};\n"
    )


@dataclass
class Tree:
    """A copy of the sample, with a dodo.py and the recipes beside it."""

    folder: Path
    recipes: dict[str, dict[str, Any]]

    @property
    def source(self) -> Path:
        return self.folder / "svsm"

    def lay(self, extra_modules: int, heavy: int, *, large: bool) -> None:
        """Create the tree. The extra modules are copies of one of the sample's, ``heavy`` extra functions make the kernel slow to compile,
        and a large tree has thousands of files."""
        shutil.copytree(ROOT / "sample", self.source, ignore=LEFT_OUT)
        manifest = self.source / "Cargo.toml"
        for name in _extra(extra_modules):
            package = self.source / "user" / name
            shutil.copytree(self.source / "user" / "hello", package)
            for file in (package / "Cargo.toml", package / "build.rs"):
                file.write_text(file.read_text().replace('"hello"', f'"{name}"'))
            manifest.write_text(manifest.read_text().replace('"user/hello",', f'"user/hello",\n    "user/{name}",', 1))
        main = self.source / "kernel" / "src" / "main.rs"
        main.write_text(main.read_text() + "".join(map(_heavy, range(heavy))))
        if large:
            add_inputs(self.source)
        (self.folder / "dodo.py").write_text(DODO)
        self.write()

    def write(self) -> None:
        """Write the recipes, and the files for the other builders that are made from them."""
        for name, recipe in self.recipes.items():
            (self.folder / f"{name}.json").write_text(json.dumps(recipe, indent=4))
            plan = open_session(
                from_words([f"RECIPE={name}.json", "SVSM=svsm", "BIN=bin"], os.environ, str(self.folder))
            ).plan
            (self.source / f"serial-{name}.sh").write_text(
                "\n".join(line for step in plan.steps for line in shell(step))
            )
            (self.source / f"cargo-{name}.sh").write_text(
                "\n".join(_cargo(step.action) for step in plan.steps if isinstance(step.action, CargoItem))
            )
            (self.source / f"{name}.ninja").write_text(ninja(plan))

    def forget(self) -> None:
        """Remove everything that was built."""
        for path in (self.source / "target", self.source / "bin", self.folder / "bin"):
            shutil.rmtree(path, ignore_errors=True)


def command_of(builder: str, recipe: str) -> tuple[list[str], str]:
    """A builder's command, and the folder in its tree where it runs."""
    return {
        "ours": ([*DOIT, f"RECIPE={recipe}.json", "SVSM=svsm", "BIN=bin"], "."),
        "serial": (["sh", "-e", f"serial-{recipe}.sh"], "svsm"),
        "cargo": (["sh", "-e", f"cargo-{recipe}.sh"], "svsm"),
        "ninja": ([ninja_program(), "-f", f"{recipe}.ninja"], "svsm"),
    }[builder]


def one_package(name: str, triple: str, recipe: Mapping[str, Any]) -> list[str]:
    """Only cargo's part of a build after an edit in one package."""
    features = ["--features", recipe["kernel"]["svsm"]["features"]] if name == "svsm" else []
    return ["cargo", "build", "--package", name, "--target", triple, *features]


def ninja_program() -> str:
    """The ninja beside this Python, from PyPI, else the machine's."""
    beside = Path(sys.executable).with_name("ninja")
    return str(beside) if beside.exists() else "ninja"


def _cargo(action: CargoItem) -> str:
    return shlex.join(word for word in action.build.argv if word != MESSAGES)


def _program(action: CargoItem) -> str:
    return "/".join(filter(None, ["target", action.triple, "debug", action.program]))


def _copy(source: str, target: str) -> str:
    return f"mkdir -p {shlex.quote(os.path.dirname(target))} && cp {shlex.quote(source)} {shlex.quote(target)}"


def shell(step: Step) -> Iterator[str]:
    """A step's commands as shell lines."""
    action = step.action
    match action:
        case CargoItem():
            yield _cargo(action)
            yield _copy(_program(action), action.built)
            if action.objcopy:
                yield str(action.objcopy)
        case MakeItem():
            yield str(action.build)
            yield f"mkdir -p {os.path.dirname(action.output)}"
            yield str(action.objcopy)
        case FsImage():
            yield f"rm -rf {action.root}"
            yield from (_copy(file, f"{action.root}/{path}") for path, file in action.files)
            yield str(action.pack)
        case IgvmImage():
            yield f"mkdir -p {os.path.dirname(action.output)}"
            yield str(action.build)
        case Measurement():
            ((_, hex), *_) = action.hexes
            yield f"mkdir -p {os.path.dirname(hex)}"
            yield f"{action.measure} > {hex}"


def ninja(plan: Plan) -> str:
    """The same graph for ninja, with cargo's dep-info as depfiles; an unchanged output is not rewritten, so that ninja stops there too."""
    lines = [
        "rule run",
        "  command = $command",
        "  restat = 1",
        "rule cargo",
        "  command = $command",
        "  restat = 1",
        "  depfile = $out.d",
    ]
    for step in plan.steps:
        if not (commands := list(shell(step))):
            continue
        output = step.outputs[0]
        if isinstance(action := step.action, CargoItem):
            made = action.built if action.objcopy else _program(action)
            new = f"{output}.new"
            last = str(Command((*action.objcopy.argv[:-1], new))) if action.objcopy else f"cp {made} {new}"
            commands = [
                _cargo(action),
                _copy(_program(action), action.built) if action.objcopy else f"mkdir -p {os.path.dirname(output)}",
                last,
            ]
            commands += [f"(cmp -s {new} {output} || mv {new} {output})"]
            commands += [f"sed '1s|^[^:]*:|{output}:|' {_program(action)}.d > {output}.d"]
        sources = "stage1/stage1.S stage1/stage1.inc stage1/stage1.lds Makefile" if isinstance(action, MakeItem) else ""
        rule = "cargo" if isinstance(action, CargoItem) else "run"
        lines += [
            f"build {output}: {rule} {' '.join(step.inputs)} {sources}",
            "  command = " + " && ".join(commands).replace("$", "$$"),
        ]
    return "\n".join([*lines, ""])
