"""The command line of ``coconut-build``: xbuild's flags."""

from __future__ import annotations

import argparse
import os

from coconut_tasks import __version__


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
    add(
        "--reproducible",
        action="store_true",
        help="bytes that do not depend on where, when and by whom they are built",
    )
    add("--sample", action="store_true", help="where no SVSM tree is: the sample that comes with coconut-tasks")
    add("--lenient", action="store_true", help="what the old builders pass over in a recipe is a warning")
    add("--version", action="version", version=f"coconut-build {__version__}")
    add("recipes", nargs="+", metavar="RECIPE", help="JSON build recipes")
    return flags


def _jobs(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of jobs: 1 or more")
    return int(text)
