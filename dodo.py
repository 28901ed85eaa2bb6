"""doit's entry point: `doit RECIPE=config/qemu.json`. In an SVSM checkout, the two lines with `dodo` are all that is needed."""

import sys

from coconut_tasks.tasks.namespace import dodo

globals().update(dodo())


def task_check():
    """format, lint, types and tests of coconut-tasks itself"""

    def python(*words):
        return [sys.executable, "-m", *words]

    return {
        "actions": [
            python("ruff", "format", "--check", "."),
            python("ruff", "check", "."),
            python("mypy"),
            python("pytest"),
        ],
        "verbosity": 2,
    }
