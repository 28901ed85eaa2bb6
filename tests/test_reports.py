"""Logs, sizes, picture and timeline of real builds."""

from __future__ import annotations

import json
import os
import re
import sys
import xml.etree.ElementTree as ET
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import QEMU, Site, has

from coconut_tasks.records.sizes import Sizes
from coconut_tasks.reports.progress import Running, in_one, progress_line, seconds_left
from coconut_tasks.reports.size import size_table
from coconut_tasks.wording import human, seconds_in_words

MODULES: dict[str, Any] = {**deepcopy(QEMU), "fs": {"modules": {"userinit": {"path": "/init"}}}}


def add_code(site: Site, name: str, count: int = 5000) -> None:
    path = site.tree / name
    path.write_text(path.read_text() + f"\n#[used]\nstatic MORE: [u8; {count}] = [7; {count}];\n")


# Logs


def test_the_output_of_each_steps_last_run_is_kept_and_shown(site: Site) -> None:
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + "\nfn unused() {}\n")
    recipe = site.recipe()
    site.build(recipe)
    log = site.build("log", recipe, "kernel:svsm").out
    assert log.startswith("$ cargo build ") and "--package svsm" in log.splitlines()[0]
    assert "warning: function `unused` is never used" in log
    assert "$ objcopy -O elf64-x86-64" in log
    site.build(recipe)  # nothing to do: the last run is still the one before
    assert site.build("log", recipe, "kernel:svsm").out == log
    listed = site.build("log", recipe).out.splitlines()
    assert {line.split()[2] for line in listed} == {
        "tool:igvmbuilder", "tool:igvmmeasure", "kernel:svsm", "kernel:bldr", "igvm:qemu", "measure:qemu",
    }  # fmt: skip
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \S+ +[\d.]+ (B|KiB)", line) for line in listed)
    group = site.build("log", recipe, "kernel").out
    assert "==> kernel:svsm <==\n" in group and "==> kernel:bldr <==\n" in group and "igvm" not in group


def test_a_failure_shows_the_end_of_its_log_and_where_the_rest_is(site: Site) -> None:
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + "".join(f'\nfn wrong{i}() -> u8 {{ "" }}\n' for i in range(30)))
    recipe = site.recipe()
    outcome = site.doit(recipe)
    assert outcome.status == 1
    assert re.search(r"\(\d+ more lines before these, in the log\)", outcome.out)
    log = site.build("log", recipe, "kernel:svsm").out
    assert log.count("error[E0308]") == 30 > outcome.out.count("error[E0308]") > 0
    assert re.search(rf"log: {site.bin}/\.coconut/logs/kernel-svsm-\w+\.log\n", outcome.out)


def test_there_is_no_log_of_what_never_ran(site: Site) -> None:
    outcome = site.doit("log", site.recipe(), "kernel:svsm")
    assert (outcome.status, outcome.ids) == (2, {"not-run-yet"}) and "error: log: kernel:svsm " in outcome.err
    assert site.build("log", site.recipe()).out == "no step has run yet\n"
    outcome = site.doit("log", site.recipe(), "version:git")
    assert (outcome.status, outcome.ids) == (2, {"no-log"}) and "error: log: version:git " in outcome.err
    site.build("kernel:bldr", site.recipe())
    assert "no step" not in site.build("log", site.recipe()).out
    # Another variant has another log.
    assert site.doit("log", site.recipe(), "kernel:bldr", "RELEASE=1").status == 2


def test_reports_need_tasks_of_ours(tmp_path: Path, site: Site) -> None:
    (tmp_path / "dodo.py").write_text("def task_x():\n    return {'actions': ['true']}\n")
    for command in ("why", "plan", "log", "graph", "timeline", "size", "watch"):
        outcome = site.run([sys.executable, "-m", "doit", command], cwd=tmp_path)
        assert (outcome.status, outcome.ids) == (2, {"no-step-asked"})
        assert outcome.err.startswith(f"error: {command}: ")


# Sizes


