"""What a cache in a folder holds, and the removal of what was not used for the longest time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import suppress

from coconut_tasks.cache.folder import FolderStore, Kept
from coconut_tasks.dataclass import dataclass

_ABANDONED_S = 86_400
"""How old a file is that nobody writes any more."""


@dataclass(frozen=True, slots=True)
class Held:
    """Numbers of files, and their bytes."""

    results: int = 0
    result_bytes: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    unfinished: int = 0
    """Files that are still written, or that were left by a writer that was killed."""
    unfinished_bytes: int = 0
    oldest_ns: int | None = None
    """When the file was used that was not used for the longest time, in nanoseconds since the epoch; None if there is no file."""
    newest_ns: int | None = None

    @property
    def bytes(self) -> int:
        """All bytes."""
        return self.result_bytes + self.blob_bytes + self.unfinished_bytes


def held(files: Iterable[Kept]) -> Held:
    """The numbers of these files."""
    every = list(files)
    parts = [one for one in every if one.is_part]
    results = [one for one in every if one.is_result and not one.is_part]
    blobs = [one for one in every if not one.is_result and not one.is_part]
    used = [one.used_ns for one in (*results, *blobs)]
    return Held(
        len(results),
        sum(one.size for one in results),
        len(blobs),
        sum(one.size for one in blobs),
        len(parts),
        sum(one.size for one in parts),
        min(used, default=None),
        max(used, default=None),
    )


def collect(store: FolderStore, most: int) -> tuple[Held, Held]:
    """Remove what was not used for the longest time until at most ``most`` bytes are left: what was removed, and what is left.

    Results whose blobs are gone are removed too. What is being written stays, and so does what was used since this began. Folders stay:
    a writer may be about to use one.

    Raises:
        OSError: a file cannot be removed.
    """
    removed: list[Kept] = []
    files = list(store.kept())
    abandoned_ns = time.time_ns() - _ABANDONED_S * 1_000_000_000
    removed += [one for one in files if one.is_part and one.used_ns < abandoned_ns and _remove(one)]
    left = sum(one.size for one in files) - sum(one.size for one in removed)
    for one in sorted(files, key=lambda one: one.used_ns):
        if left <= most:
            break
        if not one.is_part and _remove(one):
            removed.append(one)
            left -= one.size
    gone = set(removed)
    removed += [one for one in files if one.is_result and not one.is_part and one not in gone and _is_broken(one, store)
                and _remove(one)]  # fmt: skip
    return held(removed), held(store.kept())


def _remove(one: Kept) -> bool:
    """Whether it was removed: it was not if it was used in the meantime."""
    with suppress(FileNotFoundError):
        if one.path.stat().st_mtime_ns == one.used_ns:
            one.path.unlink()
            return True
    return False


def _is_broken(one: Kept, store: FolderStore) -> bool:
    """Whether it is a result that nobody can use."""
    try:
        files = json.loads(one.path.read_bytes().partition(b"\n")[2])["files"]
        return not all(size == 0 or store.path_of(sha256).exists() for _, sha256, size, _ in files)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return True
