"""Events as they are stored, one after another, each checked, opened and with its hash.

Comes from: `verification`, `exports`, `imports`. Goes to: eventstore/archive, daemon/core/chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from daemon.core.chain import beginning, link
from daemon.core.events import ExecutionForked, ExecutionMigrated, ExecutionStarted
from eventstore.codec import Stored
from eventstore.errors import Undecodable
from eventstore.packing import unpacked
from eventstore.payloads import references_in
from eventstore.sealing import key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from eventstore.codec import Codec
    from eventstore.store import Store

PAGE = 500


class Broken(Undecodable):
    """An event is not what was once written, or is not there. It is the first such of its execution."""

    def __init__(self, execution_id: UUID, version: int, message: str) -> None:
        super().__init__(f"event {version} of execution {execution_id} {message}")
        self.version = version
        self.message = message


class Entry(Struct, frozen=True, kw_only=True):
    """One stored event."""

    row: Stored
    """Its state neither compressed nor encrypted."""
    event: Any
    payloads: Mapping[str, bytes | None]
    """Those that it refers to; None for one that was deleted."""
    hash: bytes


class StoredEvents:
    """The events of one store."""

    def __init__(self, store: Store, codec: Codec) -> None:
        self._store = store
        self._codec = codec

    async def last_version(self, execution_id: UUID) -> int:
        """Return it; 0 for an execution that has no events."""
        return (await self._store.versions([execution_id])).get(execution_id, 0)

    async def walk(self, execution_id: UUID, up_to_version: int) -> AsyncIterator[Entry]:
        """Give the events from the first on. Raises Broken at the first that is not sound."""
        before = b""
        keys: dict[str, bytes | None] = {}
        async for row in self._rows(execution_id, up_to_version):
            payloads = await self._payloads(row)
            if (key_id := key_of(row.state)) is not None and key_id not in keys:
                keys |= await self._store.subjects.wrapped([key_id])
            event = decoded(self._codec, row, payloads, keys)
            if row.version == 1:
                before = beginning(execution_id, await self._past(row, event))
            before = link(before, row.version, row.topic, row.state)
            yield Entry(row=row, event=event, payloads=payloads, hash=before)

    async def hash_at(self, execution_id: UUID, version: int) -> bytes | None:
        """Return the hash of the event; None when there is none of this version. Raises Broken."""
        if not 1 <= version <= await self.last_version(execution_id):
            return None
        found = b""
        async for entry in self.walk(execution_id, version):
            found = entry.hash
        return found

    async def _past(self, row: Stored, event: Any) -> bytes:
        if not isinstance(event, ExecutionForked):
            return b""
        try:
            past = await self.hash_at(event.source, event.at_version)
        except Broken as error:
            raise Broken(row.execution_id, 1, f"goes on from a past that is not sound: {error}") from error
        if past is None:
            missing = f"goes on from event {event.at_version} of execution {event.source}, which is missing"
            raise Broken(row.execution_id, 1, missing)
        return past

    async def _rows(self, execution_id: UUID, up_to_version: int) -> AsyncIterator[Stored]:
        version = position = 0
        while version < up_to_version:
            until = min(version + PAGE, up_to_version)
            for row in await self._store.archive.rows(execution_id, after_version=version, up_to_version=until):
                version += 1
                if row.version != version:
                    raise Broken(execution_id, version, f"is missing: {row.version} follows {version - 1}")
                if row.position <= position:
                    raise Broken(execution_id, version, "is older than the one before it: they were swapped")
                position = row.position
                yield self._unsealed(row)
            if version < until:
                raise Broken(execution_id, version + 1, "is missing")

    def _unsealed(self, row: Stored) -> Stored:
        topic, state = cast("tuple[Any, Any]", (row.topic, row.state))  # of any type, if somebody has changed them
        if not isinstance(topic, str) or not isinstance(state, bytes | memoryview):
            raise Broken(row.execution_id, row.version, "has no topic that is text, or no state that is bytes")
        try:
            return row._replace(state=self._codec.unseal(bytes(state)))
        except Undecodable as error:
            raise Broken(row.execution_id, row.version, str(error)) from error

    async def _payloads(self, row: Stored) -> dict[str, bytes | None]:
        wanted = references_in(row.state)
        if not wanted:
            return {}
        found: dict[str, bytes | None] = {}
        try:
            stored = await self._store.archive.payloads(wanted)
        except Undecodable as error:
            raise Broken(row.execution_id, row.version, f"cannot be read: {error}") from error
        for key, data in stored.items():
            try:
                found[key] = None if data is None else unpacked(self._codec.unseal(bytes(data)))
            except Undecodable as error:
                raise Broken(row.execution_id, row.version, f"has a payload {key}: {error}") from error
            if not is_of(key, found[key]):
                raise Broken(
                    row.execution_id, row.version, f"has a payload {key} that was changed: its hash is another"
                )
        return found


def is_of(payload_hash: str, data: bytes | None) -> bool:
    """Tell whether the payload is what its hash says. One that was deleted is."""
    return data is None or sha256(data).hexdigest() == payload_hash


def decoded(
    codec: Codec, row: Stored, payloads: Mapping[str, bytes | None], keys: Mapping[str, bytes | None] | None
) -> Any:
    """Return the event. Raises Broken for one that cannot be read, or begins another execution than its own.

    See `Codec.decode` for `keys`.
    """
    try:
        event = codec.decode(row, row.state, payloads, keys)
    except (Undecodable, ValueError) as error:
        raise Broken(row.execution_id, row.version, f"cannot be read: {error}") from error
    if isinstance(event, ExecutionStarted | ExecutionForked) and event.execution_id != row.execution_id:
        raise Broken(row.execution_id, row.version, f"begins another execution, {event.execution_id}")
    return event


def definition_of(event: Any) -> str | None:
    """Return the hash of the definition that the event pins its own execution to, if it does."""
    pins = isinstance(event, ExecutionStarted | ExecutionForked | ExecutionMigrated)
    return event.definition if pins else None
