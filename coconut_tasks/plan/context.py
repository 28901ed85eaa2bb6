"""What a plan is made from: the options, the output paths, and facts about the tree and the machine that were looked up beforehand."""

from __future__ import annotations

from coconut_tasks.dataclass import dataclass
from coconut_tasks.layout import BARE_METAL, Layout
from coconut_tasks.options import Options


@dataclass(frozen=True, slots=True)
class PlanContext:
    """The same context and recipe give the same plan, on any machine and at any time."""

    options: Options
    layout: Layout
    tree: str = "."
    """The tree, seen from the output folder's parent, or its absolute path: it separates variants of different trees."""
    triple: str = BARE_METAL
    """Target triple of kernel parts and modules: the host's for the sample on a machine without the bare-metal target."""
    host: str | None = None
    """The host's target triple, if cargo's configuration has another default target, for which host tools cannot be built."""
    has_version_file: bool = True
    """Whether the tree has the crate that holds the version file."""

    @property
    def cargo_config(self) -> str | None:
        """The configuration file that cargo gets in addition to the tree's own; only in reproducible builds."""
        return self.layout.cargo_config if self.options.reproducible else None

    def features(self, package: str, recipe: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The recipe's features of a package, then the user's, each once."""
        extra = (entry.feature for entry in self.options.features if entry.package == package)
        return tuple(dict.fromkeys((*recipe, *extra)))
