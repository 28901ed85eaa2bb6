"""``igvmbuilder``."""

from __future__ import annotations

from coconut_tasks.dataclass import dataclass
from coconut_tasks.recipe.model import Platform, Target
from coconut_tasks.steps.command import Command


@dataclass(frozen=True, slots=True)
class Parts:
    """The files that go into an IGVM file."""

    kernel: str
    loader: tuple[str, str] | None = None
    """The loader's name, ``stage2`` or ``bldr``, which is also the option's name, and its file."""
    tdx_stage1: str | None = None
    firmware: str | None = None
    filesystem: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """All of them."""
        loader = self.loader[1] if self.loader else None
        return tuple(f for f in (self.kernel, loader, self.tdx_stage1, self.firmware, self.filesystem) if f is not None)


def igvmbuilder_command(igvmbuilder: str, target: Target, parts: Parts, output: str, *, verbose: bool) -> Command:
    """Write one target's IGVM file."""
    argv = [igvmbuilder, "--sort", "--output", output]
    if Platform.SNP in target.platforms:
        # The policy is for SEV-SNP only: igvmbuilder refuses it for an image without SEV-SNP.
        argv += ["--policy", target.policy]
    if parts.loader is not None:
        argv += [f"--{parts.loader[0]}", parts.loader[1]]
    argv += ["--kernel", parts.kernel]
    for option, file in (
        ("tdx-stage1", parts.tdx_stage1),
        ("firmware", parts.firmware),
        ("filesystem", parts.filesystem),
    ):
        if file is not None:
            argv += [f"--{option}", file]
    if target.comport is not None:
        argv += ["--comport", str(target.comport)]
    aside = (len(argv),) if verbose else ()
    if verbose:
        argv.append("--verbose")
    if target.no_vtom:
        argv.append("--no-vtom")
    argv += [f"--{platform}" for platform in target.platforms]
    return Command((*argv, target.name), aside=aside)
