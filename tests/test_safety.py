"""Runs that are killed, interrupted, or concurrent."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

import forks
import pytest
from conftest import QEMU, Outcome, Site, at_work, environment


def slow(site: Site) -> str:
    """A recipe with firmware that is made when ``release`` was called, which records when it started and that it ended."""
    (site.tree / "hold").touch()
    script = "touch started; while [ -e hold ]; do sleep 0.02; done; echo firmware > fw.bin; echo end >> ended"
    content: dict[str, Any] = {**deepcopy(QEMU), "firmware": {"command": ["sh", "-c", script], "file": "fw.bin"}}
    return site.recipe(content, "slow.json")


def release(site: Site) -> None:
    (site.tree / "hold").unlink()


def start(site: Site, *words: str) -> AbstractContextManager[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    return at_work(site.argv(*words), site.folder, environment(site.target), stdout=pipe, stderr=pipe)


def wait_for(path: Path, run: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert run.poll() is None and time.monotonic() < deadline, run.communicate(timeout=10)
        time.sleep(0.01)


def wait_for_words(run: subprocess.Popen[str], words: str) -> str:
    """Wait until a run says so on standard error, and return the line."""
    assert run.stderr is not None
    said = []
    for line in iter(run.stderr.readline, ""):
        said.append(line)
        if words in line:
            return line
    raise AssertionError(f"{words!r} was not said: {''.join(said)}")


def test_a_second_run_waits_for_the_first_and_says_so(site: Site) -> None:
    recipe = slow(site)
    site.build("kernel:svsm", recipe)
    with start(site, recipe) as first:
        wait_for(site.tree / "started", first)
        with start(site, recipe) as second:
            wait_for_words(second, f"waiting for another run in {site.bin}: process {first.pid}: ")
            release(site)
            out, err = first.communicate()
            assert first.returncode == 0, out + err
            out, err = second.communicate()
            assert second.returncode == 0, out + err
    # It continued from the first one's results: only the command with unknown inputs ran.
    assert "1 built, " in out, out


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_run_ends_its_children_and_leaves_no_half_file(number: int, status: int, site: Site) -> None:
    recipe = slow(site)
    with start(site, "-n", "2", recipe) as run:
        wait_for(site.tree / "started", run)
        time.sleep(0.2)
        run.send_signal(number)
        began = time.monotonic()
        out, err = run.communicate(timeout=20)
    assert time.monotonic() - began < 15
    assert run.returncode == status, out + err
    assert "Traceback" not in err
    assert "finished steps are kept" in err
    assert not (site.tree / "ended").exists()
    assert not [path for path in site.bin.rglob(".*.*") if path.is_file() and path.parent.name != ".coconut"]
    release(site)
    done = site.build(recipe)
    assert "q.igvm" in done.digests


def test_after_a_kill_the_next_run_waits_for_orphans_and_repeats_no_finished_step(site: Site) -> None:
    recipe = slow(site)
    site.build("kernel:svsm", "kernel:bldr", recipe)
    with start(site, recipe) as run:
        wait_for(site.tree / "started", run)
        run.kill()
        with start(site, recipe) as next_run:
            wait_for_words(next_run, "waiting for another run")
            release(site)
            out, err = next_run.communicate()
            after = Outcome(next_run.returncode, out, err)
    assert after.status == 0, after.text
    assert not {"kernel:svsm", "kernel:bldr"} & after.built
    assert (site.tree / "ended").read_text().splitlines() == ["end", "end"]
    assert site.build(recipe).digests == after.digests


def test_two_runs_in_one_tree_do_not_take_each_others_programs(site: Site) -> None:
    """With separate output folders, they still share cargo's target folder, where both write a program with the same name."""
    site.target.mkdir(exist_ok=True)
    descriptor = os.open(site.target, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with ExitStack() as stack:
        try:
            run = stack.enter_context(start(site, "kernel:bldr", site.recipe(), "BIN=other"))
            wait_for_words(run, f"waiting for another run that builds in {site.target}")
            assert not list((site.folder / "other").glob("bldr"))
        finally:
            os.close(descriptor)  # otherwise everything after it would wait
        out, err = run.communicate(timeout=120)
    assert run.returncode == 0, out + err
    assert (site.folder / "other" / "bldr").exists()


# These tests themselves


def running(words: str) -> bool:
    return subprocess.run(["pgrep", "-f", f"^{words}"], stdout=subprocess.DEVNULL).returncode == 0


def test_what_a_test_started_ends_with_it_however_it_ends(tmp_path: Path) -> None:
    def fail() -> None:
        with at_work(["sh", "-c", "sleep 298.1 & sleep 298.1"], tmp_path, os.environ):
            while not running("sleep 298.1"):
                time.sleep(0.01)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not running("sleep 298.1")


def test_a_run_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    """Its tools hold the pipes that are read."""

    def ends(run: Callable[..., object], name: str) -> bool:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "dodo.py").write_text(
            "def task_a():\n    return {'actions': ['touch began; sleep 298.2'], 'verbosity': 2}\n"
        )
        with pytest.raises((TimeoutError, subprocess.TimeoutExpired)):
            run([sys.executable, "-m", "doit"], folder, environment(folder / "target"), seconds=6)
        return (folder / "began").exists()

    with ThreadPoolExecutor() as pool:
        assert all(pool.map(ends, (forks.run, forks.run_unforked), ("forked", "started")))
    assert not running("sleep 298.2")


def test_ctrl_c_reaches_what_is_at_work_also_where_the_tests_ignore_it(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with at_work(["sleep", "298.3"], tmp_path, os.environ) as process:
            while not running("sleep 298.3"):
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == -signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, before)
