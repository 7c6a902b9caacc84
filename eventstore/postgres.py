"""The log in Postgres: one round trip a commit, by the function `sagad_append`, on one connection in the event loop.

The table is the eventsourcing library's, so its tools can read the log; its recorder is not used, being synchronous
and three round trips long. The function takes the log's lock first (see `sql/postgres/0001_log.sql`), so positions
become visible in order.

Comes from: `writer`. Goes to: `postgres_database`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import psycopg

from eventstore.arrays import Bigints, Bytes, Texts, Uuids
from eventstore.codec import Stored
from eventstore.errors import Conflict, Fenced, Full
from eventstore.log import by_execution
from eventstore.outside import Reach
from eventstore.postgres_rows import index_arrays, key_arrays, rare_changes
from eventstore.queries import statements
from eventstore.reads import Reads
from eventstore.relational import MAX_VERSION
from eventstore.veils import veiled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from eventstore.arrays import Array
    from eventstore.codec import Codec
    from eventstore.log import Append, Recorded
    from eventstore.outside import Outside
    from eventstore.postgres_database import PostgresDatabase

Rare: TypeAlias = "Sequence[tuple[str, Sequence[Array]]]"
"""Statements with their arguments."""
SQL = {**statements("queries.sql"), **statements("postgres/append.sql")}
KEY_GONE = "SG001"
"""What `sagad_use_keys` fails with."""


class PostgresLog:
    """`log.EventLog` and `payloads.Payloads` on one database."""

    def __init__(self, database: PostgresDatabase, codec: Codec, outside: Outside | None = None) -> None:
        self._database = database
        self._codec = codec
        self._reach = Reach(codec, outside)
        self.reads = Reads()

    async def insert(self, batch: Sequence[Append]) -> None:
        """See `log.EventLog`."""
        batch = self.veiled(batch)
        slots = [(append.execution_id, change) for append in batch for change in append.index.slots]
        arguments, uses = self.arguments(batch)
        rare = [*self.rare(batch), *uses]
        try:
            fenced, losers, filled = await self._database.append(arguments, slots, rare)
        except psycopg.DatabaseError as error:
            if error.sqlstate != KEY_GONE:
                raise
            fenced, filled = None, None
            losers = [append.execution_id for append in batch if append.key is not None]  # any of them: all look again
        if filled:
            raise Full(filled)
        if fenced:
            raise Fenced(fenced)
        if losers:
            first = next(append for append in batch if append.execution_id in losers)
            raise Conflict(first.execution_id, first.after_version, losers=losers)

    def veiled(self, batch: Sequence[Append]) -> Sequence[Append]:
        """Return the batch with its texts for the index encrypted, if the store is."""
        return [veiled(append, self._codec) for append in batch] if self._codec.at_rest else batch

    def rare(self, batch: Sequence[Append]) -> list[tuple[str, list[Array]]]:
        """Return the statements beside `sagad_append`, with their arguments."""
        rare = rare_changes([(append.execution_id, append.index) for append in batch])
        keys = [(append.execution_id, append.key) for append in batch if append.key is not None]
        return [*rare, ("use_keys", key_arrays(keys))] if keys else rare

    def arguments(self, batch: Sequence[Append]) -> tuple[list[Array], Rare]:
        """Return those of `sagad_append`, and the statement that notes which payloads are referred to, if any are."""
        writers = {append.by.bytes for append in batch if append.by is not None}
        index = index_arrays((append.execution_id, append.index, append.by) for append in batch)
        events, uses = self._events(batch)
        return [Uuids.of(list(writers)), *events, *index], uses

    def _events(self, batch: Sequence[Append]) -> tuple[list[Array], Rare]:
        """Return the arguments of `sagad_append` before those of the index."""
        payloads: dict[str, bytes] = {}
        uses: list[tuple[int, str]] = []
        keys: list[bytes] = []
        ids: list[bytes] = []
        versions: list[int] = []
        for append in batch:
            key, after, count = append.execution_id.int.to_bytes(16, "big"), append.after_version, len(append.events)
            keys.append(key)
            ids += [key] * count
            versions += range(after + 1, after + 1 + count)
        topics, states = self._codec.encode_all([event for append in batch for event in append.events], payloads, uses)
        used = sorted({(ids[place], key) for place, key in uses})
        noted: Rare = (
            [("put_uses", [Uuids.of([key for key, _ in used]), Texts.of([name for _, name in used])])] if used else []
        )
        return [
            Uuids.of(keys),
            Bigints.of([append.after_version for append in batch]),
            Uuids.of(ids),
            Bigints.of(versions),
            Texts.of(topics),
            Bytes.of(states),
            Texts.of(list(payloads)),
            Bytes.of(list(payloads.values())),
        ], noted

    async def read(
        self, execution_id: UUID, *, after_version: int = 0, up_to_version: int | None = None
    ) -> Sequence[Recorded]:
        """See `log.EventLog`."""
        last = MAX_VERSION if up_to_version is None else up_to_version
        rows = await self._database.select(SQL["read"], (execution_id, after_version, last))
        return await self._decode([Stored(execution_id, *row) for row in rows], self.reads)

    async def read_many(self, execution_ids: Sequence[UUID], *, limit: int) -> Mapping[UUID, Sequence[Recorded]]:
        """See `log.EventLog`."""
        rows = await self._database.select(SQL["read_many"], (list(execution_ids), limit))
        return by_execution(await self._decode([Stored(*row) for row in rows], self.reads))

    async def read_all(self, *, after_position: int = 0, limit: int = 1000) -> Sequence[Recorded]:
        """See `log.EventLog`."""
        rows = await self._database.select(SQL["read_all"], (after_position, limit))
        return await self._decode([Stored(*row) for row in rows])

    async def head(self) -> int:
        """See `log.EventLog`."""
        rows = await self._database.select(SQL["head"], ())
        head: int = rows[0][0]
        return head

    async def versions(self, execution_ids: Sequence[UUID]) -> Mapping[UUID, int]:
        """See `store.Store`."""
        return dict(await self._database.select(SQL["versions"], (list(execution_ids),)))

    async def delete(self, payload_hash: str) -> bool:
        """See `payloads.Payloads`."""
        steps = [(SQL[name], {"hash": payload_hash}) for name in ("loosen_object", "delete_payload")]
        return await self._database.execute(*steps) > 0

    async def _decode(self, rows: Sequence[Stored], reads: Reads | None = None) -> list[Recorded]:
        opened = self._codec.open(rows)
        if reads is not None:
            reads.note(opened.wanted)
        if not opened.wanted and not opened.keys:
            return opened.events()
        payloads = await self.payloads(opened.wanted) if opened.wanted else {}
        keys = await self._database.select(SQL["get_keys"], (opened.keys,)) if opened.keys else ()
        return opened.events(payloads, dict(keys))

    async def payloads(self, hashes: Sequence[str]) -> dict[str, bytes | None]:
        """See `archive.Archive`."""
        found = await self._database.select(SQL["get_payloads"], (list(hashes),))
        return await self._reach.fill([(key, data, name) for key, data, name in found])
