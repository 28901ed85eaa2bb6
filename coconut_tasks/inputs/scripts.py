"""Build scripts that read variables without telling cargo.

A build script that runs make hands its whole environment on, and cargo does not know which variables the Makefile looks at: after a change
it calls the old output fresh. The same holds for a variable that a recipe sets for one item and not for another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from coconut_tasks.inputs.environment import AMBIENT, OF_MAKE, make_references
from coconut_tasks.inputs.files import Walker
from coconut_tasks.inputs.messages import Run
from coconut_tasks.inputs.text import read_text

_MAKEFILE = re.compile(r"(GNUm|[mM])akefile(\..+)?|.*\.(mk|mak)")
_WATCHED = re.compile(r"CARGO|RUST")
"""Variables that cargo itself looks at."""


def secret_variables(run: Run, folder: str, given: Iterable[str], walker: Walker) -> set[str]:
    """What a run of the build script of the package in ``folder`` may read and cargo does not know of; ``given`` are the variables that the
    recipe sets for the item."""
    told = {value for kind, value in run.rerun if kind == "env-changed"}
    makefiles = [path for path in walker.files(folder) if _MAKEFILE.fullmatch(path.rpartition("/")[2])]
    names = set(given).union(OF_MAKE if makefiles else (), *(make_references(read_text(path)) for path in makefiles))
    return {name for name in names - told - AMBIENT if not _WATCHED.match(name)}
