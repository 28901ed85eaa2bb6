"""The output during a build and at its end: on a terminal (here a pseudo-terminal), and in a log."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

import forks
import pytest
from conftest import QEMU, Site, environment, has

from coconut_tasks.layout import VERSION_FILE
from coconut_tasks.terminal import ARROWS, MARKS, Terminal, marked, plain, terminal_of

UP_AND_CLEAR = "\x1b[2K"


def on_a_terminal(
    site: Site, *words: str, act: Callable[[int], None] | None = None, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run doit with its standard streams on a terminal; returns the exit status, and all bytes that the terminal got."""
    ours, theirs = pty.openpty()
    variables = {**environment(site.target), "TERM": "xterm-256color", "COLUMNS": "100", **(env or {})}
    for name in ("NO_COLOR", "FORCE_COLOR", "CI"):
        if name not in (env or {}):
            variables.pop(name, None)
    process = subprocess.Popen(
        argv(site, *words),
        cwd=site.folder, env=variables, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        # A test run in the background may have Ctrl-C ignored, which its children would keep.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    os.close(theirs)
    got = b""
    until = time.monotonic() + 300
    try:
        while time.monotonic() < until:
            if act is not None and b"[" in got:
                act(process.pid)
                act = None
            try:
                if select.select([ours], [], [], 0.1)[0]:
                    data = os.read(ours, 65536)
                    if not data:
                        break
                    got += data
            except OSError:
                break
            if process.poll() is not None and not select.select([ours], [], [], 0)[0]:
                break
        os.close(ours)
        return process.wait(timeout=30), got.decode().replace("\r\n", "\n")
    finally:
        forks.end_session(process)


def argv(site: Site, *words: str) -> list[str]:
    """A command line of doit; what needs no tree is given none."""
    return [sys.executable, "-m", "doit", *words] if words[0] in ("validate", "diff") else site.argv(*words)


class Screen:
    """A terminal with what this output needs: its final text."""

    def __init__(self, sent: str) -> None:
        self.lines = [""]
        self.row = 0
        for part in re.findall(r"\x1b\[\d*[A-Za-z]|\x1b\[[\d;]*m|\r|\n|[^\x1b\r\n]+", sent):
            if part == "\n":
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif part.endswith("A"):
                self.row -= int(part[2:-1] or 1)
            elif part.endswith("K"):
                self.lines[self.row] = ""
            elif part != "\r" and not part.startswith("\x1b"):
                self.lines[self.row] += part

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def test_a_terminal_has_one_line_that_lives_and_what_is_done_stays_above_it(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)  # if cargo's target folder is still unknown, a note says so
    shutil.rmtree(site.bin)
    (site.tree / VERSION_FILE).unlink()
    status, sent = on_a_terminal(site, recipe)
    assert status == 0, sent
    assert re.search(r"\[\d+/8\] .*kernel:svsm: (\d+(/\d+)? crates, )?\d+\.\d s", sent), sent
    assert UP_AND_CLEAR in sent
    # At the end only finished steps and the summary.
    lines = [line for line in Screen(sent).text.splitlines() if line]
    assert lines[0].startswith(f"source: {site.tree}")
    assert re.fullmatch(r"8 built, in \d+\.\d s", lines[-3])
    assert re.fullmatch(r"bin/q\.igvm: [\d.]+ KiB, debug, launch digest [0-9a-f]{96}", lines[-2])
    assert re.fullmatch(r"bin/q\.igvm: MRTD [0-9a-f]{96}", lines[-1])
    done = [line for line in lines[1:-3] if re.fullmatch(r"\S+: done in \d+\.\d s", line)]
    assert len(done) == 8 and len(lines) == 12


def test_the_live_line_tells_how_long_it_takes_by_the_last_run(site: Site) -> None:
    recipe = site.recipe()
    first = on_a_terminal(site, recipe)[1]
    assert " left" not in first  # there is no last run yet
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + "\n#[used]\nstatic MORE: [u8; 3] = [1, 2, 3];\n")
    script = site.tree / "kernel" / "build.rs"
    wait = "    std::thread::sleep(std::time::Duration::from_secs(1));"
    script.write_text(script.read_text().replace("fn main() {", f"fn main() {{\n{wait}"))
    sent = on_a_terminal(site, recipe)[1]
    # Five of seven are known to be up to date; the edited part, its image and its measurement are to come.
    assert re.search(r"\[\d/8\] kernel:svsm: \d+/\d+ crates, \d+\.\d s; about \d+ s left", sent), sent


