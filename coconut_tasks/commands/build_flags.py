"""The command line of ``coconut-build``: xbuild's flags."""

from __future__ import annotations

import argparse
import os

from coconut_tasks import __version__
from coconut_tasks.errors import Fault
from coconut_tasks.options import TABLE


def parser() -> argparse.ArgumentParser:
    """The command line; flags and their meaning are xbuild's."""
    flags = argparse.ArgumentParser(
        prog="coconut-build",
        description="Build COCONUT-SVSM recipes into IGVM files and their launch measurements.",
        epilog="example: coconut-build --release -f attest,userinit:extra configs/qemu-target.json",
    )
    add = flags.add_argument
    for one in TABLE:
        if one.is_switch and one.flags:
            add(*one.flags, action="store_true", help=one.about)
        elif one.name == "FEATURES":
            add(*one.flags, action="append", default=[], metavar=one.metavar, help=one.about)
        elif one.flags:
            add(*one.flags, metavar=one.metavar, help=one.about)
    add("-p", "--print-config", action="store_true", help="print each recipe before the build")
    add(
        "-n",
        "--jobs",
        type=_jobs,
        default=os.cpu_count() or 1,
        metavar="JOBS",
        help="steps at once (default: the cores)",
    )
    add("--version", action="version", version=f"coconut-build {__version__}")
    add("recipes", nargs="+", metavar="RECIPE", help="JSON build recipes")
    return flags


def _jobs(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        fault = Fault("wrong-number", f"'{text}' is not a number of jobs: 1 or more")
        raise argparse.ArgumentTypeError(fault.shown)
    return int(text)
