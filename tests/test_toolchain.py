"""Which compiler really runs: asked once, and again when anything changed that decides it."""

from __future__ import annotations

from pathlib import Path

import pytest

from coconut_tasks.inputs.toolchain import Toolchain, find_toolchain


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
