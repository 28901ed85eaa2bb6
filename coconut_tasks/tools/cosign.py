"""Signatures by cosign: sigstore bundles."""

from __future__ import annotations

from coconut_tasks.steps.command import Command

KEYS = ("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----", "-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----")
"""How a private key of cosign begins: of version 2 and 3, of version 1."""
NO_SERVICES = '{"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"}\n'
"""A signing configuration that names no transparency log and no other service. Without one, cosign publishes what it signs, for ever;
``--tlog-upload=false`` of version 2 is refused by version 3. Tried with 2.6.5 and 3.1.3, without a network."""


def cosign_sign(key: str, config: str, bundle: str, sidecar: str) -> Command:
    """Sign a file in the file ``bundle``; ``config`` is a file that holds ``NO_SERVICES``."""
    words = ("cosign", "sign-blob", "--key", key, "--signing-config", config, "--bundle", bundle, "--yes", sidecar)
    return Command(words)
