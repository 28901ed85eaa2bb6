"""Whether a file that changed during a cargo run was read in its current state: with values, without cargo."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from coconut_tasks.inputs.artifacts import Artifact, vouched_for
from coconut_tasks.inputs.cargo import CargoBuild, Reads
from coconut_tasks.inputs.files import Files
from coconut_tasks.inputs.fingerprints import Findings, Fingerprints
from coconut_tasks.inputs.messages import Unit

START, AFTER = -(10**9), 10**9
"""Times before and after the change of the file, in ns from it."""


@dataclass
class Place:
    """A package with one file, which has just changed."""

    folder: Path
    name: str
    files: Files = field(default_factory=Files)

    def __post_init__(self) -> None:
        self.path.write_text("text")
        self.files.stat(str(self.path))

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def changed(self) -> int:
        found = self.files.stat(str(self.path))
        assert found is not None
        return found[1]

    def unit(self, began: int, *, reads: bool = True, links: bool = False, script: bool = False) -> Artifact:
        files = (str(self.path),) if reads else ()
        return Artifact("p", f"unit{began}{links}{script}", False, files, {}, self.changed + began, None, links, script)

    def run(self, began: int, ended: int, *, reads: bool = True) -> Artifact:
        files = (str(self.path),) if reads else ()
        return Artifact("p", "output", False, files, {}, self.changed + began, self.changed + ended)

    def vouched(
        self, *artifacts: Artifact, bad: tuple[Artifact, ...] = (), last: int = START, exact: bool = True
    ) -> bool:
        unit = Unit("p", "a", (), exact, False)
        build = CargoBuild({"p": str(self.folder)}, [(unit, Reads())], [], ())
        good = [e for e in artifacts if e not in bad]
        start = self.changed + START
        found = vouched_for([str(self.path)], artifacts, good, build, start, self.changed + last, self.files)
        assert set(found.values()) <= {self.files.stat(str(self.path))}
        return bool(found)


@pytest.fixture
def source(tmp_path: Path) -> Place:
    return Place(tmp_path, "version.rs")


@pytest.fixture
def data(tmp_path: Path) -> Place:
    return Place(tmp_path, "link.lds")


def test_a_source_is_vouched_for_by_all_that_read_it(source: Place) -> None:
    one, two = source.unit(0), source.unit(AFTER)
    assert source.vouched(one, two)
    assert not source.vouched(one, two, bad=(two,))


@pytest.mark.parametrize(("began", "saw"), [(-1, False), (0, True), (1, True)])
def test_rustc_takes_longer_to_start_than_a_tick_of_the_clock(began: int, saw: bool, source: Place) -> None:
    assert source.unit(began).saw(source.changed) is saw


@pytest.mark.parametrize(("began", "saw"), [(-1, False), (0, False), (1, True)])
def test_a_script_may_read_in_the_tick_in_which_it_starts(began: int, saw: bool, source: Place) -> None:
    assert source.run(began, AFTER).saw(source.changed) is saw


def test_what_a_script_reads_may_be_read_by_the_linker_too(data: Place) -> None:
    run, crate = data.run(-1, 1), data.unit(AFTER, reads=False)
    assert data.vouched(run, crate)
    assert not data.vouched(run, crate, data.unit(-1, reads=False, links=True))
    assert not data.vouched(run, data.unit(-1, reads=False))
    # The build script was compiled before it ran; a crate of another package reads nothing from this one.
    assert data.vouched(run, crate, data.unit(-1, reads=False, script=True))
    assert data.vouched(run, crate, replace(data.unit(-1, reads=False), package="q"))


def test_a_source_that_nobody_read_is_vouched_for_while_a_script_ran(source: Place) -> None:
    assert source.vouched(source.run(-1, 1, reads=False))
    assert not source.vouched(source.run(1, 2, reads=False))
    assert not source.vouched(source.run(-2, -1, reads=False))
    assert not source.vouched()


def test_nothing_is_vouched_for_where_it_is_not_known_what_a_crate_reads(source: Place) -> None:
    assert not source.vouched(source.unit(0), exact=False)
    assert not source.vouched(source.run(-1, 1, reads=False), exact=False)


@pytest.mark.parametrize("name", ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"])
def test_a_file_that_cargo_itself_reads_was_read_by_a_later_run_of_it(name: str, tmp_path: Path) -> None:
    place = Place(tmp_path, name)
    assert place.vouched(last=1)
    assert not place.vouched(place.run(-1, 1, reads=False))


def test_of_a_fresh_artifact_the_look_before_cargo_counts(tmp_path: Path) -> None:
    source, artifact = tmp_path / "a.c", tmp_path / "lib.a"
    source.write_text("first")
    artifact.write_text("made")
    made = Artifact("p", str(artifact), False, (str(source),), {}, source.stat().st_ctime_ns + AFTER)
    fresh = replace(made, fresh=True)

    def check(artifacts: Artifact, files: Files) -> Findings:
        with Fingerprints(str(tmp_path)) as fingerprints:
            return fingerprints.check([artifacts], {}, {}, files)

    assert check(made, Files()).good == [made]
    files = Files()
    seen = files.state(str(source))
    source.write_text("an edit while cargo ran")
    # It is from the content that was seen, which is also recorded, so the next run finds the edit.
    assert check(fresh, files).good == [fresh]
    assert files.state(str(source))[1] == seen[1]
    files = Files()
    files.digest(str(source))
    source.write_text("first")  # a step of the same run may write it
    assert check(fresh, files).good == [fresh]
    source.write_text("a third text, which nobody saw before")
    assert check(fresh, Files()).doubtful == {"p"}
