"""The slots in SQL: queries over either database, and what its tables are changed by.

Comes from: `store`, `postgres`, `sqlite_database`. Goes to: `relational.Database`, with `sql/queries.sql`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from eventstore.queries import statements
from eventstore.slots import Holder, Use, Waiter

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from eventstore.relational import Database
    from eventstore.slots import SlotChange

SQL = {**statements("queries.sql"), **statements("sqlite/append.sql")}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class SqlSlots:
    """`slots.Slots` over tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def queues(self, *, most: int) -> Sequence[tuple[str, str]]:
        """See `slots.Slots`."""
        rows = await self._database.fetch(SQL["slot_queues"], {"most": most})
        return [(limit, key) for limit, key in rows]

    async def heads(self, limit: str, key: str, *, most: int) -> Sequence[Waiter]:
        """See `slots.Slots`."""
        rows = await self._database.fetch(SQL["slot_heads"], {"limit": limit, "key": key, "most": most})
        return [
            Waiter(
                execution_id=self._database.id_of(row[0]),
                address=row[1],
                priority=-row[2],
                fair=row[3],
                since=self._database.time_of(row[4]),
                most=row[5],
                interval_us=row[6],
                burst=row[7],
            )
            for row in rows
        ]

    async def use(self, limit: str, key: str) -> Use:
        """See `slots.Slots`."""
        rows = await self._database.fetch(SQL["slot_use"], {"limit": limit, "key": key})
        return self._use((limit, key, *rows[0]))

    async def uses(self, *, limit: str | None = None, most: int) -> Sequence[Use]:
        """See `slots.Slots`."""
        condition = "true" if limit is None else "s.limit_name = :limit"
        params: dict[str, Any] = {"most": most} if limit is None else {"most": most, "limit": limit}
        rows = await self._database.fetch(SQL["slot_uses"].replace("{conditions}", condition), params)
        return [self._use(row) for row in rows]

    async def waiting(self) -> Mapping[str, int]:
        """See `slots.Slots`."""
        return dict(await self._database.fetch(SQL["slot_waiting"], {}))

    async def holders(self, limit: str, key: str, *, most: int) -> Sequence[Holder]:
        """See `slots.Slots`."""
        rows = await self._database.fetch(SQL["slot_holders"], {"limit": limit, "key": key, "most": most})
        return [Holder(self._database.id_of(row[0]), row[1], self._database.time_of(row[2])) for row in rows]

    async def of(self, execution_id: UUID) -> Sequence[tuple[str, str, str, bool]]:
        """See `slots.Slots`."""
        rows = await self._database.fetch(SQL["slots_of"], {"execution_id": execution_id})
        return [(address, limit, key, bool(held)) for address, limit, key, held in rows]

    def _use(self, row: tuple[Any, ...]) -> Use:
        limit, key, held, waiting, oldest, next_us, most = row
        oldest = None if oldest is None else self._database.time_of(oldest)
        return Use(limit=limit, key=key, held=held, waiting=waiting, oldest=oldest, next_us=next_us, most=most)


def as_json(changes: Iterable[tuple[UUID, SlotChange]]) -> list[Mapping[str, Any]]:
    """Return the changes as `sagad_put_slots` takes them."""
    return [
        {
            "x": execution_id.hex,
            "a": change.address,
            "o": change.action,
            "p": -change.priority,
            "t": None if change.at is None else (change.at - _EPOCH) // _MICROSECOND,
            "f": change.fresh,
            "s": [
                {"l": s.limit, "k": s.key, "m": s.most, "i": s.interval_us, "b": s.burst, "r": s.fair}
                for s in change.slots
            ],
        }
        for execution_id, change in changes
    ]


def put_slots(
    connection: sqlite3.Connection, changes: Iterable[tuple[UUID, SlotChange]], *, checked: bool
) -> list[str]:
    """Make the changes in SQLite's open transaction, in order; return the executions that found no slot free.

    When there are any, the transaction is to be rolled back.
    """
    filled: list[str] = []
    for change in as_json(changes):
        head = {name: value for name, value in change.items() if name not in "os"}
        if change["x"] in filled:
            continue
        if change["o"] == "free":
            connection.execute(SQL["free_slots"], head)
            continue
        taken, slots = change["o"] == "take", [{**head, **slot} for slot in change["s"]]
        if checked and taken and not all(connection.execute(SQL["slot_free"], slot).fetchone()[0] for slot in slots):
            filled.append(change["x"])
            continue
        for slot in slots:
            if not taken or slot["m"] is not None:
                connection.execute(SQL["put_slot"], {**slot, "held": taken})
            if taken and slot["i"] is not None:
                connection.execute(SQL["advance_rate"], slot)
        if taken:
            connection.execute(SQL["drop_asked"], head)
    return filled
