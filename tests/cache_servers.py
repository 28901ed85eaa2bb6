"""Real servers of caches on loopback, and a proxy that spoils what goes through it.

nginx, which takes PUT, is Bazel's HTTP cache; BuildGrid is a server of the Remote Execution API.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coconut_tasks.cache.limits import Limits
from coconut_tasks.cache.open import open_store
from coconut_tasks.cache.settings import Settings
from coconut_tasks.cache.store import Blob, CacheStore

LONG = Limits(connect=300, silence=300, base=600)
"""Of what has to work on a busy machine."""
PACKAGES = ["nginx"]
BUILDGRID = "buildgrid==0.4.*"
READY = 60
"""How many seconds a server has to begin; a second is usual."""


@dataclass
class Certificates:
    """Files that openssl made: of an authority, a server, a server long ago, a client, and a stranger."""

    folder: Path

    def __getattr__(self, name: str) -> str:
        """``ca``, ``server``, ``server_key``, ``expired``, ``expired_key``, ``client``, ``client_key``, ``stranger``, …"""
        path = self.folder / f"{name}.pem"
        assert path.is_file(), path
        return str(path)


def make_certificates(folder: Path) -> Certificates:
    """Each is of one authority, but for the stranger's."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    def key(name: str) -> None:
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}_key.pem")

    for name in ("ca", "stranger"):
        key(name)
        words = ("-days", "2", "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,digitalSignature")
        openssl("req", "-x509", "-new", "-key", f"{name}_key.pem", "-out", f"{name}.pem", *words)
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name, days in (("server", "2"), ("expired", "-1"), ("client", "2")):
        key(name)
        openssl("req", "-new", "-key", f"{name}_key.pem", "-subj", f"/CN={name}", "-out", f"{name}.csr")
        signed = ("-CA", "ca.pem", "-CAkey", "ca_key.pem", "-CAcreateserial", "-extfile", "names", "-days", days)
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
    return Certificates(folder)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def wait_until_open(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.02)


