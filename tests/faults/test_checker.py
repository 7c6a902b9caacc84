"""The history checker finds what it is for: each rule has a history that breaks it, and a sound one breaks none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.child_events import Parent
from daemon.core.evolve import fold
from daemon.core.state import Running
from daemon.core.values import to_json
from daemon.runtime.projection import execution_row
from eventstore.errors import Undecodable
from eventstore.index import DueTimer, ExecutionFilter, ExecutionRow
from eventstore.log import Recorded, StoredDefinition
from eventstore.slots import Use
from tests.faults.checker.leases import lease_table
from tests.faults.checker.reading import Evidence, check
from tests.faults.checker.violations import RULES
from tests.faults.test_checker_language import SPOILT as OF_THE_LANGUAGE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

AT = datetime(2026, 1, 1, tzinfo=UTC)
ONE, TWO, ASKED = UUID(int=1), UUID(int=2), UUID(int=3)
PARENT, CHILD = UUID(int=5), UUID(int=6)
KEY = f"{ONE}/charge"
NULL = to_json(None)
DOCUMENT = json.dumps({"nodes": {"charge": {"task": "witness.charge"}, "nap": {"wait": "1m"}, "ask": {"signal": "go"}}})


def started(execution_id: UUID, key: str | None, parent: Parent | None = None) -> e.ExecutionStarted:
    return e.ExecutionStarted(
        execution_id=execution_id,
        workflow="order",
        definition="d1",
        input=NULL,
        trigger_name="order/orders",
        dedupe_key=key,
        parent=parent,
        actor="test",
        at=AT,
    )


def begun(attempt: int = 1) -> e.StepStarted:
    return e.StepStarted(address="charge", attempt=attempt, input=NULL, at=AT)


def failed(attempt: int = 1) -> e.StepFailed:
    error = e.StepError("no", "no", attempt=attempt)
    return e.StepFailed(address="charge", attempt=attempt, error=error, retry_at=AT, at=AT)


def succeeded(attempt: int = 2, *, effect: int = 1) -> e.StepSucceeded:
    return e.StepSucceeded(address="charge", attempt=attempt, output=to_json({"effect": effect}), at=AT)


def received(signal_id: str = "s1") -> e.SignalReceived:
    return e.SignalReceived(signal_id=signal_id, name="go", data=NULL, actor="test", at=AT)


def ended() -> e.ExecutionCompleted:
    return e.ExecutionCompleted(output=to_json({"charged": 1}), at=AT)


SOUND: tuple[e.Event, ...] = (
    received(),
    started(ONE, "A1"),
    begun(),
    failed(),
    e.TimerSet(timer_id="retry", address="charge", purpose="retry", due=AT, at=AT),
    e.TimerFired(timer_id="retry", at=AT),
    begun(2),
    succeeded(),
    e.SignalAwaited(address="ask", name="go", at=AT),
    e.StepSucceeded(address="ask", output=NULL, signal_id="s1", at=AT),
    ended(),
)
WAITING: tuple[e.Event, ...] = (
    started(TWO, "A2"),
    e.TimerSet(timer_id="nap", address="nap", purpose="wait", due=AT + timedelta(minutes=1), at=AT),
)
PENDING: tuple[e.Event, ...] = (received("s3"),)
WITH_CHILD: tuple[e.Event, ...] = (
    started(PARENT, "A5"),
    e.StepStarted(address="ship", input=NULL, at=AT),
    e.ChildStarted(address="ship", attempt=1, child=CHILD, workflow="order", definition="d1", at=AT),
    e.ChildFinished(address="ship", attempt=1, child=CHILD, status="completed", at=AT),
    e.StepSucceeded(address="ship", output=NULL, at=AT),
    e.SignalAwaited(address="ask", name="go", at=AT),
)
OF_PARENT: tuple[e.Event, ...] = (
    started(CHILD, None, Parent(PARENT, "ship", 1)),
    e.StepStarted(address="pack", input=NULL, at=AT),
    e.StepSucceeded(address="pack", output=NULL, at=AT),
    e.CompensationOwed(address="pack", began=2, at=AT),
    ended(),
)
UNDONE: tuple[e.Event, ...] = (
    e.UndoRequested(reason="mistaken", actor="test", at=AT),
    e.UndoPlanned(status="cancelled", mode="automatic", at=AT),
    e.StepStarted(address="pack~undo", input=NULL, at=AT),
    e.StepSucceeded(address="pack~undo", output=NULL, at=AT),
    e.UndoCompleted(compensated=1, by_hand=0, skipped=0, at=AT),
    e.ExecutionCancelled(reason="mistaken", at=AT),
)
TOOK = e.SlotsTaken(address="nap", slots=(e.Slot(limit="few", most=1),), at=AT)
EARLY = replace(TOOK, slots=(e.Slot(limit="slow", interval_us=1_000_000),))
HELD = Use(limit="few", key="", held=1, waiting=0, oldest=AT, next_us=None, most=1)
FAILED_CHILD = replace(WITH_CHILD[3], status="failed")
SENT: tuple[dict[str, Any], ...] = (
    {
        "id": "m1",
        "kind": "start",
        "execution": str(ONE),
        "confirmed": True,
        "status": "completed",
        "output": {"charged": 1},
    },
    {"id": "m2", "kind": "start", "execution": str(TWO), "confirmed": True},
    {"id": "m3", "kind": "signal", "execution": str(ONE), "signal": "s1", "confirmed": True},
    {"id": "m4", "kind": "signal", "execution": str(ASKED), "signal": "s3", "confirmed": True},
    {"id": "m5", "kind": "poison", "confirmed": True},
    {"id": "m6", "kind": "filtered", "execution": str(UUID(int=9)), "confirmed": True},
    {"id": "m7", "kind": "start", "execution": str(UUID(int=8)), "confirmed": False, "status": "completed"},
    {"id": "m10", "kind": "start", "execution": str(PARENT), "confirmed": True},
    {"id": "m8", "kind": "signal", "execution": str(ONE), "signal": "too late", "confirmed": True},
)


class Leases:
    def __init__(self, *executions: UUID) -> None:
        self._executions = list(executions)

    def executions(self) -> list[UUID]:
        return self._executions


@dataclass
class World:
    """A log, and what others know of it. As it is made, nothing is wrong with it."""

    histories: dict[UUID, list[e.Event]] = field(
        default_factory=lambda: {
            ONE: list(SOUND),
            TWO: list(WAITING),
            ASKED: list(PENDING),
            PARENT: list(WITH_CHILD),
            CHILD: list(OF_PARENT),
        }
    )
    recorded: list[Recorded] = field(default_factory=list)
    rows: list[ExecutionRow] = field(default_factory=list)
    timers: list[DueTimer] = field(default_factory=list)
    miscounted: int = 0
    uses: list[Use] = field(default_factory=list)
    causeless: list[UUID] = field(default_factory=list)
    definitions: dict[str, bytes] = field(default_factory=lambda: {"d1": DOCUMENT.encode()})
    leases: Leases = field(default_factory=Leases)
    sent: list[dict[str, Any]] = field(default_factory=lambda: list(SENT))
    dead: list[str] = field(default_factory=lambda: ["m5", "m8"])
    calls: list[tuple[str, int, str | None]] = field(
        default_factory=lambda: [(KEY, 1, "a life"), (KEY, 2, "a life"), (KEY, 2, "another")]
    )
    effects: list[tuple[str, int]] = field(default_factory=lambda: [(KEY, 1)])
    unreadable: bool = False

    def record(self) -> None:
        """Make log and index of the histories."""
        self.recorded = [
            Recorded(execution_id, version, 1000 * number + version, event)
            for number, (execution_id, events) in enumerate(self.histories.items())
            for version, event in enumerate(events, 1)
        ]
        for execution_id, events in self.histories.items():
            state = fold(events)
            self.rows.append(execution_row(execution_id, state, AT))
            if isinstance(state, Running):
                self.timers += [DueTimer(execution_id, name, timer.due) for name, timer in state.timers.items()]


class FixedStore:
    """As much of a store as the checker reads."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.log = self.index = self.slots = self
        self.definitions = FixedDefinitions(world)

    async def read_all(self, *, after_position: int, limit: int) -> Sequence[Recorded]:
        if self._world.unreadable:
            raise Undecodable("what is this?")
        return [] if after_position else self._world.recorded

    async def read(self, execution_id: UUID) -> Sequence[Recorded]:
        return [each for each in self._world.recorded if each.execution_id == execution_id]

    async def uses(self, *, most: int) -> Sequence[Use]:
        return self._world.uses

    async def executions(self, which: ExecutionFilter) -> Sequence[ExecutionRow]:
        return [] if which.after else self._world.rows

    async def counts(self) -> dict[tuple[str, str], int]:
        keys = [(row.workflow, row.status) for row in self._world.rows]
        return {key: keys.count(key) + self._world.miscounted for key in keys}

    async def due_timers(self, now: datetime, *, limit: int) -> Sequence[DueTimer]:
        return self._world.timers

    async def without_cause(self) -> Sequence[UUID]:
        return self._world.causeless


