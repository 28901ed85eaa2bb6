"""Build twice from clean, in two places that have as little in common as possible, and compare every byte."""

from __future__ import annotations

import os
import shutil
import site
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from coconut_tasks.compare.reproduction import Different, Reproduction
from coconut_tasks.compare.spots import pieces, spots, strings_with
from coconut_tasks.dataclass import dataclass
from coconut_tasks.effects.place import read_object
from coconut_tasks.effects.process import CommandFailed, run
from coconut_tasks.errors import StepError
from coconut_tasks.inputs.commit import find_source
from coconut_tasks.inputs.environment import cargo_home, rustup_home
from coconut_tasks.inputs.files import VERSION_CONTROL
from coconut_tasks.inputs.git import find_repository
from coconut_tasks.inputs.version import repository
from coconut_tasks.layout import STATE_FOLDER
from coconut_tasks.options import Options
from coconut_tasks.package import PACKAGE
from coconut_tasks.steps.action import FsImage, Measurement
from coconut_tasks.steps.command import Command
from coconut_tasks.steps.step import Step
from coconut_tasks.variables import TABLE
from coconut_tasks.workspace.session import Session, open_session
from coconut_tasks.workspace.source import Source, find_recipe


@dataclass(frozen=True, slots=True)
class Conditions:
    """How one of the two builds differs from the other; none of this may affect what is built."""

    name: str
    folder: str
    """Relative to the common folder; the two differ in length and depth."""
    umask: int
    jobs: int
    variables: Mapping[str, str]
    turned: bool
    """Files are copied in reverse order, with other times and modes."""

    def __str__(self) -> str:
        return (
            f"umask {self.umask:03o}, LC_ALL={self.variables['LC_ALL']}, TZ={self.variables['TZ']}, {self.jobs} at once"
        )


@dataclass(frozen=True, slots=True)
class Copy:
    """One of the two places."""

    conditions: Conditions
    base: Path
    tree: Path
    bin: Path


def both_conditions(cores: int) -> tuple[Conditions, Conditions]:
    """The two ways to build."""
    plain = {"USER": "one", "LOGNAME": "one", "LC_ALL": "C", "LANG": "C", "TZ": "UTC"}
    odd = {
        "USER": "somebody-else",
        "LOGNAME": "somebody-else",
        "LC_ALL": "tr_TR.UTF-8",
        "LANG": "tr_TR.UTF-8",
        "TZ": "Pacific/Kiritimati",
        "COLUMNS": "40",
        "MAKEFLAGS": "-j3",
        "COCONUT_UNRELATED": "x" * 200,
        # People have these in their profile; without an allow-list each would affect the build.
        "RUSTFLAGS": "-Cdebug-assertions=off",
        "CARGO_PROFILE_DEV_OPT_LEVEL": "1",
        "CFLAGS": "-O1",
    }
    return (
        Conditions("one", "one", 0o022, 1, plain, False),
        Conditions("two", "another-place/further/down", 0o077, max(2, cores), odd, True),
    )


def reproduce(session: Session, folder: Path, say: Callable[[str], None]) -> Reproduction:
    """Build a session's recipes twice below ``folder``, which is recreated.

    Raises:
        StepError: one of the two builds failed.
    """
    remove(folder)
    options, source = replace(session.options, reproducible=True), session.source
    names = options.recipes or session.workspace.recipes
    recipes = tuple(str(find_recipe(name, options, source.tree)) for name in names)
    environment = _absolute_firmware(options, session)
    generated = _generated(session)
    copies = []
    sessions = []
    for conditions in both_conditions(os.cpu_count() or 1):
        copy = _place(source, folder, conditions)
        say(f"building in {copy.base}: {conditions}")
        _copy_tree(source, copy, generated)
        given = {**environment, **_variables(copy, source, environment)}
        command = build_command(options, str(copy.tree), str(copy.bin), conditions.jobs, recipes, is_copy=True)
        run(
            command,
            str(copy.base),
            given,
            session.workspace.state / "logs" / f"reproduce-{conditions.name}.log",
            umask=conditions.umask,
        )
        there = replace(options, recipes=recipes, svsm=str(copy.tree), bin=str(copy.bin))
        there = replace(there, environment=environment, is_copy=True)
        copies.append(copy)
        sessions.append(open_session(there))
    return _compare(sessions[0], sessions[1], (copies[0], copies[1]))


def remove(folder: Path) -> None:
    """Remove the copies."""
    if folder.exists():
        shutil.rmtree(folder)


