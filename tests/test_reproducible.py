"""The same bytes: always on the same machine in the same place, and with REPRODUCIBLE=1 anywhere; and how a difference is found."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import DODO, QEMU, Outcome, Site, at_work, copy_sample, host_triple, kernel_with_a_c_library
from igvm_files import data_at, header, igvm, page, platform, vp_context

from coconut_tasks.compare.reproduce import both_conditions, diffoscope
from coconut_tasks.compare.reproduction import Different, Reproduction
from coconut_tasks.compare.spots import elf_regions, igvm_regions, pieces, spot_text, spots, strings_with
from coconut_tasks.errors import StepError
from coconut_tasks.inputs.environment import reproducible_environment
from coconut_tasks.inputs.version import commit_time, repository
from coconut_tasks.layout import Layout
from coconut_tasks.options import Options, from_words
from coconut_tasks.plan.context import PlanContext
from coconut_tasks.plan.plan import Plan, plan_recipes
from coconut_tasks.recipe.load import load_recipe
from coconut_tasks.reports.reproduced import reproduced_text
from coconut_tasks.reproducible.compilers import compilers
from coconut_tasks.reproducible.remap import by_length, cargo_config, machine_prefixes, read_configurations

pytestmark = pytest.mark.long
MODULES: dict[str, Any] = {"userinit": {"path": "/init"}, "hello": {"path": "/bin/hello"}}
KERNEL: dict[str, Any] = {"igvm": {}, "kernel": {"svsm": {}}}
LEAK = '\n#[used]\nstatic WHERE: &str = concat!("made in ", env!("CARGO_MANIFEST_DIR"), "\\n");\n'
"""No compiler flag reaches a path that is a string in the source."""

# Always


def in_manner(site: Site, umask: str, *words: str) -> Outcome:
    shell = ["sh", "-c", f'umask {umask}; exec "$0" "$@"', sys.executable, "-m", "doit"]
    outcome = site.run([*shell, *words, f"SVSM={site.tree_name}", "BIN=bin"])
    assert outcome.status == 0, outcome.text
    return outcome


def turned(value: Any) -> Any:
    return {key: turned(inner) for key, inner in reversed(value.items())} if isinstance(value, dict) else value


def test_umask_jobs_and_the_order_of_keys_change_no_byte(site: Site) -> None:
    content = {**QEMU, "fs": {"modules": MODULES}}
    in_manner(site, "022", "-n", "1", site.recipe(content))
    first = site.contents()
    shutil.rmtree(site.bin)
    in_manner(site, "077", "-n", "4", site.recipe(turned(content)))
    differ = {name for name, content in site.contents().items() if first[name] != content}
    assert differ == {"q.igvm.provenance.json"} and len(first) == len(site.contents()), "it names the recipe's bytes"
    # Packed files look the same for everybody, even to a packer that keeps modes and times.
    (root,) = site.bin.glob(".coconut/parts/fs-*/root")
    found = {str(path.relative_to(root)): path.stat() for path in (root, *root.rglob("*"))}
    assert set(found) == {".", "init", "bin", "bin/hello"}
    assert {stat.S_IMODE(one.st_mode) for one in found.values()} == {0o755}
    assert {one.st_mtime for one in found.values()} == {0}
    # The user's own files keep the user's permissions.
    assert stat.S_IMODE((site.bin / "q.igvm").stat().st_mode) == 0o600


# Plans


def plan(content: dict[str, Any], **options: Any) -> Plan:
    context = PlanContext(Options(workdir="/home/me", **options), Layout("bin"))
    return plan_recipes([load_recipe("a.json", json.dumps(content).encode())], context)


def test_it_is_off_by_default_and_both_front_ends_have_it() -> None:
    assert not Options().reproducible
    assert not from_words([], {"REPRODUCIBLE": "1"}, "/").reproducible
    assert from_words(["REPRODUCIBLE=1"], {}, "/").reproducible


def test_each_cargo_command_gets_the_configuration_spelt_alike_in_every_clone_and_no_other_command_changes() -> None:
    content = {**QEMU, "fs": {"modules": MODULES}}
    plain, other = plan(content), plan(content, reproducible=True)
    words = ("--config", "bin/.coconut/reproducible/config.toml")
    for old, new in zip(plain.steps, other.steps, strict=True):
        for a, b in zip(old.commands, new.commands, strict=True):
            assert "--config" not in a.argv
            assert (b.argv[-2:] == words) is (a.argv[0] == "cargo")


def test_it_shares_no_file_with_a_plain_build_also_of_make_items() -> None:
    content = {**QEMU, "kernel": {"svsm": {"type": "make", "output_file": "bin/x.elf"}}}
    outputs = [{path for step in plan(content, reproducible=r).steps for path in step.outputs} for r in (False, True)]
    assert outputs[0] & outputs[1] == {"release/src/git_version.rs"}


# The environment


def test_a_reproducible_environment_has_what_finds_programs_and_fetches_and_nothing_else_of_the_users() -> None:
    kept = {
        "PATH": "/bin",
        "HOME": "/h",
        "USER": "u",
        "TMPDIR": "/t",
        "CARGO_HOME": "/c",
        "RUSTUP_HOME": "/r",
        "RUSTUP_TOOLCHAIN": "stable",
        "https_proxy": "p",
        "NO_PROXY": "n",
        "SSL_CERT_FILE": "s",
        "GIT_DIR": "/g",
        "CARGO_HTTP_CAINFO": "c",
        "CARGO_NET_OFFLINE": "true",
        "CARGO_REGISTRIES_X_TOKEN": "t",
        "FW_FILE": "f",
        "CARGO_TERM_QUIET": "true",
        "GIT_CONFIG_COUNT": "0",
    }
    gone = {
        "RUSTFLAGS": "-g",
        "CARGO_TARGET_DIR": "/x",
        "CARGO_PROFILE_DEV_OPT_LEVEL": "3",
        "CFLAGS": "-O1",
        "CC": "c",
        "RUSTC_WRAPPER": "w",
        "MAKEFLAGS": "-j",
        "LANG": "tr_TR",
        "LC_CTYPE": "x",
        "RELEASE": "1",
        "FW_OTHER": "f",
        "CARGO_INCREMENTAL": "1",
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "de_DE",
        "XPATH": "x",
        "PATHX": "x",
    }
    found = reproducible_environment({**kept, **gone}, ["FW_FILE", "NOT_SET"], 7, "/compilers")
    fixed = {"LC_ALL": "C", "TZ": "UTC", "SOURCE_DATE_EPOCH": "7", "CARGO_INCREMENTAL": "0"}
    assert found == {**kept, **fixed, "PATH": "/compilers:/bin"}
    assert reproducible_environment({}, [], 7, "/compilers")["PATH"] == f"/compilers:{os.defpath}"


def test_the_time_is_the_users_else_the_commits_else_a_fixed_one() -> None:
    for given, commit, wanted in (({"SOURCE_DATE_EPOCH": "5"}, 7, "5"), ({}, 7, "7"), ({}, None, "315532800")):
        assert reproducible_environment(given, [], commit, "/c")["SOURCE_DATE_EPOCH"] == wanted


def test_git_says_when_the_commit_was_made_and_where_the_repository_is(tmp_path: Path) -> None:
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path), "GIT_COMMITTER_DATE": "1234567890 +0000"}
    folder = tmp_path / "tree"
    folder.mkdir()
    assert commit_time(str(folder), environment) is None
    assert repository(str(folder), environment) == {}
    git = ["git", "-c", "user.name=x", "-c", "user.email=x"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *words], cwd=folder, env=environment, check=True)
    assert commit_time(str(folder), environment) == 1234567890
    assert repository(str(folder), environment) == {"GIT_DIR": str(folder / ".git"), "GIT_WORK_TREE": str(folder)}


# Compilers


class Compilers:
    """A folder with scripts for programs in PATH, in a path that needs quotes."""

    def __init__(self, folder: Path, *first: Path) -> None:
        self.folder = folder / 'it\'s "one" $HOME *'
        self.source = self.folder / "deep" / "x.c"
        self.source.parent.mkdir(parents=True)
        self.source.write_text("const char *where = __FILE__;\n")
        scripts = self.folder / "compilers"
        scripts.mkdir()
        self.path = os.pathsep.join([*map(str, first), os.environ["PATH"]])
        prefixes = by_length([(str(self.source.parent), "/special"), (str(self.folder), "/general")])
        self.flags = [f"-ffile-prefix-map={old}={new}" for old, new in prefixes]
        for name, text in compilers(f"{scripts}:{self.path}", str(scripts), prefixes):
            (scripts / name).write_text(text)
            (scripts / name).chmod(0o755)
        self.scripts = scripts

    def run(self, *argv: str, before: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
        path = f"{before}{self.scripts}:{self.path}"
        # Like execvp: by the PATH of the new process.
        return subprocess.run(
            ["/usr/bin/env", *argv], env={"PATH": path}, cwd=self.folder, capture_output=True, text=True, **more
        )


@pytest.fixture
def drivers(tmp_path: Path) -> Compilers:
    return Compilers(tmp_path)


def test_which_programs_are_compilers(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    yes = [
        *("cc", "gcc", "g++", "c++", "cpp", "c89", "c99", "clang", "clang++", "gcc-12", "clang-19", "clang++-19", "gcc-4.9"),
        *("x86_64-linux-gnu-gcc", "x86_64-linux-gnu-g++-12", "arm-none-eabi-cpp", "c99-gcc", "x86_64-unknown-none-cc"),
    ]  # fmt: skip
    no = [
        "gcc-ar",
        "gcc-nm-12",
        "clang-format",
        "clang-tidy-19",
        "ccache",
        "icc",
        "tcc",
        "rustc",
        "ld",
        "as",
        "cc1",
        "gccgo",
        "c++filt",
    ]
    for name in (*yes, *no, "not-executable-cc"):
        (tmp_path / "b" / name).write_text("")
        (tmp_path / "b" / name).chmod(0o644 if name == "not-executable-cc" else 0o755)
    (tmp_path / "a" / "gcc").symlink_to("../b/gcc-12")
    (tmp_path / "a" / "cc").symlink_to("nowhere")
    (tmp_path / "b" / "folder-cc").mkdir()
    found = dict(compilers(f".:{tmp_path}/none:{tmp_path}/a::{tmp_path}/b:{tmp_path}/own", f"{tmp_path}/own", []))
    assert set(found) == set(yes)
    # The first one in PATH, by its name there.
    assert f"exec {tmp_path}/a/gcc " in found["gcc"] and f"exec {tmp_path}/b/cc " in found["cc"]


def test_a_compiler_takes_the_most_special_name_whatever_flags_it_gets(drivers: Compilers) -> None:
    """It uses the last prefix that matches, so the order of the flags counts."""
    for name in ("cc", "gcc"):
        assert drivers.run(name, "-O1", "-c", str(drivers.source), "-o", "x.o").returncode == 0
        data = (drivers.folder / "x.o").read_bytes()
        assert b"/special/x.c" in data and os.fsencode(drivers.folder) not in data
    theirs = f"-ffile-prefix-map={drivers.source.parent}=/theirs"
    assert '"/theirs/x.c"' in drivers.run("cc", theirs, "-E", str(drivers.source)).stdout


def test_a_compiler_does_whatever_else_it_is_called_for(drivers: Compilers) -> None:
    def same(*argv: str, **more: Any) -> str:
        ours = drivers.run(*argv, **more)
        plain = subprocess.run(argv, cwd=drivers.folder, capture_output=True, text=True, **more)
        assert (ours.returncode, ours.stdout) == (plain.returncode, plain.stdout), ours.stderr
        assert len(ours.stderr.splitlines()) == len(plain.stderr.splitlines())
        return ours.stdout

    assert same("gcc", "--version")
    assert same("gcc", "-print-file-name=libc.so") and same("gcc", "-dumpmachine")
    same("gcc")
    same("gcc", "-c", "not-there.c")
    assert "int x;" in same("gcc", "-E", "-x", "c", "-", input="int x;\n")
    assert "int x;" in same("cpp", "-P", input="int x;\n")
    assert ".text" in same("gcc", "-S", "-x", "c", "-", "-o", "-", input="int f(void) { return 1; }\n")
    (drivers.folder / "main.c").write_text('#include <stdio.h>\nint main(void) { return puts("a b\\n$x") < 0; }\n')
    (drivers.folder / "words").write_text("-c main.c\n-o 'main 1.o'\n")
    same("gcc", "@words")
    same("gcc", "main 1.o", "-o", "main")
    assert subprocess.run([str(drivers.folder / "main")], capture_output=True).stdout == b"a b\n$x\n"
    same("gcc", "-Wl,-r", "-nostdlib", "main 1.o", "-o", "main 2.o")
    assert "empty argument" in same("gcc", "-E", "-DX=", "-x", "c", "-", input="empty argument\n")


def test_a_compiler_that_looks_for_the_real_one_in_path_finds_it(tmp_path: Path) -> None:
    """ccache has links by the compilers' names in front of PATH, and skips what is a link to itself; c99 is a script that calls gcc."""
    place, program = tmp_path / "ccache-links", tmp_path / "ccache"
    place.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        'echo "ccache as ${0##*/}" >&2\n'
        "IFS=:\n"
        "for folder in $PATH; do\n"
        '    [ "$folder" = "${0%/*}" ] || [ ! -x "$folder/${0##*/}" ] || exec "$folder/${0##*/}" "$@"\n'
        "done\n"
    )
    program.chmod(0o755)
    (place / "gcc").symlink_to(program)
    (place / "c99").write_text('#!/bin/sh\nexec gcc -std=c99 "$@"\n')
    (place / "c99").chmod(0o755)
    drivers = Compilers(tmp_path, place)
    for before in ("", "/nowhere:", "/nowhere:/neither:"):
        for name in ("gcc", "c99"):
            done = drivers.run(name, "-E", str(drivers.source), before=before, timeout=20)
            assert done.returncode == 0 and '"/special/x.c"' in done.stdout, done.stderr
            assert done.stderr.splitlines() == ["ccache as gcc"]