class FixedDefinitions:
    def __init__(self, world: World) -> None:
        self._world = world

    async def get(self, definition_hash: str) -> StoredDefinition | None:
        document = self._world.definitions.get(definition_hash)
        return None if document is None else StoredDefinition(definition_hash, "order", document, AT)


Spoil = Callable[[World], object]


def events(change: Callable[[list[e.Event]], object], execution_id: UUID = ONE) -> Spoil:
    """Spoil the history of one execution; the index is left as its fold would have been."""

    def spoil(world: World) -> None:
        history = list(world.histories[execution_id])
        change(history)
        world.recorded = [recorded for recorded in world.recorded if recorded.execution_id != execution_id]
        base = 1000 * (1 + len(world.histories))
        world.recorded += [Recorded(execution_id, n, base + n, event) for n, event in enumerate(history, 1)]

    return spoil


def versions(change: Callable[[list[Recorded]], object]) -> Spoil:
    return lambda world: change(world.recorded)


def at_version(world: World, version: int) -> int:
    """Return the place in the log of this event of the first execution."""
    return next(n for n, each in enumerate(world.recorded) if (each.execution_id, each.version) == (ONE, version))


def spoil_row(world: World, **changes: Any) -> None:
    world.rows[0] = replace(world.rows[0], **changes)


