"""The name by which this program was called, which decides between variables and flags."""

from __future__ import annotations

import os
import sys
from functools import cache

from coconut_tasks.dataclass import dataclass
from coconut_tasks.variables import BY_NAME


@dataclass(frozen=True, slots=True)
class Called:
    """How this program was called, so that users can type what a message suggests."""

    program: str = "doit"
    """What to type: ``doit``, ``./doitw``, ``coconut``."""
    is_coconut: bool = False
    """Whether recipes are plain words and variables are flags."""
    is_xbuild: bool = False
    """Whether it is ``coconut-build``, with xbuild's flags."""

    def option(self, name: str) -> str:
        """The name of a variable here: ``RELEASE`` or ``--release``."""
        one = BY_NAME[name]
        flags = (one.xbuild or one.flags) if self.is_xbuild else one.flags
        return flags[-1] if self.is_coconut and flags else name

    def setting(self, name: str, value: str) -> str:
        """What to type: ``RELEASE=1``, ``--release``, ``SVSM=~/svsm``, ``--svsm ~/svsm``; the value may be a placeholder."""
        if not self.is_coconut:
            return f"{name}={value}"
        if BY_NAME[name].is_switch:
            return self.option(name)
        return value if name == "RECIPE" else f"{self.option(name)} {value}"

    def command(self, name: str, *words: str) -> str:
        """A command line, for example ``coconut why kernel:svsm``. doit builds without a command."""
        program = "coconut" if self.is_xbuild else self.program
        return " ".join([program, *([] if name == "build" and not self.is_coconut else [name]), *words])


@cache
def called() -> Called:
    """How this process was called."""
    path = sys.argv[0] if sys.argv else ""
    name = os.path.basename(path)
    if name in ("coconut", "coconut-build"):
        return Called(_typable(path, name), True, name == "coconut-build")
    return Called(_typable(path, name) if name == "doit" else "doit")


def _typable(path: str, name: str) -> str:
    """What to type to call a program: its name if it is in PATH, the wrapper of the clone that has its environment, or its path."""
    import shutil

    found = shutil.which(name)
    if found is not None and os.path.realpath(found) == os.path.realpath(path):
        return name
    wrapper = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(path))), "doitw")
    if name == "doit" and os.path.isfile(wrapper):
        near = os.path.relpath(wrapper, os.environ.get("PWD"))
        return near if "/" in near else f"./{near}"
    return path
