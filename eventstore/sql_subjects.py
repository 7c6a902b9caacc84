"""The keys of subjects in the tables of the store.

Comes from: `store`. Goes to: `relational.Database`, with `sql/subjects.sql`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import asdict

from eventstore.queries import statements
from eventstore.relational import Database
from eventstore.subjects import KeyUse, Sealed, SubjectKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

SQL = statements("subjects.sql")


class Erasing(Database, Protocol):
    """A database that can destroy."""

    async def erase(self, *statements: tuple[str, Mapping[str, Any]]) -> None:
        """Run statements in one transaction, beside no append, and leave nothing of what they have overwritten.

        That is in the tables' own files: not in logs and backups of the database.
        """


class SqlSubjects:
    """`subjects.Subjects` over two tables."""

    def __init__(self, database: Erasing) -> None:
        self._database = database

    async def in_use(self, hashes: Sequence[str]) -> Sequence[SubjectKey]:
        """See `subjects.Subjects`."""
        return [self._key(row) for row in await self._database.fetch(*_listing("keys_in_use", hashes=hashes))]

    async def known(self, hashes: Sequence[str]) -> Sequence[SubjectKey]:
        """See `subjects.Subjects`."""
        return [self._key(row) for row in await self._database.fetch(*_listing("keys_of", hashes=hashes))]

    async def of_execution(self, execution_id: UUID) -> Sequence[SubjectKey]:
        """See `subjects.Subjects`."""
        rows = await self._database.fetch(SQL["keys_of_execution"], {"execution_id": execution_id})
        return [self._key(row) for row in rows]

    async def add(self, key: SubjectKey) -> None:
        """See `subjects.Subjects`."""
        await self._database.execute((SQL["add_key"], asdict(key)))

    async def wrapped(self, key_ids: Sequence[str]) -> Mapping[str, bytes | None]:
        """See `subjects.Subjects`."""
        if not key_ids:
            return {}
        rows = await self._database.fetch(*_listing("wrapped_keys", keys=key_ids))
        return {key_id: None if wrapped is None else bytes(wrapped) for key_id, wrapped in rows}

    async def rewrap(self, key: SubjectKey) -> None:
        """See `subjects.Subjects`."""
        given = {"key_id": key.key_id, "wrapped": key.wrapped, "hash": key.hash}
        await self._database.execute((SQL["rewrap_key"], given))

    async def uses(self, *, after: str = "", limit: int = 100) -> Sequence[KeyUse]:
        """See `subjects.Subjects`."""
        rows = await self._database.fetch(SQL["all_keys"], {"after": after, "limit": limit})
        return [KeyUse(key=self._key(row[:-2]), executions=row[-2], open=row[-1]) for row in rows]

    async def sealed(self, key_ids: Sequence[str]) -> Sealed:
        """See `subjects.Subjects`."""
        names = ("executions", "events", "snapshots", "results")
        counts = {name: await self._database.fetch(*_listing(f"count_{name}", keys=key_ids)) for name in names}
        return Sealed(**{name: rows[0][0] for name, rows in counts.items()})

    async def open_executions(self, key_ids: Sequence[str], *, limit: int = 100) -> Sequence[UUID]:
        """See `subjects.Subjects`."""
        sql, given = _listing("open_executions", keys=key_ids)
        return [self._database.id_of(row[0]) for row in await self._database.fetch(sql, {**given, "limit": limit})]

    async def destroy(self, key_ids: Sequence[str], *, by: str, reason: str, at: datetime) -> bool:
        """See `subjects.Subjects`. The keys go first: what is dropped after them nobody could read."""
        own = await self._database.fetch(*_listing("own_keys", keys=key_ids))
        every = [*key_ids, *(key_id for (key_id,) in own)]
        sql, given = _listing("destroy_keys", keys=every)
        await self._database.erase((sql, {**given, "at": at, "by": by, "reason": reason}))
        if any(wrapped is not None for wrapped in (await self.wrapped(every)).values()):
            return False
        await self._database.execute(
            *(_listing(name, keys=every) for name in ("drop_snapshots", "drop_chunks", "drop_results"))
        )
        return True

    async def at_rest(self) -> Sequence[str]:
        """See `subjects.Subjects`."""
        return [key_id for (key_id,) in await self._database.fetch(SQL["at_rest_keys"], {})]

    async def add_at_rest(self, key_id: str, *, at: datetime) -> None:
        """See `subjects.Subjects`."""
        await self._database.execute((SQL["add_at_rest_key"], {"key_id": key_id, "at": at}))

    def _key(self, row: Sequence[Any]) -> SubjectKey:
        key_id, subject, wrapped, name, created_at, forgotten_at, forgotten_by, reason = row
        return SubjectKey(
            key_id=key_id,
            hash=subject,
            wrapped=None if wrapped is None else bytes(wrapped),
            name=None if name is None else bytes(name),
            created_at=self._database.time_of(created_at),
            forgotten_at=None if forgotten_at is None else self._database.time_of(forgotten_at),
            forgotten_by=forgotten_by,
            reason=reason,
        )


def _listing(name: str, **lists: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return the statement with a parameter for each item of these lists, and the parameters."""
    sql, given = SQL[name], dict[str, Any]()
    for key, items in lists.items():
        named = {f"{key}_{number}": item for number, item in enumerate(items)}
        sql = sql.replace(f"{{{key}}}", ", ".join(f":{each}" for each in named) or "NULL")
        given |= named
    return sql, given
