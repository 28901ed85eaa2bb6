"""A place for real builds of the sample: one copy for the whole test run, reset before each test."""

from __future__ import annotations

import fcntl
import filecmp
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import forks
import pytest

from coconut_tasks.package import data_path

if TYPE_CHECKING:
    from cache_servers import Servers
    from packages import Package

DODO = "from coconut_tasks.tasks.namespace import dodo\nglobals().update(dodo())\n"
MADE = ("constants.rs", "config.h", "*.o", "*.a", "*.d", "missing")
"""The files that a build script of the sample leaves in its package."""
LEFT_OUT = shutil.ignore_patterns("target", "bin", "git_version.rs", ".git", *MADE)
QEMU: dict[str, Any] = {
    "igvm": {"qemu": {"output": "q.igvm", "platforms": ["snp", "tdp"], "check-kvm": True}},
    "kernel": {
        "svsm": {"features": "vtpm"},
        "bldr": {"manifest": "boot/bldr/Cargo.toml", "binary": True, "objcopy": "binary"},
    },
}
"""A small recipe; tests change copies of it."""
HOME = "TESTS_CACHE_HOME"
"""The variable with the folder in which programs that are tested keep what they know of the machine."""
FASTER = {
    # Incremental state costs rustc a fifth more time, and most programs of tests are compiled only once or twice.
    "CARGO_INCREMENTAL": "0",
    # Debug information takes a tenth of the time of rustc and the linker, and few tests read it; those set this themselves.
    "CARGO_PROFILE_DEV_DEBUG": "0",
}
"""With these variables, cargo takes a quarter less time. The registry's crates are the same."""
FASTER = {name: value for name, value in FASTER.items() if name not in os.environ}
MEMORY, NEEDED = Path("/dev/shm"), 6 << 30
"""The fastest folder for files, and how many bytes tests may use there."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--clean-builds", type=int, default=2, help="how many clean builds must be identical (CI: 5)")
    parser.addoption("--walk", type=int, default=10, help="how many steps the random walk takes (CI: 30)")
    parser.addoption("--kills", type=int, default=10, help="how often a run is killed (CI: 50)")
    parser.addoption("--walk-seed", type=int, default=1, help="which way the random walk goes")
    parser.addoption("--as-users", action="store_true", help="on a disk, and freshness as cargo's default is (CI)")


def pytest_configure(config: pytest.Config) -> None:
    # xdist's workers inherit it. To look at all headers and compilers takes seconds, so all tests of a run share what is known of them.
    if HOME not in os.environ:
        os.environ[HOME] = tempfile.mkdtemp(prefix="coconut-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(HOME)))
    fastest = not config.getoption("--as-users") and config.option.basetemp is None and "TMPDIR" not in os.environ
    if fastest and _has_room(MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    # Background processes of a shell ignore it, and so would their children: Ctrl-C could not be tested.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _has_room(folder: Path) -> bool:
    """Whether the folder is in memory, allows programs to run, and has twice the space that tests need."""
    if not os.path.ismount(folder) or not os.access(folder, os.W_OK):
        return False
    room, container = os.statvfs(folder), Path("/sys/fs/cgroup/memory.max")
    free = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    most = container.read_text().strip() if container.exists() else ""
    sizes = [int(free[1]) << 10 if free else 0, *([int(most)] if most.isdigit() else [])]
    return (
        not room.f_flag & os.ST_NOEXEC and min(room.f_bavail * room.f_frsize, *(size // 2 for size in sizes)) >= NEEDED
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    # More workers than cores, since tests wait at times, for a disk or for time to pass.
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Decide how cargo compiles in this test: as users have it where CI asks for that and it matters, else in less time."""
    as_users = item.config.getoption("--as-users") and item.get_closest_marker("freshness") is not None
    for name, value in FASTER.items():
        if as_users:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def pytest_unconfigure() -> None:
    forks.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def has(text: str, pieces: str) -> bool:
    """Whether a text has these pieces in this order, with any text in place of the dots (…): names and values without the sentence."""
    return re.search(".*".join(map(re.escape, pieces.split("…"))), text, re.DOTALL) is not None


