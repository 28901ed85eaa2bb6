"""doit's entry point: `doit RECIPE=config/qemu.json`. An SVSM checkout only needs the two lines with `dodo`."""

import os
import sys

from doit import get_var

from coconut_tasks.tasks.namespace import dodo

globals().update(dodo())


def python(*words):
    return [sys.executable, *words]


def task_bench():
    """measure build times and compare them with other build tools (30 minutes; with SVSM= only the table of that tree)"""
    tree = get_var("SVSM", os.environ.get("SVSM", ""))
    return {"actions": [python("bench/run.py", *(["--tree", tree] if tree else []))], "verbosity": 2}


def task_soak():
    """run long versions of the tests with random edits, kills and concurrent runs (an hour)"""
    tests = [f"tests/test_{name}.py" for name in ("walk", "cache_sample", "kills", "safety")]
    return {"actions": [python("-m", "pytest", *tests, "--walk=300", "--kills=300", "--timeout=0")], "verbosity": 2}


def task_check():
    """check format, lint, types and tests of coconut-tasks"""
    return {
        "actions": [
            python("-m", "ruff", "format", "--check", "."),
            python("-m", "ruff", "check", "."),
            python("-m", "mypy"),
            python("-m", "pytest", "-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder"),
        ],
        "verbosity": 2,
    }
