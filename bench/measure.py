"""Time whole processes, and describe the machine."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
DODO = "from coconut_tasks.tasks.namespace import dodo\nglobals().update(dodo())\n"
DOIT = [sys.executable, "-m", "doit"]


def environment(**more: str) -> dict[str, str]:
    """This process's environment, without variables that would redirect builds or slow Python down."""
    left_out = ("CARGO_TARGET_DIR", "RUSTFLAGS", "RELEASE", "SVSM", "FW_FILE", "PYTHONDONTWRITEBYTECODE")
    return {
        **{name: value for name, value in os.environ.items() if name not in left_out},
        "PYTHONPATH": str(ROOT),
        **more,
    }


def timed(
    argv: Sequence[str], folder: Path, env: dict[str, str], said: IO[str] | int = subprocess.DEVNULL
) -> tuple[float, float]:
    """Wall time in seconds, and peak memory of the largest process in MiB, of one run, which must succeed; its output goes to ``said``."""
    began = time.perf_counter()
    process = subprocess.Popen(argv, cwd=folder, env=env, stdout=said, stderr=subprocess.PIPE)
    assert process.stderr is not None
    complaint: bytes = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{argv} exited with status {process.returncode}:\n{complaint.decode(errors='replace')}")
    assert isinstance(usage, resource.struct_rusage)
    return seconds, usage.ru_maxrss / 1024


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios run by run, which a drift of the machine's speed does not affect."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def where() -> str:
    """One line: machine, versions, date."""
    model = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    cargo = subprocess.run(["cargo", "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}, cargo {cargo}, {date.today()}"
