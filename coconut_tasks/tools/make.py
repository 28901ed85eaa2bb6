"""``make OUTPUT_FILE``."""

from __future__ import annotations

from collections.abc import Sequence

from coconut_tasks.options import Options
from coconut_tasks.recipe.model import Component
from coconut_tasks.steps.command import Command


def make_command(component: Component, features: Sequence[str], options: Options) -> Command:
    """Make the item's ``output_file``.

    Features are passed in the environment: FEATURES for a kernel, FEATURES_TEST for a test kernel. As in xbuild, both are always set, so
    that a FEATURES exported by the user has no effect.
    """
    assert component.output_file is not None
    argv = ["make", component.output_file]
    if options.release:
        argv.append("RELEASE=1")
    aside = (len(argv),) if options.verbose else ()
    if options.verbose:
        argv.append("V=2")
    env = dict.fromkeys(("FEATURES", "FEATURES_TEST"), ",".join(features))
    return Command(tuple(argv), tuple(sorted({**env, **dict(component.env)}.items())), aside)
