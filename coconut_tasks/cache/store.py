"""What every cache can do, and the values that it keeps. ``folder``, ``http`` and ``remote`` are its three kinds.

The model is that of the Remote Execution API v2 (https://github.com/bazelbuild/remote-apis): results of actions by the digest of what was
done, and blobs by the digest of their content.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

from coconut_tasks.dataclass import dataclass

CHUNK = 1 << 20
"""How many bytes of a blob are handled at once."""


@dataclass(frozen=True, slots=True)
class Blob:
    """The name of a blob."""

    sha256: str
    """In hex."""
    size: int
    """In bytes."""


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file that an action made."""

    path: str
    """A relative path, with ``/``."""
    blob: Blob
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What an action made."""

    files: tuple[CachedFile, ...] = ()
    note: bytes = b""
    """A small JSON text; what it says depends on the kind of key."""
    builder: str = ""
    """Who made it: the builder's ID, as in provenance."""


class CacheFault(Exception):
    """The cache did not do what was asked; the text says why, without secrets. The build goes on without it."""


class BlobMissing(CacheFault):
    """The cache does not have a blob that a result names: it was evicted. The cache works otherwise."""


class BlobCorrupt(CacheFault):
    """A blob is not what its name says. It was not used."""


class CacheReadOnly(CacheFault):
    """The cache can be read, but does not take what we have made."""


class CacheStore(Protocol):
    """A cache. All methods may be called from several threads."""

    shown: str
    """Its address for users: without a password or other secret."""

    def result(self, key: str) -> Result | None:
        """The result with a key (a SHA-256 in hex); None if there is none.

        Raises:
            CacheFault: it cannot tell.
        """

    def put_result(self, key: str, result: Result) -> None:
        """Keep a result whose blobs were uploaded before.

        Raises:
            CacheFault: it did not.
        """

    def fetch(self, blobs: Mapping[Blob, Path]) -> None:
        """Write each blob to its path, after its size and SHA-256 were checked; the folder of each path exists.

        Raises:
            BlobMissing, BlobCorrupt, CacheFault: at least one blob was not written.
        """

    def missing(self, blobs: Collection[Blob]) -> set[Blob]:
        """Those that it does not have.

        Raises:
            CacheFault: it cannot tell.
        """

    def upload(self, blobs: Mapping[Blob, Path | bytes]) -> None:
        """Keep each blob, from a file or from memory. What it has already is not sent.

        Raises:
            CacheFault: at least one is not kept.
        """

    def close(self) -> None:
        """End all connections."""


class Receiver:
    """Writes a blob as it arrives, and checks it at the end. Use it with ``with``: a blob that fails leaves no file."""

    def __init__(self, blob: Blob, path: Path) -> None:
        self._blob, self._path = blob, path
        self._hash = hashlib.sha256()
        self._size = 0
        self._file: BinaryIO

    def __enter__(self) -> Receiver:
        self._file = self._path.open("xb")
        return self

    def write(self, data: bytes) -> None:
        """The next bytes.

        Raises:
            BlobCorrupt: there are more than the blob has.
        """
        self._size += len(data)
        if self._size > self._blob.size:
            raise BlobCorrupt(f"blob {self._blob.sha256} has more than {self._blob.size} bytes")
        self._hash.update(data)
        self._file.write(data)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._file.close()
            if error is None:
                self._check()
        except BaseException:
            self._path.unlink(missing_ok=True)
            raise
        if error is not None:
            self._path.unlink(missing_ok=True)

    def _check(self) -> None:
        if self._size != self._blob.size:
            raise BlobCorrupt(f"blob {self._blob.sha256} has {self._size} bytes instead of {self._blob.size}")
        if self._hash.hexdigest() != self._blob.sha256:
            raise BlobCorrupt(f"blob {self._blob.sha256} has another content")


def blob_of(content: Path | bytes) -> Blob:
    """The name of a content."""
    if isinstance(content, bytes):
        return Blob(hashlib.sha256(content).hexdigest(), len(content))
    with content.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Blob(digest, os.fstat(file.fileno()).st_size)
