"""What a cache gives to a clean clone, and what it must not give: a result that a clean build would not have."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest
from cache_servers import Proxy, Servers, spoiler
from conftest import QEMU, Outcome, Site, at_work, environment, git, makefile_with_a_variable
from packages import OLD, TASK, WATCH_DATA, Environment, Package, replaced, write_as_old

from coconut_tasks.cache.archive import BadArchive, pack, unpack
from coconut_tasks.cache.limits import Limits
from coconut_tasks.cache.settings import find_settings
from coconut_tasks.cache.toolset import Toolset
from coconut_tasks.options import Options

pytestmark = [pytest.mark.long, pytest.mark.freshness]
COUNT = (
    'use std::io::Write; writeln!(fs::OpenOptions::new().create(true).append(true).open("{}").unwrap(), "x").unwrap();'
)


@dataclass
class Clones:
    """A package in a tree that can become a clean clone again, and a cache that all of its lives share."""

    package: Package
    cache: Path

    @property
    def site(self) -> Site:
        return self.package.site

    def build(self, *words: str, env: Environment | None = None) -> Outcome:
        variables = {"COCONUT_CACHE": str(self.cache), **(env or {})}
        outcome = self.package.build(*words, env=variables)
        outcome.out = re.sub(
            r"^version:git: .*\n", "", outcome.out, flags=re.MULTILINE
        )  # it always runs in a clean clone
        return outcome

    def clean(self) -> None:
        """Neither outputs nor anything of cargo's, as in a clone."""
        shutil.rmtree(self.site.bin, ignore_errors=True)
        shutil.rmtree(self.site.target, ignore_errors=True)

    def again(self, *words: str, env: Environment | None = None) -> Outcome:
        """A build in a clean clone."""
        self.clean()
        return self.build(*words, env=env)

    def fate(self, env: Environment | None = None) -> str:
        """What a run would do: ``runs``, or ``cached``."""
        words = ("why", "--json", TASK, self.site.recipe(self.package.recipe))
        told = json.loads(self.site.build(*words, env={"COCONUT_CACHE": str(self.cache), **(env or {})}).out)
        (fate,) = (step["fate"] for step in told["steps"] if step["name"] == TASK)
        return str(fate)

    @property
    def programs(self) -> Path:
        """A folder for other programs, which nothing finds unless PATH has it."""
        return self.cache.parent / "programs"

    @property
    def ran(self) -> int:
        """How often the build script ran."""
        count = self.site.folder / "count"
        return len(count.read_text().splitlines()) if count.exists() else 0


@pytest.fixture
def clones(lone_package: Package, tmp_path: Path) -> Iterator[Clones]:
    found = Clones(lone_package, tmp_path / "cache")
    lone_package.write_data(a="1")
    count = found.site.folder / "count"
    count.unlink(missing_ok=True)
    lone_package.write_script(f"{WATCH_DATA} {COUNT.format(count)}")
    yield found
    count.unlink(missing_ok=True)


def test_a_clean_clone_has_its_program_from_the_cache(clones: Clones) -> None:
    assert clones.build().built == {TASK}
    made = clones.package.programs
    again = clones.again()
    assert (again.cached, again.built, clones.package.programs, clones.ran) == ({TASK}, set(), made, 1)
    assert not (clones.site.target / "debug").exists()
    assert clones.build().out.startswith("up to date")
    assert "taken from the cache" in clones.site.log(TASK)


def test_nothing_is_cached_unless_it_is_asked_for(clones: Clones) -> None:
    clones.package.build()
    clones.clean()
    assert clones.package.build().built == {TASK}
    assert clones.again(env={"COCONUT_CACHE": "0"}).built == {TASK}
    assert not clones.cache.exists()


