"""What a build reads, according to cargo and make."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from coconut_tasks.actions.cargo_traces import choose
from coconut_tasks.errors import StepError
from coconut_tasks.inputs.artifacts import Artifact
from coconut_tasks.inputs.cargo import parse_depfile, workspace_root
from coconut_tasks.inputs.environment import asked_environment, cargo_environment, make_references
from coconut_tasks.inputs.files import ABSENT, MOST_BEHIND_A_LINK, Files, Since, Stat, Walker
from coconut_tasks.inputs.linker import linked_files
from coconut_tasks.inputs.make import closure, make_knowledge, makefile_list, parse_rules
from coconut_tasks.inputs.messages import Program, ScriptRun, parse_messages, programs
from coconut_tasks.inputs.scripts import named_files, secret_variables
from coconut_tasks.inputs.version import describe, version_text
from coconut_tasks.steps.command import Command

OLD = 1_600_000_000


def write(path: Path, text: str = "") -> Path:
    """A file that was written long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (OLD, OLD))
    return path


# Files


def test_a_file_that_is_looked_at_again_was_seen_all_the_time(tmp_path: Path) -> None:
    """Otherwise a step that starts at that moment considers it changed during the step, and is built again."""
    files, path = Files(), str(tmp_path / "a")
    Path(path).write_text("x")
    files.stat(path)
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            files.look_again(path)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    missing = sum(path not in files.seen() for _ in range(20_000))
    over.set()
    for thread in threads:
        thread.join()
    assert missing == 0


def test_a_file_is_looked_at_once_in_a_run(tmp_path: Path) -> None:
    files, path = Files(), write(tmp_path / "a", "1")
    first = files.stat(str(path))
    path.write_text("22")
    assert files.stat(str(path)) == first
    assert files.look_again(str(path)) != first


def test_a_copy_has_the_digest_of_what_was_copied_unless_that_changed_meanwhile(tmp_path: Path) -> None:
    source, target = write(tmp_path / "a", "1"), write(tmp_path / "b", "1")
    for mode in (0o644, 0o755):
        target.chmod(mode)
        files = Files()
        files.copied(str(source), str(target))
        assert files.known(str(target)) == Files().digest(str(target))
    files = Files()
    files.digest(str(source))
    source.write_text("22")
    target.write_text("22")
    files.copied(str(source), str(target))
    assert files.known(str(target)) is None
    assert files.digest(str(target)) == Files().digest(str(target))


