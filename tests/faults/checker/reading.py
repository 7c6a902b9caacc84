"""Reads a store from end to end and checks it.

Comes from: `__main__`, the chaos run, the soak. Goes to: `histories`, `witnessed`, `notebook`.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from daemon.core import events as e
from daemon.core.state import Running, has_work
from daemon.core.values import from_json
from daemon.runtime.projection import execution_row
from eventstore.errors import Undecodable
from eventstore.index import ExecutionFilter
from eventstore.rows import clean
from tests.faults.checker.histories import Histories, Life
from tests.faults.checker.notebook import Notebook, canonical, notebook
from tests.faults.checker.violations import Violation
from tests.faults.checker.witnessed import Callers, Known

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
    from uuid import UUID

    from eventstore.index import DueTimer, ExecutionRow
    from eventstore.log import Recorded, StoredDefinition
    from eventstore.slots import Use

PAGE = 2000
FOREVER = datetime(9000, 1, 1, tzinfo=UTC)
MOST_TIMERS = MOST_SLOTS = 100_000_000
ENDINGS = {e.ExecutionCompleted: "completed", e.ExecutionFailed: "failed", e.ExecutionCancelled: "cancelled"}


class ReadLog(Protocol):
    """What is read of the log."""

    async def read_all(self, *, after_position: int, limit: int) -> Sequence[Recorded]:
        """See `eventstore.log.EventLog`."""

    async def read(self, execution_id: UUID) -> Sequence[Recorded]:
        """Read one execution."""


class ReadDefinitions(Protocol):
    """What is read of the definitions."""

    async def get(self, definition_hash: str) -> StoredDefinition | None:
        """See `eventstore.log.Definitions`."""


class ReadIndex(Protocol):
    """What is read of the index; see `eventstore.index.Index`."""

    async def executions(self, which: ExecutionFilter) -> Sequence[ExecutionRow]:
        """Page through all rows."""

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """Count by workflow and status."""

    async def due_timers(self, now: datetime, *, limit: int) -> Sequence[DueTimer]:
        """Read all timers."""

    async def without_cause(self) -> Sequence[UUID]:
        """Ask the alarm."""


class ReadSlots(Protocol):
    """What is read of the slots."""

    async def uses(self, *, most: int) -> Sequence[Use]:
        """See `eventstore.slots.Slots`."""


class ReadStore(Protocol):
    """What is read of a store."""

    @property
    def log(self) -> ReadLog: ...
    @property
    def index(self) -> ReadIndex: ...
    @property
    def definitions(self) -> ReadDefinitions: ...
    @property
    def slots(self) -> ReadSlots: ...


class Leased(Protocol):
    """Who knows the leases; see `leases.LeaseTable`."""

    def executions(self) -> Sequence[UUID]:
        """Return the executions that have one."""


@dataclass(kw_only=True)
class Report:
    """What a check has found."""

    events: int = 0
    executions: int = 0
    messages: int = 0
    calls: int = 0
    effects: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    """How many of each rule."""
    shown: list[Violation] = field(default_factory=list)
    """The first ones of each rule."""

    @property
    def total(self) -> int:
        """The number of violations."""
        return self.violations.total()

    def add(self, violation: Violation, *, most: int = 20) -> None:
        """Count it, and keep it if it is among the first."""
        self.violations[violation.rule] += 1
        if self.violations[violation.rule] <= most:
            self.shown.append(violation)

    def __str__(self) -> str:
        return (
            f"{self.messages} messages, {self.executions} executions, {self.events} events,"
            f" {self.calls} witnessed calls for {self.effects} effects, violations: {self.total}"
        )


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What others know, to be held against the log. None leaves the rules out that need it."""

    sent: Path | None = None
    dead: Path | None = None
    witness: Path | None = None
    leases: Leased | None = None
    index: bool = True
    """Compare the index with the log: for a store that nobody writes to."""


async def check(store: ReadStore, evidence: Evidence | None = None) -> Report:
    """Read the whole log and everything else, and return what breaks a rule."""
    evidence = evidence or Evidence()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="sagad-check-") as folder, notebook(Path(folder)) as notes:
        histories = Histories()
        await Reading(store, histories, notes, report, witnessed=evidence.witness is not None).run()
        for violation in histories.at_rest():
            report.add(violation)
        report.events, report.executions = histories.events, histories.executions
        if evidence.index:
            _note_open(histories, notes)
            await _note_index(store, evidence, notes, report)
        _note_evidence(evidence, notes, report)
        for violation in notes.compare(without=_left_out(evidence)):
            report.add(violation)
    return report


