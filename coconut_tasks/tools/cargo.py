"""``cargo build`` and ``cargo test --no-run``."""

from __future__ import annotations

from collections.abc import Sequence

from coconut_tasks.options import Options
from coconut_tasks.recipe.model import BuildType, Component
from coconut_tasks.steps.command import Command

MESSAGES = "--message-format=json-render-diagnostics"
"""Makes cargo name each binary that it built on standard output; text for people stays on standard error."""


def cargo_command(
    component: Component, features: Sequence[str], options: Options, triple: str | None, config: str | None = None
) -> Command:
    """Build one item; without a triple, for cargo's default target, which is the host.

    ``features`` are those of the recipe and the user; ``config`` is a configuration file that overrides the tree's.
    """
    argv = _cargo(component)
    argv += ["test", "--no-run"] if component.type is BuildType.TEST else ["build"]
    argv += [MESSAGES, "--bin" if component.binary else "--package", component.name]
    if triple is not None:
        argv += ["--target", triple]
    if options.all_features:
        argv.append("--all-features")
    else:
        if component.no_default_features:
            argv.append("--no-default-features")
        if features:
            argv += ["--features", ",".join(features)]
    if component.manifest is not None:
        argv += ["--manifest-path", component.manifest]
    if options.release:
        argv.append("--release")
    if config is not None:
        argv += ["--config", config]
    deciding = len(argv)
    if options.offline:
        argv += ["--locked", "--offline"]
    if options.verbose:
        argv.append("-vv")
    return Command(tuple(argv), component.env, tuple(range(deciding, len(argv))), component.toolchain)


def cargo_clean_command(component: Component, options: Options, triple: str | None, config: str | None) -> Command:
    """Remove what that command made of packages; append the options that name them."""
    argv = [*_cargo(component), "clean"]
    for option, value in (("--target", triple), ("--manifest-path", component.manifest), ("--config", config)):
        argv += [option, value] if value is not None else []
    argv += ["--release"] if options.release else []
    argv += ["--locked", "--offline"] if options.offline else []
    return Command(tuple(argv), toolchain=component.toolchain)


def _cargo(component: Component) -> list[str]:
    return ["cargo", *([f"+{component.toolchain}"] if component.toolchain is not None else [])]
