"""The index, definitions, cursors and snapshots over any SQL database: one implementation for SQLite and Postgres.

Comes from: `store.open_store`. Goes to: `Database`, as `sqlite` and `postgres` implement it, with `sql/queries.sql`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from eventstore.errors import Undecodable
from eventstore.index import ApprovalRow, DefinitionUse, DueTimer, ForkRow
from eventstore.index_rows import execution_row
from eventstore.log import StoredDefinition
from eventstore.queries import statements
from eventstore.rows import MAX_KEY_CHARS, clean_text
from eventstore.snapshots import Snapshot, Stored
from eventstore.veils import unveiled, veiled_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.codec import Codec
    from eventstore.index import ApprovalFilter, ExecutionFilter, ExecutionRow, IndexChange

MAX_VERSION = 2**63 - 1
SQL = statements("queries.sql")

_CONDITIONS = {
    "workflow": "workflow = :workflow",
    "status": "status = :status",
    "trigger": "trigger_name = :trigger",
    "since": "started_at >= :since",
    "until": "started_at < :until",
    "after_time": "(started_at, execution_id) < (:after_time, :after_id)",
}


class Database(Protocol):
    """What the tables need of a database. Parameters are str, int, bytes, bool, UUID, aware datetime or None.

    Every call is a transaction of its own. Raises Unavailable when the database does not answer.
    """

    async def fetch(self, sql: str, params: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        """Return all rows, ids and times in the database's own form (see `id_of`, `time_of`)."""

    async def execute(self, *statements: tuple[str, Mapping[str, Any]]) -> int:
        """Run statements in one transaction; return how many rows the last one changed."""

    async def rebuild_index(self, changes: AsyncIterable[tuple[UUID, IndexChange]]) -> None:
        """See `index.Index.rebuild`."""

    def id_of(self, value: Any) -> UUID:
        """Return a fetched id."""

    def time_of(self, value: Any) -> datetime:
        """Return a fetched time that is not NULL, aware and in UTC."""


