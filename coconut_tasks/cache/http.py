"""A cache behind Bazel's HTTP protocol (https://bazel.build/remote/caching#http-caching).

``GET`` and ``PUT`` of ``BASE/ac/KEY``, a serialized ``ActionResult``, and of ``BASE/cas/SHA256``, a blob.
"""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
)
from urllib3.exceptions import SSLError as TlsError

from coconut_tasks.cache.limits import Limits, Watch
from coconut_tasks.cache.messages import EMPTY, MOST, is_content_of, message_of, note_apart, parsed, result_of
from coconut_tasks.cache.settings import Settings
from coconut_tasks.cache.store import CHUNK, Blob, BlobCorrupt, BlobMissing, CacheFault, CacheReadOnly, Receiver, Result
from coconut_tasks.cache.transfers import Address, Transfers, go_on, local_file, pieces, tls_context

_REFUSED = (401, 403, 405, 413, 507)
"""Statuses of a server that takes nothing from us, or no more."""
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_DRAINED = 64 << 10
"""The most bytes of an answer nobody wants that are read, so that the connection can be used again."""


class _Request(threading.local):
    """What a connection needs to know of the request that its thread makes."""

    silence: float = 10.0
    line: socket.socket | None = None
    is_used_again = False


_request = _Request()


class _Connection(HTTPConnection):
    """Keeps a second handle of its socket: to shut it down from another thread when a request takes too long."""

    _line: socket.socket | None = None
    _requests = 0

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        self._line = _request.line = sock.dup()
        return sock

    def request(self, *words: Any, **named: Any) -> None:
        if self.sock is None:
            self.connect()
        self._requests += 1
        _request.line, _request.is_used_again = self._line, self._requests > 1
        self.timeout = _request.silence  # urllib3 would send the body within the time limit for connecting
        if self.sock is not None:
            self.sock.settimeout(self.timeout)
        super().request(*words, **named)

    def close(self) -> None:
        super().close()
        self._requests = 0
        if self._line is not None:
            self._line.close()
            self._line = None


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class HttpStore:
    """See the module."""

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        """
        Raises:
            CacheFault: the settings cannot work.
        """
        self._address = Address(settings)
        self.shown = self._address.shown
        self._settings, self._limits = settings, limits or Limits()
        self._query = f"?{self._address.url.query}" if self._address.url.query else ""
        self._origin = (self._address.url.scheme, self._address.netloc)
        self._headers = {"accept-encoding": "identity", "user-agent": "coconut-tasks", **dict(self._address.headers)}
        self._manager = _manager(self._address.url.scheme, self._address.host, settings, is_own=True)
        self._transfers = Transfers()
        self._asking: set[Watch] = set()

    def result(self, key: str) -> Result | None:
        data = self._small("ac", key, MOST)
        if data is None:
            return None
        message = parsed(data)
        if message is None:
            return None
        try:
            apart = note_apart(message)
            return result_of(message, None if apart is None else self._note(apart))
        except (BlobMissing, BlobCorrupt):
            return None

    def put_result(self, key: str, result: Result) -> None:
        data = message_of(result).SerializeToString(deterministic=True)
        self._put("ac", key, len(data), lambda: iter([data] if data else []), None)

    def fetch(self, blobs: Mapping[Blob, Path]) -> None:
        self._transfers.each(lambda item, stop: self._fetch(*item, stop), blobs.items())

    def missing(self, blobs: Collection[Blob]) -> set[Blob]:
        asked = [blob for blob in blobs if blob != EMPTY]
        found = self._transfers.each(self._has, asked)
        return {blob for blob, has in zip(asked, found, strict=True) if not has}

    def upload(self, blobs: Mapping[Blob, Path | bytes]) -> None:
        self._transfers.each(lambda item, stop: self._upload(*item, stop), blobs.items())

    def close(self) -> None:
        self._transfers.close()
        for watch in list(self._asking):
            watch.end()
        self._manager.clear()

    def _note(self, blob: Blob) -> bytes:
        data = self._small("cas", blob.sha256, blob.size)
        if data is None:
            raise BlobMissing(f"blob {blob.sha256} is missing")
        if not is_content_of(blob, data):
            raise BlobCorrupt(f"blob {blob.sha256} has another content")
        return data

    def _small(self, kind: str, name: str, most: int) -> bytes | None:
        """A value in memory."""
        with self._asked("GET", kind, name, most) as (response, watch):
            if response is None:
                return None
            data = bytearray()
            for piece in self._body(response, watch):
                data += piece
                if len(data) > most:
                    raise CacheFault("it answered with more than was asked for")
            return bytes(data)

    def _fetch(self, blob: Blob, path: Path, stop: threading.Event) -> None:
        go_on(stop)
        if blob == EMPTY:
            with local_file(path), Receiver(blob, path):
                return
        with self._asked("GET", "cas", blob.sha256, blob.size) as (response, watch):
            if response is None:
                raise BlobMissing(f"blob {blob.sha256} is missing")
            with local_file(path), Receiver(blob, path) as receiver:
                for piece in self._body(response, watch):
                    go_on(stop)
                    receiver.write(piece)

    def _has(self, blob: Blob, stop: threading.Event) -> bool:
        go_on(stop)
        with self._asked("HEAD", "cas", blob.sha256, 0) as (response, _):
            if response is None:
                return False
            # A blob with another size is damaged, and is replaced.
            length = response.headers.get("content-length", "")
            return not length.isdecimal() or "content-encoding" in response.headers or int(length) == blob.size

    def _upload(self, blob: Blob, content: Path | bytes, stop: threading.Event) -> None:
        if blob != EMPTY and not self._has(blob, stop):
            self._put("cas", blob.sha256, blob.size, lambda: pieces(blob, content), stop)

    def _put(
        self, kind: str, name: str, size: int, body: Callable[[], Iterator[bytes]], stop: threading.Event | None
    ) -> None:
        def sent() -> Iterator[bytes]:
            for piece in body():
                go_on(stop)
                yield piece

        headers = {**self._headers, "content-length": str(size), "content-type": "application/octet-stream"}
        url = self._url(kind, name)
        with self._watched(size) as watch:
            response = self._once_more(lambda: _send(self._manager, "PUT", url, headers, sent(), self._limits))
            _in_time(watch)
            self._finish(response, watch)
        if response.status in _REFUSED:
            raise CacheReadOnly(f"it takes nothing: HTTP {response.status}")
        if not 200 <= response.status < 300:
            raise self._refusal(response.status)

    @contextmanager
    def _asked(
        self, method: str, kind: str, name: str, size: int
    ) -> Iterator[tuple[urllib3.BaseHTTPResponse | None, Watch]]:
        """The answer to a question; None if there is no such value."""
        with self._watched(size) as watch:
            response = self._once_more(lambda: self._follow(method, self._url(kind, name), watch))
            _in_time(watch)
            try:
                if response.status == 404:
                    yield None, watch
                elif response.status == 200:
                    yield response, watch
                else:
                    raise self._refusal(response.status)
            finally:
                self._finish(response, watch)

    def _follow(self, method: str, url: str, watch: Watch) -> urllib3.BaseHTTPResponse:
        """The answer at the end of the redirects. Another host gets neither our headers nor our certificate."""
        manager, headers = self._manager, self._headers
        for _ in range(_MOST_REDIRECTS + 1):
            response = _send(manager, method, url, headers, None, self._limits)
            if response.status not in _REDIRECTS:
                return response
            place = response.headers.get("location", "")
            self._finish(response, watch)
            url = urljoin(url, place)
            target = urlsplit(url)
            if target.scheme != self._origin[0] or not target.hostname:
                raise CacheFault("it redirects to another kind of address")
            if (target.scheme, target.netloc) == self._origin:
                manager, headers = self._manager, self._headers
            else:
                manager = _manager(target.scheme, target.hostname, self._settings, is_own=False)
                headers = {"accept-encoding": "identity", "user-agent": "coconut-tasks"}
        raise CacheFault("it redirects without end")

    def _once_more(self, request: Callable[[], urllib3.BaseHTTPResponse]) -> urllib3.BaseHTTPResponse:
        """Nothing is tried twice, except where the server closed a connection that lay idle just when we used it again."""
        _request.is_used_again = False
        try:
            return request()
        except (ProtocolError, ConnectionError):
            if not _request.is_used_again:
                raise
            return request()

    def _url(self, kind: str, name: str) -> str:
        scheme, netloc = self._origin
        return f"{scheme}://{netloc}{self._address.path}/{kind}/{name}{self._query}"

    def _body(self, response: urllib3.BaseHTTPResponse, watch: Watch) -> Iterator[bytes]:
        """The body as it arrives: ``read`` would wait until a whole piece is there."""
        with self._told(watch):
            while piece := response.read1(CHUNK, decode_content=False):
                if watch.is_over:
                    raise CacheFault(watch.overdue)
                yield piece
            _in_time(watch)

    def _finish(self, response: urllib3.BaseHTTPResponse, watch: Watch) -> None:
        """Give the connection back if the rest of the answer is short, else close it."""
        with suppress(CacheFault):
            left = response.length_remaining
            if left is not None and left <= _DRAINED:
                for _ in self._body(response, watch):
                    pass
                response.release_conn()
                return
        response.close()

    @contextmanager
    def _watched(self, size: int) -> Iterator[Watch]:
        _request.line, _request.silence = None, self._limits.silence
        # The line of this thread: the watch runs in another one.
        line = _request.__dict__
        with Watch(lambda: _shut(line.get("line")), self._limits.total(size)) as watch, self._told(watch):
            self._asking.add(watch)
            try:
                yield watch
            finally:
                self._asking.discard(watch)

    @contextmanager
    def _told(self, watch: Watch) -> Iterator[None]:
        """Errors of the connection as faults."""
        try:
            yield
        except CacheFault as fault:
            if watch.ended and not isinstance(fault, (BlobMissing, CacheReadOnly)):
                raise CacheFault(watch.ended) from fault
            raise
        # ValueError: of a header or a length that is none
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise CacheFault(watch.ended or self._reason(error)) from error

    def _reason(self, error: BaseException) -> str:
        """Why there is no answer. The libraries' own texts have addresses and headers in them."""
        if isinstance(error, ProxyError):
            return f"the proxy: {self._reason(error.original_error)}"
        if isinstance(error, NameResolutionError):
            return "its host is not known"
        if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
            return f"no connection within {self._limits.connect:.3g} s"
        if isinstance(error, (ReadTimeoutError, TimeoutError)):
            return f"no answer for {self._limits.silence:.3g} s"
        inner = _innermost(error)
        if isinstance(inner, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {inner.verify_message}"
        if isinstance(inner, ssl.SSLError) or isinstance(error, TlsError):
            reason = (getattr(inner, "reason", None) or "not TLS").lower().replace("_", " ")
            return f"no TLS connection: {self._address.without_secrets(reason)}"
        number = inner.errno if isinstance(inner, OSError) else None
        why = os.strerror(number) if number is not None and number in errno.errorcode else ""
        if isinstance(error, NewConnectionError):
            return f"cannot connect: {why or 'no such address'}"
        return f"the connection broke: {why}" if why else "the connection broke, or the answer is no HTTP"

    def _refusal(self, status: int) -> CacheFault:
        if status in (401, 403, 407):
            return CacheFault(f"refused: HTTP {status}")
        if status == 400 and self._origin[0] == "https":
            return CacheFault("refused: HTTP 400; it may not accept the client's certificate")
        return CacheFault(f"HTTP {status}")


def _manager(scheme: str, host: str, settings: Settings, *, is_own: bool) -> urllib3.PoolManager:
    """Connections to a host, through the proxy of the environment."""
    context = tls_context(settings, with_certificate=is_own) if scheme == "https" else None
    # More than there are threads: a full pool drops connections.
    options: dict[str, Any] = {"maxsize": 32, "retries": False, "ssl_context": context}
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme, proxies.get("all"))
    manager: urllib3.PoolManager
    if proxy is None or urllib.request.proxy_bypass(host):
        manager = urllib3.PoolManager(**options)
    else:
        try:
            url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            user = f"{unquote(url.username or '')}:{unquote(url.password or '')}"
            headers = urllib3.make_headers(proxy_basic_auth=user) if url.username else None
            place = f"{url.scheme}://{url.netloc.rpartition('@')[2]}"
            manager = urllib3.ProxyManager(place, proxy_headers=headers, **options)
        except (HTTPError, ValueError) as error:
            raise CacheFault("the proxy that the environment names is not one for HTTP") from error
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return manager


def _send(
    manager: urllib3.PoolManager, method: str, url: str, headers: dict[str, str], body: Any, limits: Limits
) -> urllib3.BaseHTTPResponse:
    return manager.urlopen(
        method,
        url,
        headers=headers,
        body=body,
        redirect=False,
        retries=False,
        timeout=urllib3.Timeout(connect=limits.connect, read=limits.silence),
        preload_content=False,
        decode_content=False,
    )


def _in_time(watch: Watch) -> None:
    """To the library, a connection that was shut looks like the end of an answer's head, or of a body without a length.

    Raises:
        CacheFault: the time was over.
    """
    if watch.ended:
        raise CacheFault(watch.ended)


def _shut(line: socket.socket | None) -> None:
    if line is not None:
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


def _innermost(error: BaseException) -> BaseException:
    """What a library's error was made from."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = [one for one in (*error.args, error.__cause__, error.__context__) if isinstance(one, BaseException)]
        error = inner[0] if inner and not isinstance(error, ssl.SSLError) else error
    return error
