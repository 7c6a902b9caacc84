"""Snapshots, chunks and cached results, those of a subject's executions sealed with the subject's key.

What was sealed with a key that was destroyed is as if it were not there: a snapshot is folded anew, a result is made
again, a stream has ended.

Comes from: `store`. Goes to: `sealed_log`, what keeps these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from eventstore.results import NOTHING, Found, Which

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.results import Result, Results
    from eventstore.sealed_log import Vault
    from eventstore.snapshots import Snapshot, Snapshots
    from eventstore.streams import Batch, StreamId, Streams


class SealedSnapshots:
    """`snapshots.Snapshots` over another."""

    def __init__(self, snapshots: Snapshots, vault: Vault) -> None:
        self._snapshots = snapshots
        self._vault = vault
        self.stored = snapshots.stored
        self.clear = snapshots.clear

    async def save(self, snapshot: Snapshot, *, keep_last: int) -> None:
        """See `snapshots.Snapshots`."""
        state = await self._vault.seal_for(snapshot.execution_id, snapshot.state)
        await self._snapshots.save(replace(snapshot, state=state), keep_last=keep_last)

    async def latest(
        self, execution_id: UUID, *, up_to_version: int | None = None, covers_to: datetime | None = None
    ) -> Snapshot | None:
        """See `snapshots.Snapshots`."""
        found = await self._snapshots.latest(execution_id, up_to_version=up_to_version, covers_to=covers_to)
        return await self._open(found)

    async def get(self, execution_id: UUID, version: int) -> Snapshot | None:
        """See `snapshots.Snapshots`."""
        return await self._open(await self._snapshots.get(execution_id, version))

    async def all_of(self, execution_id: UUID) -> Sequence[Snapshot]:
        """See `snapshots.Snapshots`."""
        found = [await self._open(each) for each in await self._snapshots.all_of(execution_id)]
        return [snapshot for snapshot in found if snapshot is not None]

    async def _open(self, snapshot: Snapshot | None) -> Snapshot | None:
        state = None if snapshot is None else await self._vault.open(snapshot.state)
        return None if snapshot is None or state is None else replace(snapshot, state=state)


class SealedStreams:
    """`streams.Streams` over another."""

    def __init__(self, streams: Streams, vault: Vault) -> None:
        self._streams = streams
        self._vault = vault
        self.begin = streams.begin
        self.end = streams.end
        self.newest = streams.newest
        self.prune = streams.prune
        self.oldest_end = streams.oldest_end

    async def add(self, stream: StreamId, run: int, batch: Batch, *, bytes_so_far: int) -> bool:
        """See `streams.Streams`."""
        data = await self._vault.seal_for(stream.execution_id, batch.data)
        return await self._streams.add(stream, run, replace(batch, data=data), bytes_so_far=bytes_so_far)

    async def read(self, stream: StreamId, run: int, *, after: int, limit: int) -> Sequence[Batch]:
        """See `streams.Streams`."""
        found = await self._streams.read(stream, run, after=after, limit=limit)
        opened = [(batch, await self._vault.open(batch.data)) for batch in found]
        return [replace(batch, data=data) for batch, data in opened if data is not None]


class SealedResults:
    """`results.Results` over another."""

    def __init__(self, results: Results, vault: Vault) -> None:
        self._results = results
        self._vault = vault
        self.claim = results.claim
        self.extend = results.extend
        self.release = results.release
        self.kept = results.kept
        self.clear = results.clear
        self.prune = results.prune
        self.close = results.close

    async def find(self, cache: str, key: str, *, now: datetime) -> Found:
        """See `results.Results`."""
        found = await self._results.find(cache, key, now=now)
        if found.result is None:
            return found
        value = await self._vault.open(found.result.value)
        if value is None:
            await self._results.clear(Which(cache=cache, key=key))
            return NOTHING
        return Found(replace(found.result, value=value), None)

    async def put(self, result: Result, *, by: UUID) -> bool:
        """See `results.Results`."""
        value = await self._vault.seal_for(result.execution_id, result.value)
        return await self._results.put(replace(result, value=value), by=by)