class Reading:
    """The log on its way into the histories and the notebook."""

    def __init__(
        self, store: ReadStore, histories: Histories, notes: Notebook, report: Report, *, witnessed: bool
    ) -> None:
        self._store = store
        self._histories = histories
        self._notes = notes
        self._report = report
        self._is_witnessed = witnessed
        self._definitions: dict[str, Known | None] = {}
        self._callers: dict[UUID, Callers] = {}

    async def run(self) -> None:
        """Read it from end to end."""
        async for recorded in _all(self._store, self._report):
            execution_id = recorded.execution_id
            if isinstance(recorded.event, e.UndoRequested) and execution_id.bytes in self._histories.ended:
                await self._go_back(recorded)
            await self._take(recorded)
            life = self._histories.lives.get(execution_id)
            if life is not None and life.ended:
                _note_life(self._notes, execution_id, life)
                self._histories.forget(execution_id)
                self._callers.pop(execution_id, None)

    async def _go_back(self, recorded: Recorded) -> None:
        """Know an execution again that goes on after its end."""
        execution_id = recorded.execution_id
        history = await self._store.log.read(execution_id)
        before = [each for each in history if each.version < recorded.version]
        self._histories.revive(execution_id, before)
        self._notes.forget_implied(execution_id)
        callers = await self._get_to_know(execution_id)
        for each in before:
            callers.take(each.event)

    async def _take(self, recorded: Recorded) -> None:
        for violation in self._histories.take(recorded):
            self._report.add(violation)
        callers = self._callers.get(recorded.execution_id)
        if isinstance(recorded.event, e.ExecutionStarted):
            callers = await self._get_to_know(recorded.execution_id)
        if callers is not None:
            callers.take(recorded.event)
        _note(self._notes, recorded, callers)

    async def _get_to_know(self, execution_id: UUID) -> Callers:
        """Look up the definition that an execution is pinned to."""
        life = self._histories.lives.get(execution_id)
        definition = getattr(life.state, "definition", "") if life is not None else ""
        if definition and definition not in self._definitions:
            stored = await self._store.definitions.get(definition)
            if stored is None:
                self._report.add(Violation("definition", f"definition {definition} is not stored", execution_id))
            self._definitions[definition] = Known(stored.document) if stored is not None else None
        known = self._definitions.get(definition)
        if life is not None:
            life.undoing.keeps = known is not None and known.keeps
        callers = self._callers[execution_id] = Callers(known if self._is_witnessed else None)
        return callers


async def _all(store: ReadStore, report: Report) -> AsyncIterator[Recorded]:
    position = 0
    try:
        while page := await store.log.read_all(after_position=position, limit=PAGE):
            for recorded in page:
                yield recorded
            position = page[-1].position
    except Undecodable as error:
        report.add(Violation("readable", f"the log cannot be read on after position {position}: {error}"))


def _note(notes: Notebook, recorded: Recorded, callers: Callers | None) -> None:
    """Note what an event says that others know of too."""
    execution_id, event = recorded.execution_id, recorded.event
    match event:
        case e.ExecutionStarted():
            parent = event.parent.execution_id.bytes if event.parent is not None else None
            notes.note("started", execution_id.bytes, event.workflow, event.trigger_name, event.dedupe_key, parent)
        case e.SignalReceived():
            notes.note("signalled", execution_id.bytes, event.signal_id)
        case e.ChildFinished():
            child = (event.address, event.attempt, event.child.bytes, event.status)
            notes.note("told", execution_id.bytes, recorded.version, *child)
        case e.ExecutionCompleted() | e.ExecutionFailed() | e.ExecutionCancelled():
            output = canonical(from_json(event.output)) if isinstance(event, e.ExecutionCompleted) else None
            notes.note("ended", execution_id.bytes, ENDINGS[type(event)], output)
        case e.StepStarted() if callers is not None and callers.have(event.address):
            key = f"{execution_id}/{event.address}"
            notes.note("attempts", key, event.attempt, execution_id.bytes, recorded.version)
        case e.StepSucceeded() if callers is not None and callers.have(event.address):
            key = f"{execution_id}/{event.address}"
            notes.note("succeeded", key, execution_id.bytes, recorded.version, _effect(from_json(event.output)))
        case _:
            pass


