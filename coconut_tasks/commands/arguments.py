"""The command lines of programs that are not doit's."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from coconut_tasks.errors import UsageError, did_you_mean


class Arguments(argparse.ArgumentParser):
    """argparse, but a wrong command line raises UsageError instead of ending the process: all errors are printed in one way."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError: argparse's message, with the nearest option and where to read on."""
        more = f"see '{self.prog} --help'"
        if unknown := re.match(r"unrecognized arguments: (-[^\s=]+)", message):
            nearest = did_you_mean(unknown[1], self._option_string_actions)
            raise UsageError("no-such-option", f"{self.prog} has no option {unknown[1]}{nearest}; {more}")
        if missing := re.match(r"the following arguments are required: (.+)", message):
            raise UsageError("wrong-words", f"{self.prog} needs {missing[1]}; {more}")
        if extra := re.match(r"unrecognized arguments: (.+)", message):
            raise UsageError("wrong-words", f"{self.prog} does not take '{extra[1]}'; {more}")
        raise UsageError("option-and-value", f"{message}; {more}")
