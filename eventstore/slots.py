"""The port of the slots: who holds, and who waits for, the limits that executions share.

Derived from the log like the index, and changed in the transaction of the events that imply it. An append that takes a
slot is checked there, under the log's lock: when none is free it is refused with `Full` and nothing of it is written.
So no limit is ever exceeded, whoever grants, and however often two daemons grant at once.

A queue is what waits for one limit and key. Those with the higher priority go first; among equals each fairness key has
its turn in every *round*; within one, who has asked first. What is asked gets the round after the last one of its
fairness key, but none that has passed: so one key with a thousand waiting is no longer in the way than any other.

Comes from: daemon/runtime/projection, as part of `index.IndexChange`. Goes to: `memory_slots`, `sqlite_slots`, and
`sql/postgres/0004_slots.sql`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol
from uuid import UUID

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


KEPT = "#message:"
"""Begins the addresses whose slots are never given back: lists leave them out."""


class Slot(Struct, frozen=True, kw_only=True):
    """What is asked of one limit, for one key. At least one of `most` and `interval_us` is given."""

    limit: str
    key: str = ""
    most: int | None = None
    """How many may be held at once."""
    interval_us: int | None = None
    """Microseconds from one to the next, in the long run."""
    burst: int = 1
    """How many may come at once after a quiet time, of what has an interval."""
    fair: str = ""


class SlotChange(Struct, frozen=True, kw_only=True):
    """What an append changes for one address of its execution: all `slots` are asked for, or taken, together."""

    action: Literal["ask", "take", "free"]
    address: str
    slots: tuple[Slot, ...] = ()
    """None of them with `free`: all that the address has, or waits for, goes."""
    priority: int = 0
    at: datetime | None = None
    fresh: bool = False
    """A take that has not waited: it is refused too when others of its priority or a higher one wait."""


class Waiter(Struct, frozen=True, kw_only=True):
    """One that waits in a queue."""

    execution_id: UUID
    address: str
    priority: int
    fair: str
    since: datetime
    most: int | None
    interval_us: int | None
    burst: int


class Holder(Struct, frozen=True):
    """One that holds a slot."""

    execution_id: UUID
    address: str
    since: datetime


class Use(Struct, frozen=True, kw_only=True):
    """How one limit is used for one key."""

    limit: str
    key: str
    held: int
    waiting: int
    oldest: datetime | None
    """Since when the one waits that has waited longest."""
    next_us: int | None
    """Microseconds since 1970 at which the next is due by the rate; None without a rate, or before the first."""
    most: int | None


class Slots(Protocol):
    """Queries. Every read sees all appends that were answered before it began. Raises Unavailable."""

    async def queues(self, *, most: int) -> Sequence[tuple[str, str]]:
        """Return limits and keys that somebody waits for, `most` of them."""

    async def heads(self, limit: str, key: str, *, most: int) -> Sequence[Waiter]:
        """Return the first ones of a queue, in the order in which they are to be served."""

    async def use(self, limit: str, key: str) -> Use:
        """Return how the limit is used for this key; zeros for one that nobody has or waits for."""

    async def uses(self, *, limit: str | None = None, most: int) -> Sequence[Use]:
        """Return all that is held or waited for, of one limit or of all, in order of limit and key; nothing kept."""

    async def waiting(self) -> Mapping[str, int]:
        """Return how many wait for each limit, of any key."""

    async def holders(self, limit: str, key: str, *, most: int) -> Sequence[Holder]:
        """Return who holds it, oldest first."""

    async def of(self, execution_id: UUID) -> Sequence[tuple[str, str, str, bool]]:
        """Return address, limit, key, and whether it is held, of all that an execution has or waits for."""


def earliest_us(next_us: int, interval_us: int, burst: int) -> int:
    """Return from when on one more may be taken, by a rate whose `next_us` this is."""
    return next_us - (burst - 1) * interval_us
