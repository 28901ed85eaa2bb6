"""A small package whose build script puts the files of its folder ``data`` into the program, with builds that can be paused."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from conftest import Outcome, Site

OLD = 1_500_000_000
TASK = "module:tst"
RECIPE: dict[str, Any] = {"igvm": {}, "kernel": {"svsm": {}}, "fs": {"modules": {"tst": {"path": "/tst"}}}}
MARK = '\n#[used]\npub static MARK: [u8; 16] = *b"{:16}";\n'
WATCH_DATA = 'println!("cargo:rerun-if-changed=data");'
FEATURE = "\n[features]\nff = []\n"
Environment = dict[str, str | None]

SCRIPT = """use std::{env, fs, path::Path, thread, time::Duration};

fn main() {
    LINES
    if Path::new("HOLD").exists() {
        fs::write("HOLD-reached", "").unwrap();
    }
    while Path::new("HOLD").exists() {
        thread::sleep(Duration::from_millis(10));
    }
    let mut text = String::new();
    read(Path::new("data"), &mut text);
    fs::write(Path::new(&env::var("OUT_DIR").unwrap()).join("text"), text).unwrap();
}

fn read(folder: &Path, text: &mut String) {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        text.push_str(&format!("<{}>", path.display()));
        if path.is_dir() {
            read(&path, text);
        } else {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
"""
MAIN = """const MARK: &str = "{}";

fn main() {{
    println!("{{}} {{}}", MARK, include_str!(concat!(env!("OUT_DIR"), "/text")));
}}
"""
WRAPPER = """#!/bin/sh
"$@"
status=$?
case "$*" in *"--crate-name tst "*)
    if [ -e HOLD ]; then : > HOLD-reached; fi
    while [ -e HOLD ]; do sleep 0.02; done
esac
exit $status
"""


def programs(bin: Path, task: str) -> set[str]:
    """The digests of a step's files in an output folder, one for each variant."""
    name = task.partition(":")[2]
    found = bin.glob(f".coconut/parts/{name}-*/{name}")
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def made_from_nothing(
    site: Site, task: str, *words: str, env: Environment | None = None, recipes: tuple[dict[str, Any], ...]
) -> set[str]:
    """The result of a build with a new output folder and a new target folder."""
    with tempfile.TemporaryDirectory(dir=site.folder.parent) as name:
        place = Path(name)
        clean = replace(site, target=new_target(place / "target", site.target))
        # CARGO_TARGET_DIR is not enough if the configuration has a build folder.
        fresh = {**(env or {}), "CARGO_TARGET_DIR": str(clean.target), "CARGO_BUILD_BUILD_DIR": str(clean.target)}
        for recipe in recipes:
            clean.build(task, site.recipe(recipe, "clean.json"), *words, f"BIN={place / 'bin'}", env=fresh)
        found = programs(place / "bin", task)
        assert found, f"{task} is nowhere where it is looked for, and nothing would be as nothing"
        return found


def new_target(target: Path, other: Path) -> Path:
    """A target folder without builds, in which cargo already knows the compiler: that saves three starts of it for each build."""
    target.mkdir()
    if (known := other / ".rustc_info.json").exists():  # it depends on the compiler's path and time, and on the query
        shutil.copy(known, target)
    return target


@contextmanager
def for_a_while(path: Path, text: str) -> Iterator[None]:
    """Other content, then the old content with its old time, as ``cp -p`` and ``mv`` restore it."""
    old, found = path.read_text(), path.stat()
    path.write_text(text)
    yield
    path.write_text(old)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def write_as_old(path: Path, text: str) -> None:
    path.write_text(text)
    os.utime(path, (OLD, OLD))


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def wait_for(path: Path, ended: Callable[[], bool]) -> None:
    """Wait for a file; ``ended`` says whether the run that makes it has ended."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert not ended() and time.monotonic() < deadline, f"{path.name} was never made"
        time.sleep(0.01)


@dataclass
class Package:
    """A module of a site."""

    site: Site
    recipe: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.site.tree / "user" / "tst"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def main(self) -> Path:
        return self.folder / "src" / "main.rs"

    @property
    def configuration(self) -> Path:
        return self.site.tree / ".cargo" / "config.toml"

    def lay(self, *, workspace: bool = False) -> None:
        """Create its files, either as one of the sample's packages or as a separate workspace."""
        tree = self.site.tree
        self.data.mkdir(parents=True)
        self.main.parent.mkdir()
        manifest = '[package]\nname = "tst"\nversion = "0.1.0"\nedition = "2024"\n'
        entry = '[[package]]\nname = "tst"\nversion = "0.1.0"\n'
        # A lock file that cargo does not have to rewrite, so that nothing changes during a build.
        if workspace:
            self.recipe["fs"]["modules"]["tst"]["manifest"] = "user/tst/Cargo.toml"
            manifest += "[workspace]\n"
            (self.folder / "Cargo.lock").write_text(f"version = 4\n\n{entry}")
        else:
            replaced(tree / "Cargo.toml", '"stage1",', '"stage1",\n    "user/tst",')
            name = '[[package]]\nname = "unicode-ident"\n'
            replaced(tree / "Cargo.lock", name, f"{entry}\n{name}")
        (self.folder / "Cargo.toml").write_text(manifest)
        self.write_script(WATCH_DATA)
        self.main.write_text(MAIN.format("ONE"))

    @property
    def hold(self) -> Path:
        """The build script waits while this file exists."""
        return self.site.folder / "hold"

    def write_script(self, lines: str) -> None:
        (self.folder / "build.rs").write_text(SCRIPT.replace("LINES", lines).replace("HOLD", str(self.hold)))

    def write_data(self, **files: str) -> None:
        for name, text in files.items():
            (self.data / name).write_text(text)

    def say(self, mark: str) -> None:
        """Give the program another text."""
        self.main.write_text(MAIN.format(mark))

    def build(self, *words: str, env: Environment | None = None, recipe: dict[str, Any] | None = None) -> Outcome:
        return self.site.build(TASK, self.site.recipe(recipe or self.recipe), *words, env=env)

    def settle(self, env: Environment | None = None) -> None:
        """Build until nothing is left to do: new files may cause one more build."""
        for _ in range(2):
            self.build(env=env)
        assert self.build(env=env).built == set()

    @property
    def programs(self) -> set[str]:
        return programs(self.site.bin, TASK)

    def made_from_nothing(self, env: Environment | None = None) -> set[str]:
        return made_from_nothing(self.site, TASK, env=env, recipes=(self.recipe,))

    def assert_builds_as_from_nothing(self, env: Environment | None = None) -> None:
        """Another run has the result of a clean build, and soon nothing is left to do."""
        self.build(env=env)
        assert self.programs == self.made_from_nothing(env)
        self.settle(env)

    @contextmanager
    def held(self, *holds: Path) -> Iterator[Callable[[Path], None]]:
        """A build that waits at each file while it exists; the result is a function that waits until the build has reached a file."""
        for hold in holds:
            hold.touch()
        recipe = self.site.recipe(self.recipe)
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(self.site.build, TASK, recipe)
            try:
                yield lambda hold: wait_for(hold.with_name(f"{hold.name}-reached"), run.done)
            finally:
                for hold in holds:
                    hold.unlink(missing_ok=True)
            run.result()


def laid(site: Site, target: Path, *, workspace: bool = False) -> Package:
    """A package in a site with its own target folder, about which nothing is known."""
    found = Package(replace(site, target=new_target(target, site.target)), deepcopy(RECIPE))
    found.lay(workspace=workspace)
    return found
