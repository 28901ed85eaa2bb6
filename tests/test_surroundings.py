"""Variables that another program sets for its children do not reach a build; a repository that git refuses is an error."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Site, git, has

from coconut_tasks.inputs.environment import cargo_home
from coconut_tasks.inputs.git import repository_fault
from coconut_tasks.inputs.inherited import for_builds

HOOK: dict[str, str | None] = {
    "GIT_DIR": ".git",
    "GIT_INDEX_FILE": ".git/index",
    "GIT_PREFIX": "",
    "GIT_OBJECT_DIRECTORY": "/nowhere",
}
"""The variables that git sets for hooks; the folder belongs to another repository."""
EMPTY: dict[str, str | None] = {"RUSTC_WRAPPER": "", "RUSTC_WORKSPACE_WRAPPER": ""}
CARGO_RUN: dict[str, str | None] = {
    "CARGO": "/home/x/.rustup/toolchains/nightly/bin/cargo",
    "CARGO_MANIFEST_DIR": "/src/xtask",
    "CARGO_MANIFEST_PATH": "/src/xtask/Cargo.toml",
    "CARGO_PKG_NAME": "xtask",
    "CARGO_PKG_VERSION": "0.1.0",
    "CARGO_PRIMARY_PACKAGE": "1",
    "RUSTUP_TOOLCHAIN": "no-such-toolchain",
    "RUSTUP_TOOLCHAIN_SOURCE": "toolchain-file",
    "RUSTUP_AUTO_INSTALL": "0",
    "RUST_RECURSION_COUNT": "1",
    "LD_LIBRARY_PATH": "/src/xtask/target/debug:/src/xtask/target/debug/deps:"
    "/home/x/.rustup/toolchains/nightly/lib/rustlib/x86_64-unknown-linux-gnu/lib:/home/x/.rustup/toolchains/no-such-toolchain/lib",
}
"""The variables that cargo and rustup set for ``cargo run``, with a toolchain from the folder of the caller (seen with cargo 1.95)."""
OTHER_OWNER: dict[str, str | None] = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
"""Makes git treat every repository as another user's."""


def test_a_caller_of_another_kind_makes_nothing_stale_and_no_other_version(repository: Site) -> None:
    site = repository
    recipe = site.recipe()
    subprocess.run(["git", "init", "-q", str(site.folder)], check=True)
    try:
        site.build(recipe)
        version = (site.tree / "release" / "src" / "git_version.rs").read_text()
        assert f'"{git(site, "rev-parse", "HEAD")[:7]}' in version
        for caller in (HOOK, CARGO_RUN, EMPTY):
            assert site.build(recipe, env=caller).built == set()
        # Also in the other direction: a build in a hook equals a build in a shell.
        source = site.tree / "kernel" / "src" / "main.rs"
        source.write_text(f"{source.read_text()}\n// an edit\n")
        site.build(recipe, env=HOOK | CARGO_RUN)
        assert site.build(recipe).built == set()
    finally:
        shutil.rmtree(site.folder / ".git")


def test_a_repository_that_git_refuses_is_an_error_with_its_own_remedy(repository: Site) -> None:
    outcome = repository.doit(repository.recipe(), env=OTHER_OWNER)
    assert (outcome.status, outcome.ids) == (2, {"git-does-not-tell"})
    assert has(outcome.err, f" {repository.tree} … git: fatal: detected dubious ownership")
    assert "git config --global --add safe.directory" in outcome.err
    assert outcome.built == set() and not (repository.tree / "target").exists()


