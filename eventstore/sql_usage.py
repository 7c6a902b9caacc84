"""How much payloads take, on any SQL database.

Comes from: `store`. Goes to: `relational.Database`, with `sql/usage.sql`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore.queries import statements
from eventstore.usage import Used

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from eventstore.relational import Database

SQL = statements("usage.sql")
LAST_USE = """CASE WHEN max(r.read_at) > max(e.finished_at) THEN max(r.read_at) ELSE max(e.finished_at) END"""
NOTED_AT_ONCE = 500


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
        return await self._unneeded(workflow, limit, "max(e.finished_at)", "NOT p.packed" if unpacked else "true")

    async def least_read(self, workflow: str, *, limit: int) -> Sequence[tuple[str, int]]:
        """See `usage.Usage`."""
        return await self._unneeded(workflow, limit, LAST_USE, "true")

    async def _unneeded(self, workflow: str, limit: int, order: str, conditions: str) -> Sequence[tuple[str, int]]:
        sql = SQL["unneeded"].replace("{order}", order).replace("{conditions}", conditions)
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

    async def note_reads(self, hashes: Sequence[str], *, at: datetime) -> None:
        """See `usage.Usage`."""
        for start in range(0, len(hashes), NOTED_AT_ONCE):
            some = {f"hash_{number}": key for number, key in enumerate(hashes[start : start + NOTED_AT_ONCE])}
            sql = SQL["note_reads"].replace("{hashes}", ", ".join(f":{name}" for name in some))
            await self._database.execute((sql, {"at": at, **some}))

    async def forget_reads(self) -> None:
        """See `usage.Usage`."""
        await self._database.execute((SQL["forget_reads"], {}))
