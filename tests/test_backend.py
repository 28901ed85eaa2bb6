"""Records: written when a step is done, kept for each variant, moved aside if they cannot be read."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from doit.dependency import JSONCodec

from coconut_tasks.errors import UsageError
from coconut_tasks.records.store import FORMAT, Store


def backend(path: Path) -> Store:
    return Store(str(path / "state" / "state.sqlite3"), JSONCodec())


def save(store: Store, name: str, value: int) -> None:
    store.set(name, "_values_:", {"x": value})
    store.set(name, "deps:", [])


def test_looking_writes_nothing(tmp_path: Path) -> None:
    store = backend(tmp_path)
    assert store.get("a", "x") is None
    assert not store.in_("a")
    store.remove("a")
    store.dump()
    assert list(tmp_path.iterdir()) == []


def test_a_task_is_on_disk_as_soon_as_it_is_done(tmp_path: Path) -> None:
    save(backend(tmp_path), "a", 1)
    assert backend(tmp_path).get("a", "_values_:") == {"x": 1}


def test_a_task_that_is_not_done_is_not_on_disk(tmp_path: Path) -> None:
    backend(tmp_path).set("a", "_values_:", {"x": 1})
    assert not backend(tmp_path).in_("a")


def test_a_removed_task_is_gone_from_disk_at_once(tmp_path: Path) -> None:
    store = backend(tmp_path)
    save(store, "a", 1)
    store.remove("a")
    assert not backend(tmp_path).in_("a")


def test_during_a_run_only_a_step_that_starts_loses_its_record(tmp_path: Path) -> None:
    store = backend(tmp_path)
    save(store, "a", 1)
    store.in_a_run = True
    store.remove("a")
    assert store.in_("a")
    store.drop("a")
    assert not backend(tmp_path).in_("a")


def test_two_variants_of_a_name_have_a_record_each(tmp_path: Path) -> None:
    for record, value in (("k:svsm#1", 1), ("k:svsm#2", 2)):
        store = backend(tmp_path)
        store.name_record("k:svsm", record)
        save(store, "k:svsm", value)
    again = backend(tmp_path)
    again.name_record("k:svsm", "k:svsm#1")
    assert again.get("k:svsm", "_values_:") == {"x": 1}


def test_an_ignored_task_stays_ignored(tmp_path: Path) -> None:
    backend(tmp_path).set("a", "ignore:", "1")
    assert backend(tmp_path).get("a", "ignore:") == "1"


def test_everything_can_be_forgotten(tmp_path: Path) -> None:
    store = backend(tmp_path)
    save(store, "a", 1)
    store.remove_all()
    assert not store.in_("a")
    assert not backend(tmp_path).in_("a")


@pytest.mark.parametrize("content", [b"", b"not a data base at all, but long enough to be one" * 100])
def test_a_foreign_file_is_set_aside(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.sqlite3").write_bytes(content)
    store = backend(tmp_path)
    assert not store.in_("a")
    save(store, "a", 1)
    assert backend(tmp_path).in_("a")
    said = capsys.readouterr().err
    assert ("moved to" in said) == bool(content)


class Unlockable:
    """A connection to a file on a disk without locks, for example NFS."""

    def execute(self, statement: str, values: object = ()) -> None:
        raise sqlite3.OperationalError("locking protocol")

    def close(self) -> None:
        pass


def test_records_that_cannot_be_read_for_now_are_not_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(backend(tmp_path), "a", 1)
    store = backend(tmp_path)
    monkeypatch.setattr(store, "_connection", Unlockable())
    for use in (lambda: store.get("a", "_values_:"), lambda: store.drop("b")):
        with pytest.raises(UsageError, match=r"state\.sqlite3: locking protocol"):
            use()
    assert backend(tmp_path).get("a", "_values_:") == {"x": 1}
    assert not (tmp_path / "state" / "state.sqlite3.set-aside").exists()


def test_records_of_another_format_are_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = backend(tmp_path)
    save(store, "a", 1)
    store.dump()
    with sqlite3.connect(store.name) as connection:
        connection.execute("pragma user_version = 99")
    connection.close()
    assert not backend(tmp_path).in_("a")
    assert f"format 99, expected {FORMAT}" in capsys.readouterr().err


@pytest.mark.parametrize("torn", ['{"x', '{"deps:": 2}'])
def test_a_torn_row_is_no_record_and_the_others_are(torn: str, tmp_path: Path) -> None:
    store = backend(tmp_path)
    save(store, "a", 1)
    save(store, "b", 1)
    store.dump()
    with sqlite3.connect(store.name) as connection:
        connection.execute("update records set data = ? where record = 'a'", (torn,))
    connection.close()
    again = backend(tmp_path)
    assert not again.in_("a") and again.in_("b")


ENDED_AT_WORK = """
import sys, threading, time
from coconut_tasks.errors import CoconutError
from coconut_tasks.records.store import Store
from doit.dependency import JSONCodec

store = Store(sys.argv[1], JSONCodec())
for i in range(50):
    store.set(f"t:{i}", "deps:", ["x" * 5000])
refused = []

def work() -> None:
    try:
        while True:
            for i in range(50):
                store.drop(f"t:{i}")
    except CoconutError as error:
        refused.append(error.id)

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
time.sleep(0.05)
store.dump()
for thread in threads:
    thread.join(timeout=10)
assert refused == ["run-is-over"] * 4, refused
"""


def test_the_end_of_a_run_does_not_pull_the_records_away_from_steps_at_work(tmp_path: Path) -> None:
    """Ctrl-C: doit closes the store while worker threads are about to drop a record. That crashed the interpreter."""
    for i in range(10):
        done = subprocess.run(
            [sys.executable, "-c", ENDED_AT_WORK, str(tmp_path / f"{i}.sqlite3")], capture_output=True, text=True
        )
        assert done.returncode == 0, (done.returncode, done.stderr)