def _effect(output: Any) -> int | None:
    """Return the number of the effect that a step's output tells of; an `http` node has the answer in `body`."""
    if isinstance(output, dict):
        told = output.get("body", output)
        effect = told.get("effect") if isinstance(told, dict) else None
        return effect if isinstance(effect, int) else None
    return None


def _note_open(histories: Histories, notes: Notebook) -> None:
    held: Counter[tuple[str, str]] = Counter()
    waiting: Counter[tuple[str, str]] = Counter()
    for execution_id, life in histories.lives.items():
        _note_life(notes, execution_id, life)
        if isinstance(life.state, Running):
            taken = [slot for slots in life.state.holding.values() for slot in slots.slots]
            held.update((slot.limit, slot.key) for slot in taken if slot.most is not None)
            waiting.update((slot.limit, slot.key) for slots in life.state.limited.values() for slot in slots.slots)
    for limit, key in {*held, *waiting}:
        notes.note("implied_slots", limit, key, held[limit, key], waiting[limit, key])


def _note_life(notes: Notebook, execution_id: UUID, life: Life) -> None:
    """Note what the index must have of an execution."""
    state = life.state
    if state is None or life.last_at is None:
        return
    notes.note("implied_rows", execution_id.bytes, _shown(clean(execution_row(execution_id, state, life.last_at))))
    if isinstance(state, Running):
        for timer_id, timer in state.timers.items():
            notes.note("implied_timers", execution_id.bytes, timer_id, timer.due.isoformat())
        if has_work(state):
            notes.note("implied_leases", execution_id.bytes)


def _shown(row: ExecutionRow) -> str:
    """Return what must be equal: `updated_at` says when the row was written last, which the log does not imply."""
    fields: dict[str, Any] = msgspec.to_builtins(row)
    del fields["updated_at"]
    if row.status == "pending":
        del fields["started_at"]  # of its first or its last signal, as the row was written once or anew
    return canonical(fields)


async def _note_index(store: ReadStore, evidence: Evidence, notes: Notebook, report: Report) -> None:
    by_status: Counter[tuple[str, str]] = Counter()
    async for row in _rows(store):
        by_status[row.workflow, row.status] += 1
        notes.note("found_rows", row.execution_id.bytes, _shown(row))
    if (counts := await store.index.counts()) != by_status:
        report.add(Violation("index", f"it counts {dict(counts)} executions, and has {dict(by_status)}"))
    for execution_id in await store.index.without_cause():
        report.add(Violation("cause", "the index has no cause for it", execution_id))
    for timer in await store.index.due_timers(FOREVER, limit=MOST_TIMERS):
        notes.note("found_timers", timer.execution_id.bytes, timer.timer_id, timer.due_at.isoformat())
    for use in await store.slots.uses(most=MOST_SLOTS):
        if use.held or use.waiting:
            notes.note("found_slots", use.limit, use.key, use.held, use.waiting)
    if evidence.leases is not None:
        for execution_id in evidence.leases.executions():
            notes.note("found_leases", execution_id.bytes)


async def _rows(store: ReadStore) -> AsyncIterator[ExecutionRow]:
    last: tuple[datetime, UUID] | None = None
    while page := await store.index.executions(ExecutionFilter(limit=PAGE, after=last)):
        for row in page:
            yield row
        last = (page[-1].started_at, page[-1].execution_id)


def _note_evidence(evidence: Evidence, notes: Notebook, report: Report) -> None:
    if evidence.sent is not None:
        report.messages = notes.note_sent(evidence.sent)
    if evidence.dead is not None:
        notes.note_dead(evidence.dead)
    if evidence.witness is not None:
        notes.note_witness(evidence.witness)
        report.calls, report.effects = notes.count("calls"), notes.count("effects")


def _left_out(evidence: Evidence) -> Iterator[str]:
    if evidence.sent is None:
        yield from ("accepted", "unasked", "outcome")
    if evidence.witness is None:
        yield from ("called", "started", "twice")
    if not evidence.index:
        yield from ("index", "slots", "untold")
    if evidence.leases is None:
        yield "lease"
