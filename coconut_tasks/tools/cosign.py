"""Signatures by cosign: sigstore bundles."""

from __future__ import annotations

from coconut_tasks.steps.command import Command

KEYS = ("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----", "-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----")
"""How a private key of cosign begins: versions 2 and 3, version 1."""
NO_SERVICES = '{"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"}\n'
"""A signing configuration without a transparency log or any other service. Without it, cosign publishes what it signs, for ever; version 3
refuses version 2's ``--tlog-upload=false``. Tested with 2.6.5 and 3.1.3, without a network."""


def cosign_sign(key: str, config: str, bundle: str, sidecar: str) -> Command:
    """Sign a file and write the signature to the file ``bundle``; ``config`` is a file that contains ``NO_SERVICES``."""
    words = ("cosign", "sign-blob", "--key", key, "--signing-config", config, "--bundle", bundle, "--yes", sidecar)
    return Command(words)
