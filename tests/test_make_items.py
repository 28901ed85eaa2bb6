"""Real builds of items of type make: whatever was built before, the result must be that of a clean build."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import Outcome, Site, at_work, environment

ITEM = "kernel:tdx-stage1"
OLD_SWITCH, NEW_SWITCH = "movb $'1'", "movb $'2'"
"""The characters that stage1 writes to the debug port."""
Environment = dict[str, str | None]


def recipe_for(output: str, objcopy: str = "elf64-x86-64") -> dict[str, Any]:
    return {
        "igvm": {},
        "kernel": {"svsm": {}, "tdx-stage1": {"type": "make", "output_file": output, "objcopy": objcopy}},
    }


@dataclass
class Item:
    """The make item of a site, and the folder for clean builds of it."""

    site: Site
    place: Path
    output: str = "out/x"

    def build(self, *words: str, env: Environment | None = None) -> Outcome:
        return self.site.build(ITEM, self.site.recipe(recipe_for(self.output)), *words, env=env)

    @property
    def program(self) -> bytes:
        return (self.site.bin / "tdx-stage1").read_bytes()

    def made_from_nothing(self, *words: str, env: Environment | None = None) -> bytes:
        """The item of a copy of the tree in which nothing was built."""
        folder = self.place / "clean"
        made = shutil.ignore_patterns("bin", "out", "o_x", "*.o")
        shutil.copytree(self.site.folder, folder, symlinks=True, ignore=made)
        clean = Item(Site(folder, self.site.target), self.place, self.output)
        clean.build(*words, env=env)
        program = clean.program
        shutil.rmtree(folder)
        return program


@pytest.fixture
def item(site: Site, tmp_path: Path) -> Item:
    """With a Makefile and sources that the test writes."""
    return Item(site, tmp_path)


@pytest.fixture
def stage1(site: Site, tmp_path: Path) -> Item:
    """As in the sample, from an assembler file and a linker script."""
    return Item(site, tmp_path, "bin/stage1-trampoline")


def write(tree: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


# A Makefile that reads more than its rules say


def assembled(text: str, before: str = "") -> str:
    """A Makefile whose item contains a text, with some lines before the rule."""
    recipe = f'mkdir -p out; printf \'.ascii "%s\\n"\\n\' "{text}" | $(CC) -x assembler -c -o $@ -'
    return f"{before}out/x: Makefile\n\t{recipe}\n"


def ascii_of(file: str) -> str:
    return f'printf \'.ascii "%s\\n"\\n\' "`cat {file}`"'


@dataclass(frozen=True)
class Case:
    """A tree, and a change of it or of the environment that affects the item."""

    name: str
    makefile: str
    files: dict[str, str] = field(default_factory=dict)
    change: dict[str, str] = field(default_factory=dict)
    env: Environment = field(default_factory=dict)
    other_env: Environment = field(default_factory=dict)
    output: str = "out/x"

    def __str__(self) -> str:
        return self.name


CASES = [
    Case(
        "a file that a wildcard finds",
        f"""SOURCES := $(sort $(wildcard parts/*.txt))
out/x: $(SOURCES) Makefile
	mkdir -p out; for file in $(SOURCES); do {ascii_of("$$file")}; done > out/x.s; $(CC) -c -o $@ out/x.s
""",
        {"parts/a.txt": "one\n"},
        {"parts/b.txt": "two\n"},
    ),
    Case(
        "a file that a forced rule reads",
        f"""out/x: out/v.s
	$(CC) -c -o $@ $<
out/v.s: FORCE
	mkdir -p out; {ascii_of("VERSION.txt")} > $@.new; cmp -s $@ $@.new || mv $@.new $@
FORCE:
""",
        {"VERSION.txt": "v1\n"},
        {"VERSION.txt": "v2\n"},
    ),
    Case(
        "a makefile that may be included and was not there",
        assembled("$(NAME)", "NAME := default\n-include config.mk\n"),
        change={"config.mk": "NAME := mine\n"},
    ),
    Case(
        "a makefile that goes before the one that was read", assembled("one"), change={"GNUmakefile": assembled("two")}
    ),
    Case(
        "a variable that only the shell of a rule reads",
        assembled("$$BUILD_ID"),
        env={"BUILD_ID": "1"},
        other_env={"BUILD_ID": "2"},
    ),
    Case("a variable of one letter", assembled("$X"), env={"X": "1"}, other_env={"X": "2"}),
    Case(
        "a variable that is given in MAKEFLAGS",
        assembled("$(NAME)", "NAME := one\n"),
        other_env={"MAKEFLAGS": "NAME=two"},
    ),
    Case(
        "a variable of a rule that make itself brings",
        "o_x: o_x.o\n\tcp $< $@\n",
        {"o_x.s": '.ifdef FOO\n.ascii "foo"\n.else\n.ascii "none"\n.endif\n'},
        other_env={"ASFLAGS": "--defsym FOO=1"},
        output="o_x",
    ),
    Case(
        "a file of one of two rules with double colons",
        f"""out/x: out/a
	cat out/a | $(CC) -x assembler -c -o $@ -
out/a:: in1.txt
	mkdir -p out; {ascii_of("in1.txt")} > out/a
out/a:: in2.txt
	{ascii_of("in2.txt")} >> out/a
""",
        {"in1.txt": "1\n", "in2.txt": "1\n"},
        {"in1.txt": "2\n"},
    ),
    Case(
        "a file that is found before the one in VPATH",
        "VPATH = src\nout/x: v.s\n\tmkdir -p out; $(CC) -c -o $@ $<\n",
        {"src/v.s": '.ascii "v1"\n'},
        {"v.s": '.ascii "v3"\n'},
    ),
    Case(
        "a file behind one that only has to be there first",
        f"""out/x: a.s | out/gen.s
	$(CC) -c -o $@ $<
out/gen.s: gen.txt
	mkdir -p out; {ascii_of("gen.txt")} > $@
""",
        {"a.s": '.include "out/gen.s"\n', "gen.txt": "1\n"},
        {"gen.txt": "2\n"},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_a_makefile_looks_at_reaches_the_item(case: Case, item: Item) -> None:
    item.output = case.output
    write(item.site.tree, {"Makefile": case.makefile, **case.files})
    item.build(env=case.env)
    item.build(env=case.env)
    first = item.program
    write(item.site.tree, case.change)
    item.build(env=case.other_env)
    assert item.program != first
    assert item.program == item.made_from_nothing(env=case.other_env)


def test_a_file_that_make_has_no_rule_for_is_an_input_of_its_item(item: Item) -> None:
    """make says that there is nothing to do for it, and uses it as it is."""
    tree = item.site.tree
    write(tree, {"Makefile": "all:\n", "a.s": '.ascii "one"\n', "b.s": '.ascii "two"\n'})
    (tree / "out").mkdir()
    item.site.run(["cc", "-c", "-o", "out/x", "a.s"], cwd=tree)
    item.build()
    first = item.program
    item.site.run(["cc", "-c", "-o", "out/x", "b.s"], cwd=tree)
    good = (tree / "out" / "x").read_bytes()
    assert item.build().built == {ITEM}
    assert item.program != first
    # It is a source of the user.
    item.site.build("clean", ITEM, item.site.recipe(recipe_for(item.output)))
    assert (tree / "out" / "x").read_bytes() == good


# Rules that call cargo


PHONY = """
CARGO_ARGS :=
bin/phony: build
	cp -f "$$CARGO_TARGET_DIR/debug/tdx-stage1" $@
build: bin/meta
	cargo rustc --manifest-path stage1/Cargo.toml ${CARGO_ARGS} --bin tdx-stage1 -- -C panic=abort
bin:
	mkdir -v -p bin
bin/meta: stage1/stage1.inc bin
	$(CC) -x assembler -c -o $@ /dev/null
.PHONY: build
"""
"""As in SVSM's Makefile until May 2025."""
FORCED = """
bin/forced: FORCE | bin
	@cargo build --message-format=json-render-diagnostics --bin userinit > bin/.forced.json
	cp "$$(sed -n 's/.*"executable":"\\([^"]*userinit\\)".*/\\1/p' bin/.forced.json)" $@
bin:
	mkdir -p bin
FORCE:
"""
"""As the sample's Makefile builds its test kernel."""


@pytest.mark.parametrize(
    ("output", "makefile", "source"),
    [("bin/forced", FORCED, "common/src/lib.rs"), ("bin/phony", PHONY, "stage1/src/main.rs")],
    ids=["forced", "phony"],
)
def test_an_item_whose_rule_calls_cargo_is_known_by_what_cargo_read(
    output: str, makefile: str, source: str, site: Site, tmp_path: Path
) -> None:
    item = Item(site, tmp_path, output)
    (site.tree / "Makefile").write_text(makefile)
    (site.tree / ".cargo" / "config.toml").unlink()  # its default target may not be installed
    item.build()
    assert item.build().built == set()
    path = site.tree / source
    path.write_text(path.read_text() + "\n// a comment\n")
    assert item.build().built == {ITEM}
    assert item.build().built == set()
    other = site.tree / "tools" / "igvmbuilder" / "src" / "main.rs"
    other.write_text(other.read_text() + "\n// a comment\n")
    assert item.build().built == set()


def test_a_rule_that_cannot_be_known_is_said_in_each_run(item: Item) -> None:
    (item.site.tree / "Makefile").write_text(
        "out/x: FORCE\n\tmkdir -p out; date | $(CC) -x assembler -c -o $@ /dev/null\nFORCE:\n"
    )
    for _ in range(2):
        said = item.build()
        assert ITEM in said.built
        (warning,) = said.told("inputs-not-known")
        assert all(name in warning for name in ("warning: ", " make ", " out/x runs date")), warning


# Unintended variables, and another make


def test_what_a_makefile_takes_from_the_environment_is_said_where_it_is_made(item: Item) -> None:
    own = "OWN := mine\nADDED += more\nTARGET ?= usual\n"
    write(item.site.tree, {"Makefile": assembled("$(OWN) $(ADDED) $(TARGET) $$SHELLS", own)})
    assert "variable-reaches-make" not in item.build().ids
    env: Environment = {"OWN": "theirs", "ADDED": "some", "TARGET": "y\033[2J", "SHELLS": "", "CFLAGS": "-O1"}
    (note,) = item.build(env=env).told("variable-reaches-make")
    assert note.startswith("note: ") and " out/x " in note and note.endswith(" ADDED='some', TARGET='y\\x1b[2J'")


def outer_make(item: Item, *words: str) -> Outcome:
    """Call doit from a user's makefile."""
    site = item.site
    doit = shlex.join(site.argv(ITEM, site.recipe(recipe_for(item.output))))
    (site.folder / "Makefile").write_text(f"DOIT = {doit} $(WORDS)\nplain: ; $(DOIT)\nplus: ; +$(DOIT)\n")
    outcome = site.run(["make", *words])
    assert outcome.status == 0, outcome.text
    assert "jobserver" not in outcome.text.replace(doit, "")
    return outcome


@pytest.mark.parametrize("how", ["plain", "plus"])
def test_the_make_that_calls_doit_is_no_part_of_what_is_made(how: str, item: Item) -> None:
    """MAKEFLAGS names its jobserver, which it closes for rules without a plus."""
    write(item.site.tree, {"Makefile": assembled("$(NAME) $(MAKELEVEL)", "NAME := one\n")})
    assert ITEM in outer_make(item, "-j4", how).built
    first = item.program
    assert item.build().built == set()
    assert outer_make(item, how).built == set()
    for words in (["-j4"], ["-B", "-k", "-s"]):
        write(item.site.tree, {"Makefile": assembled("$(NAME) $(MAKELEVEL)", f"# {words}\nNAME := one\n")})
        assert ITEM in outer_make(item, *words, how).built
        assert "jobserver" not in item.site.log(ITEM)
        assert item.program == first
        assert item.build().built == set()
    # make exports it, but it does not override a makefile's own value.
    assert ITEM in outer_make(item, "NAME=two", how).built
    assert item.program == first == item.made_from_nothing()


def test_an_item_that_calls_cargo_is_built_under_make(site: Site, tmp_path: Path) -> None:
    """cargo also looks for a jobserver."""
    item = Item(site, tmp_path, "bin/forced")
    (site.tree / "Makefile").write_text(FORCED)
    (site.tree / ".cargo" / "config.toml").unlink()
    for how in ("plain", "plus"):
        source = site.tree / "common" / "src" / "lib.rs"
        source.write_text(f"{source.read_text()}\n// {how}\n")
        assert ITEM in outer_make(item, "-j2", how).built
        assert "jobserver" not in site.log(ITEM)
        assert site.build(ITEM, site.recipe(recipe_for(item.output))).built == set()


# Files from earlier builds


def test_a_source_that_got_its_old_content_and_time_back_is_made_anew(stage1: Item) -> None:
    stage1.build()
    first = stage1.program
    source = stage1.site.tree / "stage1" / "stage1.S"
    old = source.with_suffix(".old")
    shutil.copy2(source, old)
    source.write_text(source.read_text().replace(OLD_SWITCH, NEW_SWITCH))
    stage1.build()
    assert stage1.program != first
    old.replace(source)
    stage1.build()
    assert stage1.program == first
    assert stage1.build().built == set()


def test_a_source_that_is_as_new_as_what_was_made_of_it_is_made_anew(item: Item) -> None:
    """An edit right after the build with coarse time stamps; make looks for newer files."""
    tree = item.site.tree
    write(tree, {"Makefile": "out/x: a.s\n\tmkdir -p out; $(CC) -c -o $@ a.s\n", "a.s": '.ascii "one"\n'})
    item.build()
    made = (tree / "out" / "x").stat().st_mtime_ns
    write(tree, {"a.s": '.ascii "two"\n'})
    os.utime(tree / "a.s", ns=(made, made))
    item.build()
    assert b"two" in item.program


@pytest.mark.parametrize("when", [1, 4_000_000_000])
def test_sources_of_one_time_whichever_it_is_are_made_as_they_are_and_not_for_ever(when: int, stage1: Item) -> None:
    for old, new in ((OLD_SWITCH, OLD_SWITCH), (OLD_SWITCH, NEW_SWITCH)):
        source = stage1.site.tree / "stage1" / "stage1.S"
        source.write_text(source.read_text().replace(old, new))
        for path in (stage1.site.tree / "stage1").iterdir():
            os.utime(path, (when, when))
        assert ITEM in stage1.build().built
        assert stage1.program == stage1.made_from_nothing()
        assert stage1.build().built == set()


def test_what_clean_leaves_of_another_profile_is_not_used(stage1: Item) -> None:
    """clean removes the item's file, not intermediate files."""
    stage1.build()
    stage1.site.build("clean", ITEM, stage1.site.recipe(recipe_for(stage1.output)))
    stage1.build("RELEASE=1")
    assert stage1.program == stage1.made_from_nothing("RELEASE=1")


def test_what_a_failed_run_of_another_profile_made_is_not_used(stage1: Item) -> None:
    stage1.build()
    script = stage1.site.tree / "stage1" / "stage1.lds"
    good = script.read_text()
    script.write_text(f"{good}garbage {{\n")
    assert stage1.site.doit(ITEM, stage1.site.recipe(recipe_for(stage1.output)), "RELEASE=1").status == 1
    script.write_text(f"{good}/* newer */\n")
    stage1.build()
    assert stage1.program == stage1.made_from_nothing()


@contextmanager
def linker_that_waits(site: Site) -> Iterator[tuple[Path, Path]]:
    """A compiler that waits before linking while the first file exists, and creates the second file when it has got there."""
    hold, reached, compiler = (site.folder / name for name in ("hold", "reached", "slow-cc"))
    compiler.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *-nostdlib*) if [ -e {hold} ]; then : > {reached}; fi; while [ -e {hold} ]; do sleep 0.02; done;; esac\n'
        'exec cc "$@"\n'
    )
    compiler.chmod(0o755)
    makefile = site.tree / "Makefile"
    makefile.write_text(f"CC := {compiler}\n{makefile.read_text()}")
    try:
        yield hold, reached
    finally:
        hold.unlink(missing_ok=True)