# Names for paths


def test_the_most_special_prefix_stands_last_and_the_root_is_none(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    home = str(tmp_path / "link")
    found = by_length(
        machine_prefixes("/home/me/svsm", "/home/me/svsm/bin", "/home/me/svsm/bin/t", {"CARGO_HOME": home})
    )
    assert [pair for pair in found if pair[0].startswith("/home")] == [
        ("/home/me/svsm", "/svsm"),
        ("/home/me/svsm/bin", "/bin"),
        ("/home/me/svsm/bin/t", "/target"),
    ]
    assert {(home, "/cargo"), (str(tmp_path / "real"), "/cargo"), (f"{home}/git", "/cargo/git")} <= set(found)
    assert by_length([("/", "/svsm"), ("/x", "/y"), ("/x", "/y")]) == [("/x", "/y")]


@pytest.mark.parametrize(
    ("tree", "wanted"),
    [
        ("", {"ours"}),
        ("[build]\nrustflags = ['--cfg', 'theirs']", {"theirs", "ours"}),
        ("[target.HOST]\nrustflags = ['--cfg', 'theirs']", {"theirs", "ours"}),
        ("[target.'cfg(unix)']\nrustflags = ['--cfg', 'theirs']", {"theirs", "ours"}),
        ("[target.HOST]\nrustflags = '--cfg theirs'", {"theirs", "ours"}),
        ("[build]\nrustflags = '--cfg theirs'", {"theirs", "ours"}),
        ("[target.other]\nrustflags = ['--cfg', 'no']\n[build]\nrustflags = ['--cfg', 'theirs']", {"theirs", "ours"}),
        ("[target.HOST]\nrustflags = ['--cfg', 'theirs']\n[build]\nrustflags = ['--cfg', 'no']", {"theirs", "ours"}),
    ],
)
def test_our_flags_join_the_trees_own_whichever_way_those_are_given(
    tree: str, wanted: set[str], tmp_path: Path
) -> None:
    (tmp_path / ".cargo").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "lib.rs").write_text("")
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "x"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n')
    file = tmp_path / ".cargo" / "config.toml"
    file.write_text(tree.replace("HOST", host_triple()))
    ours = tmp_path / "ours.toml"
    ours.write_text(cargo_config([("/ours", "/o")], str(tmp_path / "elsewhere"), read_configurations([str(file)])))
    argv = ["cargo", "build", "-v", "--offline", "--config", str(ours)]
    clean = {name: value for name, value in os.environ.items() if name not in ("CARGO_TARGET_DIR", "RUSTFLAGS")}
    done = subprocess.run(argv, cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = set(re.findall(r"--cfg (\w+)", done.stderr)) | {
        "ours" for _ in re.findall(r"--remap-path-prefix=/ours=/o", done.stderr)
    }
    assert found == wanted
    assert (tmp_path / "elsewhere").is_dir()


def test_flags_in_one_text_cannot_hold_a_path_with_a_blank() -> None:
    with pytest.raises(StepError, match=r"'/a b' .*\[build\]") as error:
        cargo_config([("/a b", "/x")], "/t", {"[build]": "-g"})
    assert error.value.id == "blank-in-a-flag"


def test_a_path_is_a_text_of_toml_whatever_is_in_it(tmp_path: Path) -> None:
    import tomllib

    for path in ('/a"b', "/a\\b", "/ä ö", "/tab\t", "/del\x7f"):
        found = tomllib.loads(cargo_config([(path, "/x")], path, {}))["build"]
        assert found == {"rustflags": [f"--remap-path-prefix={path}=/x"], "target-dir": path}


# Two builds


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The sample with C code in the kernel, in its own folder; the user's target folder of cargo must not be touched."""
    folder = tmp_path_factory.mktemp("reproducible")
    copy_sample(folder / "svsm")
    kernel_with_a_c_library(folder / "svsm")
    make = folder / "svsm" / "Makefile"
    rule = "CC := gcc\nmade.elf: common/made.c\n\t$(CC) -O1 -nostdlib -static -Wl,--build-id=none $(CURDIR)/$< -o $@\n"
    make.write_text(f"{make.read_text()}\n{rule}")
    (folder / "svsm" / "common" / "made.c").write_text(
        'const char made[] = "made.c: " __FILE__;\nvoid _start(void) { for (;;); }\n'
    )
    (folder / "dodo.py").write_text(DODO)
    return Site(folder, folder / "users-target")


ALL_TARGETS = "RECIPE=config/all-targets.json"
WITH_C: dict[str, Any] = {
    "igvm": {"qemu": {"output": "c.igvm"}},
    "kernel": {"svsm": {}, "bldr": {"type": "make", "output_file": "made.elf"}},
}


@pytest.fixture(scope="module")
def twice(place: Site) -> Outcome:
    """The sample's recipe with all targets and one with a make item, built twice, and the copies kept."""
    place.recipe(WITH_C, "with-c.json")
    return place.doit("reproduce", "--keep", f"{ALL_TARGETS},with-c.json")


def copies(site: Site) -> tuple[Path, Path]:
    base = site.bin / ".coconut" / "reproduce"
    return base / "one", base / "another-place" / "further" / "down"


def built_files(copy: Path) -> Iterator[Path]:
    """The outputs of a build in a copy, and what they are made of."""
    for path in (copy / "source" / "bin").rglob("*"):
        inner = path.relative_to(copy / "source" / "bin").parts
        if path.is_file() and (inner[0] != ".coconut" or inner[1] == "parts"):
            yield path


def told_digests(outcome: Outcome) -> dict[str, str]:
    return dict(re.findall(r"^(\S+): launch digest ([0-9a-f]{96})$", outcome.out, re.MULTILINE))


def test_recipes_are_the_same_bytes_wherever_and_however_they_are_built(place: Site, twice: Outcome) -> None:
    assert twice.status == 0, twice.text
    assert re.search(r"^reproducible: all \d+ files are the same, in [\d.]+ s$", twice.out, re.MULTILINE)
    assert set(told_digests(twice)) == {"coconut-qemu.igvm", "coconut-hyperv.igvm", "coconut-vanadium.igvm", "c.igvm"}
    one, two = (
        {str(path.relative_to(copy)): path.read_bytes() for path in built_files(copy)} for copy in copies(place)
    )
    assert one == two
    assert not place.target.exists()


def test_no_path_of_the_machine_is_in_what_is_built(place: Site, twice: Outcome) -> None:
    """Neither the path of the build, nor the user's home, nor the paths of crates and the compiler."""
    home = os.environ["HOME"]
    cargo = os.environ.get("CARGO_HOME", os.path.join(home, ".cargo"))
    rustup = os.environ.get("RUSTUP_HOME", os.path.join(home, ".rustup"))
    needles = [os.fsencode(path) for path in (place.folder, home + os.sep, cargo, rustup)]
    count = 0
    for copy in copies(place):
        for path in built_files(copy):
            count += 1
            data = path.read_bytes()
            assert not [needle for needle in needles if needle in data], path
    assert count > 50


def test_a_reproducible_build_in_place_has_the_digest_that_reproduce_told(place: Site, twice: Outcome) -> None:
    # Programs that run on the host during the build get no flags, so those of the registry's crates are reused; the rest is compiled here.
    hosts = Path("bin") / ".coconut" / "reproducible" / "target" / "debug"
    shutil.copytree(copies(place)[0] / "source" / hosts, place.folder / hosts)
    outcome = place.build(ALL_TARGETS, "REPRODUCIBLE=1", env={"RUSTFLAGS": "-Cdebuginfo=0", "TZ": "UTC-5"})
    told = told_digests(twice)
    assert {**outcome.digests, "c.igvm": told["c.igvm"]} == told
    again = place.build(ALL_TARGETS, "REPRODUCIBLE=1", env={"TZ": "UTC+3"})
    assert again.out.startswith("up to date: all 18 steps")
    assert json.loads((place.bin / "coconut-qemu.igvm.launch-digest.json").read_text())["reproducible"] is True
    assert not place.target.exists()


def test_a_path_that_the_compiler_writes_is_in_plain_builds_only(site: Site) -> None:
    """``file!()`` in code from a build script is absolute, as in a panic of a fetched crate."""
    script, main = site.tree / "kernel" / "build.rs", site.tree / "kernel" / "src" / "main.rs"
    write = 'std::fs::write(std::env::var("OUT_DIR").unwrap() + "/where.rs", "#[used] static WHERE: &str = file!();").unwrap();'
    script.write_text(script.read_text().replace("fn main() {", f"fn main() {{\n    {write}"))
    main.write_text(main.read_text() + '\ninclude!(concat!(env!("OUT_DIR"), "/where.rs"));\n')
    recipe = site.recipe(KERNEL)
    site.build(recipe)
    plain = (site.bin / "svsm").read_bytes()
    assert os.fsencode(site.target) in plain
    site.build(recipe, "REPRODUCIBLE=1")
    data = (site.bin / "svsm").read_bytes()
    assert b"/target/" in data and os.fsencode(site.folder) not in data and os.fsencode(site.target) not in data
    site.build(recipe)
    assert (site.bin / "svsm").read_bytes() == plain


def test_every_process_of_a_reproducible_build_has_the_fixed_surroundings(site: Site) -> None:
    make = site.tree / "Makefile"
    rule = "seen.elf:\n\tumask > seen.txt; env >> seen.txt; cp /bin/true $@\n"
    make.write_text(f"{make.read_text()}\n{rule}")
    recipe = site.recipe({"igvm": {}, "kernel": {"svsm": {"type": "make", "output_file": "seen.elf"}}})
    words = site.argv(recipe, "REPRODUCIBLE=1")
    given = {"JUNK": "x", "TZ": "Asia/Kathmandu", "SOURCE_DATE_EPOCH": "77", "RUSTFLAGS": "-g", "CFLAGS": "-O1"}
    outcome = site.run(["sh", "-c", 'umask 077; exec "$0" "$@"', *words], env={**given})
    assert outcome.status == 0, outcome.text
    umask, *lines = (site.tree / "seen.txt").read_text().splitlines()
    assert int(umask, 8) == 0o022
    assert {"LC_ALL=C", "TZ=UTC", "SOURCE_DATE_EPOCH=77"} <= set(lines)
    assert not [line for line in lines if line.startswith(("JUNK=", "RUSTFLAGS=", "CFLAGS=", "CARGO_TARGET_DIR="))]


def test_an_output_folder_inside_of_the_tree_gets_the_configuration_once(place: Site) -> None:
    """cargo would read the original's configuration above the copy, and merge it with the copy's own."""
    folder = place.folder / "with a blank"
    copy_sample(folder)
    (folder / "dodo.py").write_text(DODO)
    (folder / "r.json").write_text(json.dumps(KERNEL))
    flags = folder / ".cargo" / "config.toml"
    once = '[build]\nrustflags = ["-C", "link-arg=-Wl,--defsym=only_once=1"]'
    flags.write_text(flags.read_text().replace("[build]", once))
    words = [sys.executable, "-m", "doit"]
    outcome = place.run([*words, "reproduce", "--keep", "RECIPE=r.json"], cwd=folder)
    assert outcome.status == 0, outcome.text
    one = folder / "bin" / ".coconut" / "reproduce" / "one" / "source"
    assert (one / "Cargo.toml").exists() and not (one / ".cargo").exists() and not (one / "target").exists()
    assert place.run([*words, "RECIPE=r.json", "REPRODUCIBLE=1"], cwd=folder).status == 0
    assert (folder / "bin" / "svsm").read_bytes() == (one / "bin" / "svsm").read_bytes()


C_CODE = {"nv.c", "cmake.c", "generated", "made.c"}


def said_by_c(data: bytes) -> dict[str, str]:
    return {
        name.decode(): text.decode()
        for name, text in re.findall(rb"\0(nv\.c|cmake\.c|generated|made\.c): ([^\0]*)", data)
    }


def test_c_code_is_the_same_bytes_whatever_its_makefile_does_with_flags(
    place: Site, twice: Outcome, cargo_target: Path
) -> None:
    image = (copies(place)[0] / "source" / "bin" / "c.igvm").read_bytes()
    told = said_by_c(image)
    assert set(told) == C_CODE, "it is in pages of the image"
    assert told.pop("generated").startswith("/target/")
    assert told == {
        "nv.c": "/svsm/tpm/c/nv.c Jan  1 1980 00:00:00 /svsm/tpm/c/nv.c",
        "cmake.c": "/svsm/tpm/c/cmake.c",
        "made.c": "/svsm/common/made.c",
    }
    # In place it has the same bytes, the next run builds nothing, and a plain build is unchanged.
    recipe = place.recipe(WITH_C, "with-c.json")
    assert place.build(recipe, "REPRODUCIBLE=1").digests == {"c.igvm": told_digests(twice)["c.igvm"]}
    assert (place.bin / "c.igvm").read_bytes() == image
    assert place.build(recipe, "REPRODUCIBLE=1").built == set()
    place.build(recipe, env={"SOURCE_DATE_EPOCH": "0", "CARGO_TARGET_DIR": str(cargo_target)})
    plain = said_by_c((place.bin / "c.igvm").read_bytes())
    assert (
        plain["nv.c"].startswith(f"{place.tree}/tpm/c/nv.c Jan  1 1970")
        and plain["made.c"] == f"{place.tree}/common/made.c"
    )


def test_a_path_that_no_flag_reaches_is_warned_of_and_told(place: Site) -> None:
    """From a generated header, from an option, from a compiler outside PATH."""
    makefile, header = place.tree / "tpm" / "Makefile", place.tree / "tpm" / "c" / "where.h"
    good = makefile.read_text(), header.read_text()
    recipe = place.recipe(KERNEL)
    assert "warning: " not in place.build(recipe, "REPRODUCIBLE=1").out
    at_path = f"CC := {shutil.which('gcc')}"
    for old, new, wanted in (
        ("-mno-red-zone", "-mno-red-zone -DPLACE='\"$(CURDIR)\"'", f"{place.tree}/tpm"),
        ("CC := gcc", at_path, f"{place.tree}/tpm/c/nv.c Jan  1 1980 00:00:00 {place.tree}/tpm/c/nv.c"),
    ):
        try:
            makefile.write_text(good[0].replace(old, new))
            header.write_text(good[1].replace("__BASE_FILE__", "PLACE") if "PLACE" in new else good[1])
            outcome = place.build(recipe, "REPRODUCIBLE=1")
        finally:
            makefile.write_text(good[0])
            header.write_text(good[1])
        (line,) = [line for line in outcome.told("names-a-folder") if line.startswith("warning: svsm ")]
        assert wanted in line


def test_a_path_that_leaks_is_found_in_its_part_and_section(place: Site) -> None:
    main = place.tree / "kernel" / "src" / "main.rs"
    good = main.read_text()
    try:
        main.write_text(good + LEAK)
        outcome = place.doit("reproduce", place.recipe(KERNEL))
    finally:
        main.write_text(good)
    assert outcome.status == 1, outcome.text
    lines = outcome.out.splitlines()
    at = lines.index("kernel:svsm: svsm differs")
    assert lines[at + 1].startswith("  section .rodata: from 0x")
    for line, copy in zip(lines[at + 2 : at + 4], copies(place), strict=True):
        assert f'made in {copy}/source/svsm/kernel"' in line
    assert f"  contains the path of the build: {copies(place)[0]}/source/svsm/kernel" in lines
    assert lines[-1] == "not reproducible: 1 of 3 files differ, the causes first"
    assert all(copy.is_dir() for copy in copies(place))


def test_the_copies_go_where_nothing_differs_and_no_cache_is_asked(place: Site, tmp_path: Path) -> None:
    (tmp_path / "coconut-tasks").mkdir()
    (tmp_path / "coconut-tasks" / "config.toml").write_text(f'cache = "{tmp_path}/cache"\n')
    env: dict[str, str | None] = {"XDG_CONFIG_HOME": str(tmp_path), "COCONUT_CACHE": f"{tmp_path}/cache"}
    outcome = place.doit("reproduce", place.recipe(KERNEL), f"CACHE={tmp_path}/cache", env=env)
    assert outcome.status == 0, outcome.text
    assert not (tmp_path / "cache").exists()
    assert not (place.bin / ".coconut" / "reproduce").exists()


def test_a_build_that_fails_ends_with_1_and_says_why(place: Site) -> None:
    main = place.tree / "stage1" / "src" / "main.rs"
    good = main.read_text()
    try:
        main.write_text("this is no Rust")
        part = {"manifest": "stage1/Cargo.toml", "binary": True, "objcopy": "binary"}
        outcome = place.doit("reproduce", place.recipe({"igvm": {}, "kernel": {"svsm": {}, "tdx-stage1": part}}))
    finally:
        main.write_text(good)
    assert (outcome.status, "build-for-reproduce" in outcome.ids) == (1, True)
    assert "error: reproduce: " in outcome.err and ": exit status 1" in outcome.err
    assert "this is no Rust" in outcome.err


def running_in(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if str(folder) in line]


def test_a_run_that_is_ended_ends_the_build_that_it_started(place: Site) -> None:
    recipe = place.recipe(KERNEL)
    words = place.argv("reproduce", recipe)
    base = copies(place)[0].parent
    with at_work(words, place.folder, os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        until = time.monotonic() + 60
        while not any("rustc" in line for line in running_in(base)):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        process.terminate()
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 143, said
    assert "ended by SIGTERM" in said
    assert running_in(base) == []


def test_reproduce_takes_no_tasks(place: Site) -> None:
    outcome = place.doit("reproduce", "igvm:qemu")
    assert (outcome.status, outcome.ids) == (2, {"takes-no-task"})
    assert "error: reproduce: 'igvm:qemu' " in outcome.err


def test_the_two_ways_to_build_share_nothing_that_may_not_matter() -> None:
    one, two = both_conditions(8)
    assert one.umask != two.umask and one.jobs != two.jobs and one.turned != two.turned
    assert len(one.folder) != len(two.folder) and one.folder.count("/") != two.folder.count("/")
    assert all(one.variables[name] != two.variables[name] for name in ("USER", "LC_ALL", "LANG", "TZ"))


# Where files differ


def elf(**sections: bytes) -> bytes:
    """A small 64-bit ELF file with these sections."""
    names = b"\0" + b"".join(f".{name}".encode() + b"\0" for name in (*sections, "names"))
    body, headers, at, name = b"", [bytes(64)], 64, 1
    for key, content in (*sections.items(), ("names", names)):
        headers.append(struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, at, len(content), 0, 0, 0, 0))
        body, at, name = body + content, at + len(content), name + len(key) + 2
    head = (
        b"\x7fELF\2\1\1"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, at, 0, 64, 0, 0, 64, len(headers), len(headers) - 1)
    )
    return head + body + b"".join(headers)


