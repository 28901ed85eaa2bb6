"""The cache in numbers, and what ``cache check`` found, as text and JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from coconut_tasks.cache.collect import Held
from coconut_tasks.cache.folder import FolderStore
from coconut_tasks.compare.recheck import Rechecked
from coconut_tasks.records.history import Exchange
from coconut_tasks.wording import human


def stats_text(
    address: str | None, holds: Held | None, last: Exchange | None, how: tuple[str, str, str], *, writes: bool
) -> str:
    """The whole report. ``holds`` is of a folder only; ``how`` are an option, a variable and a file that turn the cache on."""
    if address is None:
        option, variable, file = how
        lines = [
            "cache      off",
            f'to turn it on: {option}, or {variable} in the environment, or cache = "1" in {file}',
        ]
    else:
        lines = [f"cache      {address}", f"use        {'read and written' if writes else 'only read'}"]
    if holds is not None:
        lines += [
            f"results    {holds.results}, {human(holds.result_bytes)}",
            f"blobs      {holds.blobs}, {human(holds.blob_bytes)}",
        ]
        if holds.unfinished:
            lines.append(f"unfinished {holds.unfinished}, {human(holds.unfinished_bytes)}")
        if holds.oldest_ns is not None and holds.newest_ns is not None:
            oldest, newest = (datetime.fromtimestamp(used / 1e9) for used in (holds.oldest_ns, holds.newest_ns))
            lines.append(f"used       {oldest:%Y-%m-%d %H:%M:%S} to {newest:%Y-%m-%d %H:%M:%S}")
    elif address is not None:
        lines.append("holds      only its server knows")
    if last is None:
        lines.append("last run   none here has asked a cache")
    else:
        of = "" if last.cache == address else f", of {last.cache}"
        hits, misses = _count(last.hits, "hit"), _count(last.misses, "miss", "misses")
        lines += [
            f"last run   {datetime.fromtimestamp(last.began):%Y-%m-%d %H:%M:%S}: {hits}, {misses}{of}",
            f"           {human(last.received)} received, {human(last.sent)} sent",
        ]
    return "".join(f"{line}\n" for line in lines)


def stats_json(
    head: Mapping[str, Any], address: str | None, holds: Held | None, last: Exchange | None, *, writes: bool
) -> dict[str, Any]:
    """The same as JSON."""
    cache = None
    if address is not None:
        cache = {"address": address, "writes": writes, "holds": None if holds is None else _holds_json(holds)}
    exchange = None
    if last is not None:
        exchange = {
            "began": _utc(last.began),
            "cache": last.cache,
            "hits": last.hits,
            "misses": last.misses,
            "received": last.received,
            "sent": last.sent,
        }
    return {**head, "cache": cache, "last_run": exchange}


def _holds_json(holds: Held) -> dict[str, Any]:
    used = (None if ns is None else _utc(ns / 1e9) for ns in (holds.oldest_ns, holds.newest_ns))
    return {
        "results": {"count": holds.results, "bytes": holds.result_bytes},
        "blobs": {"count": holds.blobs, "bytes": holds.blob_bytes},
        "unfinished": {"count": holds.unfinished, "bytes": holds.unfinished_bytes},
        **dict(zip(("oldest_use", "newest_use"), used, strict=True)),
    }


def _utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def collected_text(removed: Held, left: Held, folder: str) -> str:
    """What was removed from a folder, and what is left in it."""
    parts = [
        (removed.results, "result", "results"),
        (removed.blobs, "blob", "blobs"),
        (removed.unfinished, "unfinished file", "unfinished files"),
    ]
    named = [_count(count, one, several) for count, one, several in parts if count]
    said = f"removed {', '.join(named)}: {human(removed.bytes)}" if named else "nothing to remove"
    return f"{said}; {human(left.bytes)} left in {folder}\n"


def rechecked_text(found: Sequence[Rechecked], folder: str, again: str) -> str:
    """A line for each step, then what to do: ``folder`` has what was built, ``again`` is a command that makes the steps run again."""
    lines = []
    for one in found:
        lines.append(f"{one.step}: {'the same' if one.is_same else 'different'}")
        if not one.is_same:
            lines.append(f"  action {one.cached.action}, built by {one.cached.builder}")
            lines.append(f"  {_removal(one)}")
    wrong = sum(not one.is_same for one in found)
    if wrong:
        lines.append(f"{wrong} of {len(found)} steps differ from what was taken; what was built is in {folder}")
        lines.append(f"to build them here, turn the cache off after: {again}")
    else:
        lines.append(f"{'all ' if len(found) > 1 else ''}{_count(len(found), 'step')} as taken")
    return "".join(f"{line}\n" for line in lines)


def _removal(one: Rechecked) -> str:
    if os.path.isabs(one.cached.cache):
        return f"to remove it from the cache: rm {FolderStore(one.cached.cache).path_of_result(one.cached.action)}"
    return f"to remove it from {one.cached.cache}: ask who keeps that cache"


def _count(count: int, one: str, several: str = "") -> str:
    return f"{count} {one if count == 1 else several or f'{one}s'}"