def test_what_an_interrupted_run_of_another_profile_made_is_not_used(stage1: Item) -> None:
    site = stage1.site
    recipe = site.recipe(recipe_for(stage1.output))
    with linker_that_waits(site) as (hold, reached):
        stage1.build()
        hold.touch()
        argv = site.argv(ITEM, recipe, "RELEASE=1")
        silent = subprocess.DEVNULL
        with at_work(argv, site.folder, environment(site.target), stdout=silent, stderr=silent) as run:
            deadline = time.monotonic() + 60
            while not reached.exists():
                assert run.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            run.send_signal(signal.SIGINT)
            run.wait(timeout=60)
        assert run.returncode not in (0, None)
    script = site.tree / "stage1" / "stage1.lds"
    script.write_text(f"{script.read_text()}/* newer */\n")
    stage1.build()
    assert stage1.program == stage1.made_from_nothing()


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_two_items_that_share_what_is_made_on_the_way_do_not_mix(order: tuple[str, str], site: Site) -> None:
    write(
        site.tree,
        {
            "Makefile": """o_a: o_c.o
	cp $< $@
o_b: o_c.o
	cp $< $@
o_c.o: Makefile
	printf '.ascii "who-%s"\\n' "$(WHO)" | $(CC) -x assembler -c -o $@ -
"""
        },
    )
    modules = {
        name: {"path": f"/{name}", "type": "make", "output_file": f"o_{name}", "env": {"WHO": name}} for name in "ab"
    }
    recipe = site.recipe({"igvm": {}, "kernel": {"svsm": {}}, "fs": {"modules": modules}})
    for _ in range(2):
        for name in order:
            site.build(f"module:{name}", recipe)
        for name in order:
            (part,) = site.bin.glob(f".coconut/parts/{name}-*/{name}")
            assert f"who-{name}".encode() in part.read_bytes()
