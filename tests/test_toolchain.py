"""Which compiler really runs: asked once, and again when anything changed that decides it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coconut_tasks.inputs.toolchain import Toolchain, default_target, find_toolchain
from coconut_tasks.layout import Layout
from coconut_tasks.load import load_recipe
from coconut_tasks.options import Options
from coconut_tasks.plan import plan_recipes
from coconut_tasks.plan.ground import Ground
from coconut_tasks.tasks.preflight import preflight
from coconut_tasks.world import open_world


class Machine:
    """A tree, and programs that write down how they were called."""

    def __init__(self, folder: Path) -> None:
        self.tree, self.bin, self.calls = folder / "tree", folder / "bin", folder / "calls"
        self.cache = folder / "state" / "toolchains.json"
        for place in (self.tree, self.bin, self.cache.parent):
            place.mkdir()
        self.program(self.bin / "cargo", "cargo 1.0")
        self.program(self.bin / "rustc", "rustc 1.0")
        self.environment = {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(folder)}

    def program(self, path: Path, says: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "$0 $* $RUSTUP_TOOLCHAIN" >> {self.calls}\necho {says}\n')
        path.chmod(0o755)

    def find(self, name: str | None = None) -> Toolchain:
        found = find_toolchain(str(self.tree), self.environment, self.cache, name)
        assert found is not None
        return found

    def called(self) -> list[str]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return [line.rpartition("/")[2].strip() for line in lines]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_is_asked_once(machine: Machine) -> None:
    first = machine.find()
    assert (first.cargo, first.rustc) == ("cargo 1.0", "rustc 1.0")
    assert machine.called() == ["cargo -V", "rustc -vV", "rustc --print sysroot"]
    assert machine.find() == first
    assert machine.called() == []


def test_another_compiler_is_noticed(machine: Machine) -> None:
    machine.find()
    machine.program(machine.bin / "rustc", "rustc 2.0")
    assert machine.find().rustc == "rustc 2.0"


@pytest.mark.parametrize("file", ["rust-toolchain.toml", "rust-toolchain", "../rust-toolchain.toml"])
def test_a_toolchain_file_that_comes_or_changes_is_noticed(file: str, machine: Machine) -> None:
    machine.find()
    machine.called()
    (machine.tree / file).write_text("[toolchain]\n")
    machine.find()
    assert machine.called()


def test_a_compiler_that_the_configuration_names_is_the_one_that_is_asked(machine: Machine) -> None:
    machine.find()
    machine.program(machine.tree / "my" / "rustc", "rustc mine")
    (machine.tree / ".cargo").mkdir()
    (machine.tree / ".cargo" / "config.toml").write_text('[build]\nrustc = "my/rustc"\n')
    assert machine.find().rustc == "rustc mine"
    machine.program(machine.tree / "my" / "rustc", "rustc mine 2")
    assert machine.find().rustc == "rustc mine 2"


@pytest.mark.parametrize("variable", ["RUSTC", "CARGO_BUILD_RUSTC"])
def test_a_compiler_that_a_variable_names_is_the_one_that_is_asked(variable: str, machine: Machine) -> None:
    machine.find()
    machine.program(machine.tree / "my" / "rustc", "rustc mine")
    machine.environment[variable] = str(machine.tree / "my" / "rustc")
    assert machine.find().rustc == "rustc mine"


def test_a_toolchain_by_its_name_is_handed_on_as_rustup_does_it(machine: Machine) -> None:
    machine.find("nightly")
    assert machine.called() == ["cargo +nightly -V", "rustc -vV nightly", "rustc --print sysroot nightly"]


def test_there_may_be_none(machine: Machine) -> None:
    (machine.bin / "cargo").write_text("#!/bin/sh\nexit 1\n")
    assert find_toolchain(str(machine.tree), machine.environment, machine.cache) is None
    assert not machine.cache.exists()


FLAGS = (
    '[target.x86_64-unknown-none]\nrustflags = ["-C", "code-model=small"]\n[build]\ntarget-dir = "t"\n# include it?\n'
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (FLAGS, None),
        (f'{FLAGS}target = "bare"\n', "bare"),
        ('build.target = ["bare"]', "bare"),
        ('"build" = { "target"="bare" }', "bare"),
        ("'build'.'target' = 'bare'", "bare"),
        ('[env]\ntarget = "x"', None),
        ("build.target = 5", None),
        ('target = "x"\n[build', None),
        ('include = "more.toml"', "more"),
        ('"include" = [{ path = "more.toml", optional = true }]', "more"),
        ('include = ["none.toml", "config.toml"]', None),
    ],
)
@pytest.mark.parametrize("place", ["tree/.cargo/config.toml", ".cargo/config", "home/.cargo/config.toml"])
def test_a_default_target_is_found_wherever_cargo_finds_it(
    text: str, found: str | None, place: str, tmp_path: Path
) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    (tmp_path / "tree").mkdir(exist_ok=True)
    path.write_text(text)
    path.with_name("more.toml").write_text('build.target = "more"')
    environment = {"HOME": str(tmp_path / "home")}
    assert default_target(str(tmp_path / "tree"), environment) == found
    assert default_target(str(tmp_path / "tree"), {**environment, "CARGO_BUILD_TARGET": "named"}) == "named"


def test_no_parser_is_loaded_to_see_that_there_is_no_default_target(tmp_path: Path) -> None:
    (tmp_path / ".cargo").mkdir()
    (tmp_path / ".cargo" / "config.toml").write_text(FLAGS)
    code = (
        "import sys; from coconut_tasks.inputs.toolchain import default_target as found\n"
        "print(found(sys.argv[1], {}), 'tomllib' in sys.modules, 'coconut_tasks.inputs.cargo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["None", "False", "False"]


def test_the_hosts_own_target_is_not_asked_for(machine: Machine) -> None:
    """Not every toolchain has it where rustup puts it, and cargo builds for its host all the same."""
    document: dict[str, Any] = {"igvm": {"qemu": {}}, "kernel": {"svsm": {}}}
    recipe = load_recipe("r.json", json.dumps(document).encode())
    steps = plan_recipes([recipe], Ground(Options(), Layout("bin"), host="x86_64-unknown-linux-gnu")).steps
    assert any("x86_64-unknown-linux-gnu" in command.argv for step in steps for command in step.commands)
    world = open_world(str(machine.tree), str(machine.bin), machine.environment)
    nodes: Any = [SimpleNamespace(step=step, world=world) for step in steps]
    (line,) = (line for line in preflight(nodes) if line.startswith("the Rust target"))
    assert line.startswith("the Rust target x86_64-unknown-none is not installed")