def test_an_elf_file_is_compared_by_its_sections() -> None:
    old, new = (
        elf(text=b"\x90" * 8, rodata=b"at /one/here\0"),
        elf(text=b"\x90" * 7 + b"\x91", rodata=b"at /two/here\0"),
    )
    rodata, text = spots(old, new)
    assert (rodata.place, rodata.offset, rodata.at) == (("section .rodata",), 4, 64 + 8 + 4)
    assert (text.place, text.offset, text.lengths) == (("section .text",), 7, (8, 8))
    assert spot_text(text, ("one", "two")) == [
        "section .text: from 0x7 in it, 0x47 in the file",
        "  one  90",
        "  two  91",
    ]


def test_text_is_shown_from_its_beginning() -> None:
    (spot,) = spots(b"\0\0made in /home/one\0", b"\0\0made in /home/two\0")
    assert spot_text(spot, ("a", "b")) == [
        "in the file: from 0x10",
        '  a  "made in /home/one"',
        '  b  "made in /home/two"',
    ]


def test_a_section_that_only_one_has_and_a_longer_file_are_told() -> None:
    found = {spot.place: spot.lengths for spot in spots(elf(a=b"x"), elf(a=b"x", b=b"yz"))}
    assert found["section .b",] == (0, 2)
    long = bytes(200_000)
    assert [spot.offset for spot in spots(long + b"1", long + b"2")] == [200_000]
    (spot,) = spots(b"abc", b"abcd")
    assert (spot.offset, spot.lengths, spot.old, spot.new) == (3, (3, 4), b"", b"d")