class SqlIndex:
    """`index.Index` over tables."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec

    async def execution(self, execution_id: UUID) -> ExecutionRow | None:
        """See `index.Index`."""
        rows = await self._database.fetch(SQL["execution"], {"execution_id": execution_id})
        return execution_row(self._database, rows[0], self._codec) if rows else None

    async def executions(self, which: ExecutionFilter) -> Sequence[ExecutionRow]:
        """See `index.Index`."""
        after_time, after_id = which.after or (None, None)
        given = {
            "workflow": which.workflow,
            "status": which.status,
            "trigger": which.trigger,
            "since": which.since,
            "until": which.until,
            "after_time": after_time,
        }
        params: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        conditions = " AND ".join(_CONDITIONS[name] for name in params) or "true"
        rows = await self._database.fetch(
            SQL["executions"].replace("{conditions}", conditions),
            {**params, "after_id": after_id, "limit": which.limit},
        )
        return [execution_row(self._database, row, self._codec) for row in rows]

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """See `index.Index`."""
        rows = await self._database.fetch(SQL["counts"], {})
        return {(workflow, status): count for workflow, status, count in rows}

    async def uses(self, workflow: str) -> Sequence[DefinitionUse]:
        """See `index.Index`."""
        time_of = self._database.time_of
        return [
            DefinitionUse(definition, is_open, count, None if oldest is None else time_of(oldest), time_of(last))
            for definition, is_open, count, oldest, last in await self._database.fetch(
                SQL["uses"], {"workflow": workflow}
            )
        ]

    async def busy(self, *, after: UUID | None, limit: int) -> Sequence[UUID]:
        """See `index.Index`."""
        name = "busy" if after is None else "busy_after"
        rows = await self._database.fetch(SQL[name], {"after": after, "limit": limit})
        return [self._database.id_of(row[0]) for row in rows]

    async def due_timers(self, now: datetime, *, after: DueTimer | None = None, limit: int) -> Sequence[DueTimer]:
        """See `index.Index`."""
        name = "due_timers" if after is None else "due_timers_after"
        last = {} if after is None else msgspec.structs.asdict(after)
        rows = await self._database.fetch(SQL[name], {"now": now, "limit": limit, **last})
        return [DueTimer(self._database.id_of(row[0]), row[1], self._database.time_of(row[2])) for row in rows]

    async def next_due(self, *, after: datetime | None = None) -> datetime | None:
        """See `index.Index`."""
        name = "next_due" if after is None else "next_due_after"
        rows = await self._database.fetch(SQL[name], {} if after is None else {"after": after})
        return None if rows[0][0] is None else self._database.time_of(rows[0][0])

    async def latest_dedupe_key(self, trigger: str) -> str | None:
        """See `index.Index`."""
        rows = await self._database.fetch(SQL["latest_dedupe_key"], {"trigger": trigger})
        key: str | None = rows[0][0]
        return key

    async def fork(self, execution_id: UUID) -> ForkRow | None:
        """See `index.Index`."""
        rows = await self._database.fetch(SQL["fork"], {"id": execution_id})
        return self._fork(rows[0]) if rows else None

    async def forks(self, source: UUID, *, limit: int = 100) -> Sequence[ForkRow]:
        """See `index.Index`."""
        rows = await self._database.fetch(SQL["forks"], {"id": source, "limit": limit})
        return [self._fork(row) for row in rows]

    def _fork(self, row: tuple[Any, ...]) -> ForkRow:
        execution_id, source, at_version, at = row
        database = self._database
        return ForkRow(database.id_of(execution_id), database.id_of(source), at_version, database.time_of(at))

    async def approvals(self, which: ApprovalFilter) -> Sequence[ApprovalRow]:
        """See `index.Index`. Without approvers the one row is taken that each approval has for itself."""
        names = {f"approver_{number}": name for number, name in enumerate(which.approvers or ("",))}
        params: dict[str, Any] = {"status": which.status, "limit": which.limit, **names}
        conditions = ["status = :status", f"approver IN ({', '.join(f':{name}' for name in names)})"]
        if which.workflow is not None:
            conditions.append("workflow = :workflow")
            params["workflow"] = which.workflow
        if which.after is not None:
            conditions.append("(requested_at, execution_id, address) > (:after_time, :after_id, :after_address)")
            params |= dict(zip(("after_time", "after_id", "after_address"), which.after, strict=True))
        rows = await self._database.fetch(SQL["approvals"].replace("{conditions}", " AND ".join(conditions)), params)
        return [self._approval(row) for row in rows]

    def _approval(self, row: tuple[Any, ...]) -> ApprovalRow:
        requested, execution_id, address, question, workflow, status, prompt, due, decided = row
        return ApprovalRow(
            execution_id=self._database.id_of(execution_id),
            address=address,
            question=question,
            workflow=workflow,
            status=status,
            prompt=unveiled(prompt, self._codec) or "",
            requested_at=self._database.time_of(requested),
            due_at=None if due is None else self._database.time_of(due),
            decided_at=None if decided is None else self._database.time_of(decided),
        )

    async def without_cause(self, *, limit: int = 100) -> Sequence[UUID]:
        """See `index.Index`."""
        rows = await self._database.fetch(SQL["without_cause"], {"limit": limit})
        return [self._database.id_of(row[0]) for row in rows]

    async def rebuild(self, changes: AsyncIterable[tuple[UUID, IndexChange]]) -> None:
        """See `index.Index`."""
        await self._database.rebuild_index(veiled_all(changes, self._codec) if self._codec.at_rest else changes)


class SqlDefinitions:
    """`log.Definitions` over a table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, definition: StoredDefinition) -> None:
        """See `log.Definitions`."""
        await self._database.execute(
            (
                SQL["put_definition"],
                {
                    "hash": definition.hash,
                    "workflow": definition.workflow,
                    "document": definition.document,
                    "first_seen_at": definition.first_seen_at,
                },
            )
        )

    async def get(self, definition_hash: str) -> StoredDefinition | None:
        """See `log.Definitions`."""
        rows = await self._database.fetch(SQL["get_definition"], {"hash": definition_hash})
        for found, workflow, document, first_seen_at in rows:
            return StoredDefinition(found, workflow, bytes(document), self._database.time_of(first_seen_at))
        return None

    async def find(self, workflow: str, prefix: str) -> Sequence[str]:
        """See `log.Definitions`."""
        if "\0" in workflow + prefix:  # no database holds such a text
            return []
        asked = {"workflow": workflow, "first": prefix, "last": f"{prefix}~"}
        return [found for (found,) in await self._database.fetch(SQL["find_definitions"], asked)]

    async def hashes(self, *, after: str = "", limit: int) -> Sequence[str]:
        """See `log.Definitions`."""
        return [found for (found,) in await self._database.fetch(SQL["hashes"], {"after": after, "limit": limit})]

    async def first_seen(self, workflow: str) -> datetime | None:
        """See `log.Definitions`."""
        rows = await self._database.fetch(SQL["first_seen"], {"workflow": workflow})
        return None if rows[0][0] is None else self._database.time_of(rows[0][0])


