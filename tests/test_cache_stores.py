"""The three kinds of cache with real servers: all of them do the same, and each fault of a server or a network is one kind of error."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from cache_servers import LONG, Kind, Proxy, Servers, Spoiler, free_port, spoiler

from coconut_tasks.cache.generated import bytestream_pb2 as bytestream
from coconut_tasks.cache.generated import remote_execution_pb2 as api
from coconut_tasks.cache.http import HttpStore
from coconut_tasks.cache.limits import Limits
from coconut_tasks.cache.messages import action_of, message_of
from coconut_tasks.cache.open import open_store
from coconut_tasks.cache.remote import RemoteStore
from coconut_tasks.cache.settings import Settings
from coconut_tasks.cache.store import (
    Blob,
    BlobCorrupt,
    BlobMissing,
    CachedFile,
    CacheFault,
    CacheReadOnly,
    CacheStore,
    Result,
    blob_of,
)
from coconut_tasks.cache.transfers import AT_ONCE

MIB = 1 << 20
BATCHED, STREAMED = 3 * MIB, 9 * MIB
KINDS = ("folder", "nginx", "nginx-tls", "buildgrid", "buildgrid-tls")
HUNG = 60
"""No fault lasts so many seconds, on the busiest machine."""
SHORT = Limits(connect=1, silence=0.4, base=1.5, rate=64 * MIB)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, servers: Servers) -> Kind:
    return servers.kind(request.param)


@pytest.fixture
def store(kind: Kind) -> Iterator[CacheStore]:
    with kind.store() as opened:
        yield opened


@pytest.fixture
def key() -> str:
    return random.SystemRandom().randbytes(32).hex()


def made(*sizes: int) -> dict[Blob, bytes]:
    """New blobs."""
    contents = [random.SystemRandom().randbytes(size) for size in sizes]
    return {blob_of(content): content for content in contents}


def paths(blobs: Mapping[Blob, object], folder: Path) -> dict[Blob, Path]:
    folder.mkdir(exist_ok=True)
    return {blob: folder / blob.sha256 for blob in blobs}


def result_with(blobs: Mapping[Blob, object]) -> Result:
    files = tuple(CachedFile(f"a/ü {at}", blob, at % 2 == 0) for at, blob in enumerate(blobs))
    return Result(files, b'{"note": "\xc3\xbc"}', "https://builder.example/1")


def test_what_is_put_in_comes_out(store: CacheStore, key: str, tmp_path: Path) -> None:
    blobs = made(0, 1, BATCHED, STREAMED)
    assert {blob for blob in store.missing(blobs) if blob.size} == {blob for blob in blobs if blob.size}
    assert store.result(key) is None
    sources: dict[Blob, Path | bytes] = {}
    for at, (blob, content) in enumerate(blobs.items()):
        file = tmp_path / f"source-{at}"
        file.write_bytes(content)
        sources[blob] = file if at % 2 else content
    store.upload(sources)
    assert store.missing(blobs) == set()
    store.put_result(key, result_with(blobs))
    assert store.result(key) == result_with(blobs)
    out = paths(blobs, tmp_path / "out")
    store.fetch(out)
    assert {blob: path.read_bytes() for blob, path in out.items()} == blobs
    store.put_result(key, Result(note=b"{}"))
    assert store.result(key) == Result(note=b"{}")


def test_a_large_file_comes_back_as_it_was(store: CacheStore, tmp_path: Path) -> None:
    source = tmp_path / "large"
    chance = random.Random(1)
    with source.open("wb") as file:
        for _ in range(40):
            file.write(chance.randbytes(MIB))
    blob = blob_of(source)
    store.upload({blob: source})
    store.fetch({blob: tmp_path / "out"})
    assert blob_of(tmp_path / "out") == blob


@pytest.mark.parametrize("size", [1, BATCHED, STREAMED])
def test_an_evicted_blob_is_missing(kind: Kind, store: CacheStore, size: int, tmp_path: Path) -> None:
    blobs = made(size, 7)
    store.upload(blobs)
    first, second = blobs
    kind.blob(first).unlink()
    assert store.missing(blobs) == {first}
    out = paths(blobs, tmp_path / "out")
    with pytest.raises(BlobMissing, match=first.sha256):
        store.fetch(out)
    assert not out[first].exists()
    store.fetch({second: tmp_path / "second"})
    store.upload(blobs)
    store.fetch({first: out[first]})


@pytest.mark.parametrize("size", [1, BATCHED, STREAMED])
@pytest.mark.parametrize("is_shorter", [False, True])
def test_a_damaged_blob_is_not_used(kind: Kind, store: CacheStore, size: int, is_shorter: bool, tmp_path: Path) -> None:
    blobs = made(size)
    store.upload(blobs)
    ((blob, content),) = blobs.items()
    place = kind.blob(blob)
    place.chmod(0o600)
    place.write_bytes(content[:-1] if is_shorter else content[:-1] + bytes([content[-1] ^ 1]))
    if is_shorter and not isinstance(store, RemoteStore):  # BuildGrid does not look at sizes
        assert store.missing([blob]) == {blob}
    with pytest.raises(CacheFault) as found:
        store.fetch({blob: tmp_path / "out"})
    assert list(tmp_path.glob("out*")) == []
    if not is_shorter or not isinstance(store, RemoteStore):  # BuildGrid itself may see that it is too short
        assert isinstance(found.value, BlobCorrupt)


def test_many_blobs_at_once(store: CacheStore, tmp_path: Path) -> None:
    blobs = made(*range(1, 30_001, 100))
    assert len(blobs) == 300
    store.upload(blobs)
    assert store.missing(blobs) == set()
    out = paths(blobs, tmp_path / "out")
    store.fetch(out)
    assert {blob: path.read_bytes() for blob, path in out.items()} == blobs


def test_two_writers_at_once(kind: Kind, key: str, tmp_path: Path) -> None:
    blobs = made(*[50_000] * 20, STREAMED)
    results = [Result(note=b"1", builder="1"), Result(note=b"2", builder="2")]

    def write(result: Result) -> None:
        with kind.store() as own:
            own.upload(blobs)
            own.put_result(key, result)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, results))
    with kind.store() as reader:
        assert reader.result(key) in results
        out = paths(blobs, tmp_path / "out")
        reader.fetch(out)
        assert {blob: path.read_bytes() for blob, path in out.items()} == blobs


def test_one_store_works_from_several_threads(store: CacheStore, tmp_path: Path) -> None:
    sets = [made(*[20_000] * 10) for _ in range(2 * AT_ONCE)]

    def work(at: int) -> None:
        store.upload(sets[at])
        store.fetch(paths(sets[at], tmp_path / str(at)))

    with ThreadPoolExecutor(len(sets)) as pool:
        list(pool.map(work, range(len(sets))))


@pytest.mark.parametrize("name", ["folder", "nginx"])
def test_a_damaged_result_is_none(servers: Servers, name: str, key: str) -> None:
    kind, chance = servers.kind(name), random.Random(2)
    with kind.store() as store:
        assert kind.result is not None
        kept = result_with(made(5, 6))
        store.put_result(key, kept)
        place = kind.result(key)
        good = place.read_bytes()
        for _ in range(300):
            at = chance.randrange(len(good))
            flipped = good[:at] + bytes([good[at] ^ chance.randrange(1, 256)]) + good[at + 1 :]
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(chance.choice([good[:at], flipped, good[at:], chance.randbytes(at)]) if at else b"")
            assert store.result(key) is None
        place.write_bytes(good)
        assert store.result(key) == kept


def test_what_changes_while_it_is_sent_is_not_kept(store: CacheStore, tmp_path: Path) -> None:
    for size in (100, STREAMED):
        ((blob, content),) = made(size).items()
        file = tmp_path / "changed"
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(CacheFault) as found:
            store.upload({blob: file})
        assert isinstance(found.value, (BlobCorrupt, CacheFault))
        assert store.missing([blob]) == {blob}


def test_a_file_that_is_gone_is_a_fault(store: CacheStore, tmp_path: Path) -> None:
    ((small, _), (large, _)) = made(100, STREAMED).items()
    for blob in (small, large):
        with pytest.raises(CacheFault):
            store.upload({blob: tmp_path / "gone"})


def test_a_cache_that_takes_nothing_can_be_read(servers: Servers, key: str, tmp_path: Path) -> None:
    blobs = made(10, STREAMED)
    for name, address in (
        ("nginx", f"http://127.0.0.1:{servers.nginx.plain}/readonly"),
        ("buildgrid", f"grpc://127.0.0.1:{servers.buildgrid.port}/frozen"),
    ):
        with servers.kind(name).store() as writer:
            writer.upload(blobs)
        store = open_store(Settings(address), LONG)
        out = paths(blobs, tmp_path / name)
        store.fetch(out)
        assert store.missing(blobs) == set()
        with pytest.raises(CacheReadOnly):
            store.put_result(key, Result())
        with pytest.raises(CacheReadOnly):
            store.upload(made(10))
        store.close()


# TLS, users, proxies


def test_what_is_wrong_with_certificates_is_said(servers: Servers) -> None:
    files = servers.certificates
    own = {"certificate": files.client, "key": files.client_key}
    stranger = {"certificate": files.stranger, "key": files.stranger_key}
    asked: list[tuple[str, int, int, dict[str, Any], str]] = [
        (
            "expired",
            servers.nginx.expired,
            servers.buildgrid.expired,
            {"ca": files.ca, **own},
            "certificate has expired",
        ),
        ("none", servers.nginx.mutual, servers.buildgrid.mutual, {"ca": files.ca}, "the client's certificate"),
        ("other", servers.nginx.mutual, servers.buildgrid.mutual, {"ca": files.ca, **stranger}, "client's certificate"),
        (
            "ca",
            servers.nginx.mutual,
            servers.buildgrid.mutual,
            {"ca": files.stranger, **own},
            "local issuer certificate",
        ),
        ("system", servers.nginx.mutual, servers.buildgrid.mutual, own, "its certificate is not accepted"),
        ("plain", servers.nginx.plain, servers.buildgrid.port, {"ca": files.ca}, "no TLS connection: wrong version"),
    ]
    for _, http, remote, words, said in asked:
        for address in (f"https://127.0.0.1:{http}/cache", f"grpcs://127.0.0.1:{remote}/main/one"):
            store = open_store(Settings(address, **words))
            with pytest.raises(CacheFault, match=said):
                store.result("ab" * 32)
            store.close()


def test_a_file_that_is_no_certificate_is_named(servers: Servers, tmp_path: Path) -> None:
    files, other = servers.certificates, tmp_path / "other"
    other.write_text("not PEM")
    for scheme in ("https", "grpcs"):
        cases: list[tuple[dict[str, Any], str]] = [
            ({"ca": str(other)}, "other"),
            ({"ca": str(tmp_path / "none")}, "none: No such file"),
            ({"certificate": files.client, "key": files.stranger_key}, "stranger_key"),
            ({"certificate": files.client}, "client"),  # the key is in neither file
        ]
        for words, named in cases:
            with pytest.raises(CacheFault, match=named):
                open_store(Settings(f"{scheme}://localhost:1/", **words))


SECRETS = ("correct-horse", "battery-staple", "to-ken")


def test_secrets_are_sent_and_never_said(servers: Servers, key: str) -> None:
    port = servers.nginx.plain
    user = f"http://user:correct-horse@127.0.0.1:{port}/locked?t=to-ken"
    store = open_store(Settings(user, headers=(("x-token", "battery-staple"),)))
    assert store.shown == f"http://127.0.0.1:{port}/locked"
    blobs = made(10)
    store.upload(blobs)
    store.put_result(key, result_with(blobs))
    assert store.result(key) == result_with(blobs)
    store.close()
    wrong = open_store(Settings(user.replace("horse", "cart")))
    with pytest.raises(CacheFault, match="HTTP 401") as refused:
        wrong.result(key)
    assert not isinstance(refused.value, CacheReadOnly)
    with pytest.raises(CacheReadOnly, match="HTTP 401"):
        wrong.put_result(key, Result())
    wrong.close()


@contextmanager
def api_server(answer: Callable[[str, bytes, Any], bytes]) -> Iterator[int]:
    """A server of the Remote Execution API whose answers are those of a function of method, request and context."""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, call: Any) -> Any:
            name = call.method.rpartition("/")[2]
            if name == "Read":
                return grpc.unary_stream_rpc_method_handler(
                    lambda request, context: iter([answer(name, request, context)])
                )
            if name == "Write":
                return grpc.stream_unary_rpc_method_handler(lambda _, context: answer(name, b"", context))
            return grpc.unary_unary_rpc_method_handler(lambda request, context: answer(name, request, context))

    server = grpc.server(ThreadPoolExecutor(16), [Handler()], options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def capabilities(**words: Any) -> bytes:
    updates = api.ActionCacheUpdateCapabilities(update_enabled=True)
    said = {"digest_functions": [api.DigestFunction.SHA256], "action_cache_update_capabilities": updates, **words}
    text: bytes = api.ServerCapabilities(cache_capabilities=api.CacheCapabilities(**said)).SerializeToString()
    return text


@pytest.mark.parametrize(
    ("code", "reading", "writing"),
    [
        ("PERMISSION_DENIED", CacheFault, CacheReadOnly),
        ("UNAUTHENTICATED", CacheFault, CacheReadOnly),
        ("RESOURCE_EXHAUSTED", CacheFault, CacheReadOnly),
        ("UNIMPLEMENTED", CacheFault, CacheReadOnly),
        ("INTERNAL", CacheFault, CacheFault),
        ("UNAVAILABLE", CacheFault, CacheFault),
        ("NOT_FOUND", BlobMissing, CacheFault),
    ],
)
def test_each_status_is_a_fault_without_secrets(
    code: str, reading: type[CacheFault], writing: type[CacheFault], key: str, tmp_path: Path
) -> None:
    seen: list[tuple[str, str]] = []

    def answer(name: str, request: bytes, context: Any) -> bytes:
        if name == "GetCapabilities":
            return capabilities()
        if name == "FindMissingBlobs":
            asked = api.FindMissingBlobsRequest.FromString(request)
            return bytes(api.FindMissingBlobsResponse(missing_blob_digests=asked.blob_digests).SerializeToString())
        sent = dict(context.invocation_metadata())
        seen.append((sent["x-token"], sent["authorization"]))
        context.abort(grpc.StatusCode[code], f"not with {sent['x-token']} and {sent['authorization']}\x1b[31m" * 9)
        raise AssertionError

    with api_server(answer) as port:
        settings = Settings(f"grpc://user:correct-horse@127.0.0.1:{port}/", headers=(("X-Token", "battery-staple"),))
        store = open_store(settings)
        assert store.shown == f"grpc://127.0.0.1:{port}"
        small, large = made(10), made(STREAMED)
        faults = []
        for blobs in (small, large):
            with pytest.raises(CacheFault) as found:
                store.fetch(paths(blobs, tmp_path / "out"))
            # A whole batch is not found only where something else is wrong.
            assert type(found.value) is (CacheFault if blobs is small else reading)
            faults.append(found.value)
            with pytest.raises(CacheFault) as found:
                store.upload(blobs)
            assert type(found.value) is writing
            faults.append(found.value)
        if code == "NOT_FOUND":
            assert store.result(key) is None
        else:
            with pytest.raises(CacheFault) as found:
                store.result(key)
            assert type(found.value) is reading and code in str(found.value)
            faults.append(found.value)
        store.close()
    assert {token for token, _ in seen} == {"battery-staple"} and all("Basic " in user for _, user in seen)
    for fault in faults:
        text = str(fault)
        assert text.isprintable() and len(text) < 250, text
        assert not [one for one in (*SECRETS, seen[0][1].split()[1]) if one in text], text
    assert list((tmp_path / "out").iterdir()) == []


ANSWERS: dict[str, Callable[[Blob, bytes], bytes]] = {
    "garbage": lambda blob, content: b"\xff\xff\xff",
    "nothing": lambda blob, content: b"",
    "another": lambda blob, content: bytes(
        api.BatchReadBlobsResponse(
            responses=[{"digest": {"hash": "0" * 64, "size_bytes": 1}, "data": b"x"}]
        ).SerializeToString()
    ),
    "no digest": lambda blob, content: bytes(
        api.BatchReadBlobsResponse(responses=[{"digest": {"hash": "zz"}, "data": b"x"}]).SerializeToString()
    ),
    "wrong content": lambda blob, content: bytes(
        api.BatchReadBlobsResponse(
            responses=[{"digest": {"hash": blob.sha256, "size_bytes": blob.size}, "data": content[:-1] + b"\0\0"}]
        ).SerializeToString()
    ),
    "compressed": lambda blob, content: bytes(
        api.BatchReadBlobsResponse(
            responses=[{"digest": {"hash": blob.sha256, "size_bytes": blob.size}, "data": b"z", "compressor": 1}]
        ).SerializeToString()
    ),
    "its own status": lambda blob, content: bytes(
        api.BatchReadBlobsResponse(
            responses=[{"digest": {"hash": blob.sha256, "size_bytes": blob.size}, "status": {"code": 999}}]
        ).SerializeToString()
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_none_is_a_fault(name: str, key: str, tmp_path: Path) -> None:
    ((blob, content),) = made(100).items()

    def answer(method: str, request: bytes, context: Any) -> bytes:
        return capabilities() if method == "GetCapabilities" else ANSWERS[name](blob, content)

    with api_server(answer) as port:
        store = open_store(Settings(f"grpc://127.0.0.1:{port}/"), LONG)
        with pytest.raises(CacheFault):
            store.fetch({blob: tmp_path / "out"})
        assert list(tmp_path.iterdir()) == []
        large = Blob(blob.sha256, STREAMED)
        with pytest.raises(CacheFault):
            store.fetch({large: tmp_path / "out"})
        assert list(tmp_path.iterdir()) == []
        try:
            assert store.result(key) is None
        except CacheFault:
            assert name == "garbage"
        store.close()


def test_what_a_server_can_do_is_asked_first(key: str) -> None:
    said = capabilities(digest_functions=[api.DigestFunction.SHA1])
    with api_server(lambda method, *_: said) as port:
        store = open_store(Settings(f"grpc://127.0.0.1:{port}/"), LONG)
        with pytest.raises(CacheFault, match="SHA-256"):
            store.result(key)
        store.close()


def test_batches_are_as_small_as_the_server_says(tmp_path: Path) -> None:
    blobs = made(*[1000] * 50, 9000)
    sizes: list[int] = []

    def answer(method: str, request: bytes, context: Any) -> bytes:
        if method == "GetCapabilities":
            return capabilities(max_batch_total_size_bytes=12_000)
        if method == "Read":
            (large,) = (blob for blob in blobs if blob.size == 9000)
            name = bytestream.ReadRequest.FromString(request).resource_name
            assert name == f"in/st/blobs/{large.sha256}/9000"
            return bytes(bytestream.ReadResponse(data=blobs[large]).SerializeToString())
        asked = api.BatchReadBlobsRequest.FromString(request)
        assert asked.instance_name == "in/st"
        found = [{"digest": one, "data": blobs[Blob(one.hash, one.size_bytes)]} for one in asked.digests]
        text = bytes(api.BatchReadBlobsResponse(responses=found).SerializeToString())
        sizes.append(len(text))
        return text

    with api_server(answer) as port:
        store = open_store(Settings(f"grpc://127.0.0.1:{port}/in/st/"), LONG)
        store.fetch(paths(blobs, tmp_path / "out"))
        store.close()
    assert len(sizes) > 5 and max(sizes) < 12_000


def test_a_write_may_end_early(tmp_path: Path) -> None:
    blobs = made(STREAMED)
    kept = [STREAMED]

    def answer(method: str, request: bytes, context: Any) -> bytes:
        if method == "GetCapabilities":
            return capabilities()
        if method == "Write":
            return bytes(bytestream.WriteResponse(committed_size=kept[0]).SerializeToString())
        asked = api.FindMissingBlobsRequest.FromString(request)
        return bytes(api.FindMissingBlobsResponse(missing_blob_digests=asked.blob_digests).SerializeToString())

    with api_server(answer) as port:
        store = open_store(Settings(f"grpc://127.0.0.1:{port}/"), LONG)
        store.upload(blobs)
        kept[0] = 5
        with pytest.raises(CacheFault, match="5 of"):
            store.upload(blobs)
        store.close()


def test_an_action_is_in_the_cache_with_all_that_browsers_ask_for(servers: Servers, key: str, tmp_path: Path) -> None:
    with servers.kind("buildgrid").store() as store:
        store.put_result(key, Result(note=b"{}"))
        action, blobs = action_of(key)
        out = paths(blobs, tmp_path / "out")
        store.fetch(out)
    read = api.Action.FromString(out[action].read_bytes())
    assert read.salt.hex() == key
    command = api.Command.FromString((tmp_path / "out" / read.command_digest.hash).read_bytes())
    assert list(command.arguments) == ["coconut-tasks"]
    assert api.Directory.FromString((tmp_path / "out" / read.input_root_digest.hash).read_bytes()) == api.Directory()


def test_what_nginx_keeps_is_an_action_result(servers: Servers, key: str) -> None:
    kind, blobs = servers.kind("nginx"), made(3)
    with kind.store() as store:
        store.put_result(key, result_with(blobs))
    assert kind.result is not None
    read = api.ActionResult.FromString(kind.result(key).read_bytes())
    assert read == message_of(result_with(blobs))
    assert [(one.path, one.digest.size_bytes) for one in read.output_files] == [("a/ü 0", 3)]
    assert read.execution_metadata.worker == "https://builder.example/1"


@contextmanager
def http_server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[int]:
    """An HTTP server that answers with a function."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        do_HEAD = do_PUT = do_GET

        def log_message(self, format: str, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def plainly(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("content-length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def test_a_redirect_gets_none_of_our_headers(tmp_path: Path) -> None:
    ((blob, content),) = made(100).items()
    seen: list[dict[str, str]] = []

    def other(handler: BaseHTTPRequestHandler) -> None:
        seen.append({name.lower(): value for name, value in handler.headers.items()})
        plainly(handler, 200, content)

    with http_server(other) as there:

        def first(handler: BaseHTTPRequestHandler) -> None:
            if handler.command == "PUT":
                handler.rfile.read(int(handler.headers["content-length"]))
            kind = handler.path.split("/")[1]
            to = {
                "other": f"http://localhost:{there}/x",
                "tls": f"https://localhost:{there}/x",
                "file": "file:///etc/passwd",
                "round": handler.path,
            }[kind]
            plainly(handler, 302, location=to)

        with http_server(first) as here:

            def opened(kind: str) -> CacheStore:
                headers = (("x-token", "battery-staple"),)
                return open_store(Settings(f"http://user:correct-horse@127.0.0.1:{here}/{kind}", headers=headers))

            store = opened("other")
            store.fetch({blob: tmp_path / "out"})
            assert (tmp_path / "out").read_bytes() == content
            assert not {"authorization", "x-token"} & seen[0].keys()
            with pytest.raises(CacheFault, match="HTTP 302"):
                store.put_result("ab" * 32, Result(note=b"x"))
            store.close()
            for kind in ("tls", "file", "round"):
                store = opened(kind)
                with pytest.raises(CacheFault, match="redirects"):
                    store.fetch({blob: tmp_path / kind})
                store.close()
    assert len(seen) == 1


@pytest.mark.parametrize("status", [401, 403, 405, 413, 507])
def test_a_server_that_takes_nothing_may_say_so_before_it_has_all(status: int) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "HEAD":
            return plainly(handler, 404)
        handler.rfile.read(int(handler.headers["content-length"]))
        return plainly(handler, status, b"no")

    with http_server(answer) as port:
        store = open_store(Settings(f"http://127.0.0.1:{port}/"))
        with pytest.raises(CacheReadOnly, match=str(status)):
            store.upload(made(1000))
        store.close()


def test_a_connection_that_was_closed_meanwhile_is_made_again() -> None:
    """The server closes each connection after its first answer without saying so, when the next request is there."""
    counts = {"connections": 0, "closed": 0}

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            with one:
                counts["connections"] += 1
                one.settimeout(HUNG)
                while b"\r\n\r\n" not in one.recv(65536):
                    pass
                one.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                if counts["connections"] == 1 and one.recv(65536):
                    counts["closed"] += 1

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        store = open_store(Settings(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        assert store.result("ab" * 32) is None
        assert store.result("cd" * 32) is None
        store.close()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(HUNG)
    assert counts == {"connections": 2, "closed": 1}


def test_a_proxy_of_the_environment_is_used(servers: Servers, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """nginx takes a proxy's requests as its own."""
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{servers.nginx.plain}")
    store = open_store(Settings("http://cache.invalid/cache"))
    store.put_result(key, Result(note=b"{}"))
    assert store.result(key) == Result(note=b"{}")
    store.close()
    monkeypatch.setenv("no_proxy", "cache.invalid")
    store = open_store(Settings("http://cache.invalid/cache"))
    with pytest.raises(CacheFault, match="host is not known"):
        store.result(key)
    store.close()


# Packages and noise


@pytest.mark.parametrize(("module", "scheme"), [("urllib3", "http"), ("grpc", "grpc"), ("google.protobuf", "https")])
def test_a_missing_package_is_said(module: str, scheme: str) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from coconut_tasks.cache.open import open_store\n"
        "from coconut_tasks.cache.settings import Settings\n"
        "from coconut_tasks.cache.store import CacheFault\n"
        f"try: open_store(Settings('{scheme}://localhost:1/'))\n"
        "except CacheFault as fault: print(fault)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'coconut-tasks[remote]'" in done.stdout, done.stderr


def test_nothing_is_imported_before_it_is_needed(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from coconut_tasks.cache.open import open_store\n"
        "from coconut_tasks.cache.settings import Settings\n"
        f"open_store(Settings({str(tmp_path)!r})).result('ab' * 32)\n"
        "heavy = {'grpc', 'urllib3', 'google.protobuf', 'ssl'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
        "open_store(Settings('http://localhost:1/'))\n"
        "assert 'grpc' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_libraries_print_nothing(servers: Servers, tmp_path: Path) -> None:
    files = servers.certificates
    addresses = [
        f"grpc://127.0.0.1:{servers.nginx.plain}/",
        f"grpcs://127.0.0.1:{servers.buildgrid.port}/",
        f"grpcs://127.0.0.1:{servers.buildgrid.expired}/",
        f"http://127.0.0.1:{servers.buildgrid.port}/",
        f"https://127.0.0.1:{servers.nginx.expired}/",
        f"grpc://127.0.0.1:{free_port()}/",
    ]
    program = (
        "import sys\n"
        "from coconut_tasks.cache.open import open_store\n"
        "from coconut_tasks.cache.settings import Settings\n"
        "from coconut_tasks.cache.store import Blob, CacheFault\n"
        "from pathlib import Path\n"
        f"for address in {addresses!r}:\n"
        f"    store = open_store(Settings(address, ca={files.ca!r}))\n"
        "    for _ in range(2):\n"
        "        try: store.upload({Blob('ab' * 32, 7): Path('none'), Blob('cd' * 32, 9 << 20): b'x'})\n"
        "        except CacheFault: continue\n"
        "        sys.exit(address)\n"
        "    store.close()\n"
    )
    done = subprocess.run([sys.executable, "-W", "default", "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings("http://"), "not a URL"),
        (Settings("http://host:port/"), "not a URL"),
        (Settings("http://u:correct-horse@host:99999/"), "not a URL"),
        (Settings("ftp://host/"), "none of http"),
        (Settings("http://host/", headers=(("a b", "to-ken"),)), "name is not one"),
        (Settings("http://host/", headers=(("x", "to-ken\n"),)), "header x"),
        (Settings("grpc://host/", headers=(("x", "to-kenü"),)), "header x"),
        (Settings("grpc://host/", headers=(("Grpc-X", "to-ken"),)), "header grpc-x"),
    ],
)
def test_settings_that_cannot_work_are_said_without_secrets(settings: Settings, said: str) -> None:
    with pytest.raises(CacheFault, match=said) as found:
        open_store(settings)
    assert not [one for one in SECRETS if one in str(found.value)]


# Faults of the network


def remote_store(kind: Kind, port: int, limits: Limits) -> HttpStore | RemoteStore:
    """The same cache behind another port."""
    scheme, _, rest = kind.settings.address.partition("://")
    address = f"{scheme}://127.0.0.1:{port}/{rest.partition('/')[2]}"
    settings = Settings(address, ca=kind.settings.ca, certificate=kind.settings.certificate, key=kind.settings.key)
    return HttpStore(settings, limits) if scheme.startswith("http") else RemoteStore(settings, limits)


def port_of(kind: Kind) -> int:
    return int(kind.settings.address.split("/")[2].rpartition(":")[2])


@pytest.mark.parametrize("name", ["nginx", "nginx-tls", "buildgrid", "buildgrid-tls"])
@pytest.mark.parametrize(
    ("how", "limits"),
    [
        (Spoiler(says_nothing=True), Limits(0.5, 0.5, 600)),
        (Spoiler(pause=0.2), Limits(0.5, 300, 1.5, 1 << 40)),
        (Spoiler(down=200_000), Limits(base=600)),
        (Spoiler(up=100), Limits(base=600)),
    ],
    ids=["silent", "slow", "cut down", "cut up"],
)
def test_a_bad_connection_ends_in_a_fault_in_time(
    servers: Servers, name: str, how: Spoiler, limits: Limits, tmp_path: Path
) -> None:
    kind = servers.kind(name)
    blobs = made(STREAMED, 500_000)
    with kind.store() as good:
        good.upload(blobs)
    begin = time.monotonic()
    with Proxy(port_of(kind), lambda: how) as proxy:
        store = remote_store(kind, proxy.port, limits)
        with pytest.raises(CacheFault) as found:
            store.fetch(paths(blobs, tmp_path / "out"))
        store.close()
    assert time.monotonic() - begin < HUNG
    assert not isinstance(found.value, (BlobMissing, BlobCorrupt, CacheReadOnly))
    assert list((tmp_path / "out").iterdir()) == []


def test_no_server_is_a_fault() -> None:
    for scheme in ("http", "https", "grpc", "grpcs"):
        store = open_store(Settings(f"{scheme}://127.0.0.1:{free_port()}/"))
        with pytest.raises(CacheFault, match="Connection refused"):
            store.result("ab" * 32)
        store.close()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_to_close_ends_what_is_waited_for(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/"
        store = remote_store_at(address, Limits(connect=300, silence=300, base=300))
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(store.missing, made(5))
            begin = time.monotonic()
            one, _ = listener.accept()
            with one:
                one.recv(1)
                time.sleep(0.1)
                store.close()
                assert isinstance(asked.exception(HUNG), CacheFault)
        assert time.monotonic() - begin < HUNG


def remote_store_at(address: str, limits: Limits) -> HttpStore | RemoteStore:
    return (HttpStore if address.startswith("http") else RemoteStore)(Settings(address), limits)


def test_the_answers_head_may_not_trickle_for_ever() -> None:
    """Each byte comes in time, and the line never ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def serve() -> None:
            one, _ = listener.accept()
            with one:
                one.sendall(b"HTTP/1.1 200 OK\r\nx: ")
                while not ended.wait(0.05):
                    try:
                        one.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        settings = Settings(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        store = HttpStore(settings, Limits(silence=300, base=0.5, rate=1 << 40))
        begin = time.monotonic()
        with pytest.raises(CacheFault, match=r"longer than 0\.5 s"):
            store.result("ab" * 32)
        assert time.monotonic() - begin < HUNG
        ended.set()
        thread.join()
        store.close()


@pytest.mark.parametrize("name", ["nginx", "buildgrid", "nginx-tls", "buildgrid-tls"])
def test_a_hundred_faults_are_faults_or_nothing_is_wrong(servers: Servers, name: str, key: str, tmp_path: Path) -> None:
    kind = servers.kind(name)
    known = made(100, 100_000, 5 * MIB)
    good = open_store(kind.settings, LONG)
    good.upload(known)
    good.put_result(key, result_with(known))

    def one(seed: int) -> str:
        chance = random.Random(seed)
        folder = tmp_path / str(seed)
        # Not each connection is bad: else the second one would never be met.
        with Proxy(port_of(kind), lambda: spoiler(chance, 6 * MIB) if chance.random() < 0.8 else None) as proxy:
            store = remote_store(kind, proxy.port, SHORT)
            begin = time.monotonic()
            try:
                return attempt(store, chance.randrange(5), folder, f"{seed:02x}" * 32)
            except CacheFault as fault:
                assert str(fault) and str(fault).isprintable()
                return type(fault).__name__
            finally:
                assert time.monotonic() - begin < HUNG
                store.close()
                assert all(blob_of(path) in known for path in folder.glob("*")), "a file that is not what it should be"
                shutil.rmtree(folder, ignore_errors=True)

    def attempt(store: CacheStore, what: int, folder: Path, own: str) -> str:
        match what:
            case 0:
                assert store.result(key) in (None, result_with(known))
            case 1:
                store.fetch(paths(known, folder))
                assert len(list(folder.iterdir())) == len(known)
            case 2:
                assert store.missing(known) == set()
            case 3:
                blobs = made(50, 50_000, 5 * MIB)
                store.upload(blobs)
                assert good.missing(blobs) == set()
            case 4:
                result = result_with(known)
                store.put_result(own, result)
                assert good.result(own) == result
        return "well"

    with ExitStack() as stack:
        stack.callback(good.close)
        with ThreadPoolExecutor(10) as pool:
            ends = list(pool.map(one, range(100)))
    # With fewer, either nothing was spoiled, or nothing worked.
    assert ends.count("well") >= 5 and len(ends) - ends.count("well") >= 30, ends
