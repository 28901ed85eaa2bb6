"""Real runs of `doit watch`: files change, and its output shows what is built again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import QEMU, Site, at_work, commit, environment, git

from coconut_tasks.commands.watch import _digests as measurements_in
from coconut_tasks.layout import HEX

pytestmark = pytest.mark.long
BUILT = re.compile(r"^\d+ built", re.MULTILINE)
QUIET = "nothing to build; waiting for changes"
DIGEST = r": launch digest \w{16}… → \w{16}…$"
WAITING = r"^\[\d\d:\d\d:\d\d\] waiting for changes$"


class Watching:
    """A running watch, and all its output so far."""

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
        """Ctrl-C for the whole process group, as from a terminal."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(timeout=30)
        self._reader.join(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def wait(self, pattern: str, since: int = 0, seconds: float = 60) -> str:
        """Wait for output after the first ``since`` characters."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if re.search(pattern, self.said[since:], re.MULTILINE):
                return self.said[since:]
            assert self.process.poll() is None, self.said
            time.sleep(0.02)
        raise AssertionError(f"{pattern!r} was not said:\n{self.said[since:]}")

    def settle(self) -> int:
        """Wait until there is no output for a while, and return its length up to then."""
        before = -1
        while before != len(self.said):
            before = len(self.said)
            time.sleep(0.7)
        return before


@contextmanager
def watch(
    site: Site, *words: str, env: Mapping[str, str] | None = None, program: str | None = None
) -> Iterator[Watching]:
    argv = [program, "watch", *words] if program else site.argv("watch", *words)
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with at_work(argv, site.folder, {**environment(site.target), **(env or {})}, **both) as process:
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
        assert re.search(r"^\[\d\d:\d\d:\d\d\] watching \d+ folders in ", watching.said, re.MULTILINE)

        at = watching.settle()
        add(site.tree / "kernel" / "src" / "main.rs", CODE)
        watching.wait(DIGEST, at)
        second = (site.bin / "q.igvm.launch-digest.hex").read_text().strip()
        said = watching.said[at:]
        assert re.search(r"^\[.*\] kernel/src/main\.rs changed$", said, re.MULTILINE)
        assert re.search(r"^4 built, 4 up to date", said, re.MULTILINE)
        watching.wait(WAITING, at)
        assert f"] bin/q.igvm: launch digest {first[:16]}… → {second[:16]}…\n" in said and first[:16] != second[:16]

        at = watching.settle()
        add(site.tree / "kernel" / "src" / "main.rs", "// no other code\n")
        watching.wait(BUILT.pattern, at)
        watching.settle()
        assert not re.search(DIGEST, watching.said[at:])
    assert watching.process.returncode == 130
    assert watching.said.endswith("ended by SIGINT; finished steps are kept\n")


def test_all_records_are_read_once_at_the_start_and_once_after_a_build(site: Site, tmp_path: Path) -> None:
    note, hook = tmp_path / "opened", tmp_path / "sitecustomize.py"
    hook.write_text(f"""
import sys
def hook(event, words):
    if event == "sqlite3.connect" and str(words[0]).endswith("?mode=ro"):
        with open({str(note)!r}, "a") as file:
            file.write("x")
if "watch" in sys.orig_argv:
    sys.addaudithook(hook)
""")
    with watch(site, site.recipe(KERNEL), "kernel:svsm", env={"PYTHONPATH": str(tmp_path)}) as watching:
        watching.wait(WAITING)
        at = watching.settle()
        assert len(note.read_text()) == 2
        add(site.tree / "kernel" / "src" / "main.rs", "// again\n")
        watching.wait(r"^kernel:svsm: done[\s\S]*] waiting for changes$", at)
        at = watching.settle()
        assert len(note.read_text()) == 3
        (site.tree / "NOTES").write_text("x")
        watching.wait(QUIET, at)
        watching.settle()
        assert len(note.read_text()) == 3  # nothing was built, so nothing new is recorded


def test_coconut_watches_too(site: Site) -> None:
    site.recipe()
    program = str(Path(sys.executable).with_name("coconut"))
    with watch(site, "r.json", "--svsm=svsm", "--out=bin", "kernel:bldr", program=program) as watching:
        watching.wait(r"^\d+ built")
        watching.wait(r"waiting for changes$")
        at = watching.settle()
        add(site.tree / "boot" / "bldr" / "src" / "main.rs", "// a remark\n")
        watching.wait(BUILT.pattern, at)


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
        time.sleep(1.5)  # its build script is running
        add(main, CODE)  # rustc will start later, and reads it
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
        watching.wait(r"failed \(kernel:svsm\)", at)
        at = watching.settle()
        wrong: dict[str, Any] = {**deepcopy(QEMU), "kernle": {}}
        site.recipe(wrong)
        watching.wait(r"r\.json:\d+:\d+: /kernle: .*'kernle'.*\[unknown-field\]", at)
        at = watching.settle()
        site.recipe()
        main.write_text(good + CODE)
        watching.wait(DIGEST, at)


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
        watching.wait(DIGEST, at)
        at = watching.settle()
        (site.tree / "kernel" / "data").mkdir()
        watching.wait(QUIET, at)
        at = watching.settle()
        (site.tree / "kernel" / "data" / "table").write_text("x")
        watching.wait(BUILT.pattern, at)


KERNEL = {"igvm": {}, "kernel": QEMU["kernel"]}
VERSION = r"^version:git: done"


def test_a_commit_and_a_tag_are_seen_in_a_linked_worktree_and_in_a_submodule(repository: Site) -> None:
    site = repository
    site.recipe(KERNEL)
    git(site, "config", "core.logAllRefUpdates", "false")
    git(site, "worktree", "add", "-q", "-b", "side", "../linked")
    super_ = site.folder / "super"
    git(site, "init", "-q", "-b", "main", str(super_))
    add = ["-c", "protocol.file.allow=always", "submodule", "add", "-q", str(site.tree), "sub"]
    git(replace(site, tree_name="super"), *add)
    for name in ("svsm", "linked", "super/sub"):
        tree = replace(site, tree_name=name)
        with watch(tree, "RECIPE=r.json", "version") as watching:
            watching.wait(WAITING)
            at = watching.settle()
            commit(tree)
            watching.wait(VERSION, at)
            at = watching.settle()
            git(tree, "tag", f"{tree.tree.name}/x")
            watching.wait(QUIET, at)  # not named by git describe; its folder is new
            at = watching.settle()
            git(tree, "tag", "-a", "-m", "x", f"{tree.tree.name}/y")
            watching.wait(VERSION, at)
            at = watching.settle()
            git(tree, "status")
            (tree.tree / "README.md").touch()
            watching.wait(QUIET, at)
            at = watching.settle()
            git(tree, "status")  # rewrites its index
            git(tree, "branch", "other")
            assert watching.settle() == at
            git(tree, "branch", "-D", "other")


def test_what_a_build_script_rewrites_as_it_was_read_is_no_news(site: Site) -> None:
    """The sample's script is as careless as the real tree's."""
    main = site.tree / "kernel" / "src" / "main.rs"
    with watch(site, site.recipe(KERNEL), "kernel:svsm") as watching:
        watching.wait(WAITING)
        for i in range(2):
            at = watching.settle()
            main.write_text(f"{main.read_text()}// {i}\n")
            watching.wait(r"^kernel:svsm: done", at)
            written = site.tree / "libtpm" / "src" / "constants.rs"
            written.write_text(written.read_text())
            watching.settle()
            assert len(re.findall(r" changed$", watching.said[at:], re.MULTILINE)) == 1, watching.said[at:]
        at = watching.settle()
        written.write_text(written.read_text() + "// edited\n")
        watching.wait(r"constants\.rs changed$", at)


def test_saves_of_all_kinds_are_seen_once_and_reads_are_not(site: Site) -> None:
    main = site.tree / "kernel" / "src" / "main.rs"
    text = main.read_text()

    def in_place(new: str) -> None:
        main.write_text(new)

    def by_rename(new: str) -> None:
        beside = main.with_name(".main.rs.tmp")
        beside.write_text(new)
        beside.rename(main)

    def as_vim(new: str) -> None:
        (main.parent / "4913").write_text("")
        (main.parent / "4913").unlink()
        main.rename(main.with_name("main.rs~"))
        main.write_text(new)
        main.with_name("main.rs~").unlink()

    def from_elsewhere(new: str) -> None:
        (site.folder / "new").write_text(new)
        (site.folder / "new").rename(main)

    with watch(site, site.recipe(KERNEL), "kernel:svsm") as watching:
        watching.wait(WAITING)
        for i, save in enumerate((in_place, by_rename, as_vim, from_elsewhere)):
            at = watching.settle()
            save(f"{text}// {i}\n")
            watching.wait(r"^kernel:svsm: done", at)
            watching.settle()
            said = watching.said[at:]
            assert len(re.findall(r" changed$", said, re.MULTILINE)) == 1, said
            assert re.search(
                r"^\[.*\] (new, )?[\w/.]*kernel/src/main\.rs changed$|^\[.*\] \.\./new, kernel", said, re.MULTILINE
            )
        at = watching.settle()
        for path in site.tree.rglob("*.rs"):
            path.read_bytes()
        assert watching.settle() == at


def test_what_builds_write_themselves_starts_no_build_for_ever(site: Site) -> None:
    """A lock file that cargo updates, and a firmware command, which each run executes."""
    command = ["sh", "-c", "head -c 8192 /dev/zero > fw.bin"]
    with watch(site, site.recipe({**KERNEL, "firmware": {"command": command, "file": "fw.bin"}})) as watching:
        watching.wait(WAITING)
        at = watching.settle()
        version = site.tree / "Cargo.toml"
        version.write_text(version.read_text().replace('version = "0.1.0"', 'version = "0.1.1"'))
        watching.wait(r"^kernel:svsm: done", at)
        assert 'version = "0.1.1"' in (site.tree / "Cargo.lock").read_text()
        at = watching.settle()
        time.sleep(1)
        assert watching.settle() == at
        (site.tree / "fw.bin").write_bytes(b"by hand" * 2000)
        watching.wait(r"^firmware:guest: done", at)


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
            time.sleep(0.1)  # the process that got the signal is about to end
        assert subprocess.run(pgrep, capture_output=True).returncode == 1
        assert "ended by SIGTERM; finished steps are kept" in watching.said[at:]


def test_watching_nothing_is_told(site: Site) -> None:
    outcome = site.doit("watch", "RECIPE=nosuch.json")
    assert (outcome.status, outcome.ids) == (2, {"no-such-recipe"})
    assert "RECIPE: 'nosuch.json': " in outcome.err


@pytest.mark.parametrize("words", [("kernel:bldr",), ("-n", "1")])
def test_a_task_can_be_watched_alone_and_wrong_options_are_told(words: tuple[str, ...], site: Site) -> None:
    if words[0] == "-n":
        outcome = site.doit("watch", *words, site.recipe())
        assert (outcome.status, outcome.ids) == (2, {"no-such-option"}) and "watch " in outcome.err
        assert "option -n; " in outcome.err
        return
    with watch(site, site.recipe(), *words) as watching:
        watching.wait(r"^\d built")
        assert not (site.bin / "svsm").exists() and (site.bin / "bldr").exists()


def test_a_file_that_is_no_text_or_gone_ends_no_watch(tmp_path: Path) -> None:
    for platform, end in HEX.items():
        (tmp_path / f"q.igvm{end}").write_text(f"of {platform}\n")
    (tmp_path / "x.mrtd.hex").write_bytes(b"\xff")
    (tmp_path / "y.mrtd.hex").symlink_to("nowhere")
    found = {what.rpartition("/")[2]: digest for what, digest in measurements_in(str(tmp_path)).items()}
    assert found == {
        "q.igvm: launch digest": "of snp",
        "q.igvm: MRTD": "of tdp",
        "q.igvm: VBS boot digest": "of vsm",
        "x: MRTD": "\N{REPLACEMENT CHARACTER}",
    }
