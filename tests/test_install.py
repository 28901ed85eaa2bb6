"""The ways to get the program: the wrapper and the wheel."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, metadata
from pathlib import Path
from zipfile import ZipFile

import pytest
from conftest import DODO, environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from terminal import Terminal

from coconut_tasks import __version__

ROOT = Path(__file__).parent.parent


def sh_only(folder: Path) -> str:
    """A PATH with what a script needs, without Python."""
    folder.mkdir()
    for program in ("sh", "dirname", "cmp", "cp", "rm", "cat"):
        found = shutil.which(program)
        assert found is not None
        (folder / program).symlink_to(found)
    return str(folder)


def doitw(*words: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **env}
    return subprocess.run([str(ROOT / "doitw"), *words], cwd=cwd, env=variables, capture_output=True, text=True)


def test_the_wrapper_runs_doit_and_makes_no_second_environment() -> None:
    doitw("--version")
    again = doitw("--version")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith(f"coconut-tasks {__version__} (doit 0.37")


def test_what_is_pinned_installs_with_the_oldest_python_that_is_promised() -> None:
    promised = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    oldest = re.fullmatch(r">=([0-9.]+)", promised)
    assert oldest is not None
    pinned = re.findall(
        r"^([\w.-]+)==", "".join(path.read_text() for path in ROOT.glob("requirements*.txt")), re.MULTILINE
    )
    needs = {name: str(metadata(name).json.get("requires_python", "")) for name in pinned}
    assert {name: need for name, need in needs.items() if not SpecifierSet(need).contains(f"{oldest[1]}.0")} == {}


def test_the_wrapper_works_from_another_folder(tmp_path: Path) -> None:
    done = doitw("list", "--all", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "igvm:qemu" in done.stdout


def test_the_wrapper_names_what_is_missing(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("doitw", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, clone / name)
    done = subprocess.run(
        ["./doitw"], cwd=clone, env={"PATH": sh_only(tmp_path / "bin")}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no Python 3.11 or newer: apt-get install python3" in done.stderr
    assert not (clone / ".venv").exists()


CHECKS = "requirements-check.txt"
PINNED = ("requirements.txt", "pyproject.toml", "coconut_tasks/tasks/table.py")
PYTHON = """#!/bin/sh
echo "${0##*/} $*" >> "$CALLS"
case "$*" in
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
*"require-hashes"*) exit "${PIP_STATUS:-0}" ;;
esac
"""


class Clone:
    """A checkout with a stand-in for Python that records how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder / "clone", folder / "calls"
        self.folder.mkdir()
        for name in ("doitw", *PINNED, CHECKS):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.folder / name)
        self.python = folder / "python3"
        self.python.write_text(PYTHON)
        self.python.chmod(0o755)

    def doitw(self, word: str = "list", **more: str) -> tuple[int, list[str]]:
        """The exit status, and how Python was called, without the check of its version."""
        env = {"PATH": os.environ["PATH"], "PYTHON": str(self.python), "CALLS": str(self.calls), **more}
        done = subprocess.run(["./doitw", word], cwd=self.folder, env=env, capture_output=True, text=True)
        lines = self.calls.read_text().splitlines()
        self.calls.unlink()
        return done.returncode, [line for line in lines if "-c import sys" not in line]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_the_first_call_makes_the_environment_and_the_next_one_uses_it(clone: Clone) -> None:
    status, calls = clone.doitw()
    assert status == 0
    assert calls[0] == f"python3 -m venv {clone.folder}/.venv"
    assert "install --require-hashes -r requirements.txt" in calls[1]
    assert calls[-1] == f"python {clone.folder}/.venv/bin/doit list"
    assert clone.doitw() == (0, [calls[-1]])


def test_what_only_checks_need_is_added_when_one_is_first_asked_for(clone: Clone) -> None:
    assert not any(CHECKS in call for call in clone.doitw()[1])
    _, calls = clone.doitw("check")
    assert calls[0].endswith(f"install --require-hashes -r requirements.txt -r {CHECKS}")
    assert clone.doitw("check") == (0, calls[1:])
    (clone.folder / CHECKS).write_text("changed")
    assert len(clone.doitw()[1]) == 1
    assert len(clone.doitw("check")[1]) == 2


