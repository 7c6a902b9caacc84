"""How much payloads take, on any SQL database.

Comes from: `store`. Goes to: `relational.Database`, with `sql/usage.sql`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore.queries import statements
from eventstore.usage import Used

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventstore.relational import Database

SQL = statements("usage.sql")


class SqlUsage:
    """`usage.Usage` over tables; `locking` names what keeps appends waiting while something is dropped, if needed."""

    def __init__(self, database: Database, *locking: str) -> None:
        self._database = database
        self._before: list[tuple[str, Mapping[str, Any]]] = [(SQL[name], {}) for name in locking]

    async def used(self) -> Sequence[Used]:
        """See `usage.Usage`."""
        rows = await self._database.fetch(SQL["used"], {})
        return [Used(workflow, payloads, int(size), outside) for workflow, payloads, size, outside in rows]

    async def oldest(self, workflow: str, *, limit: int, unpacked: bool = False) -> Sequence[tuple[str, int]]:
        """See `usage.Usage`."""
        sql = SQL["oldest"].replace("{conditions}", "NOT p.packed" if unpacked else "true")
        rows = await self._database.fetch(sql, {"workflow": workflow, "limit": limit})
        return [(key, size) for key, size in rows]

    async def evict(self, workflow: str, payload_hash: str) -> bool:
        """See `usage.Usage`."""
        dropping = (SQL["evict"], {"workflow": workflow, "hash": payload_hash})
        return await self._database.execute(*self._before, dropping) > 0

    async def pack(self, payload_hash: str, data: bytes | None) -> bool:
        """See `usage.Usage`."""
        name = "leave_unpacked" if data is None else "pack"
        return await self._database.execute((SQL[name], {"hash": payload_hash, "data": data})) > 0
