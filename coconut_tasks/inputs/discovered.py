"""What a build was found to read beyond what the plan knows."""

from __future__ import annotations

from collections.abc import Container, Mapping, Set
from dataclasses import asdict, field
from typing import Any

from coconut_tasks.dataclass import dataclass
from coconut_tasks.inputs.files import Stat, Walker


@dataclass(frozen=True, slots=True)
class Inputs:
    """Found after a step ran, and valid until one of them changes; all paths are absolute."""

    roots: tuple[str, ...] = ()
    """Folders of packages, in which every file counts."""
    folders: tuple[str, ...] = ()
    """Other folders, in which every file and every folder's name counts, whatever package they are in."""
    configured: tuple[str, ...] = ()
    """Folders from which cargo looks for configuration upwards."""
    files: tuple[str, ...] = ()
    """Further files. A file that does not exist counts too: it must not appear."""
    variables: tuple[str, ...] = ()
    """Environment variables that the build reads."""
    complete: bool = True
    """False if there are inputs that cannot be known; then every run starts the tool itself."""

    def paths(self, walker: Walker) -> set[str]:
        """Every file that could be read now."""
        found = set(self.files)
        found.update(*map(walker.files, self.roots), *map(walker.configuration, self.configured))
        found.update(*(walker.files(folder, package=False) for folder in self.folders))
        return found

    def joined(self, other: Inputs) -> Inputs:
        """The inputs of both."""
        lists = {
            name: tuple(sorted({*getattr(self, name), *getattr(other, name)}))
            for name in ("roots", "folders", "configured", "files", "variables")
        }
        return Inputs(**lists, complete=self.complete and other.complete)

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Inputs:
        """From the record."""
        lists = {name: tuple(value[name]) for name in ("roots", "folders", "configured", "files", "variables")}
        return cls(**lists, complete=bool(value["complete"]))


@dataclass(frozen=True, slots=True)
class Reading:
    """What a step was found to read in this run."""

    inputs: Inputs = field(default_factory=Inputs)
    started_ns: int | None = None
    """When it began to read, if that was later than the start of the step."""
    vouched: Mapping[str, Stat] = field(default_factory=dict)
    """Files that changed since, but are known to have been read after the change."""
    looked: Container[str] = frozenset()
    """Files whose stat was taken after they had been read."""
    made: Set[str] = frozenset()
    """The inputs that the step's own build scripts wrote."""
    scripts: Set[str] = frozenset()
    """The sources of the build scripts that ran for it."""
    untold: Set[str] = frozenset()
    """Variables that build scripts of fetched packages may have read without telling cargo. A checkout does not look at them, but a result
    that others get is another one with another value. Empty without a cache."""
    native: bool = False
    """Whether it may have parts that rustc did not compile."""
    tainted: bool = False
    """Whether a part of it may have been made with other tools than the present ones, or on top of an earlier one."""
