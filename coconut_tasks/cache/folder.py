"""A cache in a folder, which all checkouts of a machine, or of a network share, can use at once.

``v1/ac/KK/KEY`` is a result as JSON, with a checksum in its first line; ``v1/cas/SS/SHA256`` is a blob. Each file is written under another
name and renamed, so a reader sees all of it or nothing. A file's modification time is when it was last used; ``gc`` removes the oldest.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from coconut_tasks.cache.store import (
    CHUNK,
    Blob,
    BlobCorrupt,
    BlobMissing,
    CachedFile,
    CacheFault,
    CacheReadOnly,
    Receiver,
    Result,
    blob_of,
)
from coconut_tasks.dataclass import dataclass
from coconut_tasks.effects.place import make_cache_folder

FORMAT = "v1"
_MOST = 64 << 20
"""The most bytes of a result that are read."""
_PART = ".part-"
"""In the name of a file that is still written."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of the cache."""

    path: Path
    size: int
    used_ns: int
    is_result: bool
    is_part: bool = False
    """Whether it is still written, or was left by a writer that was killed."""


class FolderStore:
    """See the module."""

    def __init__(self, folder: str) -> None:
        """``folder`` is absolute; it is made when something is written."""
        self.shown = folder
        self._root = Path(folder, FORMAT)

    def result(self, key: str) -> Result | None:
        path = self._at("ac", key)
        try:
            with path.open("rb") as file:
                text = file.read(_MOST)
        except (FileNotFoundError, PermissionError):  # another user's umask may allow the folder and not the file
            return None
        except OSError as error:
            raise self._fault("read", error) from error
        checksum, _, body = text.partition(b"\n")
        try:
            if checksum.decode() != hashlib.sha256(body).hexdigest():
                raise ValueError
            found = json.loads(body)
            files = tuple(
                CachedFile(str(path), Blob(str(sha256), int(size)), bool(executable))
                for path, sha256, size, executable in found["files"]
            )
            result = Result(files, found["note"].encode(), str(found["builder"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            with suppress(OSError):
                path.unlink()  # torn or damaged: the next build writes it again
            return None
        _use(path)
        return result

    def put_result(self, key: str, result: Result) -> None:
        files = [(one.path, one.blob.sha256, one.blob.size, one.executable) for one in result.files]
        body = json.dumps({"files": files, "note": result.note.decode(), "builder": result.builder}).encode()
        with self._writing(self._at("ac", key)) as part:
            part.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)

    def fetch(self, blobs: Mapping[Blob, Path]) -> None:
        for blob, path in blobs.items():
            source = self._at("cas", blob.sha256)
            try:
                with source.open("rb") as file, Receiver(blob, path) as receiver:
                    while data := file.read(CHUNK):
                        receiver.write(data)
            except (FileNotFoundError, PermissionError) as error:
                raise BlobMissing(f"blob {blob.sha256} is missing") from error
            except BlobCorrupt:
                with suppress(OSError):
                    source.unlink()
                raise
            except OSError as error:
                raise self._fault("read", error) from error
            _use(source)

    def borrow(self, blobs: Mapping[Blob, Path]) -> None:
        """As ``fetch``, for files that are only read: without a copy, if the file system can."""

        def borrow(item: tuple[Blob, Path]) -> None:
            blob, path = item
            source = self._at("cas", blob.sha256)
            try:
                os.link(source, path)
                if blob_of(path) != blob:
                    path.unlink()
                    raise OSError
            except OSError:
                self.fetch({blob: path})  # which says what is wrong
            else:
                _use(source)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            faults = [done.exception() for done in [pool.submit(borrow, item) for item in blobs.items()]]
        if fault := next(filter(None, faults), None):
            raise fault

    def missing(self, blobs: Collection[Blob]) -> set[Blob]:
        found = {blob for blob in blobs if not self._has(blob)}
        for blob in set(blobs) - found:
            _use(self._at("cas", blob.sha256))  # who asks is about to name it in a result
        return found

    def upload(self, blobs: Mapping[Blob, Path | bytes]) -> None:
        for blob, content in blobs.items():
            place = self._at("cas", blob.sha256)
            if self._has(blob):
                _use(place)
                continue
            with self._writing(place) as part, Receiver(blob, part) as receiver:
                if isinstance(content, bytes):
                    receiver.write(content)
                else:
                    with content.open("rb") as file:
                        while data := file.read(CHUNK):
                            receiver.write(data)

    def close(self) -> None:
        pass

    def kept(self) -> Iterator[Kept]:
        """Every file of the cache."""
        for kind in ("ac", "cas"):
            for folder, _, names in os.walk(self._root / kind):
                for name in names:
                    path = Path(folder, name)
                    with suppress(OSError):
                        found = path.stat()
                        yield Kept(path, found.st_size, found.st_mtime_ns, kind == "ac", _PART in name)

    def path_of(self, sha256: str) -> Path:
        """Where the blob with this SHA-256 is, if there is one."""
        return self._at("cas", sha256)

    def path_of_result(self, key: str) -> Path:
        """Where the result with this key is, if there is one."""
        return self._at("ac", key)

    def _at(self, kind: str, name: str) -> Path:
        return self._root / kind / name[:2] / name

    def _has(self, blob: Blob) -> bool:
        # A blob with another size is damaged, and is replaced.
        try:
            return self._at("cas", blob.sha256).stat().st_size == blob.size
        except OSError:
            return False

    @contextmanager
    def _writing(self, place: Path) -> Iterator[Path]:
        part = place.with_name(f"{place.name}{_PART}{secrets.token_hex(4)}")
        try:
            try:
                self._make(place.parent)
                yield part
                part.replace(place)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise CacheReadOnly(f"cannot write: {error.strerror}") from error

    def _make(self, folder: Path) -> None:
        make_cache_folder(self._root)
        folder.mkdir(parents=True, exist_ok=True)

    def _fault(self, what: str, error: OSError) -> CacheFault:
        return CacheFault(f"cannot {what}: {error.strerror}")


def _use(path: Path) -> None:
    with suppress(OSError):  # a read-only cache
        os.utime(path)
