"""After a successful run, the next one builds nothing, even if a build script writes into the source; and an edit during a run is noticed.

Most tests build a small package whose build script behaves like those of real trees.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Outcome, host_triple
from packages import TASK, WATCH_DATA, Package, replaced

pytestmark = [pytest.mark.long, pytest.mark.freshness]
REWRITE = 'fs::write("{name}", "{text}").unwrap();'
MAKE = 'assert!(std::process::Command::new("make").status().unwrap().success());'
WATCH_ALL = 'println!("cargo:rerun-if-changed={}", env::current_dir().unwrap().display());'
MAKEFILE = """CC := gcc
$(OUT_DIR)/all.a: lib/all.a
	cp $< $@
lib/all.a: lib/one.o lib/two.o
	rm -f $@; ar rcs $@ $^
lib/%.o: c/%.c c/shared.h lib/config.h
	$(CC) -c -MMD -o $@ $<
lib/config.h: c/config.in
	mkdir -p lib; sed s/IN/OUT/ $< > $@
"""
"""Configures and compiles in the source folder, like autotools."""


def commands(package: Package) -> list[str]:
    return [line for line in package.site.log(TASK).splitlines() if line.startswith("$ ")]


def careless(package: Package) -> None:
    """Like the real ``release/build.rs``: no rerun lines, and its source is rewritten at each run."""
    package.write_script(REWRITE.format(name="src/version.rs", text='pub const V: &str = \\"1\\";\\n'))
    package.main.write_text(package.main.read_text() + "mod version;\n#[used]\nstatic V: &str = version::V;\n")
    (package.folder / "src" / "version.rs").write_text('pub const V: &str = "1";\n')


def generating(package: Package) -> None:
    """Sources that do not exist before."""
    careless(package)
    (package.folder / "src" / "version.rs").unlink()


def generating_too_much(package: Package) -> None:
    """A source that this build does not use."""
    careless(package)
    other = REWRITE.format(name="src/other.rs", text="compile_error!();\\n")
    replaced(package.folder / "build.rs", "fn main() {", f"fn main() {{\n    {other}")


def rewriting_data(package: Package) -> None:
    """A file unknown to rustc, rewritten at each run."""
    package.write_script(REWRITE.format(name="data/stamp", text="always the same"))
    package.write_data(stamp="always the same", other="1")


def generating_data(package: Package) -> None:
    package.write_script(REWRITE.format(name="data/stamp", text="always the same"))


def unwatched(package: Package) -> None:
    """It declares only itself as watched, and writes a file beside it."""
    once = 'println!("cargo:rerun-if-changed=build.rs");'
    package.write_script(f"{once} " + REWRITE.format(name="data/table", text="1 2 3"))


def missing_path(package: Package) -> None:
    """A path relative to the workspace instead of the package, so cargo runs the script at each call."""
    package.write_script(f'println!("cargo:rerun-if-changed=user/tst/data"); {WATCH_DATA}')


def building_in_place(package: Package) -> None:
    """A C library with its own makefile, built in its source folder, with every file watched."""
    folder = package.folder
    (folder / "c").mkdir()
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "c" / "config.in").write_text("#define NAME_IN 1\n")
    (folder / "c" / "shared.h").write_text('#include "../lib/config.h"\n')
    for name in ("one", "two"):
        (folder / "c" / f"{name}.c").write_text(f'#include "shared.h"\nchar {name}[] = "{name} 1 " __FILE__;\n')
    package.write_script(f"{MAKE} {WATCH_ALL}")
    package.main.write_text(
        package.main.read_text()
        + '\n#[used]\nstatic LIB: [u8; include_bytes!(concat!(env!("OUT_DIR"), "/all.a")).len()] =\n'
        '    *include_bytes!(concat!(env!("OUT_DIR"), "/all.a"));\n'
    )


@dataclass(frozen=True)
class Case:
    lay: Callable[[Package], None]
    edit: str = ""
    """A file that the script or rustc reads, beside src/main.rs."""

    def __str__(self) -> str:
        return self.lay.__name__.replace("_", " ")


CASES = [
    Case(careless),
    Case(generating),
    Case(generating_too_much),
    Case(rewriting_data, "data/other"),
    Case(generating_data),
    Case(unwatched),
    Case(missing_path),
    Case(building_in_place, "c/one.c"),
]


def edited(package: Package, name: str, number: int) -> None:
    path = package.folder / name
    if name.startswith("data/"):
        path.write_text(str(number))
    elif name.startswith("c/"):
        path.write_text(re.sub(r"one \d", f"one {number}", path.read_text()))
    else:
        path.write_text(re.sub('(?<=MARK: &str = ")[^"]*', f"mark {number}", path.read_text()))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_good_run_is_followed_by_one_that_builds_nothing(case: Case, lone_package: Package) -> None:
    package = lone_package
    case.lay(package)
    package.build()
    assert package.build().built == set()
    for number, name in enumerate(filter(None, ("src/main.rs", case.edit, "src/main.rs")), 2):
        edited(package, name, number)
        assert package.build().built == {TASK}
        assert package.build().built == set()
    assert package.programs >= package.made_from_nothing()


@pytest.mark.parametrize("case", [case for case in CASES if case.lay is not building_in_place], ids=str)
def test_an_edit_costs_one_call_of_cargo(case: Case, lone_package: Package) -> None:
    package = lone_package
    case.lay(package)
    package.build()
    for number in (2, 3):
        edited(package, "src/main.rs", number)
        package.build()
        assert len([line for line in commands(package) if "cargo" in line]) == 1


def test_a_lock_file_that_cargo_rewrites_is_followed_by_a_run_that_builds_nothing(lone_package: Package) -> None:
    package = lone_package
    package.build()
    replaced(package.folder / "Cargo.toml", 'version = "0.1.0"', 'version = "0.1.1"')
    assert package.build().built == {TASK}
    assert 'version = "0.1.1"' in (package.folder / "Cargo.lock").read_text()
    assert package.build().built == set()


# Edits during a build


def held_script(package: Package, lines: str) -> None:
    """The script reads ``data`` once before it waits, and once after."""
    package.write_script(f'{lines} let mut seen = String::new(); read(Path::new("data"), &mut seen);')
    replaced(package.folder / "build.rs", "let mut text = String::new();", "let mut text = seen;")


@pytest.mark.parametrize("back", [False, True], ids=["left", "put back"])
@pytest.mark.parametrize("lay", [rewriting_data, missing_path, careless], ids=lambda lay: lay.__name__)
def test_an_edit_while_a_script_runs_is_built(
    lay: Callable[[Package], None], back: bool, lone_package: Package
) -> None:
    package = lone_package
    lay(package)
    package.write_data(x="1")
    package.build()
    package.write_data(x="2")
    with package.held(package.hold) as came_to:
        came_to(package.hold)
        package.write_data(x="3")
        if back:
            package.write_data(x="2")
    package.assert_builds_as_from_nothing()


@pytest.mark.parametrize("back", [False, True], ids=["left", "put back"])
def test_an_edit_that_make_has_not_seen_is_built(back: bool, lone_package: Package) -> None:
    """The object is newer than the source but made from another text, and make considers it up to date."""
    package = lone_package
    (package.folder / "c.txt").write_text("1")
    (package.folder / "Makefile").write_text(
        "$(OUT_DIR)/c.o: c.txt\n"
        f"\tcp c.txt $@.new; while [ -e {package.hold} ]; do : > {package.hold}-reached; sleep 0.02; done; mv $@.new $@; touch $@\n"
    )
    package.write_script(f"{MAKE} {WATCH_ALL}")
    package.main.write_text('fn main() {\n    println!("{}", include_str!(concat!(env!("OUT_DIR"), "/c.o")));\n}\n')
    package.build()
    (package.folder / "c.txt").write_text("2")
    with package.held(package.hold) as came_to:
        came_to(package.hold)
        (package.folder / "c.txt").write_text("3")
        if back:
            (package.folder / "c.txt").write_text("2")
    package.assert_builds_as_from_nothing()


@pytest.mark.parametrize("what", ["new", "removed"])
def test_a_file_that_comes_or_goes_while_a_script_runs_is_seen(what: str, lone_package: Package) -> None:
    package = lone_package
    held_script(package, "")
    package.write_data(a="1", b="1")
    package.build()
    package.write_data(a="2")
    with package.held(package.hold) as came_to:
        came_to(package.hold)
        if what == "new":
            package.write_data(c="3")
        else:
            (package.data / "b").unlink()
    package.assert_builds_as_from_nothing()


def test_an_edit_of_a_linker_script_that_was_undone_while_the_linker_ran_is_seen(
    lone_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing records what a linker reads, and the build script did not run."""
    package = lone_package
    linker = package.site.folder / "slow-linker"
    reached = package.site.folder / "hold-reached"
    linker.write_text(
        f'#!/bin/sh\ncase "$*" in *link.lds*) while [ -e {package.hold} ]; do : > {reached}; sleep 0.02; done;; esac\nexec cc "$@"\n'
    )
    linker.chmod(0o755)
    monkeypatch.setenv("CARGO_BUILD_RUSTFLAGS", f"-Clinker={linker}")
    script = package.folder / "link.lds"
    here = "env::current_dir().unwrap().display()"
    line = 'println!("cargo:rerun-if-changed=build.rs"); println!("cargo:rustc-link-arg-bins={}/link.lds", HERE);'
    script.write_text("marker_a = 1;\n")
    package.write_script(line.replace("HERE", here))
    replaced(package.folder / "build.rs", f'Path::new("{package.hold}").exists()', "false")
    package.build()
    package.say("TWO")
    with package.held(package.hold) as came_to:
        came_to(package.hold)
        script.write_text("marker_b = 1;\n")
        package.hold.unlink()
        wait_until_linked(package)
        script.write_text("marker_a = 1;\n")
    package.assert_builds_as_from_nothing()


