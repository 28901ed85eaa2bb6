"""doit's entry point: `doit RECIPE=config/qemu.json`. In an SVSM checkout, the two lines with `dodo` are all that is needed."""

import os
import sys

from doit import get_var

from coconut_tasks.tasks.namespace import dodo

globals().update(dodo())


def python(*words):
    return [sys.executable, *words]


def task_bench():
    """measure how long builds take, beside what else could make them (30 minutes; with SVSM= of a real tree, its table only)"""
    tree = get_var("SVSM", os.environ.get("SVSM", ""))
    return {"actions": [python("bench/run.py", *(["--tree", tree] if tree else []))], "verbosity": 2}


def task_soak():
    """the random walk, the kills and the runs at once, at length (an hour)"""
    tests = ("tests/test_walk.py", "tests/test_kills.py", "tests/test_safety.py")
    return {"actions": [python("-m", "pytest", *tests, "--walk=300", "--kills=300", "--timeout=0")], "verbosity": 2}


def task_check():
    """format, lint, types and tests of coconut-tasks itself"""
    return {
        "actions": [
            python("-m", "ruff", "format", "--check", "."),
            python("-m", "ruff", "check", "."),
            python("-m", "mypy"),
            python("-m", "pytest", "-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder"),
        ],
        "verbosity": 2,
    }
