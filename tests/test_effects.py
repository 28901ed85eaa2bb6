"""Processes and files."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from coconut_tasks.effects.meanwhile import Meanwhile
from coconut_tasks.effects.place import beside, copy_whole, write_whole
from coconut_tasks.effects.process import run
from coconut_tasks.effects.stopwatch import Stopwatch, timed
from coconut_tasks.errors import StepError
from coconut_tasks.steps.command import Command


def python(code: str, **env: str) -> Command:
    return Command((sys.executable, "-c", code), tuple(env.items()))


def test_a_command_runs_in_the_tree_with_its_environment_and_a_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    command = python(
        "import os, sys; print(os.getcwd(), os.environ['A'], os.environ['B']); print('err', file=sys.stderr)", B="2"
    )
    assert run(command, str(tmp_path), {"A": "1", "B": "1"}, log) == f"{tmp_path} 1 2\n"
    assert log.read_text().splitlines() == [f"$ {command}", "err", f"{tmp_path} 1 2"]


def test_cargos_messages_for_programs_are_not_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert "artifact" in run(
        python("""print('{"reason":"compiler-artifact"}'); print('kept')"""), str(tmp_path), {}, log
    )
    assert log.read_text().endswith("kept\n")
    assert "artifact" not in log.read_text().split("\n", 1)[1]


def test_a_failure_has_the_exact_command_the_status_and_the_output(tmp_path: Path) -> None:
    command = python("print('out'); import sys; print('why', file=sys.stderr); sys.exit(7)", NAME="a b")
    with pytest.raises(StepError) as error:
        run(command, str(tmp_path), {}, tmp_path / "x.log")
    text = str(error.value)
    assert text.startswith(f"exit status 7\n  command: env NAME='a b' {sys.executable} -c ")
    assert {"why", "out"} <= set(text.splitlines())
    assert f"  log: {tmp_path / 'x.log'}" in text


def test_a_long_output_is_cut_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(StepError) as error:
        run(
            python("print('\\n'.join(map(str, range(500)))); raise SystemExit(1)"),
            str(tmp_path),
            {},
            tmp_path / "x.log",
        )
    assert "(440 more lines before these, in the log)" in str(error.value)
    assert str(error.value).endswith("499")


def test_a_death_by_signal_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r" 9 \(SIGKILL\)") as error:
        run(python("import os; os.kill(os.getpid(), 9)"), str(tmp_path), {}, tmp_path / "x.log")
    assert error.value.id == "command-killed"


def test_a_missing_program_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=": No such file or directory: no-such-tool") as error:
        run(Command(("no-such-tool", "x")), str(tmp_path), {"PATH": "/nowhere"}, tmp_path / "x.log")
    assert error.value.id == "command-not-started"


def test_arguments_are_words_and_never_shell_text(tmp_path: Path) -> None:
    command = Command((sys.executable, "-c", "import sys; print(sys.argv[1])", "$(id); `id` * 'x'"))
    assert run(command, str(tmp_path), {}, tmp_path / "x.log") == "$(id); `id` * 'x'\n"


def test_a_file_is_written_whole_with_the_usual_mode(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_whole(tmp_path / "new" / "a", b"1")
    finally:
        os.umask(old)
    assert (tmp_path / "new" / "a").read_bytes() == b"1"
    assert stat.S_IMODE((tmp_path / "new" / "a").stat().st_mode) == 0o640


def test_a_copy_keeps_the_executable_bit_only(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"1")
    for mode, expected in ((0o755, 0o755), (0o600, 0o644), (0o4711, 0o755)):
        source.chmod(mode)
        copy_whole(source, tmp_path / "b")
        assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == expected


def test_what_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")

    def fail() -> None:
        with beside(target) as temporary:
            temporary.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert target.read_bytes() == b"old"


def test_what_a_killed_run_left_of_a_file_goes_and_nothing_else(tmp_path: Path) -> None:
    left = tmp_path / ".f.coconut-0123456789abcdef"
    others = [tmp_path / name for name in (".g.coconut-0123456789abcdef", ".f.coconut", "f.coconut-x")]
    for path in (left, *others):
        path.write_text("half")
    write_whole(tmp_path / "f", b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "f", *others])


def test_a_folder_that_is_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "f"
    write_whole(target, b"1")
    target.unlink()
    target.parent.rmdir()
    write_whole(target, b"2")
    assert target.read_bytes() == b"2"


def test_what_another_thread_does_meanwhile_is_of_the_same_step(tmp_path: Path) -> None:
    watch = Stopwatch()
    with timed(watch):
        meanwhile = Meanwhile(lambda: run(python("print('done')"), str(tmp_path), {}, tmp_path / "x.log"))
        assert meanwhile.result() == "done\n"
    assert [lap.what for lap in watch.laps] == [str(python("print('done')"))]


def test_what_goes_wrong_in_another_thread_is_raised_where_its_result_is_wanted(tmp_path: Path) -> None:
    meanwhile = Meanwhile(lambda: run(python("raise SystemExit(3)"), str(tmp_path), {}, tmp_path / "x.log"))
    meanwhile.wait()
    with pytest.raises(StepError, match="exit status 3"):
        meanwhile.result()
