"""The place for payloads outside of the database, as the settings name it: a folder, or storage that speaks S3.

Comes from: daemon/main, daemon/cli. Goes to: `archive_places`.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.core.errors import Rejected
from daemon.runtime.archive_places import place_at

if TYPE_CHECKING:
    from daemon.runtime.archive_places import Place
    from daemon.settings_retention import Storage


class PayloadPlace:
    """`eventstore.outside.Outside` over a place for files."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def put(self, name: str, data: bytes) -> None:
        """See `outside.Outside`."""
        with tempfile.TemporaryDirectory(prefix="sagad-payload-") as folder:
            file = Path(folder) / "file"
            await asyncio.to_thread(file.write_bytes, data)
            await self._place.put(name, file)

    async def get(self, name: str) -> bytes | None:
        """See `outside.Outside`."""
        with tempfile.TemporaryDirectory(prefix="sagad-payload-") as folder:
            file = Path(folder) / "file"
            try:
                await self._place.fetch(name, file)
            except Rejected:
                return None
            return await asyncio.to_thread(file.read_bytes)

    async def remove(self, name: str) -> None:
        """See `outside.Outside`."""
        await self._place.remove(name)


def outside_of(storage: Storage) -> PayloadPlace | None:
    """Return the place that the settings name. Raises Misconfigured when the library for S3 is not there."""
    if storage.external is None:
        return None
    s3 = storage.s3_endpoint, storage.s3_region
    return PayloadPlace(place_at(storage.external, "the payloads", setting="[storage] external", s3=s3))
