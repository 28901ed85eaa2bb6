"""Results as messages of the Remote Execution API, which both remote kinds keep.

It needs protobuf, so only ``http`` and ``remote`` import it.
"""

from __future__ import annotations

import hashlib
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
    """A result as a server keeps it."""
    files = [
        OutputFile(path=one.path, digest=digest_of(one.blob), is_executable=one.executable) for one in result.files
    ]
    about = ExecutedActionMetadata(worker=result.builder)
    return ActionResult(output_files=files, stdout_raw=result.note, execution_metadata=about)


def parsed(data: bytes) -> ActionResult:
    """
    Raises:
        CacheFault: it is damaged.
    """
    try:
        message = ActionResult()
        message.ParseFromString(data)
    except DecodeError as error:
        raise CacheFault("it answered with a result that is damaged") from error
    return message


def note_apart(message: ActionResult) -> Blob | None:
    """The blob with the note, if a server keeps it as one."""
    if message.stdout_raw or not message.stdout_digest.size_bytes:
        return None
    blob = blob_named(message.stdout_digest)
    if blob.size > MOST:
        raise CacheFault("it answered with a result that is too long")
    return blob


def result_of(message: ActionResult, note: bytes | None = None) -> Result:
    """
    Raises:
        CacheFault: it is damaged.
    """
    files = tuple(CachedFile(one.path, blob_named(one.digest), one.is_executable) for one in message.output_files)
    return Result(files, message.stdout_raw if note is None else note, message.execution_metadata.worker)


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
