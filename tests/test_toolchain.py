"""Which compiler really runs: determined once, and again when anything changes that decides it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import has

from coconut_tasks.errors import Fault
from coconut_tasks.inputs.cargo_config import default_target
from coconut_tasks.inputs.toolchain import Toolchain, find_toolchain, overlooked_choice, target_fault, toolchain_fault
from coconut_tasks.layout import Layout
from coconut_tasks.options import Options
from coconut_tasks.plan.context import PlanContext
from coconut_tasks.plan.plan import plan_recipes
from coconut_tasks.recipe.load import load_recipe
from coconut_tasks.tasks.preflight import preflight
from coconut_tasks.workspace.workspace import open_workspace


class Machine:
    """A tree, and programs that record how they were called."""

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


DEBIANS = """#!/bin/sh
case $1 in +*) echo "error: no such command: \\`$1\\`" >&2; exit 101;; esac
echo "cargo VERSION (30a34c682 2026-05-25) (built from a source tarball)"
"""


def without_rustup(machine: Machine, version: str = "1.96.0") -> None:
    """A cargo and a rustc as in Debian and Nix."""
    machine.program(machine.bin / "rustc", f"'rustc {version}\nhost: x86_64-unknown-linux-gnu\nrelease: {version}'")
    (machine.bin / "cargo").write_text(DEBIANS.replace("VERSION", version))


def installed(machine: Machine, entry: str, says: str) -> Path:
    """A toolchain in rustup's place."""
    folder = machine.tree.parent / ".rustup" / "toolchains" / entry / "bin"
    for name in ("cargo", "rustc"):
        machine.program(folder / name, f"{name} {says}")
    return folder / "cargo"


@pytest.mark.parametrize(
    ("version", "name", "is_it"),
    [
        ("1.97.0-nightly", "nightly", True),
        ("1.97.0-nightly", "nightly-x86_64-unknown-linux-gnu", True),
        ("1.97.0-nightly", "nightly-2026-05-20", False),
        ("1.97.0-nightly", "1.97", False),
        ("1.97.0-beta.3", "beta", True),
        ("1.97.0-beta.3", "stable", False),
        ("1.96.0", "stable", True),
        ("1.96.0", "1.96", True),
        ("1.96.0", "1.96.0", True),
        ("1.96.0", "1.9", False),
        ("1.96.0", "nightly", False),
    ],
)
def test_a_cargo_without_rustup_is_taken_where_it_is_of_the_toolchain_itself(
    version: str, name: str, is_it: bool, machine: Machine
) -> None:
    without_rustup(machine, version)
    found = find_toolchain(str(machine.tree), machine.environment, machine.cache, name)
    assert (found is not None) is is_it
    if found is not None:
        assert (found.program, found.cargo.split()[1]) == ("cargo", version)
        assert found.environment(machine.environment) == machine.environment


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ('[toolchain]\nchannel = "1.86.0"\ncomponents = ["rustfmt"]\n', "1.86.0"),
        ("1.86.0\n", "1.86.0"),
        ('[toolchain]\nchannel = "nightly-2026-01-01"\n', "nightly-2026-01-01"),
        ('[toolchain]\nchannel = "1.96"\n', None),
        ('[toolchain]\nchannel = "stable"\n', None),
        ('[toolchain]\npath = "/opt/rust"\n', None),
        ("[toolchain\nchannel", None),
    ],
)
def test_a_toolchain_file_that_cargo_does_not_read_is_told(text: str, asked: str | None, machine: Machine) -> None:
    without_rustup(machine, "1.96.0")
    file = machine.tree / "rust-toolchain.toml"
    file.write_text(text)

    def told(**more: str) -> str | None:
        found = overlooked_choice(str(machine.tree), machine.environment | more, machine.find())
        assert found is None or found.id == "toolchain-overlooked"
        return None if found is None else found.text

    if asked is None:
        assert told() is None
        return
    assert re.match(rf"note: {re.escape(str(file))} .*'{re.escape(asked)}'", told() or "")
    assert told(RUSTUP_TOOLCHAIN="stable") is None
    # rustup's cargo has read it, or the user has overridden it.
    machine.program(machine.bin / "cargo", "cargo 1.96.0")
    assert told() is None
    without_rustup(machine, "1.96.0")
    assert told() is not None
    (machine.tree / "rust-toolchain").write_text("1.96.0")
    assert told() is None