def test_the_entries_of_an_archive_are_found_by_what_is_in_them_whatever_its_format() -> None:
    parts = [{"entry init": elf(rodata=end), "entry bin/x": b"same as ever"} for end in (b"/first\0", b"/other\0")]
    old, new = (b"HEAD" + b"\1".join(part.values()) for part in parts)
    (spot,) = spots(old, new, (pieces(old, parts[0]), pieces(new, parts[1])))
    assert spot.place == ("entry init", "section .rodata")
    assert spot.at == 4 + 64 + 1
    order = b"HEAD" + b"\1".join(reversed(parts[0].values()))
    assert spots(old, order, (pieces(old, parts[0]), pieces(order, parts[0])))


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\2\1" + b"\xff" * 70, b"IGVM"])
def test_a_file_that_is_damaged_or_another_is_compared_as_a_whole(data: bytes) -> None:
    with pytest.raises(ValueError):
        elf_regions(data)
    (spot,) = spots(data + b"1", data + b"2")
    assert (spot.place, spot.offset) == ((), len(data))


def test_an_igvm_file_is_compared_by_its_pages_and_headers() -> None:
    def image(flags: int = 0, last: int = 0, first: bytes = b"", policy: int = 0x30000) -> bytes:
        policy_header = header(0x101, struct.pack("<QII", policy, 1, 0))
        start = data_at(platform(), policy_header, page(0), page(0), vp_context(0, 0)) + len(first)
        pages = page(0x1000, start, flags), page(0x2000, start + 4096), vp_context(0xFFFF_FFFF_F000, start + 8192)
        data = first + bytes(4096) + bytes(4095) + bytes([last]) + b"v" * 4096
        return igvm(platform(), policy_header, *pages, data=data)

    (spot,) = spots(image(), image(last=7))
    assert (spot.place, spot.offset, spot.new) == (("page 0x2000 normal",), 4095, b"\x07")
    assert spot_text(spot, ("a", "b"))[0].startswith("page 0x2000 normal: from 0xfff in it, ")
    # The same content elsewhere in the file is not a difference of its page.
    assert [spot.place for spot in spots(image(), image(first=bytes(4096)))] == [("the fixed header",)]
    assert [spot.place for spot in spots(image(), image(policy=0xB0000))] == [("header of guest policy",)]
    assert [spot.place[0] for spot in spots(image(), image(flags=2))] == [
        "page 0x1000 normal",
        "page 0x1000 normal unmeasured",
        "header of page 0x1000, after its offset",
    ]
    with pytest.raises(ValueError):
        igvm_regions(image()[:-1])