def test_a_work_tree_whose_repository_is_not_there_is_no_tree_without_one(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /nowhere/.git/worktrees/x\n")
    assert "not a git repository: /nowhere" in repository_fault(str(tmp_path), os.environ)
    assert repository_fault(str(tmp_path), {"PATH": "/nowhere"}).endswith(": apt-get install git")
    inner = tmp_path / "inner"
    inner.mkdir()
    assert "not a git repository: /nowhere" in repository_fault(str(inner), os.environ)
    (tmp_path / "link").symlink_to(tmp_path)
    for ceiling in (str(tmp_path), f"{tmp_path}/", f"/nowhere:{tmp_path}/./", f"{tmp_path}/link"):
        assert repository_fault(str(inner), {**os.environ, "GIT_CEILING_DIRECTORIES": ceiling}) == ""
    assert repository_fault(str(inner), {**os.environ, "GIT_CEILING_DIRECTORIES": "."}) != ""


def test_a_repository_without_a_commit_and_a_folder_without_a_repository_are_no_fault(tmp_path: Path) -> None:
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    assert repository_fault(str(tmp_path), environment) == ""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert repository_fault(str(tmp_path), environment) == ""


@pytest.mark.parametrize("name", ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"])
def test_a_wrapper_that_is_not_there_is_named_before_anything_is_built(name: str, site: Site) -> None:
    outcome = site.doit(site.recipe(), env={name: "no-such-sccache"})
    assert (outcome.status, outcome.built, outcome.ids) == (2, set(), {"wrapper-missing"})
    (line,) = outcome.told("wrapper-missing")
    assert f"{name}: " in line and "'no-such-sccache'" in line


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"CARGO_HOME": "/c"}, {"CARGO_HOME": "/c"}),
        ({"CARGO_HOME": "c"}, {"CARGO_HOME": "/stand/c"}),
        ({"CARGO_HOME": ""}, {}),
        (
            {"CARGO_TARGET_DIR": "t", "CARGO_NET_OFFLINE": "true"},
            {"CARGO_TARGET_DIR": "t", "CARGO_NET_OFFLINE": "true"},
        ),
        ({"RUSTUP_TOOLCHAIN": "nightly"}, {"RUSTUP_TOOLCHAIN": "nightly"}),
        ({"RUSTUP_TOOLCHAIN": "nightly", "RUSTUP_TOOLCHAIN_SOURCE": "env"}, {"RUSTUP_TOOLCHAIN": "nightly"}),
        ({"RUSTUP_TOOLCHAIN": "nightly", "RUSTUP_TOOLCHAIN_SOURCE": "default"}, {}),
        ({"RUSTUP_HOME": "/h/.rustup"}, {}),
        (
            {"LD_LIBRARY_PATH": "/x/target/debug:/t/lib/rustlib/x86/lib:/mine", "CARGO_MANIFEST_DIR": "/x"},
            {"LD_LIBRARY_PATH": "/mine"},
        ),
        ({"LD_LIBRARY_PATH": "/mine:/t/lib/rustlib/x86/lib"}, {"LD_LIBRARY_PATH": "/mine:/t/lib/rustlib/x86/lib"}),
        ({"LD_LIBRARY_PATH": "/mine:/also", "CARGO_MANIFEST_DIR": "/x"}, {"LD_LIBRARY_PATH": "/mine:/also"}),
        (
            {"LD_LIBRARY_PATH": "/r/beta/lib:/mine", "RUSTUP_TOOLCHAIN": "beta", "RUST_RECURSION_COUNT": "1"},
            {"LD_LIBRARY_PATH": "/mine", "RUSTUP_TOOLCHAIN": "beta", "RUST_RECURSION_COUNT": "1"},
        ),
        ({"RUSTUP_HOME": "/other"}, {"RUSTUP_HOME": "/other"}),
        ({"RUSTC_WRAPPER": "sccache", "RUSTC": ""}, {"RUSTC_WRAPPER": "sccache"}),
        ({"GIT_DIR": "/r/.git", "GIT_WORK_TREE": "/tree"}, {"GIT_DIR": "/r/.git", "GIT_WORK_TREE": "/tree"}),
        ({"GIT_DIR": "/r/.git", "GIT_WORK_TREE": "/"}, {"GIT_DIR": "/r/.git", "GIT_WORK_TREE": "/"}),
        ({"GIT_DIR": "/r/.git", "GIT_WORK_TREE": "/r"}, {}),
        ({"GIT_DIR": "/r/.git", "GIT_WORK_TREE": "/tree", "GIT_INDEX_FILE": "/r/.git/index.lock"}, {}),
        ({"GIT_DIR": "/r/.git"}, {}),
        ({"GIT_CONFIG_COUNT": "0"}, {"GIT_CONFIG_COUNT": "0"}),
        ({"MAKEFLAGS": "-j8 CC=clang", "GNUMAKEFLAGS": "-s"}, {"MAKEFLAGS": "-j8 CC=clang", "GNUMAKEFLAGS": "-s"}),
        ({"MAKEFLAGS": "", "GNUMAKEFLAGS": "", "MAKEFILES": ""}, {}),
        ({"MAKEFLAGS": "ks -j8 --jobserver-auth=fifo:/tmp/GMfifo1 -- CC=clang"}, {"MAKEFLAGS": "ks -- CC=clang"}),
        ({"MAKEFLAGS": " -j4 --jobserver-auth=3,4", "MFLAGS": "-j4 --jobserver-auth=3,4"}, {}),
        ({"MAKEFLAGS": "nkB -- CC=clang", "MAKELEVEL": "1", "CC": "clang"}, {"CC": "clang"}),
        ({"MAKELEVEL": "1", "MAKE_TERMOUT": "/dev/pts/0", "MAKEOVERRIDES": "${-*-command-variables-*-}"}, {}),
        ({"CARGO_MAKEFLAGS": "-j --jobserver-fds=8,9 --jobserver-auth=8,9"}, {}),
        ({"CC": "clang", "CFLAGS": "-O1", "TARGET": "y"}, {"CC": "clang", "CFLAGS": "-O1", "TARGET": "y"}),
        ({"V": "1", "RELEASE": "0", "OFFLINE": "1", "VERBOSE": "1"}, {}),
    ],
)
def test_what_reaches_a_build(given: dict[str, str], wanted: dict[str, str]) -> None:
    assert for_builds({"HOME": "/h", **given}, "/tree", "/stand") == {"HOME": "/h", **wanted}


