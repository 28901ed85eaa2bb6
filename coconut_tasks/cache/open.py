"""The cache that an address names."""

from __future__ import annotations

from coconut_tasks.cache.limits import Limits
from coconut_tasks.cache.settings import Settings
from coconut_tasks.cache.store import CacheFault, CacheStore


def open_store(settings: Settings, limits: Limits | None = None) -> CacheStore:
    """Nothing is connected to before something is asked. What a remote kind needs is imported here, and only for it.

    Raises:
        CacheFault: a package is missing, or the settings cannot work.
    """
    scheme, separator, _ = settings.address.partition("://")
    if not separator:
        from coconut_tasks.cache.folder import FolderStore

        return FolderStore(settings.address)
    try:
        if scheme in ("http", "https"):
            from coconut_tasks.cache.http import HttpStore

            return HttpStore(settings, limits)
        if scheme in ("grpc", "grpcs"):
            from coconut_tasks.cache.remote import RemoteStore

            return RemoteStore(settings, limits)
    except ImportError as error:
        if (error.name or "").startswith("coconut_tasks"):
            raise
        raise CacheFault("a cache behind a URL needs more packages: pip install 'coconut-tasks[remote]'") from error
    raise CacheFault("its address begins with none of http, https, grpc and grpcs")