def wait_until_linked(package: Package) -> None:
    deadline = time.monotonic() + 60
    found: list[Path] = []
    while not found:
        assert time.monotonic() < deadline
        found = [
            path for path in package.site.target.rglob("deps/tst-*") if path.is_file() and b"TWO" in path.read_bytes()
        ]
        time.sleep(0.01)


def test_what_cannot_settle_is_said_with_the_file_and_the_package(lone_package: Package) -> None:
    package = lone_package
    package.write_script('fs::write("data/now", format!("{:?}", std::time::SystemTime::now())).unwrap();')
    package.write_data(x="1")

    def assert_said(outcome: Outcome) -> None:
        (line,) = [line for line in outcome.out.splitlines() if line.startswith("warning: ")]
        assert os.path.join(package.folder, "data", "now") in line and " tst" in line and TASK in line

    assert_said(package.build())
    assert_said(package.build())


def test_what_another_program_built_is_compiled_once_more_and_that_is_said_first(lone_package: Package) -> None:
    package = lone_package
    package.site.run(
        ["cargo", "build", "--manifest-path", "user/tst/Cargo.toml", "--target", host_triple()], cwd=package.site.tree
    )
    (line,) = [line for line in package.build().out.splitlines() if line.startswith("note: ")]
    assert line.endswith("  [target-of-others]")
    package.say("TWO")
    assert "note: " not in package.build().out