def test_sizes_are_those_of_the_files_with_the_change_since_the_build_before(site: Site) -> None:
    recipe = site.recipe(MODULES)
    site.build(recipe)
    first = site.build("size", recipe).out
    rows = {
        name: int(size.replace(",", "")) for name, size in re.findall(r"^ *(\S+) +([\d,]+) bytes$", first, re.MULTILINE)
    }
    (module,) = (site.bin / ".coconut" / "parts").glob("userinit-*/userinit")
    assert rows == {
        "bin/q.igvm": (site.bin / "q.igvm").stat().st_size,
        "kernel:svsm": (site.bin / "svsm").stat().st_size,
        "kernel:bldr": (site.bin / "bldr").stat().st_size,
        "fs:image": (site.bin / "svsm-fs.bin").stat().st_size,
        "/init": module.stat().st_size,
    }
    add_code(site, "user/userinit/src/main.rs")
    site.build(recipe)
    second = site.build("size", recipe).out
    change = dict(re.findall(r"^ *(\S+) +[\d,]+ bytes +(\S+)$", second, re.MULTILINE))
    assert change["kernel:svsm"] == change["kernel:bldr"] == "="
    assert int(change["/init"].replace(",", "")) == module.stat().st_size - rows["/init"] >= 4096
    assert int(change["bin/q.igvm"].replace(",", "")) > 0
    site.build(recipe)  # nothing to do: the previous build is still the same
    assert site.build("size", recipe).out == second
    report = json.loads(site.build("size", "--json", recipe).out)
    (file,) = report["images"]
    assert file["now"]["parts"]["kernel:svsm"] == file["before"]["parts"]["kernel:svsm"] == rows["kernel:svsm"]
    assert file["before"]["modules"] == {"init": rows["/init"]}


