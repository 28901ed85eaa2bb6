"""``watch``: build again whenever something changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from coconut_tasks.called import called
from coconut_tasks.errors import UsageError
from coconut_tasks.inputs.files import VERSION_CONTROL, Files
from coconut_tasks.inputs.git import ask_git, find_repository, git_text
from coconut_tasks.layout import HEX, RECORDS, STATE_FOLDER
from coconut_tasks.options import process_words
from coconut_tasks.records.store import recorded_inputs
from coconut_tasks.tasks.interrupt import Terminated, listen
from coconut_tasks.tasks.standing import from_here, stand
from coconut_tasks.tasks.task_command import ReportCommand
from coconut_tasks.wording import MEASUREMENTS, short_digest
from coconut_tasks.workspace.workspace import Workspace

_QUIET_MS = 100
"""A burst of changes is over when nothing has changed for this long."""
_SAME = 2
"""How many times a file can be rewritten with the same content before that stops starting builds."""
_NAMED = 3
"""How many of the changed files a message names."""


class WatchCommand(ReportCommand):
    """``watch``."""

    name = "watch"
    builds = True
    doc_purpose = "build, then build again whenever an input changes"
    examples = ("doit watch", "doit watch RECIPE=config/qemu.json RELEASE=1", "doit watch kernel:svsm  # one step")

    def _execute(self) -> int:
        nodes = self.nodes
        workspace = nodes[0].workspace
        digests = _digests(workspace.bin)
        last_run, recorded = _last_run(workspace.state), recorded_inputs(workspace.state / RECORDS)
        rewritten = _Rewritten()
        # Changes by the build itself do not count, as far as its outputs are known.
        made = {workspace.path(path) for node in nodes for path in node.step.makes}
        told = False
        listen()
        while True:
            # Watch first, then build, so that a change during the build starts another build. Each build is a new process, as if typed by
            # the user: it looks up everything again, and an error in a recipe ends it, but not the watch.
            of_git = _of_git(workspace)
            folders = sorted(_folders(nodes, recorded) | of_git)
            with closing(_changes(folders, workspace.bin, made)) as changes:
                next(changes)
                if not told:
                    self._say(f"watching {len(folders)} folders in {workspace.tree}; press Ctrl-C to stop")
                    told = True
                before, commit = _last_run(workspace.state), _commit(workspace)
                status = _build()
                if status > 128:
                    return status  # a signal ended it, which it has reported
                for what, digest in _digests(workspace.bin).items():
                    if digests.get(what) not in (None, digest):
                        self._say(f"{what} {short_digest(digests[what])} → {short_digest(digest)}")
                    digests[what] = digest
                after = _last_run(workspace.state)
                if after != last_run:  # reading all records takes as long as a small build
                    last_run, recorded = after, recorded_inputs(workspace.state / RECORDS)
                idle = "nothing to build; " if after == before else ""
                self._say(f"{'build failed; ' if status else idle}waiting for changes")
                known = recorded if status == 0 else {}
                while True:
                    found = _burst(changes)
                    # git rewrites its files even if nothing changed, so its answer counts. A new folder of tags must be watched too.
                    gits = {path for path in found if os.path.dirname(path) in of_git}
                    if (
                        rewritten.news(found - gits, known)
                        or any(map(os.path.isdir, gits))
                        or (gits and _commit(workspace) != commit)
                    ):
                        break
            # Files that no longer exist are usually an editor's temporary ones, unless there are no others.
            there = {path for path in found if os.path.exists(path)} or found
            names = sorted(os.path.relpath(path, workspace.tree) for path in there)
            others = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            self._say(f"{', '.join(names[:_NAMED])}{others} changed")

    def _say(self, text: str) -> None:
        self.outstream.write(f"[{datetime.now():%H:%M:%S}] {text}\n")
        self.outstream.flush()


def _changes(folders: Sequence[str], bin: str, made: Set[str]) -> Generator[set[str], None, None]:
    """The paths that changed directly in the folders; an empty set each time nothing has changed for a while."""
    from watchfiles import Change, DefaultFilter, watch

    left_out = (*DefaultFilter.ignore_entity_patterns, r"^\..*\.coconut-", r"^4913$")
    plain = DefaultFilter(ignore_dirs=(), ignore_entity_patterns=left_out, ignore_paths=[bin])

    def wanted(change: Change, path: str) -> bool:
        if path in made or (change is Change.modified and os.path.isdir(path)):
            return False
        return plain(change, path)

    try:
        for found in watch(
            *folders,
            watch_filter=wanted,
            recursive=False,
            step=_QUIET_MS // 2,
            debounce=2000,
            rust_timeout=_QUIET_MS,
            yield_on_timeout=True,
        ):
            yield {path for _, path in found}
    except OSError as error:
        raise UsageError("cannot-watch", f"watch: cannot watch {len(folders)} folders: {error}") from error


def _burst(changes: Iterator[set[str]]) -> set[str]:
    """Wait for a burst of changes, and return all its paths."""
    found: set[str] = set()
    for more in changes:
        found |= more
        if found and not more:
            break
    return found


def _folders(nodes: Sequence[Any], recorded: Iterable[str]) -> set[str]:
    """Every folder with files that a build may read; the build then decides what is an input. ``recorded`` are the inputs in records."""
    workspace = nodes[0].workspace
    found = {workspace.tree, os.getcwd(), *_below(workspace.tree, workspace.bin)}
    home = stand()
    recipes = [os.path.join(base, name) for name in workspace.recipes for base in (home, workspace.tree)]
    read = {workspace.path(path) for node in nodes for path in node.step.inputs}
    found |= {os.path.dirname(os.path.normpath(path)) for path in (*recipes, *read, *recorded)}
    return {
        folder
        for folder in found
        if os.path.isdir(folder) and not f"{folder}{os.sep}".startswith(workspace.bin + os.sep)
    }


def _of_git(workspace: Workspace) -> set[str]:
    """The folders of git's files about the current commit and its name; they may be outside the tree, for example for a linked worktree."""
    repository = find_repository(workspace.tree, workspace.environment)
    found = {os.path.dirname(path) for path in repository.files if os.path.basename(path) != ".git"}
    found.update(folder for folder, _, _ in os.walk(os.path.join(repository.refs, "tags")) if repository.refs)
    found -= {os.getcwd(), os.path.realpath(workspace.tree), *_below(workspace.tree, workspace.bin)}
    return set(filter(os.path.isdir, found))


