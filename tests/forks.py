"""``python -m doit`` without starting Python for each run, which took a third of the time of all tests.

A server imports what doit always imports, and forks for each run. The child gets its arguments, folder, environment and the ends of two
pipes, and continues like a real start. Two servers take turns: like two starts, consecutive runs have different hash seeds, so that a
dependence on the order of a set shows.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AT_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ")
"""Prefixes of variables that Python and the C library read when a program starts."""
ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONDONTWRITEBYTECODE": "1"}
MOST = 40
"""How many runs a server forks; the next one has another seed."""


def is_alike(argv: list[str], environment: Mapping[str, str]) -> bool:
    """Whether a command is doit's, with the same startup environment as the servers."""
    ours, theirs = (
        {name: value for name, value in variables.items() if name.startswith(AT_START)}
        for variables in (ENVIRONMENT, environment)
    )
    return argv[:3] == [sys.executable, "-m", "doit"] and ours == theirs


def _at_work(session: int) -> Iterator[int]:
    """The processes of a session that have not ended (proc_pid_stat(5))."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, of = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                yield int(folder.name)


def end_session(leader: subprocess.Popen[Any]) -> None:
    """End a session leader with everything it started in its session."""
    until = time.monotonic() + 10
    while (found := list(_at_work(leader.pid))) and time.monotonic() < until:
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.005)
    leader.wait()


@dataclass
class Server:
    """A process that waits for command lines."""

    process: subprocess.Popen[bytes]
    requests: socket.socket
    runs: int = 0

    @classmethod
    def start(cls) -> Server:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            argv = [sys.executable, __file__, str(number)]
            # Its output is not a terminal, just like a pipe.
            process = subprocess.Popen(
                argv, cwd="/", env=ENVIRONMENT, stdout=subprocess.DEVNULL, pass_fds=[number], start_new_session=True
            )
        return cls(process, ours)

    def stop(self) -> None:
        self.requests.close()
        self.process.wait()

    def run(
        self, argv: list[str], cwd: str, environment: Mapping[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        self.runs += 1
        pipes = [os.pipe(), os.pipe()]
        files = [open(read) for read, _ in pipes]
        ends = [write for _, write in pipes]
        request = json.dumps([argv, cwd, dict(environment)]).encode()
        socket.send_fds(self.requests, [request], ends)
        for end in ends:
            os.close(end)
        self.requests.recv(20)
        with ThreadPoolExecutor(2) as pool:
            texts = [pool.submit(file.read) for file in files]
            try:
                out, err = (text.result(seconds) for text in texts)
            except BaseException:  # also at the end of the test's time; open pipes would keep the pool waiting
                self.requests.close()
                end_session(self.process)
                raise
            finally:
                for text, file in zip(texts, files, strict=True):
                    text.exception()
                    file.close()
        return subprocess.CompletedProcess(argv, int(self.requests.recv(20)), out, err)


_waiting: deque[Server] = deque()


def run_unforked(
    argv: list[str], cwd: Path, environment: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """The same with a start of its own."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        argv, cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException:
            end_session(process)
            raise
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


def run(
    argv: list[str], cwd: Path, environment: Mapping[str, str], seconds: float = 900
) -> subprocess.CompletedProcess[str]:
    """Like ``subprocess.run`` with captured text."""
    if not is_alike(argv, environment):
        return run_unforked(argv, cwd, environment, seconds)
    server = _waiting.popleft() if len(_waiting) > 1 else Server.start()
    done = server.run(argv, str(cwd), environment, seconds)
    if server.runs < MOST:
        _waiting.append(server)
    else:
        server.stop()
    return done


def stop() -> None:
    """End all servers."""
    while _waiting:
        _waiting.pop().stop()


def serve(requests: socket.socket) -> None:
    """Fork for each request; return in the child, which continues like a new start."""
    while True:
        request, ends, *_ = socket.recv_fds(requests, 1 << 20, 2)
        if not request:
            os._exit(0)
        child = os.fork()
        if child == 0:
            break
        for end in ends:
            os.close(end)
        requests.send(b"%d" % child)
        requests.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    requests.close()
    for number, end in enumerate(ends, 1):
        os.dup2(end, number)
        os.close(end)
    argv, cwd, environment = json.loads(request)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0], sys.argv[1:], sys.orig_argv[:] = cwd, argv[3:], argv


if __name__ == "__main__":
    import gc
    from importlib import import_module

    # argv is like this while Python looks for the module of "-m".
    socket_of_requests, sys.argv[0], sys.path[0] = socket.socket(fileno=int(sys.argv[1])), "-m", "/"
    for name in ("doit", "coconut_tasks.tasks.namespace", "coconut_tasks.tasks.doit_commands"):
        import_module(name)
    for name in ("cbor2", "sqlite3", "tomllib"):  # most runs need them
        import_module(name)
    gc.freeze()  # otherwise the first garbage collection of a child would write to, and so copy, each page
    serve(socket_of_requests)
    sys.argv[0] = os.path.join(sys.modules["doit"].__path__[0], "__main__.py")
    sys.exit(sys.modules["doit.doit_cmd"].DoitMain().run(sys.argv[1:]))
