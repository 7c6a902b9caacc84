"""Chunks in the tables of the store, compressed and encrypted as the codec does it: a row for each batch.

Comes from: `store`. Goes to: `relational.Database`, with `sql/streams.sql`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from eventstore.queries import statements
from eventstore.streams import Batch, Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from eventstore.codec import Codec
    from eventstore.relational import Database
    from eventstore.streams import StreamId

SQL = statements("streams.sql")
PRUNE_STREAMS = 100
"""Looked for at once; each is dropped in a transaction of its own."""


class SqlStreams:
    """`streams.Streams` over two tables."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec

    async def begin(self, stream: StreamId, *, attempt: int, at: datetime) -> int:
        """See `streams.Streams`. Of two daemons that begin at once, each gets a number of its own."""
        while True:
            newest = await self.newest(stream)
            number = 1 if newest is None else newest.number + 1
            of = {**asdict(stream), "run": number}
            if await self._database.execute((SQL["begin_run"], {**of, "attempt": attempt, "at": at})):
                await self._database.execute((SQL["drop_old_chunks"], of))
                return number

    async def add(self, stream: StreamId, run: int, batch: Batch, *, bytes_so_far: int) -> bool:
        """See `streams.Streams`."""
        place = {**asdict(stream), "run": run, "last": batch.last}
        added = await self._database.execute(
            (SQL["add_batch"], {**place, "first": batch.first, "data": self._codec.seal(batch.data)}),
            (SQL["count_batch"], {**place, "bytes": bytes_so_far}),
        )
        return added > 0

    async def end(self, stream: StreamId, run: int, *, at: datetime) -> None:
        """See `streams.Streams`."""
        await self._database.execute((SQL["end_run"], {**asdict(stream), "run": run, "at": at}))

    async def newest(self, stream: StreamId) -> Run | None:
        """See `streams.Streams`."""
        rows = await self._database.fetch(SQL["newest_run"], asdict(stream))
        return self._run(rows[0]) if rows else None

    async def read(self, stream: StreamId, run: int, *, after: int, limit: int) -> Sequence[Batch]:
        """See `streams.Streams`. Raises Undecodable when they cannot be decrypted."""
        params = {**asdict(stream), "run": run, "after": after, "limit": limit}
        rows = await self._database.fetch(SQL["read_batches"], params)
        return [Batch(first, last, self._codec.unseal(bytes(data))) for first, last, data in rows]

    async def prune(self, *, ended_before: datetime) -> int:
        """See `streams.Streams`."""
        total = 0
        while over := await self._database.fetch(SQL["over_streams"], {"before": ended_before, "limit": PRUNE_STREAMS}):
            for execution_id, address in over:
                of = {"execution_id": self._database.id_of(execution_id), "address": address}
                await self._database.execute((SQL["drop_chunks"], of), (SQL["drop_stream"], of))
            total += len(over)
        return total

    async def oldest_end(self) -> datetime | None:
        """See `streams.Streams`."""
        rows = await self._database.fetch(SQL["oldest_end"], {})
        return None if rows[0][0] is None else self._database.time_of(rows[0][0])

    def _run(self, row: tuple[Any, ...]) -> Run:
        number, attempt, chunks, size, began_at, ended_at = row
        return Run(
            number=number,
            attempt=attempt,
            chunks=chunks,
            bytes=size,
            began_at=self._database.time_of(began_at),
            ended_at=None if ended_at is None else self._database.time_of(ended_at),
        )