def test_the_live_line_tells_how_far_cargo_is(site: Site) -> None:
    """The host tools together, which cargo builds one after the other."""
    recipe = site.recipe()
    for folder in ("tools/igvmbuilder", "tools/igvmmeasure", "kernel"):
        script = site.tree / folder / "build.rs"
        text = script.read_text() if script.exists() else "fn main() {}\n"
        sleep = "std::thread::sleep(std::time::Duration::from_secs(1));"  # many times as long as until the next line
        script.write_text(text.replace("fn main() {", f"fn main() {{ {sleep}"))
    first = on_a_terminal(site, recipe)[1]
    found = re.findall(r"host tools \(2\): (\d+) crates, \d+\.\d s", first)
    assert found and "/" not in "".join(re.findall(r"(\S+) crates?,", first))
    counts = [*map(int, found)]
    assert counts == sorted(counts) and counts[0] < counts[-1]
    named = json.loads((site.bin / ".coconut" / "crates.json").read_text())
    tools = sum(number for record, number in named.items() if record.startswith("tool:"))
    assert sorted(record.partition("#")[0] for record in named) == [
        "kernel:bldr",
        "kernel:svsm",
        "tool:igvmbuilder",
        "tool:igvmmeasure",
    ]
    assert counts[-1] <= tools

    for folder in ("tools/igvmbuilder", "tools/igvmmeasure", "kernel"):
        (site.tree / folder / "build.rs").touch()
    site.build("forget", recipe)
    again = on_a_terminal(site, recipe)[1]
    assert re.search(rf"host tools \(2\): \d+/{tools} crates, \d+\.\d s", again), again
    svsm = next(number for record, number in named.items() if record.startswith("kernel:svsm"))
    assert re.search(rf"kernel:svsm: \d+/{svsm} crates, \d+\.\d s", again), again


def test_a_failure_comes_through_whole_with_its_step_and_its_colours(site: Site) -> None:
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + '\nfn wrong() -> u8 { "text" }\n')
    status, sent = on_a_terminal(site, site.recipe())
    assert status == 1
    assert "\x1b[1;31merror:\x1b[0m kernel:svsm failed: exit status 101" in sent
    assert re.search(r"\x1b\[[\d;]*m.*error\[E0308\]", sent)
    after = plain(sent).split("kernel:svsm failed", 1)[1]
    for line in ("error[E0308]: mismatched types", "expected `u8`, found `&str`", "could not compile `svsm`"):
        assert line in after
    (log,) = (site.bin / ".coconut" / "logs").glob("kernel-svsm-*.log")
    assert f"log: {log}" in after
    # Each of cargo's lines is on the screen in one piece.
    screen = Screen(sent).text
    said = plain(log.read_text()).split("\n", 1)[1].strip("\n")
    assert said in "\n".join(line.rstrip() for line in screen.splitlines()) or said in screen


@pytest.mark.parametrize(
    ("env", "live"), [({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, False), ({"TERM": ""}, False)]
)  # fmt: skip
def test_no_colour_is_sent_where_none_is_wanted(env: dict[str, str], live: bool, site: Site) -> None:
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + '\nfn wrong() -> u8 { "text" }\n')
    status, sent = on_a_terminal(site, site.recipe(), env=env)
    assert status == 1
    assert not re.search(r"\x1b\[[\d;]*m", sent)
    assert (UP_AND_CLEAR in sent) == live
    assert "error[E0308]: mismatched types" in sent


def test_what_is_no_terminal_gets_plain_lines(site: Site) -> None:
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + "\nfn unused() {}\n")
    outcome = site.build(site.recipe(), env={"CARGO_TERM_COLOR": "always", "TERM": "xterm"})
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", outcome.text)
    assert "warning: function `unused` is never used" in outcome.out
    # First the command, then its output in one piece, then that it is done.
    assert re.search(r"^kernel:svsm: cargo build .*--package svsm", outcome.out, re.MULTILINE)
    told = outcome.out.split("warning: function", 1)[1]
    assert re.search(r"\nkernel:svsm: done in \d+\.\d s\n", told)


def test_colours_can_be_asked_for_where_there_is_no_terminal(site: Site) -> None:
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + "\nfn unused() {}\n")
    outcome = site.build(site.recipe(), env={"FORCE_COLOR": "1"})
    assert re.search(r"\x1b\[[\d;]*mwarning", outcome.out)


