"""Bringing back from the archive what retention has deleted.

Comes from: daemon/api, daemon/cli. Goes to: `archive_places`, `imports`.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.core.errors import ExecutionNotFound, Rejected
from daemon.runtime.archive_file import ArchiveFile, BadFile
from daemon.runtime.imports import Import, Imported, Wish

if TYPE_CHECKING:
    from uuid import UUID

    from daemon.runtime.archive_places import Place
    from daemon.runtime.clock import Clock
    from eventstore.codec import Codec
    from eventstore.deletions import Deleted
    from eventstore.store import Store


class Restoring:
    """Brings executions back into one store."""

    def __init__(self, store: Store, codec: Codec, clock: Clock, place: Place | None) -> None:
        self._store = store
        self._codec = codec
        self._clock = clock
        self._place = place

    async def restore(self, execution_id: UUID) -> Imported:
        """Bring the execution back, and what it was forked from, if that was deleted too.

        It counts as ended now: the rules of retention let it go that much later. Raises ExecutionNotFound; Rejected for
        one that is there, or in no archive that can be reached, or whose file is another than the one that was written;
        Unavailable; BadFile.
        """
        known = await self._store.deletions.deleted(execution_id)
        if known is None:
            if await self._store.index.execution(execution_id) is None:
                raise ExecutionNotFound(execution_id)
            raise Rejected(f"execution {execution_id} is there")
        with tempfile.TemporaryDirectory(prefix="sagad-restore-") as folder:
            path = Path(folder) / "file"
            place, name = self._where(known)
            await place.fetch(name, path)
            file = ArchiveFile(path, self._codec)
            try:
                await asyncio.to_thread(file.read_all)
            except BadFile as error:
                raise BadFile(known.archived_as or name, error.line, error.message) from None
            told = file.told.get(execution_id)
            if told is None or told.hash.hex() != known.head:
                raise Rejected(f"{known.archived_as} does not hold execution {execution_id} as it was deleted")
            for key in file.told.keys() - {execution_id}:
                source = await self._store.deletions.deleted(key)
                if source is not None and source.archived_as is not None:
                    await self.restore(key)
            return await Import(self._store, self._codec, self._clock, path, Wish(conflicts="skip")).run()

    def _where(self, known: Deleted) -> tuple[Place, str]:
        """Return the place, and the name of the file there."""
        address, place = known.archived_as, self._place
        if address is None:
            raise Rejected(f"execution {known.execution_id} was deleted without being archived")
        if place is None or not address.startswith(f"{place.url}/"):
            raise Rejected(
                f"execution {known.execution_id} is at {address}, which is not in the archive of these settings: "
                "name that one in [retention] archive, or import the file"
            )
        return place, address.removeprefix(f"{place.url}/")
