"""What the user asked for of the cache: on the command line, in the environment, or in the configuration file.

The file is ``coconut-tasks/config.toml`` in ``$XDG_CONFIG_HOME`` (``~/.config``). It is read when a step is about to be built.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import UsageError
from coconut_tasks.options import CACHE_VARIABLES, Options, configuration_file, parse_switch, user_folder

_OFF, _ON = ("", "0", "no", "off", "false"), ("1", "yes", "on", "true")
_SCHEMES = ("http", "https", "grpc", "grpcs")
_NAMES = {
    "COCONUT_CACHE": "cache",
    "COCONUT_CACHE_WRITE": "cache-write",
    "COCONUT_CACHE_HEADERS": "cache-headers",
    "COCONUT_CACHE_CA": "cache-ca",
    "COCONUT_CACHE_CERTIFICATE": "cache-certificate",
    "COCONUT_CACHE_KEY": "cache-key",
}
"""The variables of the environment, and the same in the configuration file."""
assert set(_NAMES) == set(CACHE_VARIABLES)


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

    def __repr__(self) -> str:
        return f"Settings({urlsplit(self.address).hostname or self.address})"

    @property
    def is_folder(self) -> bool:
        """Whether the cache is a folder."""
        return self.address.startswith("/")


def cache_folder(environment: Mapping[str, str]) -> str:
    """Our own folder for what can be made again."""
    return user_folder(environment, "XDG_CACHE_HOME", ".cache")


def shown_address(settings: Settings) -> str:
    """The address for users: without a name, a password, and what may be another secret."""
    if settings.is_folder:
        return settings.address
    url = urlsplit(settings.address)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path.rstrip('/')}"


def find_settings(options: Options) -> Settings | None:
    """The settings; None if the cache is off.

    Raises:
        UsageError: something in them is wrong.
    """
    given = {**_configured(configuration_file(options.environment)), **_from_environment(options.cache_variables)}
    if options.cache is not None:
        given["cache"] = options.cache
    if options.cache_write is not None:
        given["cache-write"] = options.cache_write
    address = _address(str(given.get("cache", "")), options)
    if address is None:
        return None
    write = given.get("cache-write", True)
    return Settings(
        address,
        write if isinstance(write, bool) else parse_switch("CACHE_WRITE", str(write)),
        tuple((str(name), str(value)) for name, value in dict(given.get("cache-headers", {})).items()),
        *(options.absolute(str(given[name])) if name in given else None for name in list(_NAMES.values())[3:]),
    )


def _is_path(text: str) -> bool:
    return "://" not in text and text.lower() not in (*_OFF, *_ON)


def _address(text: str, options: Options) -> str | None:
    if text.lower() in _OFF:
        return None
    if text.lower() in _ON:
        return os.path.join(cache_folder(options.environment), "cache")
    scheme, separator, _ = text.partition("://")
    if not separator:
        return options.absolute(text)
    wrong = scheme.lower() not in _SCHEMES
    try:
        wrong = wrong or not urlsplit(text).hostname
    except ValueError:
        wrong = True
    if wrong:
        # The text may have a password in it, so it is not repeated.
        raise UsageError(
            "not-a-cache",
            f"CACHE: '{scheme}://…' is not the address of a cache; expected a folder, http(s)://… or grpc(s)://…",
        )
    return text


def _from_environment(variables: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {_NAMES[name]: value for name, value in variables.items()}
    if "cache-headers" in found:
        lines = [line.partition(":") for line in found["cache-headers"].splitlines() if line.strip()]
        found["cache-headers"] = {name.strip(): value.strip() for name, _, value in lines}
    return found


def _configured(file: str) -> dict[str, Any]:
    try:
        with open(file, "rb") as opened:
            text = opened.read()
    except OSError:
        return {}
    import tomllib

    try:
        found = tomllib.loads(text.decode())
    except ValueError as error:
        raise UsageError("not-a-configuration", f"{file}: {error}") from error
    unknown = found.keys() - set(_NAMES.values())
    headers = found.get("cache-headers", {})
    if unknown or not isinstance(headers, dict):
        names = ", ".join(sorted(unknown)) or "cache-headers"
        raise UsageError("not-a-configuration", f"{file}: {names}: expected {', '.join(_NAMES.values())}")
    if found.get("cache") is True:
        found["cache"] = "1"
    # A relative path starts beside the file: the working folder would be another one each time.
    for name in ("cache", "cache-ca", "cache-certificate", "cache-key"):
        if isinstance(path := found.get(name), str) and (name != "cache" or _is_path(path)) and path[:1] != "~":
            found[name] = os.path.join(os.path.dirname(file), path)
    return found
