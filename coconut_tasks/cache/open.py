"""Open a cache by its address."""

from __future__ import annotations

from coconut_tasks.cache.folder import FolderStore
from coconut_tasks.cache.settings import Settings
from coconut_tasks.cache.store import Store


def open_store(settings: Settings) -> Store:
    """The store at the address of the settings.

    Raises:
        CacheFault: what it needs is not installed.
    """
    return FolderStore(settings.address)