@dataclass
class Outcome:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def built(self) -> set[str]:
        """The steps that built something."""
        return set(re.findall(r"^(\S+): done in ", self.out, re.MULTILINE))

    @property
    def placed(self) -> set[str]:
        """The steps that only placed their files in bin/ again."""
        return set(re.findall(r"^(\S+): restored: ", self.out, re.MULTILINE))

    @property
    def cached(self) -> set[str]:
        """The steps that were taken from the cache."""
        return set(re.findall(r"^(\S+): from the cache in ", self.out, re.MULTILINE))

    @property
    def digests(self) -> dict[str, str]:
        """The launch digests that were printed."""
        return dict(
            re.findall(r"^bin/(\S+): [0-9.]+ [KM]iB, (?:.*, )?launch digest ([0-9a-f]{96})$", self.out, re.MULTILINE)
        )

    @property
    def ids(self) -> set[str]:
        """The IDs of all printed messages."""
        return set(re.findall(r"  \[([a-z0-9-]+)\]$", self.text, re.MULTILINE))

    def told(self, id: str) -> list[str]:
        """The first lines of the messages with an ID, without the ID."""
        end = f"  [{id}]"
        return [line.removesuffix(end) for line in self.text.splitlines() if line.endswith(end)]

    @property
    def text(self) -> str:
        """All output."""
        return f"{self.out}\n{self.err}"


@dataclass
class Site:
    """A working folder with an SVSM tree in it."""

    folder: Path
    target: Path
    """cargo's target folder; all tests share the crates from the registry in it."""
    tree_name: str = "svsm"
    words: list[str] = field(default_factory=list)
    firsts: Firsts | None = None
    """The folder of earlier builds that a test may copy."""

    @property
    def tree(self) -> Path:
        return self.folder / self.tree_name

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    def recipe(self, content: dict[str, Any] = QEMU, name: str = "r.json") -> str:
        """Write a recipe, and return the word for it on the command line."""
        (self.folder / name).write_text(json.dumps(content, indent=4))
        return f"RECIPE={name}"

    def doit(self, *words: str, env: dict[str, str | None] | None = None) -> Outcome:
        """Run doit as the user would."""
        return self.run(self.argv(*words), env)

    def argv(self, *words: str) -> list[str]:
        """The command line, with this tree, and with ``bin`` for outputs unless the words name another folder."""
        bin = [] if any(word.startswith("BIN=") for word in words) else ["BIN=bin"]
        return [sys.executable, "-m", "doit", *words, f"SVSM={self.tree_name}", *bin]

    def run(self, argv: list[str], env: dict[str, str | None] | None = None, cwd: Path | None = None) -> Outcome:
        """Run a command; a variable that is None is removed from its environment."""
        asked = {**environment(self.target), **(env or {})}
        clean = {name: value for name, value in asked.items() if value is not None}
        done = forks.run(argv, cwd or self.folder, clean)
        assert "Traceback" not in done.stderr + done.stdout, done.stderr + done.stdout
        return Outcome(done.returncode, done.stdout, done.stderr)

    def build(self, *words: str, env: dict[str, str | None] | None = None) -> Outcome:
        """A build that must succeed."""
        if self.firsts is not None and self.firsts.are_of(self, words):
            return self.firsts.build(self, words, env)
        outcome = self.doit(*words, env=env)
        assert outcome.status == 0, outcome.text
        return outcome

    def log(self, step: str) -> str:
        """The latest log of a step in any variant."""
        logs = (self.bin / ".coconut" / "logs").glob(f"{step.replace(':', '-')}-*.log")
        return max(logs, key=lambda log: log.stat().st_mtime_ns).read_text()

    def contents(self) -> dict[str, bytes]:
        """All files below bin/ that are for the user."""
        files = (path for path in self.bin.rglob("*") if path.is_file())
        return {str(path.relative_to(self.bin)): path.read_bytes() for path in files if ".coconut" not in path.parts}


