"""Signatures by ssh-keygen: armored SSHSIG files (OpenSSH, PROTOCOL.sshsig)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable

from coconut_tasks.steps.command import Command

NAMESPACE = "file"
"""The namespace that ssh-keygen's manual gives for files: a signature made for another purpose does not pass as one of a file."""
KEYS = ("-----BEGIN OPENSSH PRIVATE KEY-----", "ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-")
"""How an OpenSSH key begins: a private key, or a public key whose private key is in the agent."""

_SECURITY_KEY = re.compile(rb"sk-[a-z0-9-]+@openssh\.com")


def is_on_security_key(content: bytes) -> bool:
    """Whether a key, public or private, is one of a security key (FIDO). The type is readable in an encrypted one, too."""
    body = b"".join(line for line in content.splitlines() if not line.startswith(b"-----"))
    try:
        return bool(_SECURITY_KEY.search(content) or _SECURITY_KEY.search(binascii.a2b_base64(body)))
    except binascii.Error:
        return False


def ssh_keygen_sign(key: str, sidecars: Iterable[str]) -> Command:
    """Sign each file; each signature is written beside its file. The passphrase is asked for once."""
    return Command(("ssh-keygen", "-Y", "sign", "-f", key, "-n", NAMESPACE, *sidecars))


def ssh_keygen_check(signature: str) -> Command:
    """Check that a signature is of the file on standard input, whoever made it."""
    return Command(("ssh-keygen", "-Y", "check-novalidate", "-n", NAMESPACE, "-s", signature))