def test_a_line_in_the_users_configuration_turns_it_on(clones: Clones, tmp_path: Path) -> None:
    (tmp_path / "config" / "coconut-tasks").mkdir(parents=True)
    (tmp_path / "config" / "coconut-tasks" / "config.toml").write_text(f'cache = "{clones.cache}"\n')
    env: Environment = {"COCONUT_CACHE": None, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    clones.build(env=env)
    assert clones.again(env=env).cached == {TASK}
    assert clones.again("CACHE=0", env=env).built == {TASK}


def test_a_relative_path_in_the_configuration_starts_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "coconut-tasks" / "config.toml"
    file.parent.mkdir()
    file.write_text('cache = "shared"\ncache-ca = "ca.pem"\ncache-key = "/k.pem"\ncache-certificate = "~/c.pem"\n')
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": "/home/me"}
    for workdir in ("/", str(tmp_path)):
        found = find_settings(Options(environment=environment, workdir=workdir))
        assert found is not None
        assert (found.address, found.ca) == (str(file.parent / "shared"), str(file.parent / "ca.pem"))
        assert found.key == "/k.pem"
    for word, address in (("1", "/home/me/.cache/coconut-tasks/cache"), ("http://h/x", "http://h/x")):
        file.write_text(f'cache = "{word}"\n')
        found = find_settings(Options(environment=environment))
        assert found is not None and found.address == address
    file.write_text('cache = "off"\n')
    assert find_settings(Options(environment=environment)) is None


def test_one_in_the_users_own_folder_is_shared_by_all_checkouts(clones: Clones, tmp_path: Path) -> None:
    env: Environment = {"COCONUT_CACHE": None, "XDG_CACHE_HOME": str(tmp_path / "home")}
    clones.build("CACHE=1", env=env)
    assert clones.again("CACHE=1", env=env).cached == {TASK}
    assert (tmp_path / "home" / "coconut-tasks" / "cache").is_dir()


def test_what_is_only_read_is_not_written(clones: Clones) -> None:
    clones.build("CACHE_WRITE=0")
    assert not clones.cache.exists()
    clones.again()
    before = sorted(clones.cache.rglob("*"))
    clones.package.say("TWO")
    assert clones.again("CACHE_WRITE=0").built == {TASK}
    assert sorted(clones.cache.rglob("*")) == before


def test_an_edit_misses_and_its_undoing_hits(clones: Clones) -> None:
    clones.build()
    one = clones.package.programs
    clones.package.say("TWO")
    assert clones.again().built == {TASK}
    two = clones.package.programs
    assert one != two
    for mark, programs in (("ONE", one), ("TWO", two)):
        clones.package.say(mark)
        assert (clones.again().cached, clones.package.programs) == ({TASK}, programs)


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def first_in_path(clones: Clones, name: str, text: str) -> Environment:
    """An environment with another program of a name."""
    script(clones.programs / name, text)
    return {"PATH": f"{clones.programs}{os.pathsep}{os.environ['PATH']}"}


def another(name: str) -> Callable[[Clones], Environment]:
    return lambda clones: first_in_path(clones, name, f'exec "{shutil.which(name)}" "$@"')


def another_header(clones: Clones) -> Environment:
    folder = clones.cache.parent / "headers"
    folder.mkdir()
    (folder / "odd.h").write_text("#define ODD 1\n")
    return {"CPATH": str(folder)}


def another_libclang(clones: Clones) -> Environment:
    folder = clones.cache.parent / "clang"
    folder.mkdir()
    (folder / "libclang.so.1").write_text("not really\n")
    return {"LIBCLANG_PATH": str(folder)}


def another_home_of_cargo(clones: Clones) -> Environment:
    return {"CARGO_HOME": str(clones.cache.parent / "cargo-home")}


CHANGES: dict[str, Callable[[Clones], Environment]] = {
    "gcc": another("gcc"),
    "cc": another("cc"),
    "as": another("as"),
    "ld": another("ld"),
    "ar": another("ar"),
    "make": another("make"),
    "objcopy": another("objcopy"),
    "header": another_header,
    "libclang": another_libclang,
    "CARGO_HOME": another_home_of_cargo,
    "HOME": lambda clones: {"HOME": str(clones.cache.parent), "CARGO_HOME": os.path.expanduser("~/.cargo")},
    "locale": lambda clones: {"LC_ALL": "C"},
    "time zone": lambda clones: {"TZ": "Asia/Kathmandu"},
    "RUSTFLAGS": lambda clones: {"RUSTFLAGS": "-Copt-level=1"},
    "CFLAGS": lambda clones: {"CFLAGS": "-O1"},
    "CPPFLAGS": lambda clones: {"CPPFLAGS": "-DODD"},
    "LDFLAGS": lambda clones: {"LDFLAGS": "-s"},
    "RANLIB": lambda clones: {"RANLIB": "ranlib"},
    "OpenSSL's own": lambda clones: {"OPENSSL_LOCAL_CONFIG_DIR": str(clones.cache.parent)},
    "LIBRARY_PATH": lambda clones: {"LIBRARY_PATH": str(clones.cache.parent)},
}


def test_what_may_decide_bytes_is_in_the_key(clones: Clones) -> None:
    plain: Environment = {"RUSTUP_HOME": os.environ.get("RUSTUP_HOME") or os.path.expanduser("~/.rustup")}
    clones.build(env=plain)
    clones.clean()
    assert clones.fate(plain) == "cached"
    for change, made in CHANGES.items():
        assert clones.fate({**plain, **made(clones)}) == "runs", change
        shutil.rmtree(clones.programs, ignore_errors=True)
    assert clones.again(env=plain).cached == {TASK}


def test_the_umask_is_in_the_key(clones: Clones) -> None:
    site = clones.site
    recipe = site.recipe(clones.package.recipe)
    variables: Environment = {"COCONUT_CACHE": str(clones.cache)}

    def build(umask: str) -> set[str]:
        clones.clean()
        argv = ["sh", "-c", 'umask "$0"; exec "$@"', umask, *site.argv(TASK, recipe)]
        return site.run(argv, variables).cached

    assert [build(umask) for umask in ("022", "077", "077", "022")] == [set(), set(), {TASK}, {TASK}]


def test_a_toolchain_with_another_library_is_another_one(clones: Clones, tmp_path: Path) -> None:
    """The version is the same, as with two distributions' builds of one release."""
    from coconut_tasks.inputs.toolchain import Toolchain

    sysroot = tmp_path / "sysroot"
    library = sysroot / "lib" / "rustlib" / "x86_64-unknown-none" / "lib" / "libcore.rlib"
    library.parent.mkdir(parents=True)
    script(sysroot / "bin" / "rustc", "exit 0")
    toolchain = Toolchain("rustc 1", "cargo 1", str(sysroot))
    found = []
    for text in ("one", "two", "one"):
        library.write_text(text)
        found.append(Toolset(os.environ, tmp_path / "memory.json").rust(toolchain))
    assert found[0] != found[1] and found[0] == found[2]


def test_a_program_that_the_build_script_names_counts(clones: Clones) -> None:
    package = clones.package
    replaced(
        package.folder / "build.rs",
        "fn main() {",
        'fn main() { std::process::Command::new("odd-tool").status().unwrap();',
    )
    one = first_in_path(clones, "odd-tool", "exit 0")
    clones.build(env=one)
    assert clones.again(env=one).cached == {TASK}
    first_in_path(clones, "odd-tool", "exit 0 # another")
    assert clones.again(env=one).built == {TASK}


BY_PATH = {
    "variable of cargo": ("RUSTC_WRAPPER", ""),
    "variable of a compiler": ("CC", ""),
    "configuration": ("", '[target.odd]\nlinker = "TOOL"\n'),
}


@pytest.mark.parametrize("kind", BY_PATH)
def test_a_program_that_is_named_by_its_path_counts(clones: Clones, kind: str) -> None:
    """In PATH it is not."""
    tool = script(clones.package.folder.parent / "tools" / "odd", 'exec "$@"')
    name, configured = BY_PATH[kind]
    configuration = clones.package.configuration
    old = configuration.read_text()
    configuration.write_text(old + configured.replace("TOOL", str(tool)))
    env: Environment = {name: str(tool)} if name else {}
    try:
        clones.build(env=env)
        assert clones.again(env=env).cached == {TASK}
        script(tool, 'exec "$@" # another')
        assert clones.again(env=env).built == {TASK}
        assert clones.again(env=env).cached == {TASK}
    finally:
        configuration.write_text(old)
        shutil.rmtree(tool.parent)


def test_a_program_that_comes_later_counts(clones: Clones) -> None:
    """A build script may do without it."""
    line = 'let _ = std::process::Command::new("odd-tool").status();'
    replaced(clones.package.folder / "build.rs", "fn main() {", f"fn main() {{ {line}")
    clones.build()
    assert clones.again().cached == {TASK}
    assert clones.again(env=first_in_path(clones, "odd-tool", "exit 0")).built == {TASK}


@pytest.fixture(scope="module")
def known_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is remembered of this machine's tools, which takes a second to find out."""
    memory = tmp_path_factory.mktemp("tools") / "memory.json"
    tools = Toolset(os.environ, memory)
    tools.others()
    tools.save()
    return memory


@pytest.mark.parametrize("name", ["CC", "TARGET_CXX", "CARGO_TARGET_X86_64_UNKNOWN_NONE_LINKER"])
def test_headers_of_a_compiler_that_a_variable_names_count(tmp_path: Path, known_tools: Path, name: str) -> None:
    header = tmp_path / "headers" / "odd.h"
    header.parent.mkdir()
    said = f"#include <...> search starts here:\\n {header.parent}\\nEnd of search list.\\n"
    script(tmp_path / "programs" / "odd-cc", f"printf '{said}' >&2")
    env = {**os.environ, name: str(tmp_path / "programs" / "odd-cc")}
    found = []
    for text in ("1", "2", "1"):
        header.write_text(text)
        found.append(Toolset(env, known_tools).others())
    assert found[0] != found[1] and found[0] == found[2]


def test_who_builds_counts_if_a_build_script_names_it(clones: Clones) -> None:
    """In a checkout it is always the same."""
    replaced(clones.package.folder / "build.rs", "fn main() {", 'fn main() { let _ = env::var("USER");')
    clones.build(env={"USER": "one"})
    assert clones.again(env={"USER": "one"}).cached == {TASK}
    assert clones.again(env={"USER": "two"}).built == {TASK}


def test_a_variable_that_only_the_build_script_knows_counts(clones: Clones) -> None:
    replaced(clones.package.folder / "build.rs", "fn main() {", 'fn main() { let _ = env::var("ODD_ONE");')
    clones.build(env={"ODD_ONE": "1"})
    assert clones.again(env={"ODD_ONE": "1"}).cached == {TASK}
    assert clones.again(env={"ODD_ONE": "2"}).built == {TASK}
    assert clones.again().built == {TASK}


def test_new_files_and_removed_ones_count(clones: Clones) -> None:
    clones.build()
    clones.package.write_data(b="2")
    assert clones.again().built == {TASK}
    (clones.package.data / "b").unlink()
    assert clones.again().cached == {TASK}
    (clones.package.data / "a").unlink()
    assert clones.again().built == {TASK}


EDITED = """
import sys, time
from pathlib import Path
import coconut_tasks.actions.cached as cached
path, text, sys.argv = Path(sys.argv[1]), sys.argv[2], ["doit", *sys.argv[3:]]
real = cached.take
def take(*args):
    path.write_text(text)
    time.sleep(0.1)
    return real(*args)
cached.take = take
from doit.doit_cmd import DoitMain
sys.exit(DoitMain().run(sys.argv[1:]))
"""


def test_an_edit_right_before_a_result_is_taken_is_not_lost(clones: Clones) -> None:
    """The run looked at the file when it decided, perhaps minutes ago, and what it takes is of that state."""
    clones.build()
    clones.package.write_data(a="2")
    clones.build()
    clones.package.write_data(a="1")
    site = clones.site
    argv = site.argv(TASK, site.recipe(clones.package.recipe))
    argv[1:3] = ["-c", EDITED, str(clones.package.data / "a"), "3"]
    outcome = site.run(argv, {"COCONUT_CACHE": str(clones.cache)})
    assert outcome.status == 0, outcome.text
    clones.build()
    assert clones.package.programs == clones.package.made_from_nothing()


LOCKS = """
import sys
import coconut_tasks.actions.cached_units as units
real = units._cargo_lock
def lock(profile):
    print("locked", profile.parent.name, flush=True)
    return real(profile)
units._cargo_lock = lock
from doit.doit_cmd import DoitMain
sys.exit(DoitMain().run(sys.argv[1:]))
"""


@pytest.mark.parametrize("seed", ["0", "1", "2", "3"])
def test_the_folders_of_a_target_folder_are_locked_as_cargo_locks_them(clones: Clones, seed: str) -> None:
    """The host's before a target's: else each may wait for what the other has. Python's order of a set is another one in each run."""
    site = clones.site
    env: Environment = {"COCONUT_CACHE": str(clones.cache), "PYTHONHASHSEED": seed}
    clones.build()
    clones.package.say("TWO")
    clones.clean()
    argv = site.argv(TASK, site.recipe(clones.package.recipe))
    argv[1:3] = ["-c", LOCKS]
    outcome = site.run(argv, env)
    locked = [line.split()[1] for line in outcome.text.splitlines() if line.startswith("locked ")]
    assert len(locked) == 2 and locked[0] == site.target.name, outcome.text


def test_a_build_script_that_asks_git_is_known_by_the_commit(clones: Clones) -> None:
    """Else a clone of another commit would have this one's version in its program."""
    tree = clones.site.tree
    clones.package.build()  # cargo may rewrite the lock file
    (tree / ".gitignore").write_text("git_version.rs\n")
    try:
        git(clones.site, "init", "-q", "-b", "main")
        line = 'let _ = std::process::Command::new("git").arg("describe").status();'
        replaced(clones.package.folder / "build.rs", "fn main() {", f"fn main() {{ {line}")
        git(clones.site, "add", "-A")
        git(clones.site, "commit", "-q", "-m", "one")
        clones.again()
        assert clones.again().cached == {TASK}
        git(clones.site, "commit", "-q", "--allow-empty", "-m", "two")
        assert clones.again().built == {TASK}
    finally:
        shutil.rmtree(tree / ".git")
        (tree / ".gitignore").unlink()


def test_what_was_made_before_with_other_tools_is_not_shared(clones: Clones) -> None:
    """cargo and the records call it up to date, and for its user it is."""
    clones.build(env=another("gcc")(clones))
    shutil.rmtree(clones.cache)
    shutil.rmtree(clones.site.bin)
    assert clones.build().built == {TASK}
    assert clones.again().built == {TASK}


def test_what_make_kept_of_other_tools_is_not_shared(site: Site, tmp_path: Path) -> None:
    """make compares times, so it does not make the first part again."""
    text = "out/x: out/a out/b\n\t$(LD) -r -o $@ out/a out/b\n"
    for name in ("a", "b"):
        text += f"out/{name}: {name}.s\n\tmkdir -p out\n\t$(CC) -c -o $@ {name}.s\n"
        (site.tree / f"{name}.s").write_text(f'.globl {name}\n{name}: .ascii "1"\n')
    (site.tree / "Makefile").write_text(text)
    item = {"type": "make", "output_file": "out/x", "objcopy": "elf64-x86-64"}
    recipe = site.recipe({"igvm": {}, "kernel": {"svsm": {}, "tdx-stage1": item}})
    task = "kernel:tdx-stage1"
    clones = Clones(Package(site, {}), tmp_path / "cache")
    env: Environment = {"COCONUT_CACHE": str(clones.cache)}
    other = {**env, **another("cc")(clones)}

    def again() -> Outcome:
        shutil.rmtree(site.bin)
        shutil.rmtree(site.tree / "out", ignore_errors=True)
        return site.build(task, recipe, env=other)

    site.build(task, recipe, env=env)
    (site.tree / "b.s").write_text('.globl b\nb: .ascii "2"\n')
    assert task in site.build(task, recipe, env=other).built
    assert task in again().built
    assert again().cached == {task}


def test_what_cargo_kept_of_other_tools_is_not_shared_by_a_make_rule_that_calls_it(clones: Clones) -> None:
    site, task = clones.site, "kernel:tdx-stage1"
    host = f"{os.uname().machine}-unknown-linux-gnu"
    made = f"$(CARGO_TARGET_DIR)/{host}/debug/tst"
    build = f"cargo build --manifest-path user/tst/Cargo.toml --target {host}"
    (site.tree / "Makefile").write_text(
        f".PHONY: FORCE\nFORCE:\nout/x: FORCE\n\tmkdir -p out\n\t{build}\n\tcp {made} $@\n"
    )
    item = {"type": "make", "output_file": "out/x", "objcopy": "elf64-x86-64"}
    recipe = site.recipe({"igvm": {}, "kernel": {"svsm": {}, "tdx-stage1": item}})
    env: Environment = {"COCONUT_CACHE": str(clones.cache)}
    other = {**env, **another("cc")(clones)}

    def again() -> Outcome:
        clones.clean()
        shutil.rmtree(site.tree / "out")
        return site.build(task, recipe, env=other)

    site.build(task, recipe, env=env)
    clones.package.say("TWO")
    assert task in site.build(task, recipe, env=other).built
    assert task in again().built
    assert again().cached == {task}


def test_what_was_made_before_there_was_a_cache_is_not_shared(clones: Clones) -> None:
    clones.package.build()
    shutil.rmtree(clones.site.bin)
    assert clones.build().built == {TASK}
    assert clones.again().built == {TASK}


def test_a_crate_that_was_compiled_on_top_of_an_earlier_one_is_not_shared(clones: Clones) -> None:
    """rustc cuts it into other pieces than it would from nothing, and so the digest would be another one."""
    env: Environment = {"CARGO_INCREMENTAL": "1"}
    clones.build(env=env)
    clones.package.say("TWO")
    assert clones.build(env=env).built == {TASK}
    assert clones.again(env=env).built == {TASK}
    assert clones.again(env=env).cached == {TASK}
    clones.package.say("ONE")
    assert clones.again(env=env).cached == {TASK}


def test_what_rustc_keeps_to_compile_faster_goes_to_those_who_only_read(clones: Clones) -> None:
    """What is compiled on top of it is not shared, so who writes compiles from nothing."""
    env: Environment = {"CARGO_INCREMENTAL": "1"}

    def kept() -> set[str]:
        return {path.name for path in clones.site.target.glob("*/*/incremental/tst-*/s-*-*-*")}

    clones.build(env=env)
    (made,) = kept()
    clones.package.say("TWO")
    assert clones.again("CACHE_WRITE=0", env=env).built == {TASK}
    assert made in kept(), "rustc removes it once there are two newer ones"
    assert clones.package.programs == clones.package.made_from_nothing(env)
    states = clones.site.target.glob("*/*/incremental/tst-*")
    assert len(list(states)) == 1, "cargo went on with what was restored"
    assert clones.again(env=env).built == {TASK}
    assert clones.again(env=env).cached == {TASK}


def test_a_source_that_changed_during_the_build_is_not_shared(clones: Clones) -> None:
    env: Environment = {"COCONUT_CACHE": str(clones.cache)}
    old = os.environ.copy()
    os.environ.update({name: value for name, value in env.items() if value is not None})
    try:
        with clones.package.held(clones.package.hold) as reached:
            reached(clones.package.hold)
            clones.package.write_data(a="2")
    finally:
        os.environ.clear()
        os.environ.update(old)
    clones.package.write_data(a="1")
    assert clones.again().built == {TASK}


def test_an_edit_in_a_clean_clone_does_not_run_the_build_script_again(clones: Clones) -> None:
    clones.build()
    clones.package.say("TWO")
    assert (clones.again().built, clones.ran) == ({TASK}, 1)
    assert clones.package.programs == clones.package.made_from_nothing()


def test_what_a_build_script_read_decides_whether_its_run_is_restored(clones: Clones) -> None:
    clones.build()
    clones.package.write_data(a="2")
    assert (clones.again().built, clones.ran) == ({TASK}, 2)
    assert clones.package.programs == clones.package.made_from_nothing()


FETCHED = {
    "file": ("cargo:rerun-if-changed=FILE", 'std::fs::read_to_string("FILE").unwrap()'),
    "variable": ("cargo:rerun-if-changed=build.rs", 'std::env::var("FETCHED_VARIABLE").unwrap()'),
}


@pytest.mark.parametrize("kind", FETCHED)
def test_what_a_fetched_package_read_elsewhere_is_not_taken_for_the_present(
    clones: Clones, tmp_path: Path, kind: str
) -> None:
    """cargo compares a file's time with that of the restored run, which is newer, and it is not told of the variable."""
    fetched, file, package = tmp_path / "fetched", tmp_path / "elsewhere", clones.package
    told, read = (text.replace("FILE", str(file)) for text in FETCHED[kind])
    (fetched / "src").mkdir(parents=True)
    (fetched / "Cargo.toml").write_text('[package]\nname = "fetched"\nversion = "1.0.0"\nedition = "2024"\n')
    (fetched / "build.rs").write_text(
        f'fn main() {{ println!("{told}"); println!("cargo:rustc-env=READ={{}}", {read}); }}\n'
    )
    (fetched / "src" / "lib.rs").write_text('pub const READ: &str = env!("READ");\n')
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "a"]):
        subprocess.run(["git", *words], cwd=fetched, check=True)
    manifest = package.folder / "Cargo.toml"
    dependency = f'[dependencies]\nfetched = {{ git = "file://{fetched}" }}\n'
    manifest.write_text(manifest.read_text().replace("[workspace]\n", f"{dependency}[workspace]\n"))
    package.main.write_text(package.main.read_text().replace("MARK, ", "fetched::READ, "))
    for text in ("one", "two"):
        file.write_text(text)
        os.utime(file, (OLD, OLD))
        env: Environment = {"CARGO_HOME": str(tmp_path / "cargo-home"), "FETCHED_VARIABLE": text}
        assert clones.again(env=env).built == {TASK}
        assert package.programs == package.made_from_nothing(env)
        (package.main.parent / "other.rs").write_text("// only the finished program is another one")
        assert clones.again(env=env).built == {TASK}
        assert package.programs == package.made_from_nothing(env)
        (package.main.parent / "other.rs").unlink()


