"""SIGKILL at random moments: a plain run afterwards gives the same bytes, and repeats no step that was recorded as finished.

``pytest tests/test_kills.py --kills 200`` kills more often.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import time
from copy import deepcopy
from typing import Any

import pytest
from conftest import QEMU, Site, environment

pytestmark = [pytest.mark.long, pytest.mark.freshness]
RECIPE: dict[str, Any] = {
    **deepcopy(QEMU),
    "fs": {"modules": {"userinit": {"path": "/init"}, "hello": {"path": "/bin/hello"}}},
}
RECIPE["kernel"]["tdx-stage1"] = {"type": "make", "output_file": "bin/stage1-trampoline", "objcopy": "binary"}


def killed_run(site: Site, recipe: str, seconds: float, crash: str | None = None) -> tuple[set[str], bool]:
    """Start a run, and kill it after a while or at a named place in the code. The result is the steps that it reported as done, and
    whether the kill came before its end."""
    argv = site.argv(recipe)
    if crash is not None:
        # Die at that place, without any clean-up.
        argv[1:3] = ["-c", CRASH, crash, *argv[2:3]]
    out = site.folder / "out"
    variables = environment(site.target)
    # Its children continue, as after any kill.
    with (
        out.open("w") as file,
        subprocess.Popen(argv, cwd=site.folder, env=variables, stdout=file, stderr=subprocess.STDOUT) as run,
    ):
        try:
            run.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            run.kill()
    text = out.read_text()
    assert "Traceback" not in text, text  # a place that is not in the code any more
    return set(re.findall(r"^(\S+): done in ", text, re.MULTILINE)), run.returncode == -signal.SIGKILL


CRASH = """
import os, signal, sys, random
place, sys.argv = sys.argv[1], ["doit", *sys.argv[3:]]
from doit.doit_cmd import DoitMain
import coconut_tasks.actions.build as build
from coconut_tasks.records.store import Store
owner, name = {"placed": (build, "publish"), "recorded": (Store, "write"), "dropped": (Store, "drop")}[place]
real, left = getattr(owner, name), [random.randrange(6)]
def crash(*args):
    result = real(*args)
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, name, crash)
sys.exit(DoitMain().run(sys.argv[1:]))
"""


def start_anew(site: Site, compiles: bool) -> None:
    """As if nothing was built; ``compiles`` says whether cargo must also compile again."""
    shutil.rmtree(site.bin, ignore_errors=True)
    if not compiles:
        return
    own = ("svsm", "bldr", "release", "userinit", "userlib", "hello", "packit")
    for folder in [*site.target.glob("**/.fingerprint"), *site.target.glob("**/build")]:
        for package in folder.iterdir():
            if package.name.startswith(own):
                shutil.rmtree(package)


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--kills"))


def test_a_kill_at_any_moment_loses_nothing_that_was_finished(site: Site, kills: int) -> None:
    recipe = site.recipe(RECIPE)
    site.build(recipe)
    lengths = {}
    for compiles in (True, False):
        start_anew(site, compiles)
        began = time.monotonic()
        site.build(recipe)
        lengths[compiles] = time.monotonic() - began
    good = site.contents()
    dice = random.Random(3)
    number = hits = kept = 0
    # Only kills before the end count, and enough of them must come after a step was finished.
    while hits < kills or kept < kills / 5:
        assert number < 5 * kills, (
            f"{hits} of {number} runs were killed before their end, {kept} after a step was finished"
        )
        compiles = number % 10 < 5
        if number % 5 == 0:  # from nothing; otherwise from the state after the previous kill
            start_anew(site, compiles)
        crash = dice.choice([None, None, "placed", "recorded", "dropped"])
        done, in_time = killed_run(site, recipe, dice.uniform(0.1, lengths[compiles]), crash)
        hits += in_time
        kept += bool(done and in_time)
        if number % 5 == 4 or dice.random() < 0.3:
            after = site.build(recipe)
            assert not done & after.built, f"kill {number} ({crash})"
            assert site.contents() == good
            assert site.build(recipe).built == set()
        number += 1
    site.build(recipe)
    assert site.contents() == good