def _commit(workspace: Workspace) -> tuple[str, str, bool]:
    """The commit, its name, and whether something is staged. git does not write its index for this, which would be a change."""
    commit, name = (
        git_text(words, workspace.tree, workspace.environment)
        for words in (["rev-parse", "HEAD"], ["describe", "--always"])
    )
    staged = ask_git(["diff-index", "--cached", "--quiet", "HEAD"], workspace.tree, workspace.environment)
    return commit, name, staged is None


class _Rewritten:
    """Files that are rewritten again and again with the same content, for example by a firmware command that each build runs."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str | None, int]] = {}

    def news(self, paths: Set[str], known: Mapping[str, Set[object]]) -> bool:
        """Whether one of these changes may affect a build. ``known`` are the digests that successful runs read; for a file that they did
        not read, each edit counts, even if it was undone."""
        files, news = Files(), False
        for path in paths:
            digest = files.digest(path)
            if known.get(path) == {digest}:
                continue
            before, times = self._known.get(path, ("", 0))
            times = times + 1 if digest == before else 0
            self._known[path] = digest, times
            news |= times < _SAME
        return news


def _below(root: str, bin: str) -> Iterator[str]:
    for folder, names, files in os.walk(root):
        if folder != root and "CACHEDIR.TAG" in files:
            names.clear()  # cargo's target folder
            continue
        names[:] = [name for name in names if name not in VERSION_CONTROL and os.path.join(folder, name) != bin]
        yield folder


def _build() -> int:
    """Build, and return the exit status; if a signal ended the build, 128 plus its number, as in shells."""
    process = subprocess.Popen(_run_command(), cwd=stand())
    try:
        status = process.wait()
    except KeyboardInterrupt as error:
        # Ctrl-C reaches the build too, but SIGTERM only this process, so it is passed on.
        if isinstance(error, Terminated):
            process.terminate()
        status = process.wait()
        return status if status > 128 else 128 + signal.SIGINT
    return 128 - status if status < 0 else status


def _run_command() -> list[str]:
    """The command line of this process, with a quiet build instead of ``watch``."""
    words = process_words()
    at = words.index(WatchCommand.name)
    start = sys.orig_argv[: len(sys.orig_argv) - len(words)]
    build = "build" if called().is_coconut else "run"
    return [sys.executable, *start[1:], *words[:at], build, "--quiet", *words[at + 1 :]]


def _digests(bin: str) -> dict[str, str]:
    """The launch measurements in the output folder by what they are of, for example ``bin/q.igvm: MRTD``."""
    found = {}
    for folder, names, files in os.walk(bin):
        names[:] = [name for name in names if name != STATE_FOLDER]
        for file in files:
            for platform, end in HEX.items():
                if file.endswith(end):
                    path = os.path.join(folder, file)
                    what = f"{from_here(path).removesuffix(end)}: {MEASUREMENTS[platform]}"
                    with suppress(OSError):  # another process may have removed it
                        found[what] = Path(path).read_text(errors="replace").strip()
    return found


def _last_run(state: Path) -> int:
    try:
        return (state / "last-run.json").stat().st_mtime_ns
    except OSError:
        return 0
