"""The slots of a store in memory: the same rules as `sql/postgres/0004_slots.sql`, in dicts.

Comes from: `store`. Goes to: `memory.MemoryIndex`.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from eventstore.slots import KEPT, Holder, Slot, SlotChange, Use, Waiter, earliest_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Row(Struct, frozen=True):
    """One slot, asked for or held."""

    execution_id: UUID
    address: str
    slot: Slot
    priority: int
    round: int
    since: datetime
    held: bool


class MemorySlots:
    """`slots.Slots` in dicts."""

    def __init__(self) -> None:
        self._rows: dict[tuple[UUID, str, str, str], _Row] = {}
        self._next_us: dict[tuple[str, str], int] = {}

    def put(self, changes: Iterable[tuple[UUID, SlotChange]], *, checked: bool = True) -> set[UUID]:
        """Make the changes in order; return the executions that found no slot free: then it has changed nothing."""
        rows, next_us = dict(self._rows), dict(self._next_us)
        filled: set[UUID] = set()
        for execution_id, change in changes:
            if execution_id in filled:
                continue
            if change.action == "free":
                for key in [key for key in self._rows if key[:2] == (execution_id, change.address)]:
                    del self._rows[key]
            elif checked and change.action == "take" and not self._free(execution_id, change):
                filled.add(execution_id)
            else:
                self._add(execution_id, change)
        if filled:
            self._rows, self._next_us = rows, next_us
        return filled

    def become(self, other: MemorySlots, *, keeping: Callable[[UUID], bool]) -> None:
        """Hold what the other holds, after a rebuild, and the messages that these executions have collected."""
        kept = {key: row for key, row in self._rows.items() if row.address.startswith(KEPT) and keeping(key[0])}
        self._rows, self._next_us = {**kept, **other._rows}, other._next_us

    def _free(self, execution_id: UUID, change: SlotChange) -> bool:
        now = _micros(change)
        for slot in change.slots:
            rows = list(self._of(slot.limit, slot.key))
            held = sum(row.held and (row.execution_id, row.address) != (execution_id, change.address) for row in rows)
            if slot.most is not None and held >= slot.most:
                return False
            next_us = self._next_us.get((slot.limit, slot.key))
            if (
                slot.interval_us is not None
                and next_us is not None
                and now < earliest_us(next_us, slot.interval_us, slot.burst)
            ):
                return False
            if change.fresh and any(not row.held and row.priority >= change.priority for row in rows):
                return False
        return True

    def _add(self, execution_id: UUID, change: SlotChange) -> None:
        now, taken = _micros(change), change.action == "take"
        since = _EPOCH + timedelta(microseconds=now)
        for slot in change.slots:
            key = execution_id, change.address, slot.limit, slot.key
            before = self._rows.pop(key, None)
            if before is not None:
                self._rows[key] = replace(before, held=taken, since=since)
            else:
                turn = self._round(slot, change.priority)
                self._rows[key] = _Row(execution_id, change.address, slot, change.priority, turn, since, taken)
            if taken and slot.most is None:
                del self._rows[key]
            if taken and slot.interval_us is not None:
                place = slot.limit, slot.key
                self._next_us[place] = max(self._next_us.get(place, now), now) + slot.interval_us

    def _round(self, slot: Slot, priority: int) -> int:
        rows = [row for row in self._of(slot.limit, slot.key) if row.priority == priority]
        held, waiting = [row.round for row in rows if row.held], [row.round for row in rows if not row.held]
        now = max(held) if held else min(waiting, default=0)
        return max(now, 1 + max((row.round for row in rows if row.slot.fair == slot.fair), default=-1))

    def _of(self, limit: str, key: str) -> Iterator[_Row]:
        return (row for row in self._rows.values() if (row.slot.limit, row.slot.key) == (limit, key))

    async def queues(self, *, most: int) -> Sequence[tuple[str, str]]:
        """See `slots.Slots`."""
        return sorted({(row.slot.limit, row.slot.key) for row in self._rows.values() if not row.held})[:most]

    async def heads(self, limit: str, key: str, *, most: int) -> Sequence[Waiter]:
        """See `slots.Slots`."""
        rows = [row for row in self._of(limit, key) if not row.held]
        rows.sort(key=lambda row: (-row.priority, row.round, row.since, row.execution_id, row.address))
        return [
            Waiter(
                execution_id=row.execution_id,
                address=row.address,
                priority=row.priority,
                fair=row.slot.fair,
                since=row.since,
                most=row.slot.most,
                interval_us=row.slot.interval_us,
                burst=row.slot.burst,
            )
            for row in rows[:most]
        ]

    async def use(self, limit: str, key: str) -> Use:
        """See `slots.Slots`."""
        rows = list(self._of(limit, key))
        waiting = [row for row in rows if not row.held]
        return Use(
            limit=limit,
            key=key,
            held=len(rows) - len(waiting),
            waiting=len(waiting),
            oldest=min((row.since for row in waiting), default=None),
            next_us=self._next_us.get((limit, key)),
            most=max((row.slot.most for row in rows if row.slot.most is not None), default=None),
        )

    async def uses(self, *, limit: str | None = None, most: int) -> Sequence[Use]:
        """See `slots.Slots`."""
        rows = (row for row in self._rows.values() if not row.address.startswith(KEPT))
        places = {(row.slot.limit, row.slot.key) for row in rows}
        return [await self.use(*place) for place in sorted(places) if limit in (None, place[0])][:most]

    async def waiting(self) -> Mapping[str, int]:
        """See `slots.Slots`."""
        return Counter(row.slot.limit for row in self._rows.values() if not row.held)

    async def holders(self, limit: str, key: str, *, most: int) -> Sequence[Holder]:
        """See `slots.Slots`."""
        held = [(row.since, row.execution_id, row.address) for row in self._of(limit, key) if row.held]
        return [Holder(execution_id, address, since) for since, execution_id, address in sorted(held)[:most]]

    async def of(self, execution_id: UUID) -> Sequence[tuple[str, str, str, bool]]:
        """See `slots.Slots`."""
        return sorted((key[1], key[2], key[3], row.held) for key, row in self._rows.items() if key[0] == execution_id)


def _micros(change: SlotChange) -> int:
    if change.at is None:
        raise TypeError("what is asked for or taken has a time")
    return (change.at - _EPOCH) // timedelta(microseconds=1)
