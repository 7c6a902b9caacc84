"""Making room for payloads beyond a quota: what each policy does to those that nobody needs to go on.

Comes from: `quotas`. Goes to: eventstore/usage, eventstore/packing, eventstore/outside.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog
from msgspec import Struct

from daemon.runtime.stored_events import is_of
from eventstore.errors import Unavailable, Undecodable
from eventstore.packing import packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.runtime.clock import Clock
    from eventstore.codec import Codec
    from eventstore.store import Store

LOOKED_AT = 1000
"""Payloads, at once."""
FORSAKEN_AFTER = timedelta(days=1)
"""Whoever began to move a payload out, and has not come to its end in that time, never will."""

_logger = structlog.get_logger(__name__)


class Made(Struct):
    """The room that was made."""

    payloads: int = 0
    bytes: int = 0


class Room:
    """Makes room in one store. All of it is done payload by payload, each by itself."""

    def __init__(self, store: Store, codec: Codec, clock: Clock) -> None:
        self._objects = store.objects
        self._outside = store.outside
        self._clock = clock
        self._usage = store.usage
        self._archive = store.archive
        self._codec = codec

    async def evict(self, workflow: str, wanted: int) -> Made:
        """Drop the oldest, until there are so many bytes more or nothing is left to drop. Raises Unavailable."""
        return await self._drop(workflow, wanted, await self._usage.oldest(workflow, limit=LOOKED_AT))

    async def evict_lru(self, workflow: str, wanted: int) -> Made:
        """Do the same to those that were not read for longest. Raises Unavailable."""
        made = await self._drop(workflow, wanted, await self._usage.least_read(workflow, limit=LOOKED_AT))
        await self._usage.forget_reads()
        return made

    async def _drop(self, workflow: str, wanted: int, payloads: Sequence[tuple[str, int]]) -> Made:
        made = Made()
        for key, size in payloads:
            if made.bytes >= wanted:
                break
            if await self._usage.evict(workflow, key):
                made.payloads += 1
                made.bytes += size
        return made

    async def compress(self, workflow: str, wanted: int) -> Made:
        """Pack the oldest that are not packed yet, likewise. Raises Unavailable."""
        made = Made()
        for key, size in await self._usage.oldest(workflow, limit=LOOKED_AT, unpacked=True):
            if made.bytes >= wanted:
                break
            stored = (await self._archive.payloads([key])).get(key)
            smaller = None if stored is None else await asyncio.to_thread(self._smaller, key, bytes(stored))
            if await self._usage.pack(key, smaller) and smaller is not None:
                made.payloads += 1
                made.bytes += size - len(smaller)
        return made

    async def move_out(self, workflow: str, wanted: int) -> Made:
        """Move the oldest out of the database, likewise: each is written, read back, and then taken out.

        Raises Unavailable when the place does not answer, or does not give back what it was given.
        """
        made = Made()
        for key, size in await self._usage.oldest(workflow, limit=LOOKED_AT):
            if made.bytes >= wanted:
                break
            if await self._moved_out(workflow, key):
                made.payloads += 1
                made.bytes += size
        return made

    async def sweep(self) -> int:
        """Remove objects that no payload has any more; return how many. Raises Unavailable."""
        if self._outside is None:
            return 0
        names = await self._objects.unwanted(noted_before=self._clock.now() - FORSAKEN_AFTER, limit=LOOKED_AT)
        for name in names:
            await self._outside.remove(name)
            await self._objects.removed(name)
        return len(names)

    async def _moved_out(self, workflow: str, key: str) -> bool:
        stored = (await self._archive.payloads([key])).get(key)
        if self._outside is None or stored is None or self._plain(key, bytes(stored)) is None:
            return False
        fresh = f"{key[:2]}/{key}.{uuid4().hex[:8]}"
        name = await self._objects.note(key, fresh, at=self._clock.now())
        there = None if name == fresh else await self._outside.get(name)
        if there is None or self._plain(key, there) is None:
            await self._outside.put(name, bytes(stored))
            there = await self._outside.get(name)
            if there is None or self._plain(key, there) is None:
                raise Unavailable(f"the place for payloads does not give back what it was given: {name}")
        return await self._objects.move(workflow, key, name)

    def _smaller(self, key: str, stored: bytes) -> bytes | None:
        """Return what holds the same value in less bytes; None when nothing does, or the value is not sound."""
        plain = self._plain(key, stored)
        smaller = stored if plain is None else self._codec.seal(packed(plain))
        return smaller if len(smaller) < len(stored) else None

    def _plain(self, key: str, stored: bytes) -> bytes | None:
        """Return the value; None, and say so, when it is not what its hash says."""
        wrong = "its hash is another"
        try:
            plain = unpacked(self._codec.unseal(stored))
            if is_of(key, plain):
                return plain
        except Undecodable as error:
            wrong = str(error)
        _logger.error("payload_damaged", payload=key, error=wrong)
        return None
