"""``coconut-build``: the flags of xbuild, the tasks of doit."""

from __future__ import annotations

import argparse
import os
import pprint
import sys
from collections.abc import Sequence

from coconut_tasks import __version__
from coconut_tasks.errors import EXIT_USAGE, CoconutError, tell
from coconut_tasks.options import Options, parse_features, process_environment
from coconut_tasks.session import open_session


def parser() -> argparse.ArgumentParser:
    """The command line; flags and their meaning are xbuild's."""
    flags = argparse.ArgumentParser(
        prog="coconut-build",
        description="Build COCONUT-SVSM recipes into IGVM files and their launch measurements.",
        epilog="example: coconut-build --release -f attest,userinit:extra configs/qemu-target.json",
    )
    add = flags.add_argument
    add("-r", "--release", action="store_true", help="release build")
    add("-a", "--all-features", action="store_true", help="all features of every cargo item")
    add(
        "-f",
        "--feature",
        action="append",
        default=[],
        metavar="[PKG:]FEAT,...",
        help="more cargo features; PKG defaults to svsm",
    )
    add("-v", "--verbose", action="store_true", help="commands and tools say more")
    add("-o", "--offline", action="store_true", help="cargo --locked --offline")
    add("-p", "--print-config", action="store_true", help="print each recipe before the build")
    add(
        "-n",
        "--jobs",
        type=_jobs,
        default=os.cpu_count() or 1,
        metavar="JOBS",
        help="steps at once (default: the cores)",
    )
    add("--svsm", metavar="PATH", help="the source tree (default: $SVSM, the checkout that one stands in, the sample)")
    add("--bin", metavar="PATH", help="the output folder")
    add("--lenient", action="store_true", help="unknown fields of a recipe are warnings")
    add("--version", action="version", version=f"coconut-build {__version__}")
    add("recipes", nargs="+", metavar="RECIPE", help="JSON build recipes")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the result is the exit status: 0 fine, 1 a step failed, 2 wrong use or recipe."""
    from doit.cmd_base import ModuleTaskLoader
    from doit.doit_cmd import DoitMain

    from coconut_tasks.tasks.interrupt import end
    from coconut_tasks.tasks.namespace import PLUGINS, namespace

    given = parser().parse_args(argv)
    try:
        session = open_session(_options(given))
    except (CoconutError, OSError) as error:
        tell(error)
        return EXIT_USAGE
    except KeyboardInterrupt as error:
        return end(error)
    if given.print_config:
        for recipe in session.recipes:
            print(f"{recipe.source}: {pprint.pformat(recipe, width=120)}")
        sys.stdout.flush()
    doit = DoitMain(ModuleTaskLoader(namespace(session)), config_filenames=(), extra_config=PLUGINS)
    return int(doit.run(["run", "-n", str(given.jobs)]))


def _options(given: argparse.Namespace) -> Options:
    environment = process_environment()
    return Options(
        recipes=tuple(given.recipes),
        svsm=given.svsm or environment.get("SVSM") or None,
        bin=given.bin,
        release=given.release,
        features=parse_features(",".join(given.feature), "-f"),
        all_features=given.all_features,
        offline=given.offline,
        verbose=given.verbose,
        lenient=given.lenient,
        environment=environment,
        workdir=os.getcwd(),
    )


def _jobs(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of jobs: 1 or more")
    return int(text)