def build_command(
    options: Options, tree: str, bin: str, jobs: int | None, words: Sequence[str], *, is_copy: bool = False
) -> Command:
    """A build with the same options in a process of its own, without a cache, since it is to show what is made here.

    ``words`` are recipes and steps, ``jobs`` is how many steps run at once (None for the default), ``is_copy`` is as in ``Options``.
    """
    # Not by PYTHONPATH, which builds get too.
    start = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})"
    main = f"{start}; from coconut_tasks.commands.coconut import main; sys.exit(main(is_copy={is_copy}))"
    flags = ["build", "--svsm", tree, "--out", bin, "--cache", "0"]
    flags += ["--jobs", str(jobs)] if jobs is not None else []
    switches = [one for one in TABLE if one.is_switch and one.flags and one.name != "SAMPLE"]  # the tree is named
    flags += [one.flags[-1] for one in switches if getattr(options, one.field)]
    if options.features:
        flags += ["--features", ",".join(map(str, options.features))]
    return Command((sys.executable, "-P", "-c", main, *flags, "--", *words))


def _absolute_firmware(options: Options, session: Session) -> dict[str, str]:
    """The environment with absolute paths of firmware images, since the builds run in another folder."""
    names = {recipe.firmware.env for recipe in session.recipes if recipe.firmware is not None and recipe.firmware.env}
    given = dict(session.options.environment)
    return {**given, **{name: options.absolute(given[name]) for name in sorted(names) if given.get(name)}}


def _place(source: Source, folder: Path, conditions: Conditions) -> Copy:
    """Where the copies of tree and output folder go: placed relative to each other as the originals, so that the commands are the same."""
    base = folder / conditions.folder
    common = os.path.commonpath((source.tree, source.bin))
    if os.path.isabs(source.layout.bin):
        return Copy(conditions, base, base / "source" / "tree", base / "source" / "bin")
    tree, bin = (
        os.path.normpath(base / "source" / os.path.relpath(path, common)) for path in (source.tree, source.bin)
    )
    return Copy(conditions, base, Path(tree), Path(bin))


def _generated(session: Session) -> Set[str]:
    """Absolute paths of files that build scripts wrote into the source: a clean build must not find them."""
    workspace = session.workspace
    made = {}
    for path in (workspace.state / "links").glob("*.json"):
        link = read_object(path)  # one of an older version may lack these names
        for name in link.get("own", ()):
            place = workspace.located(name)
            if workspace.files.digest(place) == link["materials"][name]:  # else it was edited since
                made[name] = place
    repository = find_repository(workspace.tree, workspace.environment)
    found = find_source(repository, workspace.environment, made, made=made.keys())
    return {made[name] for name in (made if found is None else found.generated)}


def _copy_tree(source: Source, copy: Copy, generated: Set[str]) -> None:
    # cargo reads configuration from all parent folders, so a copy inside the original finds the original's.
    inside = f"{copy.base}{os.sep}".startswith(f"{source.tree}{os.sep}")

    def left_out(folder: str, names: list[str]) -> set[str]:
        found = {name for name in names if name in VERSION_CONTROL or os.path.join(folder, name) == source.bin}
        # What cargo, or this program with another output folder, made.
        made = ("CACHEDIR.TAG", STATE_FOLDER)
        found |= {name for name in names if any(os.path.exists(os.path.join(folder, name, inner)) for inner in made)}
        found |= {name for name in names if _is_special(os.path.join(folder, name))}
        found |= {name for name in names if os.path.join(folder, name) in generated}
        return found | ({".cargo"} if inside and folder == source.tree else set())

    copy.tree.parent.mkdir(parents=True)
    _copy_folder(source.tree, str(copy.tree), left_out, turned=copy.conditions.turned)


def _copy_folder(old: str, new: str, left_out: Callable[[str, list[str]], set[str]], *, turned: bool) -> None:
    os.mkdir(new)
    names = os.listdir(old)
    for name in sorted(set(names) - left_out(old, names), reverse=turned):
        a, b = os.path.join(old, name), os.path.join(new, name)
        if os.path.islink(a):
            os.symlink(os.readlink(a), b)
        elif os.path.isdir(a):
            _copy_folder(a, b, left_out, turned=turned)
        elif turned:
            shutil.copyfile(a, b)
            os.chmod(b, stat.S_IMODE(os.stat(a).st_mode) & 0o700)
        else:
            shutil.copy2(a, b)


def _is_special(path: str) -> bool:
    mode = os.lstat(path).st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))


