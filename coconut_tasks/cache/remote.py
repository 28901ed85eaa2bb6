"""A cache behind the Remote Execution API v2 (https://github.com/bazelbuild/remote-apis), by gRPC.

The path of the address is the instance name.
"""

from __future__ import annotations

import os
import re
import ssl
import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it writes to the terminal, and reads this when it is imported
import grpc

from coconut_tasks import __version__
from coconut_tasks.cache.generated import bytestream_pb2 as bytestream
from coconut_tasks.cache.generated import remote_execution_pb2 as api
from coconut_tasks.cache.limits import Limits, Watch
from coconut_tasks.cache.messages import (
    EMPTY,
    action_of,
    blob_named,
    digest_of,
    is_content_of,
    message_of,
    note_apart,
    result_of,
)
from coconut_tasks.cache.settings import Settings
from coconut_tasks.cache.store import CHUNK, Blob, BlobCorrupt, BlobMissing, CacheFault, CacheReadOnly, Receiver, Result
from coconut_tasks.cache.transfers import Address, Transfers, go_on, local_file, pieces, tls_context

_MOST_MESSAGE = 4 << 20
"""The most bytes of a message that servers take, unless they say less."""
_BESIDE = 256
"""In a message, the bytes beside a blob's content, at most."""
_MOST_ASKED = 10_000
"""How many blobs are asked for at once: 0.8 MB."""
_MOST_ANSWER = 64 << 20
_READ_ONLY = ("PERMISSION_DENIED", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED")
"""Of a server that takes nothing from us, or no more."""
_V2 = "build.bazel.remote.execution.v2"
_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep the certificates that they trust; gRPC has its own."""
Batch = list[Blob]


class RemoteStore:
    """See the module."""

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        """
        Raises:
            CacheFault: the settings cannot work.
        """
        self._address = Address(settings)
        self.shown = self._address.shown
        self._limits = limits or Limits()
        self._instance = self._address.path.strip("/")
        self._metadata = _metadata(self._address)
        self._channel = _channel(self._address, settings)
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._transfers = Transfers()

    def result(self, key: str) -> Result | None:
        self._known()
        action, _ = action_of(key)
        request = api.GetActionResultRequest(
            instance_name=self._instance, action_digest=digest_of(action), inline_stdout=True, inline_stderr=True
        )
        try:
            message = self._ask("ActionCache/GetActionResult", request, api.ActionResult, 0, blob=action)
            apart = note_apart(message)
            return result_of(message, None if apart is None else self._note(apart))
        except (BlobMissing, BlobCorrupt):
            return None

    def put_result(self, key: str, result: Result) -> None:
        self._must_take()
        action, blobs = action_of(key)
        self.upload(blobs)
        request = api.UpdateActionResultRequest(
            instance_name=self._instance, action_digest=digest_of(action), action_result=message_of(result)
        )
        self._ask("ActionCache/UpdateActionResult", request, api.ActionResult, request.ByteSize(), is_write=True)

    def fetch(self, blobs: Mapping[Blob, Path]) -> None:
        small, large = self._sorted(blobs)
        jobs: list[Callable[[threading.Event], None]] = [
            *(lambda stop, one=one: self._read(one, blobs[one], stop) for one in large),
            *(lambda stop, batch=batch: self._read_batch(batch, blobs, stop) for batch in small),
        ]
        for blob in blobs:
            if blob == EMPTY:
                with local_file(blobs[blob]), Receiver(blob, blobs[blob]):
                    pass
        self._transfers.each(lambda job, stop: job(stop), jobs)

    def missing(self, blobs: Collection[Blob]) -> set[Blob]:
        self._known()
        asked = [blob for blob in blobs if blob != EMPTY]
        found: set[Blob] = set()
        for at in range(0, len(asked), _MOST_ASKED):
            digests = [digest_of(blob) for blob in asked[at : at + _MOST_ASKED]]
            request = api.FindMissingBlobsRequest(instance_name=self._instance, blob_digests=digests)
            what = "ContentAddressableStorage/FindMissingBlobs"
            answer = self._ask(what, request, api.FindMissingBlobsResponse, request.ByteSize())
            found |= {blob_named(digest) for digest in answer.missing_blob_digests}
        if not found <= set(asked):
            raise CacheFault("it answered with a blob that it was not asked for")
        return found

    def upload(self, blobs: Mapping[Blob, Path | bytes]) -> None:
        self._must_take()
        small, large = self._sorted(self.missing(blobs))
        jobs: list[Callable[[threading.Event], None]] = [
            *(lambda stop, one=one: self._write(one, blobs[one], stop) for one in large),
            *(lambda stop, batch=batch: self._write_batch(batch, blobs, stop) for batch in small),
        ]
        self._transfers.each(lambda job, stop: job(stop), jobs)

    def close(self) -> None:
        self._transfers.close()
        self._channel.close()

    def _known(self) -> _Server:
        """What the server can do; it is asked once."""
        with self._lock:
            if self._server is None:
                request = api.GetCapabilitiesRequest(instance_name=self._instance)
                seconds = self._limits.connect + self._limits.silence
                answer = self._ask("Capabilities/GetCapabilities", request, api.ServerCapabilities, 0, seconds)
                self._server = _Server(answer.cache_capabilities)
            return self._server

    def _must_take(self) -> None:
        if not self._known().takes_results:
            raise CacheReadOnly("it takes no results")

    def _sorted(self, blobs: Collection[Blob]) -> tuple[list[Batch], list[Blob]]:
        """Batches of small blobs, and large ones. Empty blobs need no request."""
        most = self._known().most
        batches: list[Batch] = []
        left = 0
        for blob in blobs:
            needed = blob.size + _BESIDE
            if blob == EMPTY or needed > most:
                continue
            if needed > left:
                batches.append([])
                left = most
            batches[-1].append(blob)
            left -= needed
        return batches, [blob for blob in blobs if blob.size + _BESIDE > most]

    def _note(self, blob: Blob) -> bytes:
        data = b"".join(self._arriving(blob))
        if not is_content_of(blob, data):
            raise BlobCorrupt(f"blob {blob.sha256} has another content")
        return data

    def _read_batch(self, batch: Batch, paths: Mapping[Blob, Path], stop: threading.Event) -> None:
        go_on(stop)
        request = api.BatchReadBlobsRequest(instance_name=self._instance, digests=map(digest_of, batch))
        size = sum(blob.size for blob in batch)
        what = "ContentAddressableStorage/BatchReadBlobs"
        answer = self._ask(what, request, api.BatchReadBlobsResponse, size)
        found = {blob_named(one.digest): one for one in answer.responses}
        fault: CacheFault | None = None
        for blob in batch:
            if blob not in found:
                raise CacheFault("it did not answer for each blob")
            one = found[blob]
            if one.status.code == grpc.StatusCode.NOT_FOUND.value[0]:
                fault = BlobMissing(f"blob {blob.sha256} is missing")
                continue
            self._must_be_good(one.status, is_write=False)
            if one.compressor != api.Compressor.IDENTITY:
                raise CacheFault("it answered with compressed blobs")
            with local_file(paths[blob]), Receiver(blob, paths[blob]) as receiver:
                receiver.write(one.data)
        if fault is not None:
            raise fault

    def _read(self, blob: Blob, path: Path, stop: threading.Event) -> None:
        go_on(stop)
        with local_file(path), Receiver(blob, path) as receiver:
            for data in self._arriving(blob):
                go_on(stop)
                receiver.write(data)

    def _arriving(self, blob: Blob) -> Iterator[bytes]:
        """A blob's content as it arrives."""
        name = f"{self._instance}/blobs/{blob.sha256}/{blob.size}".lstrip("/")
        total = self._limits.total(blob.size)
        method = self._channel.unary_stream(
            "/google.bytestream.ByteStream/Read",
            request_serializer=bytestream.ReadRequest.SerializeToString,
            response_deserializer=bytestream.ReadResponse.FromString,
        )
        with self._told():
            call = method(bytestream.ReadRequest(resource_name=name), timeout=total, metadata=self._metadata)
        with Watch(call.cancel, total, self._limits.silence) as watch, self._told(watch, blob=blob):
            try:
                for answer in call:
                    watch.touch()
                    yield answer.data
            finally:
                call.cancel()

    def _write_batch(self, batch: Batch, contents: Mapping[Blob, Path | bytes], stop: threading.Event) -> None:
        go_on(stop)
        requests = [
            api.BatchUpdateBlobsRequest.Request(digest=digest_of(blob), data=b"".join(pieces(blob, contents[blob])))
            for blob in batch
        ]
        request = api.BatchUpdateBlobsRequest(instance_name=self._instance, requests=requests)
        what = "ContentAddressableStorage/BatchUpdateBlobs"
        answer = self._ask(what, request, api.BatchUpdateBlobsResponse, request.ByteSize(), is_write=True)
        for one in answer.responses:
            self._must_be_good(one.status, is_write=True)
        if not set(batch) <= {blob_named(one.digest) for one in answer.responses}:
            raise CacheFault("it did not answer for each blob")

    def _write(self, blob: Blob, content: Path | bytes, stop: threading.Event) -> None:
        go_on(stop)
        name = f"{self._instance}/uploads/{uuid.uuid4()}/blobs/{blob.sha256}/{blob.size}".lstrip("/")
        total = self._limits.total(blob.size)
        faults: list[Exception] = []

        def requests() -> Iterator[Any]:
            # gRPC runs this in another thread, and would only log an error.
            at = 0
            try:
                for data in pieces(blob, content):
                    go_on(stop)
                    watch.touch()
                    named, end = name if at == 0 else "", at + len(data)
                    yield bytestream.WriteRequest(
                        resource_name=named, write_offset=at, data=data, finish_write=end == blob.size
                    )
                    at = end
            except Exception as fault:
                faults.append(fault)
                begun.wait()
                calls[0].cancel()

        method = self._channel.stream_unary(
            "/google.bytestream.ByteStream/Write",
            request_serializer=bytestream.WriteRequest.SerializeToString,
            response_deserializer=bytestream.WriteResponse.FromString,
        )
        begun = threading.Event()
        calls: list[Any] = []
        watch = Watch(lambda: calls[0].cancel(), total, self._limits.silence)
        with self._told(watch, faults=faults, is_write=True):
            calls.append(method.future(requests(), timeout=total, metadata=self._metadata))
            begun.set()
            with watch:
                answer = calls[0].result()
        # A server that has the blob may end early, and then says its whole size; -1 is said for what is compressed.
        if answer.committed_size not in (blob.size, -1):
            raise CacheFault(f"it kept {answer.committed_size} of {blob.size} bytes")

    def _ask(
        self,
        what: str,
        request: Any,
        answer: Any,
        size: int,
        seconds: float | None = None,
        *,
        blob: Blob | None = None,
        is_write: bool = False,
    ) -> Any:
        """A question with one answer. ``size`` is how many bytes go one way or the other; ``blob`` what may not be found."""
        method = self._channel.unary_unary(
            f"/{_V2}.{what}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        if seconds is None:
            seconds = self._limits.total(size) if size > CHUNK else self._limits.silence
        seconds = min(seconds, self._limits.total(size))
        with self._told(blob=blob, is_write=is_write):
            found = method(request, timeout=seconds, metadata=self._metadata)
        if found is None:  # what a connection that was cut at an odd place left (seen with grpcio 1.85)
            raise CacheFault("no answer")
        return found

    @contextmanager
    def _told(
        self,
        watch: Watch | None = None,
        blob: Blob | None = None,
        faults: Iterable[Exception] = (),
        *,
        is_write: bool = False,
    ) -> Iterator[None]:
        """Errors of gRPC as faults. ``faults`` are our own, which made the call end."""
        try:
            yield
        except (grpc.RpcError, grpc.FutureCancelledError, ValueError) as error:
            for fault in faults:
                raise fault from error
            if watch is not None and watch.ended:
                raise CacheFault(watch.ended) from error
            if isinstance(error, ValueError):  # what gRPC raises after close
                raise CacheFault("it is closed") from error
            code = error.code().name if isinstance(error, grpc.Call) else "CANCELLED"
            details = (error.details() or "") if isinstance(error, grpc.Call) else ""
            raise self._fault(code, details, blob, is_write=is_write) from error

    def _must_be_good(self, status: Any, *, is_write: bool) -> None:
        """
        Raises:
            CacheFault: the status of one of several blobs is not good.
        """
        if status.code:
            names = {code.value[0]: code.name for code in grpc.StatusCode}
            name = names.get(status.code, f"status {status.code}")
            raise self._fault(name, status.message, None, is_write=is_write)

    def _fault(self, code: str, details: str, blob: Blob | None, *, is_write: bool) -> CacheFault:
        if code == "NOT_FOUND" and blob is not None:
            return BlobMissing(f"blob {blob.sha256} is missing")
        if code == "DEADLINE_EXCEEDED":
            return CacheFault("DEADLINE_EXCEEDED: no answer in time")
        text = self._address.without_secrets(_why(details))
        if self._address.url.scheme == "grpcs" and text == "Socket closed":
            text = "the connection was closed; it may not accept the client's certificate"
        said = f"{code}: {text}" if text else code
        if is_write and code in _READ_ONLY:
            return CacheReadOnly(f"it takes nothing: {said}")
        return CacheFault(said)


def _why(details: str) -> str:
    """What matters of gRPC's own text, which ends with the reason: "failed to connect to all addresses; last error: UNKNOWN:
    ipv4:127.0.0.1:1: Connection refused"."""
    if found := re.search(r"CERTIFICATE_VERIFY_FAILED(: [^:;]+)?", details):
        return f"its certificate is not accepted{found[1] or ''}"  # older versions do not say why
    if found := re.search(r"SSL_ERROR_SSL: .*OPENSSL_internal:([A-Z_0-9]+)", details):
        return f"no TLS connection: {found[1].lower().replace('_', ' ')}"
    _, is_own, last = details.rpartition("last error: ")
    return re.sub(r"^[A-Z]+: (ipv[46]:\S+: )?", "", last) if is_own else details


class _Server:
    """What a server can do."""

    def __init__(self, found: Any) -> None:
        """
        Raises:
            CacheFault: it does not keep blobs by their SHA-256.
        """
        if api.DigestFunction.SHA256 not in found.digest_functions:
            raise CacheFault("it keeps no blobs by SHA-256")
        self.takes_results: bool = found.action_cache_update_capabilities.update_enabled
        said = found.max_batch_total_size_bytes
        self.most: int = min(said if said > 0 else _MOST_MESSAGE, _MOST_MESSAGE) - 4096
        """The most bytes in a batch."""


def _metadata(address: Address) -> list[tuple[str, str | bytes]]:
    """What goes with each call: the user's headers, and who we are."""
    found: list[tuple[str, str | bytes]] = []
    for name, value in address.headers:
        if name.startswith("grpc-") or not re.fullmatch(r"[0-9a-z_.-]+", name):
            raise CacheFault(f"header {name}: gRPC does not send it")
        found.append((name, value.encode() if name.endswith("-bin") else value))
    tool = api.ToolDetails(tool_name="coconut-tasks", tool_version=__version__)
    about = api.RequestMetadata(tool_details=tool, tool_invocation_id=str(uuid.uuid4()))
    found.append((f"{_V2}.requestmetadata-bin", about.SerializeToString()))
    return found


def _channel(address: Address, settings: Settings) -> Any:
    options = [
        ("grpc.primary_user_agent", f"coconut-tasks/{__version__}"),
        ("grpc.max_receive_message_length", _MOST_ANSWER),
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    is_tls = address.url.scheme == "grpcs"
    host = f"[{address.host}]" if ":" in address.host else address.host
    place = f"{host}:{address.port or (443 if is_tls else 80)}"
    if not is_tls:
        return grpc.insecure_channel(place, options)
    tls_context(settings)  # gRPC would not say which file is wrong
    chain, key = _text(settings.certificate), _text(settings.key or settings.certificate)
    trusted = _text(settings.ca) or _text(_system_roots())
    credentials = grpc.ssl_channel_credentials(root_certificates=trusted, private_key=key, certificate_chain=chain)
    return grpc.secure_channel(place, credentials, options)


def _text(path: str | None) -> bytes | None:
    try:
        return None if path is None else Path(path).read_bytes()
    except OSError as error:
        raise CacheFault(f"{path}: {error.strerror}") from error


def _system_roots() -> str | None:
    """The file with the certificates that this system trusts; None if there is none, and gRPC's own are taken."""
    own = ssl.get_default_verify_paths().cafile
    return next((path for path in (own, *_ROOTS) if path is not None and os.path.isfile(path)), None)
