"""Files and source trees that may not be read or written, and firmware that the run itself makes."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import QEMU, Outcome, Site

# Root may read and write every file, which these tests must prevent. CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH are removed from the
# bounding set (PR_CAPBSET_DROP), so that the next program does not have them.
WITHOUT_ROOTS_RIGHTS = """
import ctypes, os, sys
if os.geteuid() == 0:
    system = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):
        if system.prctl(24, capability, 0, 0, 0):
            sys.exit(f"capability {capability} cannot be dropped: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
"""
TASK = "kernel:svsm"


def as_a_user(site: Site, *argv: str, env: dict[str, str | None] | None = None) -> Outcome:
    """Run a command without root's right to read and write everything."""
    return site.run([sys.executable, "-c", WITHOUT_ROOTS_RIGHTS, *argv], env)


def doit_as_a_user(site: Site, *words: str, env: dict[str, str | None] | None = None) -> Outcome:
    return as_a_user(site, *site.argv(*words), env=env)


@contextmanager
def with_mode(change: Callable[[int], int], *paths: Path) -> Iterator[None]:
    """Change the mode of paths, and restore it so that the folder can be removed."""
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
    for path, mode in modes.items():
        path.chmod(change(mode))
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def read_only(mode: int) -> int:
    return mode & ~0o222


def put_new_code(site: Site) -> None:
    source = site.tree / "kernel" / "src" / "main.rs"
    source.write_text(source.read_text() + '\n#[used]\npub static MARK: [u8; 8] = *b"new code";\n')


def test_these_tests_run_without_roots_rights(site: Site) -> None:
    secret = site.folder / "secret"
    secret.touch(mode=0)
    assert as_a_user(site, "cat", str(secret)).status == 1


@pytest.mark.parametrize("command", [(), ("list",), ("info",), ("clean",), ("forget",)])
def test_an_output_folder_that_may_not_be_written_is_told_by_every_command(
    command: tuple[str, ...], site: Site
) -> None:
    recipe = site.recipe()
    site.build(TASK, recipe)
    good = site.contents()
    words = [*command, recipe] if command == ("list",) else [*command, TASK, recipe]
    with with_mode(read_only, site.bin, *site.bin.rglob("*")):
        outcome = doit_as_a_user(site, *words)
        assert (outcome.status, outcome.ids) == (2, {"records-not-writable"}), outcome.text
        assert str(site.bin) in outcome.err
    assert site.contents() == good
    assert site.build(TASK, recipe).built == set()


def test_records_that_may_not_be_written_are_told_and_nothing_is_taken_as_built(site: Site) -> None:
    recipe = site.recipe()
    site.build(TASK, recipe)
    put_new_code(site)
    with with_mode(read_only, *(site.bin / ".coconut").glob("state.sqlite3*")):
        outcome = doit_as_a_user(site, TASK, recipe)
        assert (outcome.status, "records-not-writable" in outcome.ids) == (1, True), outcome.text
    for path in (site.bin / ".coconut").glob("state.sqlite3*"):
        path.chmod(0o644)  # SQLite gives a new file beside its database the same mode
    assert site.build(TASK, recipe).built == {TASK}
    assert b"new code" in (site.bin / "svsm").read_bytes()


def test_records_that_may_not_be_written_are_no_matter_where_nothing_is_to_be_recorded(site: Site) -> None:
    recipe = site.recipe()
    site.build(TASK, recipe)
    (site.tree / "kernel" / "src" / "main.rs").touch()
    with with_mode(read_only, *(site.bin / ".coconut").glob("state.sqlite3*")):
        outcome = doit_as_a_user(site, TASK, recipe)
        assert (outcome.status, outcome.built) == (0, set()), outcome.text


def test_a_file_that_may_not_be_read_stops_nothing_and_is_not_asked_about_for_ever(site: Site) -> None:
    recipe = site.recipe()
    notes = site.tree / "kernel" / ".notes"
    notes.write_text("nobody's business")
    with with_mode(lambda mode: 0, notes):
        first = doit_as_a_user(site, TASK, recipe)
        assert (first.status, TASK in first.built) == (0, True), first.text
        doit_as_a_user(site, TASK, recipe)
        again = doit_as_a_user(site, TASK, recipe)
        assert (again.status, again.built) == (0, set()), again.text
        put_new_code(site)
        assert doit_as_a_user(site, TASK, recipe).built == {TASK}
        assert b"new code" in (site.bin / "svsm").read_bytes()


def test_firmware_that_may_not_be_read_is_told_before_anything_is_built(site: Site) -> None:
    folder = site.folder / "secret"
    folder.mkdir()
    image = folder / "fw.fd"
    image.write_bytes(b"firmware")
    recipe = site.recipe({**deepcopy(QEMU), "firmware": {"file": str(image)}})
    for path, answer in ((image, " readable"), (folder, " (Permission denied)")):
        with with_mode(lambda mode: 0, path):
            outcome = doit_as_a_user(site, recipe)
        assert (outcome.status, outcome.built) == (2, set())
        (line,) = outcome.told("firmware-unusable")
        assert line.startswith("error: firmware:guest: ") and line.endswith(f"{answer}: {image}")


@contextmanager
def read_only_tree(site: Site) -> Iterator[None]:
    """As mounted in a container."""
    with with_mode(read_only, site.tree, *(path for path in site.tree.rglob("*") if not path.is_symlink())):
        yield


def test_in_a_source_tree_that_may_not_be_written_all_builds_that_needs_no_writing(site: Site) -> None:
    (site.tree / "release" / "build.rs").write_text('fn main() { println!("cargo:rerun-if-changed=build.rs"); }\n')
    content = deepcopy(QEMU)
    del content["kernel"]["svsm"]["features"]
    recipe = site.recipe(content)
    site.build("version", recipe)
    with read_only_tree(site):
        first = doit_as_a_user(site, TASK, "kernel:bldr", recipe)
        assert (first.status, first.built) == (0, {TASK, "kernel:bldr"}), first.text
        again = doit_as_a_user(site, TASK, "kernel:bldr", recipe)
        assert (again.status, again.built) == (0, set()), again.text
    assert site.build(TASK, "kernel:bldr", recipe).built == set()


MAKE = {**deepcopy(QEMU), "kernel": {"svsm": {"type": "make", "output_file": "bin/stage1-trampoline"}}}


@pytest.mark.parametrize(
    ("content", "task", "gone", "env", "id", "writer"),
    [
        (QEMU, TASK, "", {}, "tree-not-writable", " release "),
        # It would look for newer crates than those in the lock file.
        (QEMU, "kernel:bldr", "Cargo.lock", {"CARGO_NET_OFFLINE": "true"}, "tree-not-writable", "this command"),
        (QEMU, "kernel:bldr", "", {"CARGO_TARGET_DIR": None}, "target-not-writable", "CARGO_TARGET_DIR="),
        (MAKE, TASK, "", {}, "tree-not-writable", "this command"),
    ],
)
def test_what_writes_into_a_source_tree_that_may_not_be_written_is_told(
    content: dict[str, Any], task: str, gone: str, env: dict[str, str | None], id: str, writer: str, site: Site
) -> None:
    recipe = site.recipe(content)
    if gone:
        (site.tree / gone).unlink()
    site.build("version", recipe)
    with read_only_tree(site):
        outcome = doit_as_a_user(site, task, recipe, env=env)
    assert outcome.status == 1
    assert outcome.ids == {"command-failed", id}
    (line,) = (line for line in outcome.text.splitlines() if line.endswith(f"  [{id}]"))
    rest = line.partition(str(site.tree))[2]
    assert rest and writer in rest and (writer == " release " or " release " not in rest)


def test_a_version_file_that_may_not_be_written_is_told_before_anything_is_built(site: Site) -> None:
    recipe = site.recipe()
    with read_only_tree(site):
        outcome = doit_as_a_user(site, TASK, recipe)
    file = site.tree / "release" / "src" / "git_version.rs"
    assert (outcome.status, outcome.built, outcome.ids) == (2, set(), {"version-not-writable"})
    assert f" {file}: " in outcome.err
    with read_only_tree(site):
        for words in (("list", recipe), ("plan", TASK, recipe), ("why", TASK, recipe)):
            assert doit_as_a_user(site, *words).status == 0


def test_a_compiler_error_is_not_laid_to_a_source_tree_that_may_not_be_written(site: Site) -> None:
    source = site.tree / "boot" / "bldr" / "src" / "main.rs"
    source.write_text("no rust")
    recipe = site.recipe()
    site.build("version", recipe)
    with read_only_tree(site):
        outcome = doit_as_a_user(site, "kernel:bldr", recipe)
    assert (outcome.status, outcome.ids) == (1, {"command-failed"}), outcome.text


def test_firmware_that_the_same_run_makes_is_refused(site: Site) -> None:
    """It would be read before it is rebuilt."""
    site.build("kernel:bldr", site.recipe())
    outcome = site.doit(site.recipe({**deepcopy(QEMU), "firmware": {"file": "../bin/bldr"}}))
    assert (outcome.status, outcome.ids) == (2, {"firmware-is-output"})
    assert "bin/bldr: " in outcome.err
