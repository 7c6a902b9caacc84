"""Pins on any SQL database.

Comes from: `store`. Goes to: `relational.Database`, with `sql/pins.sql`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore.pins import MAX_REASON_CHARS, Pin
from eventstore.queries import statements
from eventstore.rows import MAX_KEY_CHARS, clean_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from eventstore.relational import Database

SQL = statements("pins.sql")


class SqlPins:
    """`pins.Pins` over a table; `locking` names what keeps deletions waiting while one is pinned, if needed."""

    def __init__(self, database: Database, *locking: str) -> None:
        self._database = database
        self._before: list[tuple[str, Mapping[str, Any]]] = [(SQL[name], {}) for name in locking]

    async def put(self, pin: Pin) -> bool:
        """See `pins.Pins`."""
        row = {
            "execution_id": pin.execution_id,
            "at": pin.at,
            "by": clean_text(pin.by, MAX_KEY_CHARS),
            "reason": clean_text(pin.reason, MAX_REASON_CHARS),
        }
        return await self._database.execute(*self._before, (SQL["put_pin"], row)) > 0

    async def drop(self, execution_id: UUID) -> bool:
        """See `pins.Pins`."""
        return await self._database.execute((SQL["drop_pin"], {"execution_id": execution_id})) > 0

    async def of(self, executions: Sequence[UUID]) -> Mapping[UUID, Pin]:
        """See `pins.Pins`."""
        if not executions:
            return {}
        params = {f"id_{number}": execution_id for number, execution_id in enumerate(executions)}
        names = ", ".join(f":{name}" for name in params)
        rows = await self._database.fetch(SQL["pins_of"].replace("{executions}", names), params)
        pins = (
            Pin(execution_id=self._database.id_of(key), at=self._database.time_of(at), by=by, reason=reason)
            for key, at, by, reason in rows
        )
        return {pin.execution_id: pin for pin in pins}