def test_of_very_many_places_only_some_are_named(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).write_bytes(name.encode())
    many = elf(**{f"s{i}": b"1" for i in range(30)}), elf(**{f"s{i}": b"2" for i in range(30)})
    different = Different("a", (tmp_path / "x", tmp_path / "y"), tuple(spots(*many)))
    told = reproduced_text(replace(RESULT, differences=(different,)), 1).splitlines()
    (rest,) = [line for line in told if line.startswith("  and ")]
    assert rest.count("section") == 10 and rest.endswith(" and 17 more")


def test_equal_files_have_no_spot() -> None:
    assert spots(elf(a=b"x"), elf(a=b"x")) == []


def test_paths_are_read_to_their_end() -> None:
    assert strings_with(b"\0/tmp/one/a.rs\0x/tmp/one/b.rs\n/tmp/one/a.rs\0", b"/tmp/one") == [
        "/tmp/one/a.rs",
        "/tmp/one/b.rs",
    ]


RESULT = Reproduction(
    3, (), (("q.igvm", "snp", "ab"), ("q.igvm", "tdp", "cd")), (("one", Path("/b/one")), ("two", Path("/b/two")))
)


def test_what_is_told_of_two_builds(tmp_path: Path) -> None:
    assert (
        reproduced_text(RESULT, 2.04)
        == "q.igvm: launch digest ab\nq.igvm: MRTD cd\nreproducible: all 3 files are the same, in 2.0 s"
    )
    (tmp_path / "x").write_text("")
    missing = Different("module:x", (tmp_path / "x", tmp_path / "y"), ())
    lines = reproduced_text(replace(RESULT, differences=(missing,)), 1, tmp_path / "report.txt").splitlines()
    assert lines[:2] == ["module:x: x differs", "  only one has it"]
    assert lines[2].startswith("diffoscope report: ") and lines[2].endswith("report.txt")
    assert lines[-1] == "not reproducible: 1 of 3 files differ, the causes first"


def test_diffoscope_is_asked_where_it_is_there(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    different = [Different("a", (old, new), tuple(spots(b"1", b"2")))]
    assert diffoscope(different, tmp_path, {"PATH": str(tmp_path)}) is None
    program = tmp_path / "diffoscope"
    program.write_text('#!/bin/sh\necho "$3 $4" > "$2"\nexit 1\n')
    program.chmod(0o755)
    report = diffoscope(different, tmp_path, {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert report is not None and report.read_text() == f"{old} {new}\n"
    assert diffoscope([], tmp_path, {"PATH": str(tmp_path)}) is None
