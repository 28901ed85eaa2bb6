"""One run at a time on an output folder."""

from __future__ import annotations

import os
from pathlib import Path

from coconut_tasks.effects.lock import RunLock


def never(line: str) -> None:
    raise AssertionError(line)


def release(lock: RunLock) -> None:
    assert lock.descriptor is not None
    os.close(lock.descriptor)


def test_a_free_lock_is_taken_and_looking_writes_nothing(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "state" / "lock")
    assert list(tmp_path.iterdir()) == []
    assert lock.acquire(never)
    assert f"process {os.getpid()}: " in (tmp_path / "state" / "lock").read_text()
    release(lock)


def test_a_run_that_was_in_between_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    early, between = RunLock(path), RunLock(path)
    assert between.acquire(never)
    release(between)
    assert not early.acquire(never)
    assert RunLock(path).acquire(never)


def test_a_run_that_was_at_work_when_one_looked_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    working = RunLock(path)
    assert working.acquire(never)
    late = RunLock(path)
    release(working)
    assert not late.acquire(never)


def test_a_damaged_lock_file_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_bytes(b"\xff\x00")
    lock = RunLock(path)
    assert lock.acquire(never)
    release(lock)
    assert RunLock(path).acquire(never)