def test_nothing_to_do_is_a_line_and_the_digests_on_a_terminal_too(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    status, sent = on_a_terminal(site, recipe)
    assert status == 0
    # The second line is about SEV-SNP, the third about TDX.
    assert len(sent.splitlines()) == 3 and "\x1b" not in sent
    assert sent.startswith(f"up to date: all 8 steps; source: {site.tree} (SVSM)")
    assert sent.splitlines()[0].endswith("; r.json; debug")
    assert site.build("run", "--quiet", recipe).text.strip() == ""


def test_several_images_are_one_line_with_the_start_of_each_digest(site: Site) -> None:
    targets = {name: {"output": f"{name}.igvm", "platforms": ["snp"]} for name in ("qemu", "vanadium")}
    recipe = site.recipe({**QEMU, "igvm": targets})
    site.build(recipe)
    starts = [(site.bin / f"{name}.igvm.launch-digest.hex").read_text()[:16] for name in targets]
    last = site.build(recipe).out.splitlines()[-1]
    assert last == f"launch digests: bin/qemu.igvm {starts[0]}…, bin/vanadium.igvm {starts[1]}…"
    last = site.build("igvm", recipe).out.splitlines()[-1]
    assert has(last, ": bin/qemu.igvm … run, bin/vanadium.igvm … run") and last.endswith(" run")


def test_a_run_that_was_ended_does_not_say_that_all_is_up_to_date(site: Site) -> None:
    """Nothing was built when it ended: all steps until then were up to date."""
    recipe = site.recipe()
    site.build(recipe)
    site.build("forget", "kernel", recipe)
    script = site.tree / "kernel" / "build.rs"
    # Longer than this test waits: on a busy machine, a lost signal was noticed only after the step.
    wait = "    std::thread::sleep(std::time::Duration::from_secs(600));"
    script.write_text(script.read_text().replace("fn main() {", f"fn main() {{\n{wait}"))
    words = ("-n", "1", "kernel:svsm", recipe)
    status, sent = on_a_terminal(site, *words, act=lambda pid: os.killpg(pid, signal.SIGTERM))
    assert status == 143
    assert re.search(r"^1 up to date, 1 not reached, in ", Screen(sent).text, re.MULTILINE), sent
    assert "all" not in Screen(sent).text.splitlines()[-2]


def test_a_closed_output_and_a_poor_encoding_are_no_errors(site: Site) -> None:
    recipe = site.recipe()
    doit = f"{sys.executable} -m doit"
    words = f"{recipe} SVSM={site.tree_name} BIN=bin"
    assert site.run(["sh", "-c", f"{doit} {words} >&-"]).status == 0
    assert site.run(["sh", "-c", f"{doit} why {words} >&-"]).status == 0
    assert site.run(["sh", "-c", f"{doit} {words} >&- 2>&-"]).status == 0
    outcome = site.build("why", recipe, env={"PYTHONIOENCODING": "ascii", "RUSTFLAGS": "-Cdebuginfo=0"})
    assert " ? '-Cdebuginfo=0'" in outcome.out


def test_ctrl_c_takes_the_live_line_away(site: Site) -> None:
    status, sent = on_a_terminal(site, site.recipe(), act=lambda pid: os.killpg(pid, signal.SIGINT))
    assert status == 130, sent
    assert "ended by SIGINT; finished steps are kept" in sent
    assert not re.search(r"^\[\d+/\d+\]", Screen(sent).text, re.MULTILINE)
    assert "\x1b[?25l" not in sent  # the cursor was never hidden, so a killed run leaves none behind


def test_output_of_steps_that_run_at_once_does_not_mix(site: Site) -> None:
    """Both parts print many warnings; those of each are together, before its last line."""
    for part, crate in (("kernel", "svsm"), ("boot/bldr", "bldr")):
        main = site.tree / part / "src" / "main.rs"
        lines = "".join(f"fn {crate}_unused_{i}() {{}}\n" for i in range(40))
        main.write_text(main.read_text() + "\n" + lines)
    outcome = site.build(site.recipe())
    own = {"svsm": "kernel:svsm: done", "bldr": "kernel:bldr: done"}
    for crate, end in own.items():
        places = [match.start() for match in re.finditer(rf"`{crate}_unused_\d+`", outcome.out)]
        between = outcome.out[places[0] : places[-1]]
        assert len(places) == 40
        assert not re.search(r"^\S+:\S+: (done|cargo)", between, re.MULTILINE)
        rest = outcome.out[places[-1] :]
        assert re.search(r"^\S+: done in", rest, re.MULTILINE).group().startswith(end.split(": done")[0])  # type: ignore[union-attr]


# Colours


def test_messages_and_reports_have_colours_on_a_terminal_and_nowhere_else(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    shutil.copytree(site.bin, site.folder / "old")
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + "\n#[used]\nstatic MORE: [u8; 3] = [1, 2, 3];\n")
    old, new = (f"{folder}/q.igvm.provenance.json" for folder in ("old", "bin"))
    red, green, yellow, cyan = (f"\x1b[{number}m" for number in (31, 32, 33, 36))
    digest = "[0-9a-f]{96}\x1b"
    (site.folder / "wrong.json").write_text('{"igvm": {"qemu": {"output": "q"}}, "kernle": {}}')
    for words, status, shown in (
        (["RECIPE=nosuch.json"], 2, ["\x1b[1;31merror:\x1b[0m RECIPE"]),
        (["why", recipe], 0, [f"kernel:svsm {yellow}runs", f"igvm:qemu {cyan}may run", f"{green}up to date"]),
        (["validate", "r.json"], 0, [f"{green}1 recipe"]),
        (["validate", "wrong.json"], 2, ["\x1b[1mwrong.json:1:", "\x1b[1;31m2 problems"]),
        (["verify", recipe, f"EXPECT={old}"], 1, [f"expected: {green}{digest}", f"built:    {red}{digest}"]),
        (["diff", old, new], 1, [f"launch digest {red}{digest}", f"main.rs {yellow}changed", f"{red}different"]),
        (["diff", old, old], 0, [f"launch digest {green}{digest}", f"{green}the same"]),
        (["verify", recipe, f"EXPECT={new}"], 0, [f"{green}verified", f"{green}{digest}"]),
        (["why", recipe, "RELEASE=1"], 0, [f"kernel:svsm {yellow}runs"]),
    ):
        got, sent = on_a_terminal(site, *words)
        assert got == status, sent
        for piece in shown:
            # Patterns are for unknown values.
            pattern = re.escape(piece).replace(re.escape(digest), digest)
            assert re.search(pattern, sent), (piece, sent)
        if words[0] in ("why", "validate", "diff"):  # the others build
            outcome = site.run(argv(site, *words))
            assert "\x1b" not in outcome.text
            last = plain(sent).splitlines()[-1]
            assert last in outcome.text.splitlines()
            assert "\x1b[" not in on_a_terminal(site, *words, env={"NO_COLOR": "1"})[1]


def test_a_closed_standard_error_is_no_error(site: Site) -> None:
    done = site.run(["sh", "-c", f"{sys.executable} -m coconut_tasks.commands.measure nosuch 2>&-"])
    assert (done.status, done.text.strip()) == (2, "")


# Units


class Stream:
    def __init__(self, tty: bool) -> None:
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


@pytest.mark.parametrize(
    ("tty", "env", "expected"),
    [
        (True, {"TERM": "xterm"}, Terminal(live=True, colours=True)),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, Terminal(live=True, colours=False)),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, Terminal(live=True, colours=True)),
        (True, {"TERM": "dumb"}, Terminal()),
        (True, {}, Terminal()),
        (False, {"TERM": "xterm"}, Terminal()),
        (False, {"FORCE_COLOR": "1"}, Terminal(colours=True)),
        (False, {"CLICOLOR_FORCE": "1"}, Terminal(colours=True)),
        (False, {"CLICOLOR_FORCE": "0"}, Terminal()),
        (False, {"FORCE_COLOR": "0"}, Terminal()),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, Terminal()),
    ],
)
def test_a_terminal_is_what_the_stream_and_the_environment_say(
    tty: bool, env: dict[str, str], expected: Terminal
) -> None:
    assert terminal_of(Stream(tty), env) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("error: a: b\nwarning: c", "{error:} a: b\n{warning:} c"),
        ("an error: a", "an error: a"),
        ("a/b.json:1:2: /x: y", "{a/b.json:1:2:} /x: y"),
        ("error: a.json:1:2: /x: y", "{error:} {a.json:1:2:} /x: y"),
        ("  a: 'b c' → d  e", "  a: {'b c'} → {d}  e"),
        ("  a: --of 'b c' → 'd'", "  a: --of {'b c'} → {'d'}"),
        ("x runs: y: old → new (why)", "x runs: y: {old} → {new} (why)"),
    ],
)
def test_words_are_marked_where_there_are_colours(text: str, expected: str) -> None:
    rules = (*MARKS, *ARROWS)
    assert marked(text, Terminal(), rules) == text
    found = marked(text, Terminal(colours=True), rules)
    assert plain(found) == text
    assert re.sub(r"\x1b\[[1-9;]+m", "{", found).replace("\x1b[0m", "}") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[1m\x1b[31merror\x1b[0m: x\n", "error: x\n"),
        ("\x1b]8;;https://e.org\x1b\\E0308\x1b]8;;\x1b\\\n", "E0308\n"),
        ("\x1b]0;title\x07a", "a"),
        ("10 %\r50 %\r100 %\ndone\r\n", "100 %\ndone\n"),
        ("a\tb\x08\x00\x9b", "a\tb"),
        ("\x1b", ""),
    ],
)
def test_plain_text_has_no_control_characters(text: str, expected: str) -> None:
    assert plain(text) == expected