def test_what_a_build_needs_is_without_the_tools_of_checks() -> None:
    names = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert not {"mypy", "pytest", "ruff", "mkdocs", "hypothesis"} & set(names)
    more = re.findall(r"^([\w.-]+)==", (ROOT / CHECKS).read_text(), re.MULTILINE)
    assert not set(names) & set(more)


@pytest.mark.parametrize("name", PINNED)
def test_changed_requirements_make_the_environment_anew(name: str, clone: Clone) -> None:
    clone.doitw()
    (clone.folder / name).write_text("changed")
    assert len(clone.doitw()[1]) > 1
    assert len(clone.doitw()[1]) == 1


def test_a_moved_checkout_makes_an_environment_of_its_own(clone: Clone) -> None:
    clone.doitw()
    clone.folder = clone.folder.rename(clone.folder.with_name("moved"))
    assert clone.doitw()[1][0] == f"python3 -m venv {clone.folder}/.venv"


def test_an_installation_that_failed_is_done_again(clone: Clone) -> None:
    assert clone.doitw(PIP_STATUS="1")[0] == 2
    assert not (clone.folder / ".venv").exists()
    assert clone.doitw()[0] == 0


def test_the_first_call_says_how_long_it_takes_and_shows_that_it_lives(clone: Clone, tmp_path: Path) -> None:
    # The stand-in for pip waits until it is released; meanwhile a dot appears each second.
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    clone.python.write_text(PYTHON.replace('*"require-hashes"*)', f'*"require-hashes"*) read -r _ < "{gate}";'))
    env = {"PATH": os.environ["PATH"], "PYTHON": str(clone.python), "CALLS": str(clone.calls)}
    with Terminal(["./doitw", "list"], clone.folder, env) as it:
        it.see("about a minute")
        it.see(r"\.\.")
        gate.write_text("\n")
        assert it.status() == 0
    assert (clone.folder / ".venv" / "made-in").exists()


@pytest.mark.parametrize("status", ["0", "101"])
def test_the_first_call_fetches_the_crates_and_does_without_if_it_cannot(
    status: str, clone: Clone, tmp_path: Path
) -> None:
    manifest, cargo = clone.folder / "sample" / "Cargo.toml", tmp_path / "programs" / "cargo"
    for path, text in ((manifest, ""), (cargo, f'#!/bin/sh\necho "cargo $*" >> "$CALLS"\nexit {status}\n')):
        path.parent.mkdir()
        path.write_text(text)
    cargo.chmod(0o755)
    path_first = f"{cargo.parent}:{os.environ['PATH']}"
    ended, calls = clone.doitw(PATH=path_first)
    assert ended == 0
    assert [call for call in calls if call.startswith("cargo")] == [
        f"cargo fetch --quiet --locked --manifest-path {manifest}"
    ]
    assert clone.doitw(PATH=path_first) == (0, [calls[-1]])


PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that users install, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, *PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run(words, check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The wheel, unpacked as pip does it, away from the checkout."""
    site = wheel.parent / "site"
    subprocess.run([sys.executable, *PIP, "install", "--no-deps", "--target", site, wheel], check=True)
    return site


def test_the_wheel_has_all_that_it_needs_and_builds_in_no_installed_folder(
    installed: Path, tmp_path: Path, cargo_target: Path
) -> None:
    (tmp_path / "dodo.py").write_text(DODO)
    before = sorted(path for path in installed.rglob("*") if path.suffix != ".pyc")
    assert not {"target", "bin"} & {
        path.name for path in before if "sample" in path.parts and path.parent.name == "sample"
    }
    cache = tmp_path / "cache"

    def doit(*words: str, recipe: str = "config/qemu.json", text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "doit", *words, "kernel:bldr", f"RECIPE={recipe}"],
            cwd=tmp_path,
            env={**environment(cargo_target), "PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(cache)},
            input=text,
            capture_output=True,
            text=True,
        )

    refused = doit()
    assert refused.returncode == 2
    assert "  [no-source-tree]\n" in refused.stderr and " SVSM=" in refused.stderr and " SAMPLE=1 " in refused.stderr
    assert doit("SAMPLE=1", recipe="typo.json").returncode == 2
    for command in ("list", "why", "plan", "info"):
        looked = doit(command, "SAMPLE=1")
        assert (looked.returncode, looked.stdout != "") == (0, True), looked.stderr
    assert not cache.exists() and [path.name for path in tmp_path.iterdir()] == ["dodo.py"]
    # The program restarts after the sample is copied, and standard input can be read only once.
    asked = doit("verify", "SAMPLE=1", "EXPECT=-", text="ab" * 48)
    assert asked.returncode == 2 and "  [nothing-measured]\n" in asked.stderr
    done = doit("SAMPLE=1")
    assert done.returncode == 0, done.stderr
    (copy,) = (cache / "coconut-tasks").iterdir()
    assert f"source: {copy}/sample (a copy of the sample)" in done.stderr
    assert (copy / "bin" / "bldr").exists() and not (tmp_path / "bin").exists()
    assert sorted(path for path in installed.rglob("*") if path.suffix != ".pyc") == before


def index_of_what_is_here(folder: Path) -> list[str]:
    """Arguments for pip instead of an index: wheels of the packages in this environment that ours needs."""
    folder.mkdir()
    names, seen = ["coconut-tasks"], set[str]()
    while names:
        found = distribution(names.pop())
        needed = [Requirement(text) for text in found.requires or ()]
        names += [one.name for one in needed if one.name not in seen and (one.marker is None or one.marker.evaluate())]
        seen |= {one.name for one in needed}
        tag = re.search(r"^Tag: (\S+)$", found.read_text("WHEEL") or "", re.MULTILINE)
        assert tag is not None and found.files is not None
        if found.name != "coconut-tasks":
            stem = re.sub(r"[-_.]+", "_", found.name)
            with ZipFile(folder / f"{stem}-{found.version}-{tag[1]}.whl", "w") as packed:
                for file in found.files:
                    if ".." not in file.parts and file.suffix != ".pyc":
                        packed.write(str(file.locate()), str(file))
    return ["--no-index", "--find-links", str(folder)]


def test_a_clean_environment_needs_nothing_but_the_wheel_and_an_index(
    wheel: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    venv, home, empty = tmp_path / "venv", tmp_path / "home", tmp_path / "empty"
    home.mkdir()
    empty.mkdir()
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    # The user's pip settings have the index; nothing else is the user's. Everyday tests fetch nothing.
    index = [] if request.config.getoption("--as-users") else index_of_what_is_here(tmp_path / "index")
    subprocess.run([venv / "bin" / "python", *PIP, "install", *index, wheel], check=True)
    names = ("PATH", "LANG", "RUSTUP_HOME", "CARGO_HOME")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    # rustup's programs look for toolchains in HOME, which is another one here.
    kept.setdefault("RUSTUP_HOME", str(Path.home() / ".rustup"))
    env = {**kept, "HOME": str(home), "PYTHONWARNINGS": "error"}

    def run(*words: str) -> str:
        argv = [str(venv / "bin" / words[0]), *words[1:]]
        done = subprocess.run(argv, cwd=empty, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr + done.stdout
        assert not any(word in done.stderr for word in ("Warning", "Traceback", "error:")), done.stderr
        return done.stdout

    assert "RECIPE" in run("coconut-build", "--help")
    # There is no dodo.py here yet; the recipe format comes with the wheel.
    recipe = tmp_path / "mine.json"
    assert run("doit", "new", str(recipe)) == f"{recipe} is written; next: coconut build {recipe}\n"
    assert run("doit", "validate", str(recipe)) == "1 recipe is valid\n"
    assert "$schema" not in json.loads(recipe.read_text())
    assert list(empty.iterdir()) == []
    (empty / "dodo.py").write_text(DODO)
    listed = run("doit", "list", "--all", "SAMPLE=1")
    assert {"igvm:qemu", "measure:qemu", "kernel:svsm"} <= {line.split()[0] for line in listed.splitlines()}
    assert list(home.iterdir()) == []
