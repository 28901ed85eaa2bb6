"""``coconut-build``: the flags of xbuild, the tasks of doit."""

from __future__ import annotations

import argparse
import os
import pprint
import sys
from collections.abc import Sequence

from coconut_tasks.commands.build_flags import parser
from coconut_tasks.errors import EXIT_USAGE, CoconutError, tell
from coconut_tasks.options import TABLE, Options, parse_features, process_environment
from coconut_tasks.workspace.session import open_session


def main(argv: Sequence[str] | None = None, *, is_copy: bool = False) -> int:
    """Entry point; the result is the exit status: 0 fine, 1 a step failed, 2 wrong use or recipe. ``is_copy`` as in ``Options``."""
    from coconut_tasks.tasks.interrupt import end, mend_streams
    from coconut_tasks.tasks.program import run_session

    mend_streams()
    given = parser().parse_args(argv)
    try:
        session = open_session(_options(given, is_copy))
    except (CoconutError, OSError) as error:
        tell(error)
        return EXIT_USAGE
    except KeyboardInterrupt as error:
        return end(error)
    if given.print_config:
        for recipe in session.recipes:
            print(f"{recipe.source}: {pprint.pformat(recipe, width=120)}")
        sys.stdout.flush()
    return run_session(session, given.jobs)


def _options(given: argparse.Namespace, is_copy: bool) -> Options:
    environment = process_environment()
    return Options(
        recipes=tuple(given.recipes),
        svsm=given.svsm or environment.get("SVSM") or None,
        bin=given.bin,
        features=parse_features(",".join(given.feature), "-f"),
        environment=environment,
        workdir=os.getcwd(),
        is_copy=is_copy,
        **{one.field: getattr(given, one.field) for one in TABLE if one.is_switch and one.flags},
    )
