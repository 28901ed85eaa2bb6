"""`doit watch` for real: files change, and what is built again is seen in its output."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import QEMU, Site, environment

BUILT = re.compile(r"^\d+ built", re.MULTILINE)
QUIET = "nothing to build; waiting for changes"
WAITING = r"^\[\d\d:\d\d:\d\d\] waiting for changes$"


class Watching:
    """A watch at work, and all that it said so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line

    def end(self) -> None:
        """Ctrl-C, for the whole group as a terminal does it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(timeout=30)
        self._reader.join(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def wait(self, pattern: str, since: int = 0, seconds: float = 60) -> str:
        """Wait until something was said after the first ``since`` characters."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if re.search(pattern, self.said[since:], re.MULTILINE):
                return self.said[since:]
            assert self.process.poll() is None, self.said
            time.sleep(0.02)
        raise AssertionError(f"{pattern!r} was not said:\n{self.said[since:]}")

    def settle(self) -> int:
        """Wait until nothing is said for a while; how much was said until then."""
        before = -1
        while before != len(self.said):
            before = len(self.said)
            time.sleep(0.7)
        return before


@contextmanager
def watch(site: Site, *words: str) -> Iterator[Watching]:
    process = subprocess.Popen(
        site.argv("watch", *words),
        cwd=site.folder, env=environment(site.target), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    watching = Watching(process)
    try:
        yield watching
    finally:
        watching.end()


def add(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


CODE = '\n#[used]\nstatic MORE: [u8; 3] = *b"abc";\n'


def test_a_change_is_built_and_a_changed_digest_is_shown(site: Site) -> None:
    with watch(site, site.recipe()) as watching:
        watching.wait(r"^8 built")
        first = (site.bin / "q.igvm.launch-digest.hex").read_text().strip()
        assert re.search(r"^\[\d\d:\d\d:\d\d\] watching \d+ folders of ", watching.said, re.MULTILINE)

        at = watching.settle()
        add(site.tree / "kernel" / "src" / "main.rs", CODE)
        watching.wait(r"the launch digest changed", at)
        second = (site.bin / "q.igvm.launch-digest.hex").read_text().strip()
        said = watching.said[at:]
        assert re.search(r"^\[.*\] kernel/src/main\.rs changed$", said, re.MULTILINE)
        assert re.search(r"^4 built, 4 up to date", said, re.MULTILINE)
        watching.wait(WAITING, at)
        assert f"bin/q.igvm: the launch digest changed: {first} → {second}\n" in said and first != second

        at = watching.settle()
        add(site.tree / "kernel" / "src" / "main.rs", "// no other code\n")
        watching.wait(BUILT.pattern, at)
        watching.settle()
        assert "the launch digest changed" not in watching.said[at:]
    assert watching.process.returncode == 130
    assert watching.said.endswith("ended by SIGINT; what was finished is kept\n")


def test_a_burst_of_changes_is_built_once(site: Site) -> None:
    with watch(site, site.recipe()) as watching:
        watching.wait(r"^8 built")
        at = watching.settle()
        for i in range(25):
            (site.tree / "kernel" / "src" / f"part{i}.rs").write_text(f"// {i}\n")
            add(site.tree / "common" / "src" / "lib.rs", f"// {i}\n")
            time.sleep(0.02)
        watching.wait(BUILT.pattern, at)
        watching.settle()
        assert len(BUILT.findall(watching.said[at:])) == 1
        assert re.search(
            r"common/src/lib\.rs, kernel/src/part0\.rs, .* and 23 more changed$", watching.said[at:], re.MULTILINE
        )


def test_a_change_during_a_build_is_built_after_it(site: Site) -> None:
    main = site.tree / "kernel" / "src" / "main.rs"
    with watch(site, site.recipe()) as watching:
        watching.wait(r"^8 built")
        at = watching.settle()
        script = site.tree / "kernel" / "build.rs"
        wait = "    std::thread::sleep(std::time::Duration::from_secs(3));"
        script.write_text(script.read_text().replace("fn main() {", f"fn main() {{\n{wait}"))
        watching.wait(r"^kernel:svsm: cargo build", at)
        time.sleep(1.5)  # its build script is at work
        add(main, CODE)  # rustc is to come, and reads it
        add(site.tree / "boot" / "bldr" / "src" / "main.rs", CODE)  # found up to date before
        watching.wait(r"\] boot/bldr/src/main\.rs.* changed$[\s\S]*^kernel:bldr: done[\s\S]*^\d+ built", at)
    assert site.build(site.recipe()).built == set()
    assert b"abc" in (site.bin / "svsm").read_bytes()
    assert b"abc" in (site.bin / "bldr").read_bytes()


def test_what_is_wrong_is_told_and_the_watch_goes_on(site: Site) -> None:
    recipe = site.recipe()
    main = site.tree / "kernel" / "src" / "main.rs"
    good = main.read_text()
    with watch(site, recipe) as watching:
        watching.wait(r"^8 built")
        at = watching.settle()
        main.write_text("this is no Rust")
        watching.wait(r"FAILED \(kernel:svsm\)", at)
        at = watching.settle()
        wrong: dict[str, Any] = {**deepcopy(QEMU), "kernle": {}}
        site.recipe(wrong)
        watching.wait(r"r\.json:\d+:\d+: /kernle: 'kernle' is not a field", at)
        at = watching.settle()
        site.recipe()
        main.write_text(good + CODE)
        watching.wait(r"the launch digest changed", at)


def test_what_no_build_reads_builds_nothing(site: Site) -> None:
    with watch(site, site.recipe()) as watching:
        watching.wait(r"^8 built")
        at = watching.settle()
        (site.tree / "NOTES").write_text("x")
        watching.wait(QUIET, at)
        at = watching.settle()
        (site.tree / "kernel" / "src" / ".main.rs.swp").write_text("an editor's own")
        (site.bin / "svsm").write_bytes(b"damaged by hand: no input")
        assert watching.settle() == at


def test_a_file_outside_of_the_tree_is_watched_and_so_is_a_new_folder(site: Site) -> None:
    outside = site.folder / "elsewhere"
    outside.mkdir()
    (outside / "fw.bin").write_bytes(b"firmware" * 600)
    with watch(site, site.recipe({**QEMU, "firmware": {"file": "../elsewhere/fw.bin"}})) as watching:
        watching.wait(r"^9 built")
        at = watching.settle()
        (outside / "fw.bin").write_bytes(b"another " * 600)
        watching.wait(r"the launch digest changed", at)
        at = watching.settle()
        (site.tree / "kernel" / "data").mkdir()
        watching.wait(QUIET, at)
        at = watching.settle()
        (site.tree / "kernel" / "data" / "table").write_text("x")
        watching.wait(BUILT.pattern, at)


def test_sigterm_leaves_no_build_behind(site: Site) -> None:
    with watch(site, site.recipe()) as watching:
        watching.wait(r"^8 built")
        at = watching.settle()
        script = site.tree / "kernel" / "build.rs"
        wait = "    std::thread::sleep(std::time::Duration::from_secs(30));"
        script.write_text(script.read_text().replace("fn main() {", f"fn main() {{\n{wait}"))
        watching.wait(r"^kernel:svsm: cargo build", at)
        time.sleep(0.5)
        watching.process.terminate()
        assert watching.process.wait(timeout=20) == 143
        pgrep = ["pgrep", "-s", str(watching.process.pid)]
        until = time.monotonic() + 5
        while subprocess.run(pgrep, capture_output=True).returncode == 0 and time.monotonic() < until:
            time.sleep(0.1)  # what was told to end is about to
        assert subprocess.run(pgrep, capture_output=True).returncode == 1
        assert "ended by SIGTERM; what was finished is kept" in watching.said[at:]


def test_watching_nothing_is_told(site: Site) -> None:
    outcome = site.doit("watch", "RECIPE=nosuch.json")
    assert outcome.status == 2 and "there is no such recipe" in outcome.err


@pytest.mark.parametrize("words", [("kernel:bldr",), ("-n", "1")])
def test_a_task_can_be_watched_alone_and_wrong_options_are_told(words: tuple[str, ...], site: Site) -> None:
    if words[0] == "-n":
        outcome = site.doit("watch", *words, site.recipe())
        assert outcome.status == 2 and "watch has no option -n" in outcome.err
        return
    with watch(site, site.recipe(), *words) as watching:
        watching.wait(r"^\d built")
        assert not (site.bin / "svsm").exists() and (site.bin / "bldr").exists()