@dataclass
class Firsts:
    """First builds of the unchanged sample, with which most tests start: what a worker has built twice, it copies from then on.

    The copy is like a restored backup: no file has its recorded change time, so content decides. Files of tests that are marked
    ``freshness`` start with their own builds.
    """

    kept: Path
    target: Path
    untouched: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The files that a test started with."""
    outcomes: dict[tuple[object, ...], Outcome | None] = field(default_factory=dict)
    """By words, environment and recipes; None for a build that was done once."""

    def are_of(self, site: Site, words: tuple[str, ...]) -> bool:
        """Whether the folder has only its first files and recipes, and outputs go to the usual place."""
        usual = site.target == self.target and not any(word.startswith("BIN=") for word in words)
        return usual and not site.bin.exists() and _look(site.folder) == self.untouched

    def build(self, site: Site, words: tuple[str, ...], env: dict[str, str | None] | None) -> Outcome:
        recipes = tuple((path.name, path.read_text()) for path in sorted(site.folder.glob("*.json")))
        variables = {**environment(site.target), **(env or {})}
        variables = {name: value for name, value in variables.items() if not name.startswith("PYTEST_")}
        key = (words, tuple(sorted(variables.items())), recipes)
        place = self.kept / str(list(self.outcomes).index(key)) if key in self.outcomes else None
        if (outcome := self.outcomes.get(key)) is not None and place is not None:
            remove_what_was_made(site.tree)
            shutil.copytree(place, site.folder, symlinks=True, dirs_exist_ok=True)
            # A source that another test had changed is newer by now, and make would compile it again, which builds do after each change.
            now = time.time_ns()
            for path in what_was_made(site.tree):
                os.utime(path, ns=(now, now), follow_symlinks=False)
            return outcome
        outcome = replace(site, firsts=None).build(*words, env=env)
        self.outcomes[key] = None
        if place is not None:
            self.outcomes[key] = outcome
            shutil.copytree(site.bin, place / "bin", symlinks=True)
            for name, found in _look(site.folder).items():
                if (path := site.folder / name).is_dir() and not path.is_symlink():
                    (place / name).mkdir(parents=True, exist_ok=True)
                elif self.untouched.get(name) != found or any(map(path.match, MADE)):
                    # What a build script made is often there before the build; when it is copied, a test's other source may have made it.
                    shutil.copy2(path, place / name, follow_symlinks=False)
        return outcome


def _look(folder: Path) -> dict[str, tuple[int, ...]]:
    """The files below a working folder, without recipes and outputs."""
    found = {}
    for place, folders, names in os.walk(folder):
        if place == str(folder):
            folders[:] = [name for name in folders if name != "bin"]
            names = [name for name in names if not name.endswith(".json")]
        for path in (os.path.join(place, name) for name in (*names, *folders)):
            stat = os.lstat(path)
            times = () if os.path.isdir(path) else (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)
            found[os.path.relpath(path, folder)] = (stat.st_ino, stat.st_mode, *times)
    return found


def environment(target: Path) -> dict[str, str]:
    """The environment of this process, without variables that a test must not depend on."""
    left_out = ("SVSM", "FW_FILE", "RELEASE", "RUSTFLAGS", "FORCE_COLOR", "CLICOLOR_FORCE", "NO_COLOR")
    ours = {
        name: value for name, value in os.environ.items() if name not in left_out and not name.startswith("COCONUT_")
    }
    # What the user has turned on is not what is tested.
    ours["XDG_CONFIG_HOME"] = "/nonexistent"
    ours["XDG_CACHE_HOME"] = os.environ[HOME]
    return {**ours, "CARGO_TARGET_DIR": str(target), "PYTHONWARNINGS": "error", "PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def at_work(argv: list[str], cwd: Path, env: Mapping[str, str], **more: Any) -> Iterator[subprocess.Popen[str]]:
    """A program beside a test. It accepts Ctrl-C, which background processes of a shell and their children ignore. It ends with the
    block, and so do its children."""
    argv = ["env", "--default-signal=INT", *argv]
    with subprocess.Popen(argv, cwd=cwd, env=env, text=True, start_new_session=True, **more) as process:
        try:
            yield process
        finally:
            forks.end_session(process)


def copy_sample(target: Path) -> None:
    """A copy of the sample, as in a fresh clone."""
    shutil.copytree(data_path("sample"), target, ignore=LEFT_OUT)


def what_was_made(tree: Path) -> list[Path]:
    """The files that build scripts left in the source."""
    return [path for pattern in MADE for path in (tree / "libtpm").rglob(pattern)]


def remove_what_was_made(tree: Path) -> None:
    """Reset to a fresh clone: unrecorded files that a build left in the source would have an unknown owner."""
    for path in what_was_made(tree):
        path.unlink()


def kernel_with_a_makefile(site: Site) -> None:
    """Like the real tree's TPM: a build script runs make, whose Makefile uses a variable that cargo does not watch."""
    script, main = site.tree / "kernel" / "build.rs", site.tree / "kernel" / "src" / "main.rs"
    (site.tree / "kernel" / "Makefile").write_text(
        "all:\n\techo profile-$(if $(FLAVOUR),other,usual) > $(OUT_DIR)/tpm\n"
    )
    run = 'assert!(std::process::Command::new("make").status().unwrap().success());'
    script.write_text(script.read_text().replace("fn main() {", f"fn main() {{\n    {run}"))
    main.write_text(
        main.read_text() + '\n#[used]\nstatic TPM: &str = include_str!(concat!(env!("OUT_DIR"), "/tpm"));\n'
    )


