"""Results as messages of the Remote Execution API, which both remote kinds keep.

It needs protobuf, so only ``http`` and ``remote`` import it.
"""

from __future__ import annotations

import hashlib
import json
import re

from google.protobuf.message import DecodeError

from coconut_tasks.cache.generated.remote_execution_pb2 import (
    Action,
    ActionResult,
    Command,
    Digest,
    ExecutedActionMetadata,
    OutputFile,
)
from coconut_tasks.cache.store import Blob, CachedFile, CacheFault, Result, blob_of

EMPTY = blob_of(b"")
MOST = 64 << 20
"""The most bytes of a result that are read."""


def digest_of(blob: Blob) -> Digest:
    """A blob's name as a message."""
    return Digest(hash=blob.sha256, size_bytes=blob.size)


def blob_named(digest: Digest) -> Blob:
    """
    Raises:
        CacheFault: it is not the name of a blob.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", digest.hash) or digest.size_bytes < 0:
        raise CacheFault("it answered with a digest that is none")
    return Blob(digest.hash, digest.size_bytes)


def message_of(result: Result) -> ActionResult:
    """A result as a server keeps it. What stands for the standard error is a checksum, since nobody checks a result as blobs are.

    Raises:
        CacheFault: a file's name is not Unicode.
    """
    try:
        files = [
            OutputFile(path=one.path, digest=digest_of(one.blob), is_executable=one.executable) for one in result.files
        ]
    except ValueError as error:
        raise CacheFault("a file's name is not Unicode") from error
    about = ExecutedActionMetadata(worker=result.builder)
    checksum = _checksum(result).encode()
    return ActionResult(output_files=files, stdout_raw=result.note, stderr_raw=checksum, execution_metadata=about)


def parsed(data: bytes) -> ActionResult | None:
    """None if it is damaged."""
    message = ActionResult()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return None
    return message


def note_apart(message: ActionResult) -> Blob | None:
    """The blob with the note, if a server keeps it as one."""
    if message.stdout_raw or not message.stdout_digest.size_bytes:
        return None
    blob = blob_named(message.stdout_digest)
    if blob.size > MOST:
        raise CacheFault("it answered with a result that is too long")
    return blob


def result_of(message: ActionResult, note: bytes | None = None) -> Result | None:
    """None if it is damaged, or not ours; the next build then writes it again."""
    files = tuple(
        CachedFile(one.path, Blob(one.digest.hash, one.digest.size_bytes), one.is_executable)
        for one in message.output_files
    )
    result = Result(files, message.stdout_raw if note is None else note, message.execution_metadata.worker)
    return result if message.stderr_raw == _checksum(result).encode() else None


def _checksum(result: Result) -> str:
    files = [(one.path, one.blob.sha256, one.blob.size, one.executable) for one in result.files]
    text = json.dumps([files, result.note.hex(), result.builder])
    return hashlib.sha256(text.encode()).hexdigest()


def action_of(key: str) -> tuple[Blob, dict[Blob, bytes]]:
    """The action that stands for a key, and the blobs that servers and browsers look for beside it."""
    command = Command(arguments=["coconut-tasks"]).SerializeToString(deterministic=True)
    action = Action(
        command_digest=digest_of(blob_of(command)), input_root_digest=digest_of(EMPTY), salt=bytes.fromhex(key)
    ).SerializeToString(deterministic=True)
    return blob_of(action), {blob_of(command): command, blob_of(action): action, EMPTY: b""}


def is_content_of(blob: Blob, data: bytes) -> bool:
    """Whether bytes are what a blob's name says."""
    return len(data) == blob.size and hashlib.sha256(data).hexdigest() == blob.sha256