def test_a_restored_script_runs_again_if_its_source_is_replaced_by_an_older_one(clones: Clones) -> None:
    clones.build()
    clones.package.say("TWO")
    clones.again()
    (clones.package.data / "a").write_text("3")
    os.utime(clones.package.data / "a", (1_500_000_000, 1_500_000_000))
    clones.build()
    assert clones.package.programs == clones.package.made_from_nothing()


def member(package: Package, name: str, manifest: str = "", **files: str) -> None:
    """Another package of the workspace, in a folder of the lone one."""
    folder = package.folder / name
    (folder / "src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text(f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2024"\n{manifest}')
    for file, text in files.items():
        (folder / file.replace("__", "/").replace("_rs", ".rs")).write_text(text)


def test_what_was_made_with_another_state_of_a_crate_is_not_taken_with_the_present_one(clones: Clones) -> None:
    """Another item has compiled the crate anew, and cargo compares times: what is restored afterwards must not look newer."""
    package = clones.package
    asks = '[build-dependencies]\nhelper = { path = "PATH" }\n'
    member(package, "helper", src__lib_rs='pub const TEXT: &str = "one";\n')
    member(
        package,
        "other",
        asks.replace("PATH", "../helper"),
        build_rs='fn main() { println!("cargo:rustc-env=TEXT={}", helper::TEXT); }\n',
        src__main_rs='fn main() { println!("{}", env!("TEXT")); }\n',
    )
    manifest = package.folder / "Cargo.toml"
    replaced(manifest, "[workspace]\n", asks.replace("PATH", "helper") + '[workspace]\nmembers = ["helper", "other"]\n')
    script = package.folder / "build.rs"
    replaced(script, "let mut text = String::new();", "let mut text = String::from(helper::TEXT);")
    package.recipe["fs"]["modules"]["other"] = {"path": "/other", "manifest": "user/tst/other/Cargo.toml"}
    tasks = ("module:other", TASK)

    def both() -> set[str]:
        env: Environment = {"COCONUT_CACHE": str(clones.cache)}
        recipe = clones.site.recipe(package.recipe)
        return {name for task in tasks for name in clones.site.build(task, recipe, env=env).built} & set(tasks)

    both()  # cargo may rewrite the lock file
    clones.clean()
    shutil.rmtree(clones.cache)
    assert both() == set(tasks)
    (package.folder / "helper" / "src" / "lib.rs").write_text('pub const TEXT: &str = "two";\n')
    clones.clean()
    assert both() == set(tasks)
    assert package.programs == package.made_from_nothing()


def test_the_branch_counts_if_a_build_script_asks_for_it(clones: Clones) -> None:
    tree = clones.site.tree
    clones.package.build()  # cargo may rewrite the lock file
    (tree / ".gitignore").write_text("git_version.rs\n")
    try:
        git(clones.site, "init", "-q", "-b", "main")
        line = 'let _ = std::process::Command::new("git").args(["rev-parse", "--abbrev-ref", "HEAD"]).status();'
        replaced(clones.package.folder / "build.rs", "fn main() {", f"fn main() {{ {line}")
        git(clones.site, "add", "-A")
        git(clones.site, "commit", "-q", "-m", "one")
        clones.again()
        assert clones.again().cached == {TASK}
        git(clones.site, "checkout", "-q", "-b", "other")
        assert clones.again().built == {TASK}
    finally:
        shutil.rmtree(tree / ".git")
        (tree / ".gitignore").unlink()


def test_a_cache_in_a_folder_whose_name_is_not_utf8(clones: Clones) -> None:
    odd = clones.cache.with_name(os.fsdecode(b"caf\xe9"))
    found = Clones(clones.package, odd)
    assert found.build().built == {TASK}
    assert found.again().cached == {TASK}


def test_what_scripts_write_into_the_source_is_no_reason_to_miss(clones: Clones) -> None:
    made = clones.package.folder / "src" / "made.rs"
    clones.package.write_script(f'{WATCH_DATA} fs::write("src/made.rs", "pub const N: u8 = 1;\\n").unwrap();')
    clones.package.main.write_text(clones.package.main.read_text() + "mod made;\n#[used]\nstatic N: u8 = made::N;\n")
    clones.build()
    assert clones.build().built == set()
    assert clones.again().cached == {TASK}  # with what the script wrote
    made.unlink()
    assert clones.again().cached == {TASK}  # without it, as in a clone
    clones.package.say("TWO")
    clones.package.main.write_text(clones.package.main.read_text() + "mod made;\n#[used]\nstatic N: u8 = made::N;\n")
    assert clones.again().built == {TASK}
    assert made.exists()


def test_a_build_that_fails_with_what_was_restored_is_done_without_it(clones: Clones) -> None:
    """Nobody knows that this script writes there."""
    made = clones.site.folder / "made.txt"
    made.unlink(missing_ok=True)
    clones.package.write_script(f'{WATCH_DATA} fs::write("{made}", "made").unwrap();')
    text = f'#[used]\nstatic MADE: &str = include_str!("{made}");\n'
    clones.package.main.write_text(clones.package.main.read_text() + text)
    clones.build()
    made.unlink()
    clones.package.say("TWO")
    clones.package.main.write_text(clones.package.main.read_text() + text)
    assert clones.again().built == {TASK}
    assert made.read_text() == "made"
    made.unlink()


def test_what_stands_where_a_script_writes_counts(clones: Clones) -> None:
    test_what_scripts_write_into_the_source_is_no_reason_to_miss(clones)
    (clones.package.folder / "src" / "made.rs").write_text("pub const N: u8 = 7;\n")
    assert clones.again().built == {TASK}


def test_two_places_share_what_is_reproducible(clones: Clones, tmp_path: Path) -> None:
    env: Environment = {"CARGO_TARGET_DIR": None}
    assert clones.again("REPRODUCIBLE=1", env=env).built == {TASK}
    other = tmp_path / "elsewhere"
    shutil.copytree(clones.site.folder, other, ignore=shutil.ignore_patterns("bin", "target"), symlinks=True)
    there = Clones(Package(Site(other, clones.site.target), clones.package.recipe), clones.cache)
    there.site.recipe(there.package.recipe)
    assert there.build("REPRODUCIBLE=1", env=env).cached == {TASK}
    assert there.package.programs == clones.package.programs
    assert there.again(env=env).built == {TASK}, "a plain build may have its path in its bytes"


def test_why_and_plan_say_what_comes_from_the_cache(clones: Clones) -> None:
    env: Environment = {"COCONUT_CACHE": str(clones.cache)}
    recipe = clones.site.recipe(clones.package.recipe)

    def said(*words: str) -> str:
        return clones.site.doit(*words, TASK, recipe, env=env).out

    assert clones.fate() == "runs"
    clones.build()
    clones.clean()
    assert clones.fate() == "cached"
    assert "from the cache" in said("why") and "from the cache" in said("plan")
    assert "cargo build" not in said("plan")
    assert not (clones.site.bin / ".coconut" / "parts").exists(), "nothing is fetched"
    clones.package.say("TWO")
    assert clones.fate() == "runs"


def test_who_asks_for_every_step_or_for_cargo_is_not_served_from_the_cache(clones: Clones) -> None:
    clones.build()
    assert clones.again("ASK_CARGO=1").built == {TASK}
    clones.build()
    recipe = clones.site.recipe(clones.package.recipe)
    env: Environment = {"COCONUT_CACHE": str(clones.cache)}
    outcome = clones.site.doit("run", "--always-execute", TASK, recipe, env=env)
    assert (outcome.built & {TASK}, outcome.cached) == ({TASK}, set())


def test_a_run_with_nothing_to_do_imports_nothing_of_the_cache(clones: Clones) -> None:
    """Not even if its server is not there."""
    clones.build()
    site = clones.site
    words = [
        "-X",
        "importtime",
        "-m",
        "doit",
        TASK,
        site.recipe(clones.package.recipe),
        f"SVSM={site.tree_name}",
        "BIN=bin",
    ]
    env: Environment = {"COCONUT_CACHE": "grpc://127.0.0.1:1/x", "PYTHONWARNINGS": None}
    outcome = site.run([sys.executable, *words], env)
    assert outcome.out.startswith("up to date")
    loaded = set(re.findall(r"([\w.]+)$", outcome.err, re.MULTILINE))
    assert "coconut_tasks.tasks.node" in loaded
    heavy = ("coconut_tasks.cache", "coconut_tasks.actions.cached", "grpc", "urllib3", "google")
    assert not {name for name in loaded if name.startswith(heavy)}
    assert outcome.ids <= {"no-init"}


def test_a_server_that_is_not_there_costs_one_line(clones: Clones) -> None:
    for scheme in ("http", "https", "grpc", "grpcs"):
        outcome = clones.again(env={"COCONUT_CACHE": f"{scheme}://127.0.0.1:1/x"})
        assert (outcome.built, len(outcome.told("cache-off"))) == ({TASK}, 1)


def test_a_full_disk_costs_one_line(clones: Clones) -> None:
    site = clones.site
    code = "import errno, sys; from coconut_tasks.cache.store import Receiver\n"
    code += "def write(self, data): raise OSError(errno.ENOSPC, 'No space left on device')\n"
    code += "Receiver.write = write; from doit.doit_cmd import DoitMain; sys.exit(DoitMain().run(sys.argv[1:]))"
    clones.clean()
    argv = [sys.executable, "-c", code, *site.argv(TASK, site.recipe(clones.package.recipe))[3:]]
    outcome = site.run(argv, {"COCONUT_CACHE": str(clones.cache)})
    assert (outcome.status, outcome.built & {TASK}, len(outcome.told("cache-off"))) == (0, {TASK}, 1)
    assert not [path for path in clones.cache.rglob("*") if path.is_file() and path.name != "CACHEDIR.TAG"]
    assert clones.again().built == {TASK}


def test_names_in_the_cache_have_no_path_of_the_machine(clones: Clones) -> None:
    clones.build()
    texts = [path.read_bytes() for path in clones.cache.rglob("*") if path.is_file()]
    texts = [text for text in texts if b'"stem"' in text[:200] or b'"files"' in text]
    assert len(texts) >= 3
    for place in (clones.site.folder, clones.site.target, Path.home(), clones.cache):
        assert not [text for text in texts if os.fsencode(place) in text]


@pytest.mark.parametrize("damage", [b"", b"x", None])
def test_a_damaged_cache_costs_a_build_and_is_mended(clones: Clones, damage: bytes | None) -> None:
    clones.build()
    made = clones.package.programs
    for path in [path for path in clones.cache.rglob("*") if path.is_file()]:
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage)
    assert (clones.again().built, clones.package.programs) == ({TASK}, made)
    assert clones.again().cached == {TASK}