@contextmanager
def running(argv: list[str], folder: Path, ports: list[int]) -> Iterator[None]:
    """A server, until the end of the block."""
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(argv, cwd=folder, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        for port in ports:
            wait_until_open(port, process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def nginx_program() -> str:
    """nginx, installed from Debian where we may do that."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    with _alone("nginx"):
        if not (found := shutil.which("nginx", path=path)) and os.geteuid() == 0 and shutil.which("apt-get"):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            install = ["apt-get", "install", "-y", "-q", *PACKAGES]
            if subprocess.run(install, env=environment, capture_output=True).returncode:
                subprocess.run(["apt-get", "update", "-q"], env=environment, capture_output=True, check=True)
                subprocess.run(install, env=environment, capture_output=True, check=True)
            found = shutil.which("nginx", path=path)
    assert found, f"these tests need nginx: apt-get install {' '.join(PACKAGES)}"
    return found


NGINX = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    root {folder}/data;
    dav_methods PUT;
    create_full_put_path on;
    ssl_certificate {certificates}/server.pem;
    ssl_certificate_key {certificates}/server_key.pem;
    server {{ listen 127.0.0.1:{plain}; location /moved/ {{ return 307 http://127.0.0.1:{plain}/cache/; }}
        location /locked/ {{ if ($http_authorization != "{basic}") {{ return 401; }} root {folder}/data; }}
        location /readonly/ {{ dav_methods off; limit_except GET {{ deny all; }} alias {folder}/data/cache/; }}
    }}
    server {{
        listen 127.0.0.1:{mutual} ssl;
        ssl_client_certificate {certificates}/ca.pem;
        ssl_verify_client on;
    }}
    server {{
        listen 127.0.0.1:{expired} ssl;
        ssl_certificate {certificates}/expired.pem;
        ssl_certificate_key {certificates}/expired_key.pem;
    }}
}}
"""
BASIC = "Basic dXNlcjpjb3JyZWN0LWhvcnNl"
"""``user:correct-horse``, which ``/locked/`` wants."""


@dataclass
class Nginx:
    """Ports, and where it keeps files."""

    data: Path
    plain: int
    mutual: int
    """TLS with client certificates."""
    expired: int


@contextmanager
def nginx(folder: Path, certificates: Certificates) -> Iterator[Nginx]:
    """Its own nginx on free ports, as whoever runs the tests."""
    program = nginx_program()
    data = folder / "data"
    data.mkdir()
    server = Nginx(data, free_port(), free_port(), free_port())
    text = NGINX.format(
        folder=folder,
        certificates=certificates.folder,
        basic=BASIC,
        plain=server.plain,
        mutual=server.mutual,
        expired=server.expired,
    )
    (folder / "nginx.conf").write_text(text)
    argv = [program, "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    with running(argv, folder, [server.plain, server.mutual, server.expired]):
        yield server


def buildgrid_program() -> Path:
    """BuildGrid in its own environment, since it needs other packages than ours; it stays for later runs."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "coconut-tasks-tests")
    name = hashlib.sha256(f"{BUILDGRID} {sys.version} {sys.prefix}".encode()).hexdigest()[:12]
    made = place / f"buildgrid-{name}"
    with _alone("buildgrid"):
        if not (made / "complete").exists():
            shutil.rmtree(made, ignore_errors=True)
            place.mkdir(parents=True, exist_ok=True)
            subprocess.run([sys.executable, "-m", "venv", str(made)], check=True)
            pip = [str(made / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
            done = subprocess.run([*pip, "install", BUILDGRID], capture_output=True, text=True)
            assert done.returncode == 0, f"these tests need {BUILDGRID}: {done.stderr}"
            (made / "complete").touch()
    return made / "bin" / "bgd"


BGD = """
server:
  - !channel
    address: "127.0.0.1:{port}"
    insecure-mode: true
  - !channel
    address: "127.0.0.1:{mutual}"
    insecure-mode: false
    credentials:
      tls-server-key: {certificates}/server_key.pem
      tls-server-cert: {certificates}/server.pem
      tls-client-certs: {certificates}/ca.pem
  - !channel
    address: "127.0.0.1:{expired}"
    insecure-mode: false
    credentials:
      tls-server-key: {certificates}/expired_key.pem
      tls-server-cert: {certificates}/expired.pem
authorization:
  method: none
monitoring:
  enabled: false
storages:
  - !disk-storage &storage
    path: {folder}/data
caches:
  - !lru-action-cache &cache
    storage: *storage
    max-cached-refs: 4096
    allow-updates: true
  - !lru-action-cache &frozen
    storage: *storage
    max-cached-refs: 16
    allow-updates: false
instances:
  - name: main/one
    services:
      - !action-cache
        cache: *cache
      - !cas
        storage: *storage
      - !bytestream
        storage: *storage
  - name: frozen
    services:
      - !action-cache
        cache: *frozen
      - !cas
        storage: *storage
      - !bytestream
        storage: *storage
thread-pool-size: 64
"""


@dataclass
class BuildGrid:
    """Ports, and where it keeps files."""

    data: Path
    port: int
    mutual: int
    """TLS with client certificates."""
    expired: int


@contextmanager
def buildgrid(folder: Path, certificates: Certificates) -> Iterator[BuildGrid]:
    """Its own BuildGrid on free ports, with the instances ``main/one`` and ``frozen``, which takes no results."""
    program = buildgrid_program()
    data = folder / "data"
    data.mkdir()
    server = BuildGrid(data, free_port(), free_port(), free_port())
    config = folder / "config.yml"
    config.write_text(
        BGD.format(
            folder=folder,
            certificates=certificates.folder,
            port=server.port,
            mutual=server.mutual,
            expired=server.expired,
        )
    )
    with running([str(program), "server", "start", str(config)], folder, [server.port, server.mutual, server.expired]):
        yield server


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One process of this user at a time."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "coconut-tasks-tests")
    place.mkdir(parents=True, exist_ok=True)
    with (place / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass
class Spoiler:
    """How one connection is spoiled."""

    says_nothing: bool = False
    up: int | None = None
    """After how many bytes from the client it is closed."""
    down: int | None = None
    """After how many bytes from the server it is closed."""
    flips: frozenset[int] = frozenset()
    """The places of bytes from the server that are changed."""
    pause: float = 0.0
    """Seconds between pieces of 64 bytes from the server."""
    pieces: int = field(default=0, init=False)


def spoiler(chance: random.Random, most: int) -> Spoiler:
    """Any fault, somewhere in the first ``most`` bytes."""
    # Short answers are as likely to be hit as long ones.
    at = int(2 ** chance.uniform(0, most.bit_length()))
    match chance.randrange(5):
        case 0:
            return Spoiler(says_nothing=True)
        case 1:
            return Spoiler(up=at)
        case 2:
            return Spoiler(down=at)
        case 3:
            return Spoiler(flips=frozenset(at + chance.randrange(200) for _ in range(chance.randrange(1, 4))))
        case _:
            return Spoiler(pause=chance.choice([0.0005, 0.02, 0.5]))


class Proxy:
    """Passes TCP connections on, each as ``spoil`` says; None of a connection means that it is as it was."""

    def __init__(self, port: int, spoil: Callable[[], Spoiler | None]) -> None:
        self._to, self._spoil = port, spoil
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self._start(self._accept)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        _shut(self._listener)
        for one in list(self._open):
            _shut(one)
        for thread in self._threads:
            thread.join(10)
        for one in (self._listener, *self._open):
            one.close()

    def _start(self, function: Callable[..., None], *words: object) -> None:
        thread = threading.Thread(target=function, args=words, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(client)
            how = self._spoil() or Spoiler()
            if how.says_nothing:
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._to), 10)
            except OSError:
                _shut(client)
                continue
            server.settimeout(None)
            self._open.add(server)
            self._start(self._pass, client, server, how.up, frozenset(), 0.0)
            self._start(self._pass, server, client, how.down, how.flips, how.pause)

    def _pass(
        self, source: socket.socket, target: socket.socket, most: int | None, flips: frozenset[int], pause: float
    ) -> None:
        at = 0
        with suppress(OSError):
            while data := source.recv(64 if pause else 65536):
                if most is not None and at + len(data) >= most:
                    target.sendall(data[: most - at])
                    break
                if flips:
                    changed = bytearray(data)
                    for place in flips:
                        if at <= place < at + len(data):
                            changed[place - at] ^= 0x11
                    data = bytes(changed)
                at += len(data)
                target.sendall(data)
                if pause and self._ended.wait(pause):
                    break
        _shut(source)
        _shut(target)


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@dataclass
class Kind:
    """A cache, and where its server keeps a blob and a result."""

    settings: Settings
    blob: Callable[[Blob], Path]
    result: Callable[[str], Path] | None
    """None if it is in the server's memory."""

    @contextmanager
    def store(self) -> Iterator[CacheStore]:
        store = open_store(self.settings, LONG)
        try:
            yield store
        finally:
            store.close()


@dataclass
class Servers:
    certificates: Certificates
    nginx: Nginx
    buildgrid: BuildGrid
    folder: Path

    def kind(self, name: str) -> Kind:
        files = self.certificates
        more: dict[str, Any] = {}
        tls: dict[str, Any] = {"ca": files.ca, "certificate": files.client, "key": files.client_key}
        if name == "folder":
            root = self.folder / "v1"
            return Kind(
                Settings(str(self.folder)),
                lambda blob: root / "cas" / blob.sha256[:2] / blob.sha256,
                lambda key: root / "ac" / key[:2] / key,
            )
        if name.startswith("nginx"):
            address = f"http://127.0.0.1:{self.nginx.plain}/cache"
            if name == "nginx-tls":
                address, more = f"https://localhost:{self.nginx.mutual}/cache", tls
            root = self.nginx.data / "cache"
            return Kind(
                Settings(address, **more), lambda blob: root / "cas" / blob.sha256, lambda key: root / "ac" / key
            )
        address = f"grpc://127.0.0.1:{self.buildgrid.port}/main/one"
        if name == "buildgrid-tls":
            address, more = f"grpcs://localhost:{self.buildgrid.mutual}/main/one", tls
        root = self.buildgrid.data / "cas" / "objects"
        return Kind(Settings(address, **more), lambda blob: root / blob.sha256[:2] / blob.sha256[2:], None)


@contextmanager
def all_servers(place: Path) -> Iterator[Servers]:
    """All of them, at work."""
    folders = [place / name for name in ("certificates", "nginx", "buildgrid")]
    for folder in folders:
        folder.mkdir()
    certificates = make_certificates(folders[0])
    with nginx(folders[1], certificates) as http, buildgrid(folders[2], certificates) as remote:
        yield Servers(certificates, http, remote, place / "folder")