def test_of_a_copy_the_variables_name_the_repository() -> None:
    named = {"HOME": "/h", "GIT_DIR": "/r/.git", "GIT_WORK_TREE": "/r"}
    assert for_builds(named, "/copy", "/stand", is_copy=True) == named


def test_without_home_it_is_that_of_the_user() -> None:
    home = subprocess.run(
        ["sh", "-c", "unset HOME; python3 -c 'import os; print(os.path.expanduser(\"~\"))'"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    for environment in ({}, {"HOME": ""}):
        assert cargo_home(for_builds(environment, "/tree", "/stand")) == f"{home}/.cargo"


def test_a_clone_without_its_submodules_is_told_so_first(site: Site) -> None:
    (site.tree / ".gitmodules").write_text('[submodule "deps/x"]\n\tpath = deps/x\n\turl = https://example.org/x\n')
    for folder in (None, site.tree / "deps" / "x"):
        if folder:
            folder.mkdir(parents=True)
        (note,) = site.doit("plan", site.recipe()).told("submodule-missing")
        assert note.startswith("note: ") and " deps/x; " in note and note.endswith(": git submodule update --init")
    manifest = site.tree / "boot" / "bldr" / "Cargo.toml"
    manifest.write_text(manifest.read_text().replace("[dependencies]", '[dependencies]\nx.path = "../../deps/x"'))
    failed = site.doit("kernel:bldr", site.recipe())
    assert failed.status == 1
    last, noted = failed.told("submodule-missing")
    assert noted == note and " deps/x: " in last and last.endswith(": git submodule update --init")
    assert last in failed.out.partition("No such file or directory")[2], failed.text
    (site.tree / "deps" / "x" / "f").write_text("")
    assert site.doit("plan", site.recipe()).ids == set()
