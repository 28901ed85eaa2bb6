"""The cache as a run uses it: it is opened when a step is about to be built, any fault turns it off, and uploads go on meanwhile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from coconut_tasks.cache.folder import FolderStore
from coconut_tasks.cache.store import (
    Blob,
    BlobCorrupt,
    BlobMissing,
    CacheFault,
    CacheReadOnly,
    CacheStore,
    Result,
)
from coconut_tasks.dataclass import dataclass

T = TypeVar("T")
_PATIENCE_S = 1.0


@dataclass(slots=True)
class Traffic:
    """What a run exchanged with the cache."""

    hits: int = 0
    misses: int = 0
    received: int = 0
    """Bytes of blobs."""
    sent: int = 0


class Cache:
    """See the module. Nothing here raises for a fault of the cache."""

    def __init__(self, store: CacheStore, tell: Callable[[str], None], *, write: bool) -> None:
        """``tell`` gets the reason why the cache is turned off, at most once."""
        self._store, self._tell = store, tell
        self._write = write
        self._lock = threading.Lock()
        self._off = False
        self._uploads: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._sender: threading.Thread | None = None
        self.traffic = Traffic()

    @property
    def shown(self) -> str:
        """Its address for users."""
        return self._store.shown

    @property
    def is_read(self) -> bool:
        """Whether it answers."""
        return not self._off

    @property
    def is_written(self) -> bool:
        """Whether it takes results."""
        return self._write and not self._off

    def result(self, key: str) -> Result | None:
        """The result with a key, if there is one."""
        return self._guarded(lambda: self._store.result(key), None)

    def fetch(self, blobs: Mapping[Blob, Path]) -> bool:
        """Write each blob to its path; False, and no file, if that failed."""

        def fetch() -> bool:
            wanted = {blob: path for blob, path in blobs.items() if blob.size}
            self._store.fetch(wanted)
            for blob, path in blobs.items():
                if not blob.size:
                    path.touch()
            self.traffic.received += sum(blob.size for blob in wanted)
            return True

        if self._guarded(fetch, False):
            return True
        for path in blobs.values():
            path.unlink(missing_ok=True)
        return False

    def fetch_some(self, blobs: Mapping[Blob, Path]) -> set[Blob]:
        """Make each blob's path a file with its content, which must not be written to; returns those that are there."""

        def fetch() -> None:
            if isinstance(self._store, FolderStore):
                self._store.borrow(blobs)
            else:
                self._store.fetch(blobs)

        self._guarded(fetch, None)
        there = {blob for blob, path in blobs.items() if path.exists()}
        self.traffic.received += sum(blob.size for blob in there)
        return there

    def missing(self, blobs: Iterable[Blob]) -> set[Blob]:
        """Those that it does not have, as far as it tells."""
        asked = set(blobs)
        return self._guarded(lambda: self._store.missing(asked), set()) if asked else set()

    def keep(
        self,
        make: Callable[[], tuple[dict[str, Result], Mapping[Blob, Path | bytes]] | None],
        end: Callable[[], object] = lambda: None,
    ) -> None:
        """Upload in the background what ``make`` returns, if it returns anything: results by key, and their blobs. Then call ``end``."""

        def keep() -> None:
            if not self.is_written or (made := make()) is None:
                return
            results, contents = made
            missing = self._store.missing({blob for blob in contents if blob.size})
            self._store.upload({blob: contents[blob] for blob in missing})
            self.traffic.sent += sum(blob.size for blob in missing)
            for key, result in results.items():
                self._store.put_result(key, result)

        def upload() -> None:
            try:
                self._guarded(keep, None)
            finally:
                end()

        if self.is_written:
            self._uploads.put(upload)
            with self._lock:
                if self._sender is None:
                    # A run that is interrupted does not wait for it.
                    self._sender = threading.Thread(target=self._send, daemon=True)
                    self._sender.start()
        else:
            end()

    def _send(self) -> None:
        while (upload := self._uploads.get()) is not None:
            upload()

    def finish(self, wait: Callable[[], object] = lambda: None) -> None:
        """Wait for uploads, and end all connections. ``wait`` is called if that takes longer than a second."""
        if self._sender is not None:
            self._uploads.put(None)
            self._sender.join(_PATIENCE_S)
            if self._sender.is_alive():
                wait()
                self._sender.join()
        self._store.close()

    def _guarded(self, work: Callable[[], T], otherwise: T) -> T:
        if self._off:
            return otherwise
        try:
            return work()
        except (BlobMissing, BlobCorrupt):
            return otherwise
        except CacheReadOnly as fault:
            with self._lock:
                told, self._write = not self._write, False
            if not told:
                self._tell(f"what is built here is not put into the cache {self.shown}: {fault}")
        except CacheFault as fault:
            self._turn_off(str(fault))
        except Exception as error:  # a defect of ours or of a library must not cost the build
            self._turn_off(f"{type(error).__name__}: {error}")
        return otherwise

    def _turn_off(self, why: str) -> None:
        with self._lock:
            told, self._off = self._off, True
        if not told:
            self._tell(f"the cache {self.shown} is not used any more in this run: {why}")