def makefile_with_a_variable(site: Site) -> None:
    """The sample's Makefile also uses a variable for stage1 that is not one of our options."""
    path = site.tree / "Makefile"
    path.write_text(path.read_text().replace("ifeq ($(RELEASE),1)", "ifneq ($(RELEASE)$(FLAVOUR),)"))


C_LIBRARY = {
    "tpm/Cargo.toml": """[package]
name = "tpm"
version.workspace = true
edition.workspace = true
publish.workspace = true
""",
    "tpm/build.rs": """fn main() {
    let out = std::env::var("OUT_DIR").unwrap();
    assert!(std::process::Command::new("make").status().unwrap().success());
    println!("cargo:rustc-link-search={out}");
    println!("cargo:rustc-link-search={out}/by-cmake");
    for name in ["tpm_make", "tpm_cmake"] {
        println!("cargo:rustc-link-lib=static={name}");
    }
    println!("cargo:rerun-if-changed={}", std::env::current_dir().unwrap().display());
}
""",
    "tpm/src/lib.rs": """#![no_std]
unsafe extern "C" {
    static tpm_nv: [u8; 1];
    static tpm_generated: [u8; 1];
    static tpm_cmake: [u8; 1];
}
pub struct Said(pub [*const [u8; 1]; 3]);
unsafe impl Sync for Said {}
pub static SAID: Said = Said([&raw const tpm_nv, &raw const tpm_generated, &raw const tpm_cmake]);
""",
    # It ignores the compiler and flags from its environment. Without cmake, make also compiles cmake's part.
    "tpm/Makefile": """CC := gcc
CFLAGS := -O1 -g -Wall -Werror -ffreestanding -fno-pic -mno-red-zone
SOURCE := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))c
OUT := $(OUT_DIR)
CMAKE := $(shell command -v cmake)

all: $(OUT)/libtpm_make.a $(OUT)/by-cmake/libtpm_cmake.a
$(OUT)/libtpm_make.a: $(OUT)/nv.o $(OUT)/generated.o
	rm -f $@
	ar rcs $@ $^
$(OUT)/%.o: $(SOURCE)/%.c $(SOURCE)/where.h
	$(CC) $(CFLAGS) -c -o $@ $<
$(OUT)/%.o: $(OUT)/%.c
	$(CC) $(CFLAGS) -c -o $@ $<
$(OUT)/generated.c:
	echo 'const char tpm_generated[] = "generated: " __FILE__;' > $@
ifneq ($(CMAKE),)
$(OUT)/by-cmake/libtpm_cmake.a: $(SOURCE)/cmake.c $(SOURCE)/CMakeLists.txt
	cmake -S $(SOURCE) -B $(OUT)/by-cmake -DCMAKE_C_COMPILER=$(CC) -DCMAKE_C_FLAGS="$(CFLAGS)"
	$(MAKE) -C $(OUT)/by-cmake
else
$(OUT)/by-cmake/libtpm_cmake.a: $(OUT)/cmake.o
	mkdir -p $(@D)
	rm -f $@
	ar rcs $@ $^
endif
""",
    "tpm/c/CMakeLists.txt": """cmake_minimum_required(VERSION 3.16)
project(tpm C)
add_library(tpm_cmake STATIC cmake.c)
""",
    "tpm/c/cmake.c": 'const char tpm_cmake[] = "cmake.c: " __FILE__;\n',
    "tpm/c/nv.c": '#include "where.h"\nconst char tpm_nv[] = "nv.c: " __FILE__ " " __DATE__ " " __TIME__ " " WHERE;\n',
    "tpm/c/where.h": "#define WHERE __BASE_FILE__\n",
}
"""A package like the real tree's TPM: C code compiled by make and cmake, with the path and time of the build in its data."""