def test_a_touched_file_is_unchanged_and_an_edited_one_is_not(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a", "1"))
    state = Files().state(path)
    os.utime(path, (OLD + 9, OLD + 9))
    assert Files().unchanged(path, state)
    Path(path).write_text("2")
    assert not Files().unchanged(path, state)


def test_an_edit_that_keeps_size_and_time_is_seen(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "1")
    time.sleep(0.1)
    state = Files().state(str(path))
    assert state[0] is not None
    path.write_text("2")
    os.utime(path, (OLD, OLD))
    assert not Files().unchanged(str(path), state)


def test_a_file_that_changed_just_now_is_recorded_without_a_stat(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("1")
    assert Files().state(str(path))[0] is None
    time.sleep(0.1)
    assert Files().state(str(path))[0] is not None


def test_a_file_that_was_read_within_a_tick_of_its_change_is_not_trusted_later_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have changed again in that clock tick, after it was read and with the same stat."""
    files = Files()
    path, copy = (str(write(tmp_path / name, "1")) for name in ("file", "copy"))
    changed = os.stat(copy).st_ctime_ns
    monkeypatch.setattr(time, "time_ns", lambda: changed + 1_000_000)
    files.digest(path)
    files.copied(path, copy)
    monkeypatch.setattr(time, "time_ns", lambda: changed + 1_000_000_000)
    for read in (path, copy):
        assert files.state(read)[0] is None
        assert Files().state(read)[0] is not None


def test_after_the_clock_was_set_back_files_are_read_and_not_believed_by_their_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a", "1")
    time.sleep(0.1)
    assert Files().state(str(path))[0] is not None
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 3_600_000_000_000)
    assert Files().state(str(path))[0] is None


SECOND = 1_000_000_000


def test_where_the_file_system_keeps_whole_seconds_a_file_may_change_for_two_and_look_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_on_fat(path: str) -> Stat:
        found = os.stat(path)
        mtime_ns, ctime_ns = (ns // SECOND * SECOND for ns in (found.st_mtime_ns, found.st_ctime_ns))
        return mtime_ns, ctime_ns, 1, found.st_ino, found.st_mode

    monkeypatch.setattr("coconut_tasks.inputs.files._stat", as_on_fat)
    path = tmp_path / "a"
    path.write_text("1")
    now = path.stat().st_ctime_ns
    for later, trusted in ((SECOND, False), (3 * SECOND, True)):
        monkeypatch.setattr(time, "time_ns", lambda later=later: now + later)
        assert (Files().state(str(path))[0] is not None) == trusted
    assert Files().moved(str(path), Since(started_ns=now - 1))
    assert not Files().moved(str(path), Since(started_ns=now + 3 * SECOND))
    artifacts = Artifact("p", "a", False, (str(path),), {}, began_ns=5 * SECOND + 1)
    assert artifacts.saw(5 * SECOND - 1) and artifacts.saw(3 * SECOND)
    assert not artifacts.saw(4 * SECOND) and not artifacts.saw(5 * SECOND)


def test_a_link_that_is_switched_between_files_of_one_time_and_size_leads_to_another_content(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(write(tmp_path / "a", "1"))
    write(tmp_path / "b", "2")
    time.sleep(0.1)
    state = Files().state(str(link))
    assert state[0] is not None
    link.unlink()
    link.symlink_to(tmp_path / "b")
    assert not Files().unchanged(str(link), state)


def test_a_source_with_a_time_of_the_future_is_like_any_other(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "1")
    os.utime(path, (time.time() + 3600, time.time() + 3600))
    time.sleep(0.1)
    state = Files().state(str(path))
    assert state[0] is not None
    path.write_text("2")
    os.utime(path, ns=(state[0][0], state[0][0]))
    assert not Files().unchanged(str(path), state)


def test_the_executable_bit_counts_as_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "1")
    state = Files().state(str(path))
    path.chmod(0o755)
    assert not Files().unchanged(str(path), state)


def test_a_missing_file_is_as_recorded_only_if_it_was_missing(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    assert Files().state(path) == ABSENT
    assert Files().unchanged(path, ABSENT)
    write(tmp_path / "a")
    assert not Files().unchanged(path, ABSENT)


def test_a_folder_or_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert Files().stat(str(tmp_path)) is None
    assert Files().stat(str(tmp_path / "pipe")) is None


def test_a_walk_lists_the_files_of_one_package(tmp_path: Path) -> None:
    for name in ("Cargo.toml", "src/main.rs", "src/deep/er.rs", "link.lds", ".hidden"):
        write(tmp_path / name)
    for name in (
        ".git/HEAD",
        "target/CACHEDIR.TAG",
        "target/debug/x",
        "nested/Cargo.toml",
        "nested/src/lib.rs",
        "out/x",
    ):
        write(tmp_path / name)
    found = Walker(skip=[str(tmp_path / "out")]).files(str(tmp_path))
    names = [os.path.relpath(file, tmp_path) for file in found]
    assert names == [".hidden", "Cargo.toml", "link.lds", "src/deep/er.rs", "src/main.rs"]


def test_a_walk_follows_links_and_survives_a_circle(tmp_path: Path) -> None:
    write(tmp_path / "root" / "a")
    write(tmp_path / "elsewhere" / "b")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "root")
    found = Walker().files(str(tmp_path / "root"))
    assert [os.path.relpath(file, tmp_path / "root") for file in found] == ["a", "link/b"]


@pytest.mark.parametrize("package", [True, False])
def test_a_link_out_of_the_tree_to_a_big_folder_is_left_alone(package: bool, tmp_path: Path) -> None:
    """Like `result` from `nix build`: it may lead to everything that is installed."""
    tree = tmp_path / "tree"
    for name in ("tree/package/a", "small/b", "tree/inside/c"):
        write(tmp_path / name)
    big = tmp_path / "big" / "deep"
    big.mkdir(parents=True)
    for i in range(MOST_BEHIND_A_LINK):
        (big / str(i)).touch()
        (tree / "inside" / str(i)).touch()
    root = tree / "package"
    links = {"result": big.parent, "few": tmp_path / "small", "inside": tree / "inside", "sub/loop": tree, "self": root}
    (root / "sub").mkdir()
    for name, to in links.items():
        (root / name).symlink_to(to)
    walker = Walker(str(tree))
    inside = len(os.listdir(tree / "inside"))
    found = [os.path.relpath(file, root) for file in walker.files(str(root), package=package)]
    assert [file for file in found if not file.startswith("inside/")] == ["a", "few/b"]
    assert len(found) == inside + 2
    left = [str(root / "result"), str(root / "sub" / "loop")]
    assert walker.left_alone(str(root), package=package) == left
    (big / "0").unlink()
    assert "result/deep/1" in {
        os.path.relpath(file, root) for file in Walker(str(tree)).files(str(root), package=package)
    }


# Environment


def test_cargo_sees_its_own_variables_and_those_asked_for() -> None:
    environment = {
        "RUSTFLAGS": "-g",
        "CARGO_TARGET_DIR": "/t",
        "CARGO_PROFILE_DEV_OPT_LEVEL": "1",
        "RUSTC_WRAPPER": "w",
        "CC": "clang",
        "CARGO_TERM_COLOR": "always",
        "CARGO_NET_RETRY": "2",
        "HOME": "/root",
        "LOGO": "x",
    }
    assert cargo_environment(environment, ["LOGO", "UNSET"]) == {
        "CARGO_HOME": "/root/.cargo",
        "CARGO_PROFILE_DEV_OPT_LEVEL": "1",
        "CARGO_TARGET_DIR": "/t",
        "CC": "clang",
        "LOGO": "x",
        "RUSTC_WRAPPER": "w",
        "RUSTFLAGS": "-g",
        "UNSET": None,
    }


def test_a_secret_is_not_kept_but_told_apart() -> None:
    one, two = (cargo_environment({"CARGO_MY_TOKEN": value}, ())["CARGO_MY_TOKEN"] for value in ("hunter1", "hunter2"))
    assert one != two
    assert "hunter" not in f"{one}{two}"


def test_a_makefile_shows_which_variables_it_asks_for() -> None:
    names = make_references(
        "ifdef RELEASE\nX ?= 1\nall:\n\t$(CC) ${CFLAGS} $$HOME $${ID} $L $@ $$1\nexport V\nifndef Q\n"
    )
    assert names == {"RELEASE", "X", "CC", "CFLAGS", "HOME", "ID", "L", "V", "Q"}
    assert asked_environment({"RELEASE": "1", "PATH": "/"}, names) == {"RELEASE": "1"}


def test_how_many_jobs_make_has_is_no_input() -> None:
    jobs = (" -j4 --jobserver-auth=3,4", " -j2 --jobserver-auth=fifo:/tmp/x", "--jobs=2", "--jobs", "-j 8", "")
    for name in ("MAKEFLAGS", "GNUMAKEFLAGS"):
        for text in jobs:
            assert asked_environment({name: text}, [name]) == {}
            assert asked_environment({name: f"{text} -- NAME=a-j1"}, [name]) == {name: "-- NAME=a-j1"}


# cargo


def test_a_depfile_has_blanks_escaped_and_names_variables() -> None:
    text = "/t/svsm: /a/b.rs /a/with\\ blank.rs /a/c:d.rs\n\n/a/b.rs:\n# env-dep:LOGO=x\n# env-dep:UNSET\n"
    assert parse_depfile(text) == (["/a/b.rs", "/a/with blank.rs", "/a/c:d.rs"], ["LOGO", "UNSET"])


@pytest.mark.parametrize("character", [*"$#:%+&'[]\\\v\f\x1c\x85\xa0", "\u2028", "\u3000", "日"])
def test_what_python_takes_for_white_space_or_ninja_for_the_end_of_a_path_is_part_of_it(character: str) -> None:
    path = f"/a/b{character}c.rs"
    assert parse_depfile(f"/t/svsm: /a/b.rs {path}\n")[0] == ["/a/b.rs", path]
    message = {"reason": "compiler-artifact", "filenames": [path]}
    assert parse_messages(json.dumps(message, ensure_ascii=False)) == [message]


def test_messages_are_told_from_other_output() -> None:
    message = {"reason": "build-finished", "success": True}
    assert parse_messages(f'noise\n{json.dumps(message)}\n{{broken\n{{"a": 1}}\n[1]\n') == [message]


def test_programs_are_those_that_cargo_names_and_no_build_scripts() -> None:
    def artifact(name: str, kind: str, executable: str | None, test: bool = False) -> dict[str, object]:
        target = {"name": name, "kind": [kind]}
        return {"reason": "compiler-artifact", "target": target, "profile": {"test": test}, "executable": executable}

    messages = [
        artifact("svsm", "lib", None),
        artifact("build-script-build", "custom-build", "/t/build/x"),
        artifact("svsm", "bin", "/t/svsm"),
        artifact("svsm", "bin", "/t/deps/svsm-1", test=True),
    ]
    assert [(found.test, found.path) for found in programs(messages)] == [(False, "/t/svsm"), (True, "/t/deps/svsm-1")]


def test_a_build_script_is_looked_at_for_what_it_may_read(tmp_path: Path) -> None:
    folder = tmp_path / "ws" / "p"
    for name in ("../../shared.txt", "../Cargo.toml", "Cargo.toml", ".env", "data.txt", "src/made.rs"):
        write(folder / name)
    texts = [
        *("../../shared.txt", "{}/../../shared.txt", "/../../shared.txt", ".env", "data.txt", "src/made.rs", "../none"),
        *(
            "FOO",
            "CFLAGS",
            "OUT_DIR",
            "PATH",
            "CARGO_CFG_X",
            "RUSTC",
            "Foo",
            "a FOO2",
            'a\\"b',
            "/etc/passwd",
            "DEBUG",
            "TOLD",
        ),
    ]
    given = '.env("LC_ALL", "C").env_remove("XDG_X")'
    source = str(write(folder / "build.rs", "".join(f'f("{text}");\n' for text in texts) + given))
    run = ScriptRun("p", "/out", "/output", (("env-changed", "TOLD"),))
    assert secret_variables(run, str(folder), (), [source], Walker()) == {"FOO", "CFLAGS"}
    found = named_files([source], str(folder), [str(tmp_path / "ws")])
    assert found == {str(tmp_path / "shared.txt"), str(folder / ".env")}
    write(Path(source), 'env::var("CARGO_PKG_LICENSE")')
    found = named_files([source], str(folder), [str(tmp_path / "ws")])
    assert found == {str(folder / "Cargo.toml"), str(tmp_path / "ws" / "Cargo.toml")}


def test_a_flag_names_the_files_that_a_linker_reads(tmp_path: Path) -> None:
    for name in ("a.lds", "b.lds", "c,d.lds", "ld.sh", "lib/e.lds"):
        write(tmp_path / name)
    write(tmp_path / "b.lds", 'INCLUDE "e.lds"\nINCLUDE none.lds\n/* INCLUDE a.lds */\n')
    folders = [str(tmp_path), str(tmp_path / "lib")]
    for flag, names in {
        "-Clink-arg=-Wl,-T,a.lds": {"a.lds"},
        "-Clink-args=--nmagic --script=a.lds": {"a.lds"},
        "svsm=-Tb.lds": {"b.lds", "lib/e.lds"},
        f"-Clink-arg=-T{tmp_path}/c,d.lds": {"c,d.lds"},
        "-Clinker=ld.sh": set(),
        "-Copt-level=3": set(),
    }.items():
        assert linked_files([flag], folders) == {str(tmp_path / name) for name in names}, flag


def test_the_workspace_is_the_nearest_folder_above_that_has_one(tmp_path: Path) -> None:
    write(tmp_path / "Cargo.toml", "# [workspace]\n[workspace]\nmembers = []\n")
    write(tmp_path / "a" / "Cargo.toml", '[package]\nname = "a"\nversion.workspace = true\n')
    assert workspace_root(str(tmp_path / "a")) == str(tmp_path)
    assert workspace_root(str(tmp_path)) == str(tmp_path)
    write(tmp_path / "b" / "Cargo.toml", '[package]\nname = "b"\nworkspace = "../c"\n')
    write(tmp_path / "d" / "Cargo.toml", '[package]\nname = "d"\n[package.metadata]\nworkspace = "../c"\n')
    assert workspace_root(str(tmp_path / "b")) == str(tmp_path / "c")
    assert workspace_root(str(tmp_path / "d")) == str(tmp_path)


# make


@pytest.fixture
def makefile(tmp_path: Path) -> Path:
    write(tmp_path / "more.mk", "V ?= 0\n")
    for name in ("a.S", "a.inc", "b.S", "parts/x+y,日本.S", "wide\u3000blank.S"):
        write(tmp_path / name)
    return write(
        tmp_path / "Makefile",
        "include more.mk\n"
        "out/a: a.o | out\n\tcp $< $@\n"
        "a.o: a.S a.inc\n\tcp $< $@\n"
        "out/b: b.S always\n\tcp $< $@\n"
        "out/c: b.S\n\t$(MAKE) -C sub\n"
        "out/d:\n\tcargo build\n"
        "out/e: b.S\n\tcargo build && cp $< $@\n"
        "out/f: always\n\tcp b.S $@; date >> $@\n"
        "NEWS = $(shell cat b.S)\nout/g: always\n\techo $(NEWS) > $@\n"
        "out/h: always\n\techo `cat b.S` > $@\n"
        """out/i: always\n\tcp "$$(sed -n 's/.*"x":"\\([^"]*\\)".*/\\1/p' a.inc)" $@\n"""
        """out/j: always\n\tcp "$$(awk 1 a.inc)" $@\n"""
        "out/k: always\n\tcat parts/*.S > $@\n"
        "out/l: always\n\tcp -r parts $@\n"
        "out/m: always\n\tsed 's/no.*file/x/' parts/x+y,日本.S > $@\n"
        "out/n: always\n\tobjcopy --add-section=.x=b.S a.S $@\n"
        "out/o: wide\u3000blank.S\n\tcp $< $@\n"
        "out:\n\tmkdir -p out\n"
        ".PHONY: always\n",
    )


def names(folder: Path, target: str) -> tuple[set[str], bool]:
    found = make_knowledge(Command(("make", target)), target, str(folder), os.environ).inputs
    there = {file for file in found.files if os.path.exists(file)}
    return {os.path.relpath(file, folder) for file in there}, found.complete


def test_a_make_item_reads_what_its_rules_name_and_the_makefiles(makefile: Path) -> None:
    (makefile.parent / "out").mkdir()
    assert names(makefile.parent, "out/a") == ({"Makefile", "more.mk", "a.S", "a.inc"}, True)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("out/c", "the rule of out/c calls make"),
        ("out/f", "the rule of out/f runs date"),
        ("out/g", "the rule of out/g runs a function of make"),
        ("out/h", "the rule of out/h runs echo"),
        ("out/j", "the rule of out/j runs awk"),
        ("out/k", "the rule of out/k runs cat"),
        ("out/l", "the rule of out/l runs cp"),
        ("nothing", "no rule makes nothing"),
    ],
)
def test_a_rule_that_cannot_be_known_is_said_to_be_incomplete(target: str, why: str, makefile: Path) -> None:
    found = make_knowledge(Command(("make", target)), target, str(makefile.parent), os.environ)
    assert (found.unknown, found.inputs.complete) == (why, False)


@pytest.mark.parametrize(
    ("target", "read", "cargo"),
    [
        ("out/b", "b.S", False),
        ("out/d", "", True),
        ("out/e", "b.S", True),
        ("out/i", "a.inc", False),
        ("out/m", "parts/x+y,日本.S", False),
        ("out/n", "a.S b.S", False),
        ("out/o", "wide\u3000blank.S", False),
    ],
)
def test_a_rule_that_runs_each_time_is_known_by_what_it_runs(
    target: str, read: str, cargo: bool, makefile: Path
) -> None:
    found = make_knowledge(Command(("make", target)), target, str(makefile.parent), os.environ)
    assert (found.unknown, found.calls_cargo) == ("", cargo)
    assert names(makefile.parent, target) == ({"Makefile", "more.mk", *filter(None, read.split(" "))}, True)


def test_a_folder_without_a_makefile_is_incomplete(tmp_path: Path) -> None:
    assert names(tmp_path, "x") == (set(), False)
    write(tmp_path / "x")
    assert names(tmp_path, "x") == ({"x"}, False)


def test_makes_data_base_is_read(tmp_path: Path) -> None:
    printed = (
        "MAKEFILE_LIST := Makefile a.mk\n\n# Files\n\n# Not a target:\na.S:\n#  Implicit rule search.\n\n"
        "all: out/a\n#  Phony target (prerequisite of .PHONY).\n\nout/a: a.S | out\n#  recipe to execute:\n\tcc $<\n\n"
        "# files hash-table stats:\n# x: y\n"
    )
    rules = parse_rules(printed)
    assert makefile_list(printed) == ["Makefile", "a.mk"]
    assert set(rules) == {"a.S", "all", "out/a"}
    write(tmp_path / "a.S")
    (tmp_path / "out").mkdir()
    found = {name: closure(name, rules, str(tmp_path), {}) for name in rules}
    assert {name: (set(c.sources), set(c.made), not c.unknown) for name, c in found.items()} == {
        "out/a": ({"a.S"}, {"out/a"}, True),
        "all": ({"a.S"}, {"out/a"}, False),
        "a.S": ({"a.S"}, set(), False),
    }
    (tmp_path / "a.S").unlink()
    assert closure("out/a", rules, str(tmp_path), {}).unknown == "the rule of out/a runs cc"


# The version


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_of_several_test_programs_the_librarys_is_meant(tmp_path: Path) -> None:
    library, program, other = (
        Program("my_pkg", True, "/lib", True),
        Program("my-pkg", True, "/bin"),
        Program("it", True, "/it"),
    )
    same = Program("pkg", True, "/lib", True), Program("pkg", True, "/bin")

    def chosen(name: str, made: Sequence[Program]) -> str:
        action = cast(Any, SimpleNamespace(test=True, program=name, build="cargo test"))
        return choose(action, list(made), tmp_path / "log").path

    assert chosen("my-pkg", [other, library]) == "/lib"
    assert chosen("my-pkg", [other, program]) == "/bin"
    assert chosen("my-pkg", [library, program, other]) == "/lib"
    assert chosen("pkg", [*same, other]) == "/lib"
    with pytest.raises(StepError, match=r" test program; .*: it, other\n") as error:
        chosen("pkg", [other, Program("other", True, "/other")])
    assert error.value.id == "program-not-made"


def test_the_version_is_gits_without_a_leading_v(tmp_path: Path) -> None:
    write(tmp_path / "a")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "x")
    git(tmp_path, "tag", "-a", "v1.2", "-m", "x")
    file = str(tmp_path / "git_version.rs")
    assert 'pub const GIT_VERSION: &str = "1.2";\n' in version_text(file, describe(str(tmp_path), os.environ))
    write(tmp_path / "a", "changed")
    assert 'GIT_VERSION: &str = "1.2+";' in version_text(file, describe(str(tmp_path), os.environ))


def test_a_tree_without_git_has_an_empty_version(tmp_path: Path) -> None:
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    file = str(tmp_path / "git_version.rs")
    assert 'GIT_VERSION: &str = "";' in version_text(file, describe(str(tmp_path), environment))
    assert 'GIT_VERSION: &str = "";' in version_text(file, describe(str(tmp_path), {"PATH": "/nowhere"}))


def test_the_trees_own_header_is_kept(tmp_path: Path) -> None:
    file = write(tmp_path / "git_version.rs", '// mine\n\npub const GIT_VERSION: &str = "old";\n')
    found = version_text(str(file), "1.3+")
    assert found == '// mine\n\npub const GIT_VERSION: &str = "1.3+";\n'
