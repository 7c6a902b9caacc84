"""The index: tables derived from the log, changed in the transaction of the events that imply them.

Everything here can be dropped and rebuilt from the log. The rows are made by the caller (a pure projection of the
events); this package only stores and queries them.

Comes from: daemon/runtime/projection. Goes to: the recorders (`sqlite`, `postgres`, `memory`).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from msgspec import Struct

from eventstore.slots import SlotChange

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping, Sequence


class ExecutionRow(Struct, frozen=True, kw_only=True):
    """One execution as lists and filters see it."""

    execution_id: UUID
    workflow: str
    definition: str
    """Hash of the definition it is pinned to."""
    status: str
    """`pending` (signalled before its start) | `running` | `completed` | `failed` | `cancelled`."""
    cause: str
    """The one kind of thing it waits for: `step`, `timer`, `signal`, `slot`, …; empty when finished. Empty on an
    execution that is not finished is an alarm (`Index.without_cause`)."""
    trigger: str | None = None
    dedupe_key: str | None = None
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    error: str | None = None
    """Short text of why it failed."""


class ExecutionChange(Struct, frozen=True, kw_only=True):
    """What changes in the row of an execution after its start; the fields are those of `ExecutionRow`, all replaced."""

    status: str
    cause: str
    updated_at: datetime
    finished_at: datetime | None = None
    error: str | None = None


class ForkRow(Struct, frozen=True):
    """An execution that goes on from the past of another."""

    execution_id: UUID
    source: UUID
    at_version: int
    """Of the source."""
    forked_at: datetime


class ApprovalRow(Struct, frozen=True, kw_only=True):
    """One question to people, open or decided."""

    execution_id: UUID
    address: str
    """Of the step."""
    question: int
    workflow: str
    status: str
    """`open` | `approved` | `rejected` | `failed` (nobody in time) | `withdrawn` (given up with what is around it)."""
    prompt: str
    requested_at: datetime
    due_at: datetime | None = None
    decided_at: datetime | None = None


class ApprovalChange(Struct, frozen=True):
    """What an approval is now, and whom it is listed for: those who may still decide, or who were asked in the end."""

    row: ApprovalRow
    approvers: tuple[str, ...]


class ApprovalFilter(Struct, frozen=True, kw_only=True):
    """Which approvals, oldest request first."""

    approvers: tuple[str, ...] = ()
    """Listed for one of these; none does not restrict."""
    status: str = "open"
    workflow: str | None = None
    limit: int = 100
    after: tuple[datetime, UUID, str] | None = None
    """Keyset page: `(requested_at, execution_id, address)` of the last row of the page before."""


class TimerRow(Struct, frozen=True):
    """A durable due time of one execution; `timer_id` is unique inside it."""

    timer_id: str
    due_at: datetime


class DueTimer(Struct, frozen=True):
    """A timer that has come due."""

    execution_id: UUID
    timer_id: str
    due_at: datetime


class DefinitionUse(Struct, frozen=True):
    """The executions of one workflow that are pinned to one definition."""

    definition: str
    """Its hash."""
    open: int
    executions: int
    oldest_open_at: datetime | None
    """Start of the oldest that has not ended."""
    last_started_at: datetime


class IndexChange(Struct, frozen=True):
    """What one append changes in the index.

    Timers are cleared, then set. `execution` replaces the execution's row; `changed`, given in its stead, a part of a
    row that is there, for half the cost. With `finished_at` either also drops all timers, not the lease. Leave both
    out where only `updated_at` would change: a change costs as much as an event.
    """

    execution: ExecutionRow | None = None
    timers_set: tuple[TimerRow, ...] = ()
    timers_cleared: tuple[str, ...] = ()
    busy: bool | None = None
    """True: a handler is owed from now on, so there is a lease, of `Append.by` unless one is there already; False: none
    is owed, the lease goes; None: as before. Executions that only wait for timers and signals are not busy."""
    hint: bool = False
    """The holder of the lease must look at the execution (`leases.Leases.hinted`). Without a lease it does nothing."""
    changed: ExecutionChange | None = None
    slots: tuple[SlotChange, ...] = ()
    """In the order of the events. A take that finds no slot free refuses the append."""
    approvals: tuple[ApprovalChange, ...] = ()
    forked: ForkRow | None = None


UNCHANGED = IndexChange()
"""Nothing changes. The very object costs least."""


class ExecutionFilter(Struct, frozen=True, kw_only=True):
    """Which executions, newest start first. Absent fields do not restrict."""

    workflow: str | None = None
    status: str | None = None
    trigger: str | None = None
    since: datetime | None = None
    """Started at or after."""
    until: datetime | None = None
    """Started before."""
    limit: int = 100
    after: tuple[datetime, UUID] | None = None
    """Keyset page: `(started_at, execution_id)` of the last row of the page before."""


class Index(Protocol):
    """Queries over the derived tables. Every read sees all appends that were answered before it began."""

    async def execution(self, execution_id: UUID) -> ExecutionRow | None:
        """Return its row, or None when the execution is unknown."""

    async def executions(self, which: ExecutionFilter) -> Sequence[ExecutionRow]:
        """Return at most `which.limit` rows."""

    async def fork(self, execution_id: UUID) -> ForkRow | None:
        """Return what the execution goes on from; None for one that is no fork."""

    async def forks(self, source: UUID, *, limit: int = 100) -> Sequence[ForkRow]:
        """Return the executions that go on from this one, oldest first."""

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """Return the number of executions by (workflow, status)."""

    async def uses(self, workflow: str) -> Sequence[DefinitionUse]:
        """Return which definitions the workflow's executions are pinned to, the last used first.

        For people: it reads the rows of all executions of the workflow.
        """

    async def busy(self, *, after: UUID | None, limit: int) -> Sequence[UUID]:
        """Return the executions that have a lease, in id order, those greater than `after`."""

    async def due_timers(self, now: datetime, *, after: DueTimer | None = None, limit: int) -> Sequence[DueTimer]:
        """Return timers due at or before `now`, earliest first, those that sort after `after`.

        They are sorted by due time, and then in an order of the store's own.
        """

    async def next_due(self, *, after: datetime | None = None) -> datetime | None:
        """Return the earliest due time of all timers, or of those due after a time."""

    async def latest_dedupe_key(self, trigger: str) -> str | None:
        """Return the greatest dedupe key (by code point) among the trigger's executions: a schedule's last tick."""

    async def approvals(self, which: ApprovalFilter) -> Sequence[ApprovalRow]:
        """Return at most `which.limit` rows, each approval once."""

    async def without_cause(self, *, limit: int = 100) -> Sequence[UUID]:
        """Return unfinished executions that wait for nothing recorded: there should never be one.

        For audits: it reads the rows of all executions.
        """

    async def rebuild(self, changes: AsyncIterable[tuple[UUID, IndexChange]]) -> None:
        """Replace all derived tables by these changes, applied in order, in one transaction that excludes writers.

        A failure leaves the old tables. A lease that was there and still is keeps its daemon.
        """