def _variables(copy: Copy, source: Source, environment: Mapping[str, str]) -> dict[str, str]:
    home, cargo = copy.base / "home", copy.base / "home" / "cargo"
    cargo.mkdir(parents=True)
    temporary = copy.base / "tmp"
    temporary.mkdir()
    real = cargo_home(environment)
    above = os.path.basename(real) == ".cargo" and f"{copy.base}".startswith(os.path.dirname(real) + os.sep)
    for name in os.listdir(real) if os.path.isdir(real) else ():
        # Share what was fetched. Configuration that cargo finds in a parent folder anyway must not count twice.
        if name != "bin" and not (above and name in ("config", "config.toml")):
            os.symlink(os.path.join(real, name), cargo / name)
    package = str(PACKAGE.parent)
    python = [package, *filter(None, [environment.get("PYTHONPATH")])]
    return {
        **copy.conditions.variables,
        "HOME": str(home),
        "CARGO_HOME": str(cargo),
        "TMPDIR": str(temporary),
        "RUSTUP_HOME": rustup_home(environment),
        # The same program with the same libraries, wherever they are installed.
        "PYTHONPATH": os.pathsep.join(python),
        "PYTHONUSERBASE": site.getuserbase(),
        **(repository(source.tree, environment) or {"GIT_CEILING_DIRECTORIES": str(copy.base)}),
    }


def _compare(first: Session, second: Session, copies: tuple[Copy, Copy]) -> Reproduction:
    found = []
    seen: set[str] = set()
    compared = 0
    for step, other in zip(first.plan.steps, second.plan.steps, strict=True):
        for output, same in zip(step.outputs, other.outputs, strict=True):
            if output == step.link:  # it differs if a part does, and is compared at the end
                continue
            files = Path(first.workspace.path(output)), Path(second.workspace.path(same))
            compared += 1
            if (difference := _difference(step, files, (first, second), copies)) is not None:
                found.append(difference)
        seen |= {os.path.relpath(first.workspace.path(place), first.workspace.bin) for _, place in step.publish}
    for name in sorted(seen | _published(first) | _published(second)):
        files = Path(first.workspace.bin, name), Path(second.workspace.bin, name)
        compared += 1
        # If a part differs, so does its copy; report it once.
        if not found and (difference := _difference(None, files, (first, second), copies)) is not None:
            found.append(difference)
    digests = [
        (action.shown, platform, Path(first.workspace.path(hex)).read_text().strip())
        for step in first.plan.steps
        if isinstance(action := step.action, Measurement)
        for platform, hex in action.hexes
    ]
    return Reproduction(
        compared, tuple(found), tuple(digests), tuple((copy.conditions.name, copy.base) for copy in copies)
    )


def _difference(
    step: Step | None, files: tuple[Path, Path], sessions: tuple[Session, Session], copies: tuple[Copy, Copy]
) -> Different | None:
    name = step.name if step else ""
    try:
        old, new = (path.read_bytes() for path in files)
    except OSError:
        return Different(name, files, (), ())
    if old == new:
        return None
    regions = None
    if step is not None and isinstance(step.action, FsImage):
        held = [_held(step.action, session) for session in sessions]
        regions = pieces(old, held[0]), pieces(new, held[1])
    paths = strings_with(old, os.fsencode(copies[0].base))
    return Different(name, files, tuple(spots(old, new, regions)), tuple(paths))


def _held(image: FsImage, session: Session) -> dict[str, bytes]:
    found = {}
    for path, file in image.files:
        with suppress(OSError):
            found[f"entry {path}"] = Path(session.workspace.path(file)).read_bytes()
    return found


def _published(session: Session) -> set[str]:
    return set(_files_of(session.workspace.bin, session.workspace.state))


def _files_of(bin: str, state: Path) -> Iterator[str]:
    for folder, names, files in os.walk(bin):
        names[:] = [name for name in names if os.path.join(folder, name) != str(state)]
        yield from (os.path.relpath(os.path.join(folder, file), bin) for file in files)


def diffoscope(different: Sequence[Different], folder: Path, environment: Mapping[str, str]) -> Path | None:
    """diffoscope's report on the first file that differs; None if diffoscope is not installed or wrote none."""
    program = shutil.which("diffoscope", path=environment.get("PATH"))
    pair = next((one.files for one in different if one.spots), None)
    if program is None or pair is None:
        return None
    report = folder / "diffoscope.txt"
    command = Command((program, "--text", str(report), *map(str, pair)))
    with suppress(CommandFailed, StepError):  # status 1 means that the files differ
        run(command, str(folder), environment, folder / "diffoscope.log")
    return report if report.is_file() else None