def kernel_with_a_c_library(tree: Path) -> None:
    """Link ``C_LIBRARY`` into the kernel, so that its data is in measured pages."""
    for name, text in C_LIBRARY.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    locked = '[[package]]\nname = "tpm"\nversion = "0.1.0"\n\n'
    for name, old, new in (
        ("Cargo.toml", '"kernel",', '"kernel",\n    "tpm",'),
        ("kernel/Cargo.toml", "[dependencies]", '[dependencies]\ntpm = { path = "../tpm" }'),
        (
            "Cargo.lock",
            ' "release",\n "svsm-common",\n "svsm-link",\n',
            ' "release",\n "svsm-common",\n "svsm-link",\n "tpm",\n',
        ),
        ("Cargo.lock", '[[package]]\nname = "tracing"', f'{locked}[[package]]\nname = "tracing"'),
        ("kernel/src/main.rs", "#![no_main]", "#![no_main]\n#[used]\nstatic SAID: &tpm::Said = &tpm::SAID;"),
    ):
        (tree / name).write_text((tree / name).read_text().replace(old, new, 1))


def host_triple() -> str:
    """The target of host tools, and of the sample's modules if the bare-metal target is missing."""
    printed = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return next(line[6:] for line in printed.splitlines() if line.startswith("host: "))


