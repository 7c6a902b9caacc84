"""The store of the settings, opened for one command.

Comes from: `reading`, `upkeep`, `doctor`. Goes to: daemon/runtime/opening.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from daemon.cli.faults import BadUsage
from daemon.runtime.opening import store_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from daemon.settings import Settings
    from eventstore.store import Store


@asynccontextmanager
async def opened(settings: Settings, *, create: bool = False) -> AsyncIterator[Store]:
    """Open the store, close it at the end. Without `create` it must be there, with the schema of this program.

    Raises Unusable, Unavailable, and BadUsage when there is nothing to open.
    """
    missing = missing_file(settings)
    if missing is not None and not create:
        hint = "`sagad run` and `sagad migrate` make it; or name other settings with --config"
        raise BadUsage(f"there is no database at {missing}", hint=hint)
    store = await store_of(settings, auto_migrate=create)
    try:
        yield store
    finally:
        await store.close()


def is_memory(settings: Settings) -> bool:
    """Tell whether only the daemon's own process can read the store."""
    return settings.store.url.startswith("memory:")


def missing_file(settings: Settings) -> Path | None:
    """Return the SQLite file of the settings if it is not there."""
    parts = urlsplit(settings.store.url)
    path = Path(unquote(parts.path).removeprefix("/"))
    return path if parts.scheme == "sqlite" and not path.exists() else None