def drop_version(world: World, version: int) -> None:
    del world.recorded[at_version(world, version)]


def fork_key(world: World) -> None:
    start = replace(WAITING[0], dedupe_key="A1")
    world.recorded = [
        replace(each, event=start) if isinstance(each.event, e.ExecutionStarted) and each.execution_id == TWO else each
        for each in world.recorded
    ]


def without_timer(history: list[e.Event]) -> None:
    del history[1]


def without_calls(world: World) -> None:
    world.calls, world.effects = [], []


SPOILT: list[tuple[str, str, Spoil]] = [
    ("versions", "a gap", lambda world: drop_version(world, 4)),
    ("positions", "twice the same", lambda world: world.recorded.append(replace(world.recorded[-1], version=2))),
    ("start", "a second start", events(lambda history: history.insert(3, started(ONE, "A1")))),
    ("start", "none", events(lambda history: history.pop(1))),
    ("end", "a second end", events(lambda history: history.append(ended()))),
    ("end", "an event after it", events(lambda history: history.append(received("s9")))),
    ("success", "twice", events(lambda history: history.insert(8, succeeded()))),
    ("settled", "an attempt after the success", events(lambda history: history.insert(8, begun(3)))),
    ("attempts", "the same started twice", events(lambda history: history.insert(3, begun()))),
    ("attempts", "the next without a failure", events(lambda history: history.insert(3, begun(2)))),
    ("attempts", "one left out", events(lambda history: history.__setitem__(6, begun(3)))),
    ("attempts", "the result of an earlier one", events(lambda history: history.__setitem__(7, succeeded(1)))),
    ("attempts", "failed twice", events(lambda history: history.insert(4, failed()))),
    ("timers", "set twice", events(lambda history: history.insert(5, history[4]))),
    ("timers", "fired twice", events(lambda history: history.insert(6, history[5]))),
    ("signals", "received twice", events(lambda history: history.insert(1, received()))),
    ("signals", "taken, not received", events(lambda history: history.pop(0))),
    ("fold", "a timer that does not run fires", events(lambda history: history.pop(4))),
    ("cause", "nothing to wait for", events(without_timer, TWO)),
    ("cause", "the index says so", lambda world: world.causeless.append(TWO)),
    ("key", "two executions", fork_key),
    ("definition", "not stored", lambda world: world.definitions.clear()),
    ("readable", "an unknown event", lambda world: setattr(world, "unreadable", True)),
    ("index", "another status", lambda world: spoil_row(world, status="failed")),
    ("index", "a row is missing", lambda world: world.rows.pop()),
    ("index", "a row too many", lambda world: world.rows.append(replace(world.rows[0], execution_id=UUID(int=7)))),
    ("index", "a timer is missing", lambda world: world.timers.clear()),
    ("index", "a timer too many", lambda world: world.timers.append(DueTimer(ONE, "x", AT))),
    ("index", "miscounted", lambda world: setattr(world, "miscounted", 1)),
    (
        "limits",
        "two hold what one may",
        events(lambda history: history.extend((TOOK, replace(TOOK, address="b"))), TWO),
    ),
    ("limits", "too early", events(lambda history: history.extend((EARLY, replace(EARLY, address="b"))), TWO)),
    ("slots", "held in the log only", events(lambda history: history.append(TOOK), TWO)),
    ("slots", "held in the store only", lambda world: world.uses.append(HELD)),
    ("told", "twice", events(lambda history: history.insert(4, history[3]), PARENT)),
    ("told", "otherwise than it was", events(lambda history: history.__setitem__(3, FAILED_CHILD), PARENT)),
    ("untold", "its parent waits", events(lambda history: history.__delitem__(slice(3, None)), PARENT)),
    ("end", "a start after it", events(lambda history: history.append(history[1]), CHILD)),
    ("lease", "nothing is owed", lambda world: setattr(world, "leases", Leases(TWO))),
    ("lease", "owed, and nobody's", events(lambda history: history.append(begun()), TWO)),
    (
        "accepted",
        "no execution",
        lambda world: world.sent.append({**SENT[1], "id": "m9", "execution": str(UUID(int=4))}),
    ),
    ("accepted", "no signal", lambda world: world.sent.append({**SENT[3], "id": "m9", "signal": "s4"})),
    ("accepted", "no signal, and it came too late", lambda world: world.dead.remove("m8")),
    ("accepted", "poison is gone", lambda world: world.dead.remove("m5")),
    ("unasked", "a sound message is dead", lambda world: world.dead.append("m2")),
    ("unasked", "filtered, and yet started", lambda world: world.sent.append({**SENT[5], "execution": str(TWO)})),
    ("unasked", "nobody sent it", lambda world: world.sent.pop(1)),
    ("unasked", "nobody sent the signal", lambda world: world.sent.pop(3)),
    ("outcome", "another output", lambda world: world.sent.append({**SENT[0], "output": {"charged": 2}})),
    ("outcome", "another status", lambda world: world.sent.append({**SENT[0], "status": "failed"})),
    ("outcome", "not ended", lambda world: world.sent.append({**SENT[1], "status": "any"})),
    ("called", "never", without_calls),
    ("called", "no effect", lambda world: world.effects.clear()),
    ("called", "another effect than the step tells", lambda world: world.effects.__setitem__(0, (KEY, 5))),
    ("started", "an attempt that never was", lambda world: world.calls.append((KEY, 3, None))),
    ("started", "a step that never was", lambda world: world.calls.append((f"{TWO}/charge", 0, None))),
    ("twice", "in one life", lambda world: world.calls.append((KEY, 2, "another"))),
]


