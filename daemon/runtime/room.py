"""Making room for payloads beyond a quota: what each policy does to those that nobody needs to go on.

Comes from: `quotas`. Goes to: eventstore/usage, eventstore/packing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from msgspec import Struct

from daemon.runtime.stored_events import is_of
from eventstore.errors import Undecodable
from eventstore.packing import packed, unpacked

if TYPE_CHECKING:
    from eventstore.codec import Codec
    from eventstore.store import Store

LOOKED_AT = 1000
"""Payloads, at once."""

_logger = structlog.get_logger(__name__)


class Made(Struct):
    """The room that was made."""

    payloads: int = 0
    bytes: int = 0


class Room:
    """Makes room in one store. All of it is done payload by payload, each by itself."""

    def __init__(self, store: Store, codec: Codec) -> None:
        self._usage = store.usage
        self._archive = store.archive
        self._codec = codec

    async def evict(self, workflow: str, wanted: int) -> Made:
        """Drop the oldest, until there are so many bytes more or nothing is left to drop. Raises Unavailable."""
        made = Made()
        for key, size in await self._usage.oldest(workflow, limit=LOOKED_AT):
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

    def _smaller(self, key: str, stored: bytes) -> bytes | None:
        """Return what holds the same value in less bytes; None when nothing does, or the value is not sound."""
        try:
            plain = unpacked(self._codec.unseal(stored))
        except Undecodable as error:
            _logger.error("payload_damaged", payload=key, error=str(error))  # noqa: TRY400  foreseen: the message says all
            return None
        if not is_of(key, plain):
            _logger.error("payload_damaged", payload=key, error="its hash is another")
            return None
        smaller = self._codec.seal(packed(plain))
        return smaller if len(smaller) < len(stored) else None