@pytest.mark.usefixtures("release_crates")
def test_sizes_are_told_to_be_another_variants_where_bin_shows_one(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    assert site.build("size", recipe).out.startswith("bin/q.igvm  ")
    site.build("RELEASE=1", recipe)
    assert site.build("size", recipe).out.startswith("bin/q.igvm (the last build; bin/ has another file)  ")


def test_after_a_failed_build_the_sizes_are_those_of_the_last_good_one(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    first = site.build("size", recipe).out
    add_code(site, "boot/bldr/src/main.rs")
    (site.tree / "kernel" / "src" / "main.rs").write_text("this is no Rust")
    assert site.doit(recipe, "-c").status == 1
    title, _, parts = site.build("size", recipe).out.partition("\n")
    assert re.fullmatch(r"bin/q\.igvm \([a-z ]+\) +[\d,]+ bytes", title)
    assert parts.split() == first.partition("\n")[2].split()
    (site.bin / ".coconut" / "sizes.json").unlink()
    assert site.doit("size", recipe).ids == {"nothing-built"}


def test_sizes_are_compared_with_the_same_variant_only(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    site.build(recipe, "FEATURES=enable-gdb")
    other = site.build("size", recipe, "FEATURES=enable-gdb").out
    assert all(line.endswith(" bytes") for line in other.splitlines())
    add_code(site, "kernel/src/main.rs")
    site.build(recipe)
    assert re.search(r"^  kernel:svsm .* bytes +\+[\d,]+$", site.build("size", recipe).out, re.MULTILINE)


def test_there_is_no_size_of_what_was_not_built(site: Site) -> None:
    outcome = site.doit("size", site.recipe())
    assert (outcome.status, outcome.ids) == (2, {"nothing-built"}) and "error: size: " in outcome.err


def test_a_part_that_is_new_or_gone_is_a_row_too() -> None:
    before = Sizes("a", 100, {"kernel:svsm": 10, "kernel:bldr": 5}, {})
    now = Sizes("b", 110, {"kernel:svsm": 10, "fs:image": 7}, {"init": 6})
    assert size_table("bin/q.igvm", now, before).splitlines() == [
        "bin/q.igvm     110 bytes  +10",
        "  kernel:svsm   10 bytes    =",
        "  fs:image       7 bytes   +7",
        "    /init        6 bytes   +6",
        "  kernel:bldr    0 bytes   -5",
    ]
    assert [human(size) for size in (0, 1023, 1024, 1_300_000)] == ["0 B", "1023 B", "1.0 KiB", "1.2 MiB"]


# The picture


def test_the_graph_shows_the_steps_and_marks_the_stale_ones(site: Site) -> None:
    recipe = site.recipe(MODULES)
    site.build(recipe)
    add_code(site, "kernel/src/main.rs")
    assert site.build("graph", recipe).out == "bin/graph.svg: written\n"
    svg = (site.bin / "graph.svg").read_text()
    ET.fromstring(svg)
    for name in ("version:git", "kernel:svsm", "module:userinit", "igvm:qemu", "measure:qemu"):
        assert name in svg
    assert "kernel/src/main.rs changed" in svg
    assert re.search(r"1 stale\b", svg) and re.search(r"3 may run\b", svg)
    dot = site.build("graph", "--format=dot", recipe).out
    assert dot.startswith("digraph") and re.search(r'"kernel:svsm".*stale', dot)
    mermaid = site.build("graph", "--format=mermaid", recipe).out
    assert mermaid.startswith("flowchart LR") and '"kernel:svsm<br/>stale"' in mermaid
    assert site.build("graph", "-o", "build.dot", recipe).out == "build.dot: written\n"
    assert (site.folder / "build.dot").read_text() == dot
    part = site.build("graph", "--format=dot", recipe, "kernel:svsm").out
    assert "kernel:svsm" in part and "igvm" not in part
    (line,) = site.doit("graph", "-o", "build.png", recipe).told("no-such-format")
    assert "'build.png': " in line and " .svg, " in line
    wrong = site.doit("graph", "--format=sgv", recipe)
    (line,) = wrong.told("no-such-choice")
    assert wrong.status == 2
    assert has(line, "--format: … 'sgv'; … svg, dot … mermaid … 'svg'")


# The timeline


def test_the_timeline_shows_the_last_run_that_did_something(site: Site) -> None:
    recipe = site.recipe(MODULES)
    early = site.doit("timeline", recipe)
    assert (early.status, early.ids) == (2, {"nothing-built"}) and "error: timeline: " in early.err
    built = site.build(recipe).built
    site.build(recipe)  # nothing to do
    said = site.build("timeline", recipe).out
    assert said.splitlines()[:2] == ["bin/timeline.html: written", "bin/timeline.json: written"]
    assert re.search(
        r"^doit .*: \d+\.\d s; the longest chain: .*igvm:qemu \d+\.\d s → measure:qemu", said, re.MULTILINE
    )
    trace = json.loads((site.bin / "timeline.json").read_text())
    steps = {event["name"]: event for event in trace["traceEvents"] if event.get("args", {}).get("result") == "built"}
    assert set(steps) == built
    commands = [event["name"] for event in trace["traceEvents"] if event.get("cat") == "command"]
    assert any(name.startswith("cargo build") and "--package svsm" in name for name in commands)
    assert any(name.startswith("objcopy") for name in commands)
    # Steps keep their order: the image after its parts, the measurement after the image.
    for before, after in (("kernel:svsm", "igvm:qemu"), ("fs:image", "igvm:qemu"), ("igvm:qemu", "measure:qemu")):
        assert steps[before]["ts"] + steps[before]["dur"] <= steps[after]["ts"]
    page = (site.bin / "timeline.html").read_text()
    assert site.build("timeline", "-o", "-", recipe).out == page
    assert not list(site.folder.glob("-*"))
    assert all(name in page for name in built)
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)


def test_a_step_is_not_charged_with_what_it_waited_for(site: Site) -> None:
    """Two cargo items at once: one waits for the target folder, and the page shows that."""
    site.build("run", "-n", "2", site.recipe())
    run = json.loads((site.bin / ".coconut" / "last-run.json").read_text())
    spans = {step["name"]: step["spans"] for step in run["steps"]}
    waited = [span for spans in spans.values() for span in spans if span["waiting"]]
    assert waited and run["jobs"] == 2
    for step in run["steps"]:
        assert step["start"] <= min([span["start"] for span in step["spans"]], default=step["start"])
        assert max([span["end"] for span in step["spans"]], default=0) <= step["end"] <= run["seconds"]


def test_a_failed_run_has_a_timeline_too_and_what_is_damaged_is_nothing(site: Site) -> None:
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text("this is no Rust")
    recipe = site.recipe()
    assert site.doit(recipe).status == 1
    site.build("timeline", recipe)
    trace = json.loads((site.bin / "timeline.json").read_text())
    failed = [event["name"] for event in trace["traceEvents"] if event.get("args", {}).get("result") == "failed"]
    assert failed == ["kernel:svsm"]
    state = site.bin / ".coconut"
    for name in ("last-run.json", "durations.json", "crates.json", "sizes.json"):
        (state / name).write_text('{"bin": [1], "x": ')
    assert site.doit("timeline", recipe).status == 2
    assert site.doit(recipe).status == 1
    for name in ("last-run.json", "durations.json", "crates.json", "sizes.json"):
        (state / name).write_text('{"q.igvm": [1], "x": {"y": 1}}')
    assert site.doit(recipe).status == 1
    assert site.doit("size", recipe).status == 2


def test_reports_are_kept_where_they_can_be_and_never_stop_a_build(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    for name in ("last-run.json", "durations.json", "crates.json", "sizes.json"):
        (site.bin / ".coconut" / name).unlink()
        os.mkdir(site.bin / ".coconut" / name)
    add_code(site, "kernel/src/main.rs")
    assert site.build(recipe).built == {"kernel:svsm", "igvm:qemu", "measure:qemu", "provenance:qemu"}


# The live line


def test_the_live_line_names_what_runs_longest_first() -> None:
    running = [Running("a:a", 1.0), Running("b:b", 4.25), Running("c:c", 0.0, waiting=True)]
    assert progress_line(3, 11, running, 12.4) == "[3/11] b:b: 4.2 s; a:a: 1.0 s; 1 waits; about 12 s left"
    assert progress_line(3, 11, [], None) == "[3/11] "
    waiting = [Running("a:a", 0, waiting=True), Running("b:b", 0, waiting=True)]
    assert progress_line(0, 2, waiting, None) == "[0/2] 2 wait"


def test_the_live_line_tells_how_many_crates_there_are_of_how_many_last_time() -> None:
    for crates, of, told in (
        (12, 57, "12/57 crates, "),
        (0, 57, "0/57 crates, "),
        (57, 57, "57/57 crates, "),
        (58, 57, "58 crates, "),
        (1, None, "1 crate, "),
        (0, None, ""),
    ):
        assert progress_line(0, 1, [Running("a:a", 1.0, False, crates, of)], None) == f"[0/1] a:a: {told}1.0 s"


def test_steps_that_are_told_together_are_added_up() -> None:
    done, now, later = Running("a", 2.0, True, 30, 30), Running("b", 1.5, False, 11, 40), Running("c", 0.0, True, 0, 10)
    assert in_one("x", [done, now, later]) == Running("x (3)", 3.5, False, 41, 80)
    unknown = Running("c", 0.0, True)
    assert in_one("x", [done, now, unknown]) == Running("x (3)", 3.5, False, 41, None)
    assert in_one("x", [done, later]).waiting


def test_what_is_left_is_what_the_last_run_took_less_what_is_done() -> None:
    assert seconds_left({"a:a": 5.0, "b:b": 2.0}, [Running("a:a", 3.0)]) == 4.0
    assert seconds_left({"a:a": 5.0, "b:b": 2.0}, [Running("a:a", 30.0)]) is None  # it takes longer this time
    assert seconds_left({"a:a": 5.0, "b:b": None}, []) is None
    assert [seconds_in_words(s) for s in (0.2, 59.4, 59.6, 125)] == ["1 s", "59 s", "1 min 0 s", "2 min 5 s"]
