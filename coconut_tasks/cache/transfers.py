"""What the two remote kinds share: many transfers at once, content that is checked as it is sent, and what may be said of them."""

from __future__ import annotations

import base64
import hashlib
import queue
import re
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from coconut_tasks.cache.settings import Settings
from coconut_tasks.cache.store import CHUNK, Blob, BlobCorrupt, BlobMissing, CacheFault

AT_ONCE = 8
"""How many transfers run at the same time."""
T = TypeVar("T")
R = TypeVar("R")


class Address:
    """A cache's URL and headers, in parts."""

    def __init__(self, settings: Settings) -> None:
        """
        Raises:
            CacheFault: it is not a URL with a host, or a header cannot be sent.
        """
        try:
            self.url: SplitResult = urlsplit(settings.address)
            self.host = self.url.hostname or ""
            self.port = self.url.port
        except ValueError:
            self.host = ""
        if not self.host:
            # It may have a password in it, so it is not shown.
            raise CacheFault("its address is not a URL with a host and a port")
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.netloc = host if self.port is None else f"{host}:{self.port}"
        self.path = self.url.path.rstrip("/")
        self.shown = f"{self.url.scheme}://{self.netloc}{self.path}"
        self.headers = [(name.lower(), value) for name, value in settings.headers]
        if self.url.username is not None or self.url.password is not None:
            user = f"{unquote(self.url.username or '')}:{unquote(self.url.password or '')}"
            self.headers.append(("authorization", f"Basic {base64.b64encode(user.encode()).decode()}"))
        for name, value in self.headers:
            # The libraries' own errors have the value in them.
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                raise CacheFault("a header's name is not one")
            if not re.fullmatch(r"[\t\x20-\x7e]*", value):
                raise CacheFault(f"header {name}: its value has characters that cannot be sent")
        passwords = [unquote(self.url.password or ""), self.url.password or "", self.url.query]
        values = [value for _, value in self.headers]
        words = [word for value in values for word in value.split()]
        self._secrets = sorted({one for one in (*passwords, *values, *words) if len(one) > 3}, key=len, reverse=True)

    def without_secrets(self, text: str, most: int = 160) -> str:
        """What a server or a library said, short and on one line. A server may say again what it was sent."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        text = " ".join(re.sub(r"[^\x20-\x7e…]", " ", text).split())
        return text if len(text) <= most else f"{text[: most - 1]}…"


def tls_context(settings: Settings, *, with_certificate: bool = True) -> ssl.SSLContext:
    """TLS with the user's certificates.

    Raises:
        CacheFault: a file cannot be read, or is not what it should be.
    """
    name = settings.ca
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        if settings.certificate is not None and with_certificate:
            name = settings.certificate if settings.key is None else f"{settings.certificate}, {settings.key}"
            # Without a password it would ask for one on the terminal.
            context.load_cert_chain(settings.certificate, settings.key, password="")
    except ssl.SSLError as error:  # is an OSError too
        raise CacheFault(f"{name}: no certificates or keys in PEM that can be used ({error.reason})") from error
    except OSError as error:
        raise CacheFault(f"{name}: {error.strerror}") from error
    except ValueError as error:
        raise CacheFault(f"{name}: no certificates or keys in PEM that can be used") from error
    return context


class Transfers:
    """A few threads for all calls of a store. A process ends without them, as none does with an executor's: who interrupts a run does not
    wait for a server that says nothing."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._closed = False

    def each(self, function: Callable[[T, threading.Event], R], items: Iterable[T]) -> list[R]:
        """Call a function for each item. It gets an event that is set when it need not go on.

        Raises:
            CacheFault: the first fault; one that concerns all blobs goes before one that concerns its own.
        """
        stop = threading.Event()
        futures = self._begin([partial(function, item, stop) for item in items])
        try:
            ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
            for future in futures:
                future.cancel()
        if all(future in ended and future.exception() is None for future in futures):
            return [future.result() for future in futures]
        wait(futures)
        faults = [fault for one in futures if not one.cancelled() and (fault := one.exception()) is not None]
        raise min(
            faults, key=lambda fault: (isinstance(fault, _Stopped), isinstance(fault, (BlobMissing, BlobCorrupt)))
        )

    def close(self) -> None:
        """What has begun goes on; nothing else does."""
        with self._lock:
            self._closed = True
            with suppress(queue.Empty):
                while (job := self._jobs.get_nowait()) is not None:
                    job[0].cancel()
            for _ in range(self._threads):
                self._jobs.put(None)

    def _begin(self, calls: list[Callable[[], R]]) -> list[Future[R]]:
        jobs = [(Future[R](), call) for call in calls]
        with self._lock:
            if self._closed:
                raise CacheFault("it is closed")
            for job in jobs:
                self._jobs.put(job)
            for _ in range(min(len(jobs), AT_ONCE - self._threads)):
                self._threads += 1
                threading.Thread(target=self._work, name="coconut-cache", daemon=True).start()
        return [future for future, _ in jobs]

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)


class _Stopped(CacheFault):
    """Another transfer of the same call failed."""


def go_on(stop: threading.Event | None) -> None:
    """
    Raises:
        CacheFault: another transfer of the call failed.
    """
    if stop is not None and stop.is_set():
        raise _Stopped("it was not finished")


def pieces(blob: Blob, content: Path | bytes, size: int = CHUNK) -> Iterator[bytes]:
    """A blob's content, in pieces of at most ``size`` bytes. The last one comes only when all is known to be what the blob's name says.

    Raises:
        BlobCorrupt: it is not: the file was changed.
        CacheFault: the file cannot be read.
    """
    digest, total = hashlib.sha256(), 0
    last = b""
    for piece in _read(content, size):
        if last:
            yield last
        digest.update(piece)
        total += len(piece)
        last = piece
    if total != blob.size or digest.hexdigest() != blob.sha256:
        raise BlobCorrupt(f"blob {blob.sha256} was changed before it was sent")
    if last:
        yield last


def _read(content: Path | bytes, size: int) -> Iterator[bytes]:
    if isinstance(content, bytes):
        view = memoryview(content)
        yield from (bytes(view[at : at + size]) for at in range(0, len(content), size))
        return
    try:
        with content.open("rb") as file:
            while piece := file.read(size):
                yield piece
    except OSError as error:
        raise CacheFault(f"cannot read {content.name}: {error.strerror}") from error


@contextmanager
def local_file(path: Path) -> Iterator[None]:
    """Errors of our own disk as faults."""
    try:
        yield
    except OSError as error:
        raise CacheFault(f"cannot write {path.name}: {error.strerror}") from error
