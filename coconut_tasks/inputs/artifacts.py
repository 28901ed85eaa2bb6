"""What each artifact of a cargo run depends on, and when it was made.

cargo itself notes when it starts rustc or a build script (``invoked.timestamp``), by the clock of the file system that also stamps the
sources. This can show that a file that changed during a build was read in its current state: rustc started after the change.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Set

from coconut_tasks.dataclass import dataclass
from coconut_tasks.inputs.cargo import CargoBuild
from coconut_tasks.inputs.environment import asked_environment
from coconut_tasks.inputs.files import CONFIGURATION, Files, Stat, Walker, latest_ns
from coconut_tasks.inputs.messages import written_ns
from coconut_tasks.inputs.scripts import secret_variables

_PASSING = re.compile(r"\..*|.*(~|\.sw[a-z]|\.orig|\.rej|\.tmp)|#.*#|Cargo\.(toml|lock)|.*\.rs")
"""Files in a package that no build script is assumed to read without telling cargo: editors' files, manifests, and Rust sources, which are
in rustc's dep-info."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact, or the output of a build script, and what it depends on now."""

    package: str
    artifact: str
    fresh: bool
    """It existed before cargo started."""
    files: tuple[str, ...]
    variables: Mapping[str, str | None]
    began_ns: int
    """When cargo began to make it, by the file system's clock; 0 for a fresh one if unknown."""
    ended_ns: int | None = None
    """When the build script ended; None for an artifact of rustc."""
    links: bool = False
    """It is a program."""
    script: bool = False
    """It is a compiled build script."""
    asked: Set[str] = frozenset()
    """Variables, set or not, that a build script may read without cargo knowing."""
    beside: tuple[str, ...] = ()
    """Other files in the package of a build script that ran; it reads none of them, but may have written them."""

    @property
    def identity(self) -> str | None:
        """Distinguishes this build of the artifact from others."""
        try:
            found = os.stat(self.artifact)
        except OSError:
            return None
        return f"{self.artifact} {found.st_ino} {found.st_mtime_ns} {found.st_size}"

    def saw(self, changed_ns: int) -> bool:
        """Whether it was certainly made after a change at that time.

        A script may read in the same clock tick in which it starts. rustc takes longer than a tick to start.
        """
        changed_ns = latest_ns(changed_ns)
        return changed_ns < self.began_ns or (self.ended_ns is None and changed_ns == self.began_ns)

    def while_it_ran(self, changed_ns: int) -> bool:
        """Whether a change at that time happened while the build script ran."""
        return self.ended_ns is not None and self.began_ns <= changed_ns <= self.ended_ns


def artifacts_of(
    build: CargoBuild,
    started_ns: int,
    given: Iterable[str],
    environment: Mapping[str, str],
    walker: Walker,
    was_there: Iterable[str] = (),
) -> Iterator[Artifact]:
    """The artifacts of all own units and build-script runs in a cargo run.

    The run started at ``started_ns`` by the file system's clock, or later. ``given`` are the variables that the recipe sets; ``was_there``
    are files that existed before the run.
    """
    for unit, reads in build.own_units:
        if unit.exact:  # else nothing is known about it, and it would be cleaned every time
            read = sorted(file for file in reads.files if not build.is_generated(file))
            began = _began_ns(unit.stamp, started_ns, fresh=unit.fresh)
            yield Artifact(
                unit.package, unit.artifact, unit.fresh, tuple(read), {}, began, None, unit.links, unit.script
            )
    for run, reads in build.own_runs:
        folder = build.own[run.package]
        inside = walker.files(folder)
        beside = {file for file in inside if _PASSING.fullmatch(file, file.rindex(os.sep) + 1)}
        files = reads.files.union(file for file in inside if file not in beside)
        files.update(*(walker.files(inner, package=False) for inner in reads.folders))
        fresh = written_ns(run.output) < started_ns
        if not fresh:
            files |= _vanished(was_there, folder)
        names = secret_variables(run, folder, given, build.scripts.get(run.package, ()), walker)
        kept = tuple(sorted(file for file in files if not file.startswith(build.generated)))
        began = _began_ns(run.stamp, started_ns, fresh=fresh)
        variables = asked_environment(environment, names)
        written = () if fresh else tuple(sorted(file for file in beside - files if not is_configuration(file)))
        yield Artifact(
            run.package, run.output, fresh, kept, variables, began, run.ended_ns, asked=names, beside=written
        )


def vouched_for(
    paths: Iterable[str],
    artifacts: Sequence[Artifact],
    good: Container[Artifact],
    build: CargoBuild,
    started_ns: int,
    last_ns: int,
    files: Files,
) -> dict[str, Stat]:
    """Which of a step's inputs changed while it ran but were read in their current state, with the stat that they had then.

    ``good`` are artifacts that are known to be made from the current files. The step started at ``started_ns``, its last cargo run at
    ``last_ns``.
    """
    readers: dict[str, list[Artifact]] = {}
    for e in artifacts:
        for path in e.files:
            readers.setdefault(path, []).append(e)
    # For a file that was read, the stat by which it was judged counts.
    stats = {path: files.stat(path) if path in readers else files.look_again(path) for path in paths}
    changed = {path: now for path, now in stats.items() if now is not None and latest_ns(now[1]) >= started_ns}
    return {
        path: now
        for path, now in changed.items()
        if _is_vouched(path, now[1], readers.get(path, ()), artifacts, good, build, last_ns)
    }


def is_configuration(path: str) -> bool:
    """Whether cargo itself reads the file: a manifest, a lock file, a toolchain file, its configuration."""
    folder, name = os.path.split(path)
    return name in CONFIGURATION or (os.path.basename(folder) == ".cargo" and name in ("config", "config.toml"))


def _is_vouched(
    path: str,
    changed_ns: int,
    readers: Sequence[Artifact],
    artifacts: Sequence[Artifact],
    good: Container[Artifact],
    build: CargoBuild,
    last_ns: int,
) -> bool:
    if is_configuration(path):
        return latest_ns(changed_ns) < last_ns
    vague = (build.own[unit.package] for unit, _ in build.own_units if not unit.exact)
    if any(e not in good for e in readers) or any(path.startswith(folder + os.sep) for folder in vague):
        return False
    if any(e.ended_ns is None for e in readers):
        return True  # rustc's dep-info names everything that read it
    if readers:
        # A linker may read it too, without a trace, so the package's own crates and the program must be newer than the change.
        packages = {e.package for e in readers}
        made = (e for e in artifacts if e.ended_ns is None and not e.script and (e.links or e.package in packages))
        return all(e.saw(changed_ns) for e in made)
    # Nothing read it in this build: a script may write sources for other features too.
    return any(e.while_it_ran(changed_ns) and path.startswith(build.own[e.package] + os.sep) for e in artifacts)


def _began_ns(stamp: str, started_ns: int, *, fresh: bool) -> int:
    noted = written_ns(stamp) if stamp else 0
    return noted if fresh else max(noted, started_ns)


def _vanished(was_there: Iterable[str], folder: str) -> set[str]:
    inside = (path for path in was_there if path.startswith(folder + os.sep))
    return {path for path in inside if not _PASSING.fullmatch(os.path.basename(path)) and not os.path.lexists(path)}
