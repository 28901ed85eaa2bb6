"""The benchmark still runs: a small round of its part that needs no compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent.parent / "bench"


def test_the_table_of_growth_is_printed() -> None:
    code = "import scale; scale.table([1, 3], files=30, runs=1)"
    done = subprocess.run([sys.executable, "-c", code], cwd=BENCH, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("| 1 | 30 |", "| 3 | 30 |"))]
    assert len(rows) == 2, done.stdout