async def broken(world: World, folder: Path) -> dict[str, int]:
    """Return how often each rule is broken."""
    sent, dead, witness = folder / "sent.jsonl", folder / "dead.jsonl", folder / "witness.db"
    sent.write_text("".join(f"{json.dumps(line)}\n" for line in world.sent))
    dead.write_text("".join(f"{json.dumps({'id': line})}\n" for line in world.dead))
    with closing(sqlite3.connect(witness)) as database:
        database.executescript("CREATE TABLE calls (key, attempt, life); CREATE TABLE effects (key, effect);")
        database.executemany("INSERT INTO calls VALUES (?, ?, ?)", world.calls)
        database.executemany("INSERT INTO effects VALUES (?, ?)", world.effects)
        database.commit()
    evidence = Evidence(sent=sent, dead=dead, witness=witness, leases=world.leases)
    report = await check(FixedStore(world), evidence)
    print(*report.shown, sep="\n")  # noqa: T201  for the report of a failure
    return dict(report.violations)


async def test_a_sound_history_breaks_no_rule(tmp_path: Path) -> None:
    world = World()
    world.record()
    assert await broken(world, tmp_path) == {}


async def test_what_is_undone_after_its_end_is_read_again(tmp_path: Path) -> None:
    """The index has it as it ended the second time, and the rules of undoing know what it owed."""
    world = World()
    world.histories[CHILD] += UNDONE
    world.record()
    assert await broken(world, tmp_path) == {}


async def test_what_nothing_is_known_of_is_left_out() -> None:
    """Without ledger, witness and leases, and while others write, only the log itself is judged."""
    world = World()
    world.record()
    world.rows.clear()
    world.timers.clear()
    assert (await check(FixedStore(world), Evidence(index=False))).shown == []


@pytest.mark.parametrize(("rule", "how", "spoil"), SPOILT, ids=[f"{rule}: {how}" for rule, how, _ in SPOILT])
async def test_each_rule_finds_what_breaks_it(tmp_path: Path, rule: str, how: str, spoil: Spoil) -> None:
    world = World()
    world.record()
    spoil(world)
    assert rule in await broken(world, tmp_path)


def test_every_rule_has_a_history_that_breaks_it() -> None:
    assert {rule for rule, _, _ in SPOILT} | {rule for rule, *_ in OF_THE_LANGUAGE} == set(RULES)


def test_only_a_schema_without_leases_has_no_table_of_them(tmp_path: Path) -> None:
    """A file that cannot be read is not taken for one."""
    assert lease_table("memory://") is None
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        lease_table(f"sqlite:///{tmp_path}/nowhere.db")
    with closing(sqlite3.connect(tmp_path / "old.db")) as database:
        database.execute("CREATE TABLE stored_events (id)")
    assert lease_table(f"sqlite:///{tmp_path}/old.db") is None
