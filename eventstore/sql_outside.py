"""What any SQL database knows of payloads outside of it.

Comes from: `store`. Goes to: `relational.Database`, with `sql/outside.sql`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore.queries import statements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from eventstore.relational import Database

SQL = statements("outside.sql")


class SqlObjects:
    """`outside.Objects` over tables; `locking` names what keeps appends waiting while one is moved, if needed."""

    def __init__(self, database: Database, *locking: str) -> None:
        self._database = database
        self._before: list[tuple[str, Mapping[str, Any]]] = [(SQL[name], {}) for name in locking]

    async def note(self, payload_hash: str, name: str, *, at: datetime) -> str:
        """See `outside.Objects`."""
        known: Sequence[tuple[str]] = await self._database.fetch(SQL["noted"], {"hash": payload_hash})
        for each in (*(found for (found,) in known), name):
            if await self._database.execute((SQL["note"], {"hash": payload_hash, "name": each, "at": at})):
                return each
        return name  # it is known by another's note, and given up: `move` refuses it

    async def move(self, workflow: str, payload_hash: str, name: str) -> bool:
        """See `outside.Objects`."""
        given = {"workflow": workflow, "hash": payload_hash, "name": name}
        return await self._database.execute(*self._before, (SQL["move"], given), (SQL["moved"], given)) > 0

    async def unwanted(self, *, noted_before: datetime, limit: int) -> Sequence[str]:
        """See `outside.Objects`."""
        await self._database.execute((SQL["give_up"], {"before": noted_before}))
        return [name for (name,) in await self._database.fetch(SQL["unwanted"], {"limit": limit})]

    async def removed(self, name: str) -> None:
        """See `outside.Objects`."""
        await self._database.execute((SQL["removed"], {"name": name}))