class SqlCursors:
    """`log.Cursors` over a table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, name: str) -> int:
        """See `log.Cursors`."""
        rows = await self._database.fetch(SQL["load_cursor"], {"name": name})
        return rows[0][0] if rows else 0

    async def save(self, name: str, position: int) -> None:
        """See `log.Cursors`."""
        await self._database.execute((SQL["save_cursor"], {"name": name, "position": position}))


class SqlSnapshots:
    """`snapshots.Snapshots` over a table, states compressed and encrypted as the codec does it."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec

    async def save(self, snapshot: Snapshot, *, keep_last: int) -> None:
        """See `snapshots.Snapshots`."""
        row = {
            "execution_id": snapshot.execution_id,
            "version": snapshot.version,
            "format": snapshot.format,
            "state": self._codec.seal(snapshot.state),
            "taken_at": snapshot.taken_at,
            "label": clean_text(snapshot.label, MAX_KEY_CHARS),
            "covers_to": snapshot.covers_to,
        }
        kept = {"execution_id": snapshot.execution_id, "keep_last": keep_last}
        await self._database.execute((SQL["save_snapshot"], row), (SQL["drop_old_snapshots"], kept))

    async def latest(
        self, execution_id: UUID, *, up_to_version: int | None = None, covers_to: datetime | None = None
    ) -> Snapshot | None:
        """See `snapshots.Snapshots`."""
        asked = {
            "execution_id": execution_id,
            "up_to_version": MAX_VERSION if up_to_version is None else up_to_version,
            "covers_to": covers_to,
        }
        rows = await self._database.fetch(SQL["latest_snapshot" if covers_to is None else "latest_snapshot_at"], asked)
        return self._snapshot(rows[0]) if rows else None

    async def get(self, execution_id: UUID, version: int) -> Snapshot | None:
        """See `snapshots.Snapshots`."""
        rows = await self._database.fetch(SQL["get_snapshot"], {"execution_id": execution_id, "version": version})
        return self._snapshot(rows[0]) if rows else None

    async def all_of(self, execution_id: UUID) -> Sequence[Snapshot]:
        """See `snapshots.Snapshots`."""
        rows = await self._database.fetch(SQL["all_snapshots"], {"execution_id": execution_id})
        return [self._snapshot(row) for row in rows]

    async def stored(self, execution_id: UUID) -> Sequence[Stored]:
        """See `snapshots.Snapshots`."""
        rows = await self._database.fetch(SQL["stored_snapshots"], {"execution_id": execution_id})
        return [
            Stored(version, form, size, self._database.time_of(taken_at), label, self._time(covers_to))
            for version, form, size, taken_at, label, covers_to in rows
        ]

    async def clear(self, execution_id: UUID, *, version: int | None = None) -> int:
        """See `snapshots.Snapshots`."""
        name = "clear_snapshots" if version is None else "clear_snapshot"
        return await self._database.execute((SQL[name], {"execution_id": execution_id, "version": version}))

    def _snapshot(self, row: tuple[Any, ...]) -> Snapshot:
        execution_id, version, form, state, taken_at, label, covers_to = row
        try:
            plain = self._codec.unseal(bytes(state))
        except Undecodable as error:
            raise Undecodable(f"snapshot {version} of execution {execution_id}: {error}") from error
        taken = self._database.time_of(taken_at)
        return Snapshot(self._database.id_of(execution_id), version, form, plain, taken, label, self._time(covers_to))

    def _time(self, value: Any) -> datetime | None:
        return None if value is None else self._database.time_of(value)