def test_a_toolchain_that_rustup_installed_is_found_without_rustups_cargo(machine: Machine) -> None:
    without_rustup(machine)
    installed(machine, "nightly-2026-01-01-x86_64-unknown-linux-gnu", "dated")
    installed(machine, "nightly-aarch64-apple-darwin", "of another host")
    program = installed(machine, "nightly-x86_64-unknown-linux-gnu", "nightly")
    found = machine.find("nightly")
    assert (found.program, found.cargo, found.rustc) == (str(program), "cargo nightly", "rustc nightly")
    assert found.environment(machine.environment)["PATH"].split(":")[:2] == [str(program.parent), str(machine.bin)]
    machine.called()
    assert machine.find("nightly") == found
    assert machine.called() == []
    machine.program(program, "cargo updated")
    assert machine.find("nightly").cargo == "cargo updated"
    machine.program(program.with_name("rustc"), "rustc updated")
    assert machine.find("nightly").rustc == "rustc updated"
    shutil.rmtree(program.parent)
    assert machine.find("nightly").cargo == "cargo of another host"


def check(told: Fault | None, id: str, *values: str) -> None:
    """Check that a fault has an ID, and these values in this order."""
    assert told is not None and told.id == id
    assert has(told.text, "…".join(values)), told.text


def test_what_helps_is_told_by_what_is_there(machine: Machine) -> None:
    without_rustup(machine)
    machine.environment["PATH"] = str(machine.bin)
    cargo, home = machine.bin / "cargo", machine.tree.parent
    missing = ("toolchain-missing", "'nightly'", f" {cargo} ", f"{home}/.rustup/toolchains ")
    install, put = "https://rustup.rs", " PATH"
    told = toolchain_fault(str(machine.tree), machine.environment, "nightly")
    check(told, *missing, install, "rustup toolchain install nightly", put)
    debians = Toolchain("rustc 1.96.0", "cargo 1.96.0", "/usr")
    told = target_fault(debians, "bare", machine.environment)
    check(told, "target-missing", " bare ", " /usr ", put, install, "rustup target add bare")
    machine.program(home / ".cargo" / "bin" / "rustup", "rustup")
    told = toolchain_fault(str(machine.tree), machine.environment, "nightly")
    check(told, *missing, "rustup toolchain install nightly", put)
    assert told is not None and install not in told.text
    rustups = Toolchain("rustc", "cargo", f"{home}/.rustup/toolchains/nightly-x86_64-unknown-linux-gnu")
    told = target_fault(rustups, "bare", machine.environment, "nightly")
    check(told, "target-missing", " bare ", ": rustup target add bare --toolchain nightly")
    assert told is not None and install not in told.text and put not in told.text and rustups.sysroot not in told.text


def test_a_program_that_comes_earlier_in_path_is_noticed(machine: Machine) -> None:
    before = machine.tree.parent / "before"
    machine.environment["PATH"] = f"{before}:{machine.environment['PATH']}"
    machine.find()
    machine.program(before / "rustc", "rustc before")
    assert machine.find().rustc == "rustc before"


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
        "import sys; from coconut_tasks.inputs.cargo_config import default_target as found\n"
        "print(found(sys.argv[1], {}), 'tomllib' in sys.modules, 'coconut_tasks.inputs.cargo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["None", "False", "False"]


def test_the_hosts_own_target_is_not_asked_for(machine: Machine) -> None:
    """Not every toolchain has it in rustup's place, but cargo still builds for its host."""
    document: dict[str, Any] = {"igvm": {"qemu": {}}, "kernel": {"svsm": {}}}
    recipe = load_recipe("r.json", json.dumps(document).encode())
    steps = plan_recipes([recipe], PlanContext(Options(), Layout("bin"), host="x86_64-unknown-linux-gnu")).steps
    assert any("x86_64-unknown-linux-gnu" in command.argv for step in steps for command in step.commands)
    workspace = open_workspace(str(machine.tree), str(machine.bin), machine.environment)
    nodes: Any = [SimpleNamespace(step=step, workspace=workspace) for step in steps]
    (fault,) = (fault for fault in preflight(nodes) if fault.id == "target-missing")
    assert "x86_64-unknown-none" in fault.text
