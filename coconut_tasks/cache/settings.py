"""What the user asked for of the cache."""

from __future__ import annotations

from coconut_tasks.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the cache is, and how to speak to it. Never recorded or logged as a whole: it has secrets."""

    address: str
    """The absolute path of a folder, or a URL with ``http``, ``https``, ``grpc`` or ``grpcs``. The path of a ``grpc`` URL is the instance
    name; the path of an ``http`` URL is what ``/ac/`` and ``/cas/`` are appended to."""
    write: bool = True
    """Whether what is built here is put into the cache."""
    headers: tuple[tuple[str, str], ...] = ()
    """Pairs of a header's name and value to send with each request."""
    ca: str | None = None
    """A file with the certificates (PEM) to trust; None for the system's."""
    certificate: str | None = None
    """A file with the client's certificate (PEM)."""
    key: str | None = None
    """A file with its key; None if it is in the file of the certificate."""
