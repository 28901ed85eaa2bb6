"""Sign the sidecars of images with ssh-keygen or cosign."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from coconut_tasks.effects.place import write_whole
from coconut_tasks.errors import StepError, UsageError
from coconut_tasks.layout import SIGNATURES
from coconut_tasks.steps.command import Command
from coconut_tasks.terminal import plain
from coconut_tasks.tools import cosign, ssh_keygen

PROGRAMS = {
    "ssh-keygen": "apt-get install openssh-client",
    "cosign": "https://docs.sigstore.dev/cosign/system_config/installation/",
}
"""The programs that can sign, and how to install them."""
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*://|pkcs11:")
"""How a key begins that is in no file: in a key management service, a token, a variable. cosign knows these."""
_PAUSE_S = 0.1
"""A program that says nothing for so long in the middle of a line waits for an answer."""


def key_as_given(key: str, folder: str) -> str:
    """A key's absolute path; a relative path starts at ``folder``. A key that is not a path is returned unchanged."""
    return key if _ELSEWHERE.match(key) else os.path.normpath(os.path.join(folder, os.path.expanduser(key)))


def program_for(key: str) -> str:
    """The program that a key is for, by how it begins.

    Raises:
        UsageError: it is of no known kind.
        OSError: it cannot be read.
    """
    if _ELSEWHERE.match(key):
        return "cosign"
    with open(key, encoding="utf-8", errors="replace") as file:
        start = file.read(100)
    if start.startswith(cosign.KEYS):
        return "cosign"
    if start.startswith(ssh_keygen.KEYS):
        return "ssh-keygen"
    raise UsageError(
        "unknown-key", f"sign: {key} is neither an OpenSSH key nor a cosign key; use --with to name the program"
    )


def asks_for_touch(key: str) -> bool:
    """Whether ssh-keygen says when a security key is to be touched: it does so on standard error, in lines as all others."""
    try:
        return ssh_keygen.is_on_security_key(Path(key).read_bytes())
    except OSError:
        return False


def sign(sidecars: Sequence[Path], root: Path, key: str, program: str, environment: Mapping[str, str]) -> list[Path]:
    """Sign files below ``root`` and put each signature beside its file, but only once all are made and checked.

    The program can ask for a passphrase or a touch; what else it says is shown only if it fails.

    Raises:
        UsageError: the program is not installed.
        StepError: it failed, or a signature does not match its file.
    """
    if shutil.which(program, path=environment.get("PATH")) is None:
        raise UsageError("tool-missing", f"sign: {program} is not installed: {PROGRAMS[program]}")
    end = SIGNATURES[program]
    with tempfile.TemporaryDirectory(prefix="coconut-sign-") as folder:
        # Sign copies: ssh-keygen asks before it replaces a signature, and no partial signature should appear in bin/.
        names = [f"./{sidecar.relative_to(root)}" for sidecar in sidecars]
        for sidecar, name in zip(sidecars, names, strict=True):
            copy = Path(folder, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sidecar, copy)
        for command in _commands(program, key, names, folder):
            _run(command, folder, environment, loud=asks_for_touch(key))
        if program == "ssh-keygen":
            for name in names:
                _check(name, folder, environment)
        made = [Path(f"{sidecar}{end}") for sidecar in sidecars]
        contents = [_signature(Path(folder, f"{name}{end}"), program) for name in names]
        for target, content in zip(made, contents, strict=True):
            write_whole(target, content)
    return made


def _commands(program: str, key: str, names: Sequence[str], folder: str) -> list[Command]:
    if program == "ssh-keygen":
        return [ssh_keygen.ssh_keygen_sign(key, names)]
    config = Path(folder, ".signing-config.json")
    config.write_text(cosign.NO_SERVICES, encoding="utf-8")
    return [cosign.cosign_sign(key, str(config), name + SIGNATURES[program], name) for name in names]


def _run(command: Command, folder: str, environment: Mapping[str, str], *, loud: bool) -> None:
    """Run it. What it says is shown only if it fails, unless it is ``loud``. It can ask: standard input is the user's, and ssh-keygen asks
    for a passphrase on the terminal itself, whatever its standard error is.

    Raises:
        StepError: it failed.
    """
    kept = {} if loud else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command.argv, cwd=folder, env=environment, **kept) as process:  # type: ignore[call-overload]
        try:
            said = _heard(process.stdout) if process.stdout else ""
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        what = f"sign: {command.argv[0]} failed with exit status {process.returncode}; nothing was signed"
        raise StepError("signing-failed", f"{what}\n  command: {command}\n{said}".rstrip())


def _heard(stream: IO[bytes]) -> str:
    """All that a program says. What it asks is shown at once: a line that it does not end."""
    said, asked = b"", False
    while True:
        if said[-1:] not in (b"", b"\n") and not asked and not select.select([stream], [], [], _PAUSE_S)[0]:
            _show(said[said.rfind(b"\n") + 1 :])
            asked = True
        data = os.read(stream.fileno(), 1 << 16)
        if not data:
            return plain(said.decode(errors="replace"))
        if asked:
            rest, end, _ = data.partition(b"\n")
            _show(rest + end)
            asked = not end
        said += data


def _show(text: bytes) -> None:
    sys.stderr.write(text.decode(errors="replace"))
    sys.stderr.flush()


def _check(name: str, folder: str, environment: Mapping[str, str]) -> None:
    """Raises StepError unless the signature matches the file."""
    command = ssh_keygen.ssh_keygen_check(name + SIGNATURES["ssh-keygen"])
    with open(os.path.join(folder, name), "rb") as sidecar:
        done = subprocess.run(command.argv, cwd=folder, env=environment, stdin=sidecar, capture_output=True, text=True)
    if done.returncode != 0:
        said = f"{done.stdout}{done.stderr}".rstrip()
        raise StepError("signature-does-not-fit", f"sign: ssh-keygen made a signature that it cannot verify: {said}")


def _signature(file: Path, program: str) -> bytes:
    content = file.read_bytes() if file.exists() else b""
    if not content:
        raise StepError("file-not-made", f"sign: {program} succeeded, but did not make {file.name}")
    return content