def _crates(request: pytest.FixtureRequest, name: str, base: Path | None, *ways: tuple[str, str]) -> Path:
    """A target folder that has the registry's crates of the sample's host tools and nothing else, built by profiles and
    RUSTFLAGS, in addition to those of ``base``; one for all of xdist's workers.

    It starts as a copy of ``base``: if a file of the same name has another time, cargo recompiles what depends on it. Except in CI, which
    must show that everything can be compiled, it is kept in pytest's cache for the next run.
    """
    factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    shared = factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    made, done = shared / name, shared / f"{name}-done"
    with (shared / f"{name}-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = None if request.config.getoption("--as-users") else _kept_crates(request.config, name)
        if not done.exists() and kept is not None and kept.is_dir():
            shutil.copytree(kept, made)
            done.touch()
        if not done.exists():
            tree = shared / f"{name}-for"
            copy_sample(tree)
            if base is not None:
                shutil.copytree(base, made)
            tools = [word for tool in ("igvmbuilder", "igvmmeasure") for word in ("--package", tool)]
            for profile, flags in ways:
                for command in (["build", "--locked", *tools], ["clean", "--workspace"]):
                    argv = ["cargo", *command, "--quiet", "--target", host_triple(), "--profile", profile]
                    variables = {"RUSTFLAGS": flags} if flags else {}
                    subprocess.run(argv, cwd=tree, env={**environment(made), **variables}, check=True)
            if kept is not None:
                for old in kept.parent.glob(f"{name}-*"):
                    shutil.rmtree(old)
                shutil.copytree(made, half := kept.with_name(f"{kept.name}.half"))
                half.rename(kept)
            done.touch()
    return made


def _kept_crates(config: pytest.Config, name: str) -> Path | None:
    """The folder for them, named by everything that decides what cargo considers fresh; None if pytest has no cache."""
    if getattr(config, "cache", None) is None:
        return None
    tree = data_path("sample")
    asked = [
        subprocess.run(argv, capture_output=True, check=True).stdout for argv in (["rustc", "-vV"], ["cargo", "-V"])
    ]
    files = [(tree / file).read_bytes() for file in ("Cargo.lock", "Cargo.toml", ".cargo/config.toml")]
    files += [path.read_bytes() for path in sorted(tree.glob("tools/*/Cargo.toml"))]
    given = {
        variable: value
        for variable, value in environment(Path()).items()
        if re.match("CARGO|RUST|CC$|CFLAGS", variable)
    }
    key = hashlib.sha256(
        b"\0".join([*asked, *files, json.dumps(given, sort_keys=True).encode(), Path(__file__).read_bytes()])
    )
    return config.cache.mkdir("crates") / f"{name}-{key.hexdigest()[:16]}"


@pytest.fixture(scope="session")
def registry_crates(request: pytest.FixtureRequest) -> Path:
    return _crates(request, "registry-crates", None, ("dev", ""))


@pytest.fixture(scope="session")
def cargo_target(tmp_path_factory: pytest.TempPathFactory, registry_crates: Path) -> Path:
    """cargo's target folder for the whole test run."""
    return shutil.copytree(registry_crates, tmp_path_factory.mktemp("cargo") / "target")


@pytest.fixture(scope="session")
def release_crates(request: pytest.FixtureRequest, registry_crates: Path, cargo_target: Path) -> Path:
    """Also with those of RELEASE=1, which ``cargo_target`` has from then on."""
    made = _crates(request, "release-crates", registry_crates, ("release", ""))
    shutil.copytree(made, cargo_target, dirs_exist_ok=True)
    return made


OTHER_FLAGS = "-Cdebug-assertions=off"


@pytest.fixture(scope="session")
def crates_of_other_flags(request: pytest.FixtureRequest, release_crates: Path, cargo_target: Path) -> Path:
    """Also with those of ``OTHER_FLAGS`` in RUSTFLAGS."""
    made = _crates(request, "crates-of-other-flags", release_crates, ("dev", OTHER_FLAGS))
    shutil.copytree(made, cargo_target, dirs_exist_ok=True)
    return made


@pytest.fixture(scope="session")
def crates_in_every_way(request: pytest.FixtureRequest, crates_of_other_flags: Path, cargo_target: Path) -> Path:
    """Also with those of RELEASE=1 with ``OTHER_FLAGS``."""
    made = _crates(request, "crates-in-every-way", crates_of_other_flags, ("release", OTHER_FLAGS))
    shutil.copytree(made, cargo_target, dirs_exist_ok=True)
    return made


@pytest.fixture(scope="session")
def _first_state(tmp_path_factory: pytest.TempPathFactory, cargo_target: Path) -> tuple[Site, Path, Firsts]:
    folder = tmp_path_factory.mktemp("site")
    pristine = folder.with_name("pristine")
    copy_sample(pristine / "svsm")
    (pristine / "dodo.py").write_text(DODO)
    shutil.copytree(pristine, folder, dirs_exist_ok=True)
    return Site(folder, cargo_target), pristine, Firsts(folder.with_name("firsts"), cargo_target)


@pytest.fixture
def site(request: pytest.FixtureRequest, _first_state: tuple[Site, Path, Firsts]) -> Site:
    """The sample with nothing built, except in cargo's target folder."""
    site, pristine, firsts = _first_state
    bring_back(pristine, site.folder)
    firsts.untouched = _look(site.folder)
    return replace(site, firsts=firsts if request.node.get_closest_marker("freshness") is None else None)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers of caches."""
    from cache_servers import all_servers  # only few tests need it

    with all_servers(tmp_path_factory.mktemp("caches")) as found:
        yield found


@pytest.fixture
def package(site: Site, tmp_path: Path) -> Package:
    """A package of the sample with its own target folder, about which nothing is known."""
    from packages import laid  # which needs this module

    return laid(site, tmp_path / "target")


@pytest.fixture
def lone_package(site: Site, tmp_path: Path) -> Package:
    """A separate workspace, which needs no registry."""
    from packages import laid

    return laid(site, tmp_path / "target", workspace=True)


@pytest.fixture
def repository(site: Site) -> Iterator[Site]:
    """The tree in its own repository, with everything committed."""
    remove_what_was_made(site.tree)
    git(site, "init", "-q", "-b", "main")
    (site.tree / ".gitignore").write_text("".join(f"{name}\n" for name in ("git_version.rs", "/target", *MADE)))
    commit(site)
    yield site
    shutil.rmtree(site.tree / ".git")


def git(site: Site, *words: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "core.hooksPath=/dev/null"]
    done = subprocess.run(["git", *who, *words], cwd=site.tree, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(site: Site) -> str:
    git(site, "add", "-A")
    git(site, "commit", "-q", "--allow-empty", "-m", "x")
    return git(site, "rev-parse", "HEAD")


def bring_back(pristine: Path, folder: Path) -> None:
    """Make a folder the same as another: files that differ are rewritten with a new time, for cargo."""
    for path in sorted(folder.rglob("*"), reverse=True):
        # Compiling it again for each test would take a minute, with the same result.
        there = pristine / path.relative_to(folder)
        kept = "libtpm" in path.parts and there.parent.exists() and any(map(path.match, MADE))
        if not kept and not there.exists():
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()
    for path in sorted(pristine.rglob("*")):
        there = folder / path.relative_to(pristine)
        if path.is_dir():
            there.mkdir(exist_ok=True)
        elif not there.exists() or not filecmp.cmp(path, there, shallow=False) or there.is_symlink():
            there.unlink(missing_ok=True)
            shutil.copyfile(path, there)
            there.chmod(path.stat().st_mode)
