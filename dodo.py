"""doit's entry point: `doit RECIPE=config/qemu.json`. In an SVSM checkout, the two lines with `dodo` are all that is needed."""

import sys

from coconut_tasks.tasks.namespace import dodo

globals().update(dodo())


def python(*words):
    return [sys.executable, *words]


def task_bench():
    """measure how long builds take, beside what else could make them (25 minutes)"""
    return {"actions": [python("bench/run.py")], "verbosity": 2}


def task_soak():
    """the random walk, the kills and the runs at once, at length (an hour)"""
    tests = ("tests/test_walk.py", "tests/test_kills.py", "tests/test_safety.py")
    return {"actions": [python("-m", "pytest", *tests, "--walk=300", "--kills=300")], "verbosity": 2}


def task_check():
    """format, lint, types and tests of coconut-tasks itself"""
    return {
        "actions": [
            python("-m", "ruff", "format", "--check", "."),
            python("-m", "ruff", "check", "."),
            python("-m", "mypy"),
            python("-m", "pytest"),
        ],
        "verbosity": 2,
    }
