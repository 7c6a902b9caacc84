"""Opening the store of the settings, with the place outside of it.

Comes from: daemon/main, daemon/cli. Goes to: eventstore/store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.runtime.codec import codec_of
from daemon.runtime.payload_place import outside_of
from eventstore.store import open_store

if TYPE_CHECKING:
    from daemon.settings import Settings
    from eventstore.store import Store


async def store_of(settings: Settings, *, auto_migrate: bool) -> Store:
    """Open it. Raises Misconfigured, and what `open_store` raises."""
    outside = outside_of(settings.storage)
    return await open_store(settings.store.url, codec_of(settings), auto_migrate=auto_migrate, outside=outside)