def test_a_blob_with_another_content_of_the_same_size_is_not_used(clones: Clones) -> None:
    clones.build()
    made = clones.package.programs
    for path in clones.cache.glob("v1/cas/*/*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert (clones.again().built, clones.package.programs) == ({TASK}, made)
    assert clones.again().cached == {TASK}


def test_a_cache_that_cannot_be_used_costs_one_line(clones: Clones) -> None:
    clones.cache.write_text("a file, not a folder")
    for _ in range(2):
        outcome = clones.again()
        assert outcome.built == {TASK}
        assert len(outcome.told("cache-off")) == 1


def test_an_address_that_is_none_is_told_without_its_password(clones: Clones) -> None:
    outcome = clones.again(env={"COCONUT_CACHE": "ftp://me:secret@host/x"})
    assert outcome.built == {TASK}
    assert len(outcome.told("cache-off")) == 1
    assert "secret" not in outcome.text


def test_builds_do_not_see_what_is_set_for_the_cache(clones: Clones) -> None:
    seen = clones.site.folder / "seen"
    clones.package.write_script(
        f'let all: String = env::vars().map(|(n, v)| format!("{{n}}={{v}}\\n")).collect(); fs::write("{seen}", all).unwrap();'
    )
    clones.build(env={"COCONUT_CACHE_HEADERS": "Authorization: Bearer s3cr3t"})
    text = seen.read_text()
    seen.unlink()
    assert "PATH=" in text and "COCONUT_CACHE" not in text
    kept = [path for path in clones.site.bin.rglob("*") if path.is_file() and b"s3cr3t" in path.read_bytes()]
    assert kept == []


REMOTE = ("nginx", "nginx-tls", "buildgrid", "buildgrid-tls")


def through(servers: Servers, name: str, port: int | None = None) -> Environment:
    """The variables for a cache behind a server."""
    settings = servers.kind(name).settings
    address = settings.address if port is None else re.sub(r":\d+/", f":{port}/", settings.address)
    return {
        "COCONUT_CACHE": address.replace("localhost", "127.0.0.1") if port else address,
        "COCONUT_CACHE_CA": settings.ca,
        "COCONUT_CACHE_CERTIFICATE": settings.certificate,
        "COCONUT_CACHE_KEY": settings.key,
    }


@pytest.mark.parametrize("name", REMOTE)
def test_real_servers_give_a_clean_clone_what_a_folder_gives(clones: Clones, servers: Servers, name: str) -> None:
    env = through(servers, name)
    assert clones.build(env=env).built == {TASK}
    made = clones.package.programs
    assert (clones.again(env=env).cached, clones.package.programs, clones.ran) == ({TASK}, made, 1)
    clones.package.say("TWO")
    assert (clones.again(env=env).built, clones.ran) == ({TASK}, 1)
    assert clones.package.programs == clones.package.made_from_nothing()


IMPATIENT = """
import sys
from coconut_tasks.cache import http, remote
from coconut_tasks.cache.limits import Limits
http.Limits = remote.Limits = lambda: Limits(silence=2, base=5)
from doit.doit_cmd import DoitMain
sys.exit(DoitMain().run(sys.argv[1:]))
"""
"""It would take half a minute to wait for servers that say nothing as long as users do."""


@pytest.mark.parametrize("name", ["nginx", "buildgrid"])
def test_faults_on_the_way_cost_a_build_and_a_line(clones: Clones, servers: Servers, name: str) -> None:
    clones.build(env=through(servers, name))
    made = clones.package.programs
    port = int(servers.kind(name).settings.address.split("/")[2].rpartition(":")[2])
    chance = random.Random(name)
    site, ends = clones.site, []
    argv = site.argv(TASK, site.recipe(clones.package.recipe))
    argv[1:3] = ["-c", IMPATIENT]
    for _ in range(5):
        clones.clean()
        with Proxy(port, lambda: spoiler(chance, 1 << 19) if chance.random() < 0.8 else None) as proxy:
            outcome = site.run(argv, through(servers, name, proxy.port))
        assert (outcome.status, clones.package.programs) == (0, made), outcome.text
        assert len(outcome.told("cache-off")) <= 1
        ends.append((bool(outcome.cached), len(outcome.told("cache-off"))))
    assert len(set(ends)) > 1, ends


CRASH = """
import importlib, os, signal, sys
place, calls, sys.argv = sys.argv[1], int(sys.argv[2]), ["doit", *sys.argv[3:]]
module, *names = place.split(":")
owner = importlib.import_module(f"coconut_tasks.{module}")
for name in names[:-1]:
    owner = getattr(owner, name)
real, left = getattr(owner, names[-1]), [calls]
def crash(*args, **named):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **named)
setattr(owner, names[-1], crash)
from doit.doit_cmd import DoitMain
sys.exit(DoitMain().run(sys.argv[1:]))
"""
WRITING = ("cache.folder:FolderStore:upload", "cache.folder:FolderStore:put_result", "cache.store:Receiver:write",
           "cache.store:Receiver:_check", "actions.cached_units:pack", "cache.unit_notes:UnitNotes:note_blob")  # fmt: skip
READING = ("cache.store:Receiver:write", "actions.cached_units:unpack", "cache.archive:_extract",
           "actions.cached_units:CachedUnits:_vouch", "inputs.fingerprints:Fingerprints:vouch",
           "cache.unit_notes:UnitNotes:note_list", "cache.unit_notes:UnitNotes:note_tools")  # fmt: skip


def killed_at(clones: Clones, place: str, calls: int) -> None:
    """A build that is killed when it calls a function once more than so often."""
    site = clones.site
    argv = site.argv(TASK, site.recipe(clones.package.recipe))
    argv[1:3] = ["-c", CRASH, place, str(calls)]
    env = {**environment(site.target), "COCONUT_CACHE": str(clones.cache)}
    done = subprocess.run(argv, cwd=site.folder, env=env, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


def test_a_kill_while_the_cache_is_written_spoils_nothing(clones: Clones) -> None:
    made = clones.package.made_from_nothing()
    for place in WRITING:
        clones.clean()
        shutil.rmtree(clones.cache, ignore_errors=True)
        killed_at(clones, place, 1)
        clones.again()
        assert clones.package.programs == made, place
        assert clones.again().cached == {TASK}, place


def test_a_kill_while_crates_are_restored_spoils_nothing(clones: Clones, tmp_path: Path) -> None:
    clones.build()
    first = clones.cache.rename(tmp_path / "first")
    made = {}
    for data in ("1", "2"):
        clones.package.say("TWO")
        clones.package.write_data(a=data)
        made[data] = clones.package.made_from_nothing()
    for place in READING:
        write_as_old(clones.package.data / "a", "1")
        clones.clean()
        shutil.rmtree(clones.cache, ignore_errors=True)
        shutil.copytree(first, clones.cache)
        killed_at(clones, place, 0)
        clones.build()
        assert clones.package.programs == made["1"], place
        clones.package.write_data(a="2")
        clones.build()
        assert clones.package.programs == made["2"], place


def test_an_archive_gives_back_files_folders_links_and_modes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "build" / "out" / "empty").mkdir(parents=True)
    (source / "build" / "out" / "text").write_text("1")
    script(source / "build" / "program", "exit 0")
    (source / "build" / "link").symlink_to("out/text")
    (source / "other").write_text("not asked for")
    pack(source, ["build"], tmp_path / "archive")
    unpack(tmp_path / "archive", tmp_path / "target", 1_000_000_000, 0o022)
    found = tmp_path / "target" / "build"
    assert sorted(str(path.relative_to(found)) for path in found.rglob("*")) == [
        "link",
        "out",
        "out/empty",
        "out/text",
        "program",
    ]
    assert (os.readlink(found / "link"), (found / "out" / "text").read_text()) == ("out/text", "1")
    assert [(found / name).stat().st_mode & 0o777 for name in ("program", "out/text")] == [0o755, 0o644]
    assert {path.stat().st_mtime_ns for path in (found / "program", found / "out" / "text")} == {1_000_000_000}


def test_two_builds_of_the_same_unit_give_one_archive(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "out").mkdir(parents=True)
        for file in ("b", "a") if name == "two" else ("a", "b"):
            (folder / "out" / file).write_text(file)
        os.utime(folder / "out" / "a", (len(name), 7 if name == "one" else 8))
        pack(folder, ["out"], tmp_path / f"{name}.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


@pytest.mark.parametrize("kind", ["outside", "absolute", "through a link", "twice", "device", "torn"])
def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path: Path, kind: str) -> None:
    import tarfile

    archive, outside = tmp_path / "archive", tmp_path / "outside"
    outside.mkdir()
    with tarfile.open(archive, "w") as tar:
        names = {"outside": ["../outside/x"], "absolute": [f"{outside}/x"], "twice": ["a", "a"], "torn": ["a"] * 1}
        for name in names.get(kind, []):
            tar.addfile(tarfile.TarInfo(name))
        if kind == "through a link":
            link = tarfile.TarInfo("a")
            link.type, link.linkname = tarfile.SYMTYPE, str(outside)
            tar.addfile(link)
            tar.addfile(tarfile.TarInfo("a/x"))
        if kind == "device":
            device = tarfile.TarInfo("a")
            device.type = tarfile.FIFOTYPE
            tar.addfile(device)
    if kind == "torn":
        archive.write_bytes(b"x" * 700)
    with pytest.raises((BadArchive, OSError)):
        unpack(archive, tmp_path / "target", 1, 0o022)
    assert list(outside.iterdir()) == []


def test_what_make_makes_is_cached_too(site: Site, tmp_path: Path) -> None:
    makefile_with_a_variable(site)
    content = deepcopy(QEMU)
    content["kernel"]["tdx-stage1"] = {"type": "make", "output_file": "bin/stage1-trampoline", "objcopy": "binary"}
    task, recipe = "kernel:tdx-stage1", site.recipe(content)

    def again(**more: str) -> tuple[bool, bytes]:
        for made in (site.bin, site.tree / "bin"):
            shutil.rmtree(made, ignore_errors=True)
        outcome = site.build(task, recipe, env={"COCONUT_CACHE": str(tmp_path / "cache"), **more})
        (program,) = site.bin.glob(".coconut/parts/tdx-stage1-*/tdx-stage1")
        assert site.build(task, recipe, env={**more}).built == set()
        return task in outcome.cached, program.read_bytes()

    was_cached, first = again()
    assert not was_cached
    assert again() == (True, first)
    assert again(FLAVOUR="1")[0] is False
    assert again(FLAVOUR="1")[0] is True
    source = site.tree / "stage1" / "stage1.S"
    text = source.read_text()
    source.write_text(f"{text}\n/* another */\n")
    assert again()[0] is False
    source.write_text(text)
    assert again() == (True, first)


def test_who_interrupts_a_run_does_not_wait_for_uploads(clones: Clones) -> None:
    """Its server takes a connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site = clones.site
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        code = (
            "import sys, threading; from coconut_tasks.cache.cache import Cache; from coconut_tasks.cache.open import open_store;"
            "from coconut_tasks.cache.settings import Settings; from coconut_tasks.cache.store import Blob, Result;"
            f"cache = Cache(open_store(Settings({address!r})), print, write=True);"
            "cache.keep(lambda: ({'ab' * 32: Result()}, {Blob('cd' * 32, 1): b'1'}));"
            "print('sending', flush=True); sys.stdin.read()"
        )
        with at_work(
            [sys.executable, "-c", code], site.folder, os.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as run:
            connection, _ = listener.accept()
            with connection:
                assert run.stdin is not None
                began = time.monotonic()
                run.stdin.close()
                assert run.wait(60) == 0
                assert time.monotonic() - began < Limits().silence / 2
