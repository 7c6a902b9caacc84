"""What must be true: while a world lives, of all that is acknowledged; at its end, of log, index, leases, handlers."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from daemon.core import events as e
from daemon.core.address import UNDO, node_of
from daemon.core.evolve import fold
from daemon.core.state import Awaiting, Finished, NotStarted, Running, State, cause, has_work
from daemon.core.values import from_json
from daemon.runtime.projection import execution_row
from eventstore.index import ExecutionFilter
from tests.faults.checker.histories import Histories
from tests.faults.simulation.wire import at_once
from triggers.routing import execution_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.log import Recorded
    from tests.faults.simulation.world import World
    from triggers.memory_broker import Stored

ENDS = (e.ExecutionCompleted, e.ExecutionFailed, e.ExecutionCancelled)


class Acknowledged:
    """All that somebody was told is done; it is looked up in the log at that moment, and again at the end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.problems: list[str] = []
        self._starts: set[UUID] = set()
        self._signals: set[tuple[UUID, str]] = set()
        self._ends: set[UUID] = set()
        self._messages: dict[tuple[str, bytes], None] = {}
        world.broker.on_ack = self._acknowledged

    def started(self, target: UUID) -> None:
        """Note that a caller was told of the start."""
        self._starts.add(target)
        self._look("a start", target, has_started(self._events(target)))

    def signalled(self, target: UUID, signal_id: str) -> None:
        """Note that a caller was told that the signal is there."""
        self._signals.add((target, signal_id))
        self._look(f"signal {signal_id}", target, has_signal(self._events(target), signal_id))

    def ended(self, target: UUID) -> None:
        """Note that a caller was told of the end."""
        self._ends.add(target)
        self._look("an end", target, any(isinstance(event, ENDS) for event in self._events(target)))

    def published(self, topic: str, body: bytes) -> None:
        """Note that the broker has confirmed a message."""
        self._messages[topic, body] = None

    def at_the_end(self) -> Iterator[str]:
        """Give what has gone missing since."""
        for target in self._starts:
            if not has_started(self._events(target)):
                yield f"the acknowledged start of {target} is gone"
        for target, signal_id in self._signals:
            if not has_signal(self._events(target), signal_id):
                yield f"the acknowledged signal {signal_id} of {target} is gone"
        for topic, body in self._messages:
            if not self._settled(topic, body):
                yield f"the published message {body!r} of {topic} has left no trace"

    def _acknowledged(self, topic: str, stored: Stored | None) -> None:
        """Look at a message that is acknowledged; None is one that a slow consumer acknowledges after another has."""
        if stored is not None and not self._settled(topic, stored.message.body):
            self.problems.append(f"{stored.message.body!r} of {topic} is acknowledged, and not in the log")

    def _settled(self, topic: str, body: bytes) -> bool:
        """Tell whether the log, or the topic of dead letters, has what must come of the message."""
        if any(stored.message.body == body for stored in self._world.broker.messages(f"{topic}.dlq")):
            return True
        try:
            value = json.loads(body)
            name, key = topic.removesuffix(".go"), value["id"]
        except (ValueError, KeyError):
            return False
        target = execution_id(f"{name}/orders", key)
        if topic.endswith(".go"):
            return any(
                isinstance(event, e.SignalReceived) and from_json(event.data) == value["n"]
                for event in self._events(target)
            )
        return value["n"] >= 9 or has_started(self._events(target))

    def _look(self, what: str, target: UUID, found: bool) -> None:  # noqa: FBT001  what was seen
        if not found:
            self.problems.append(f"{what} of {target} is acknowledged, and not in the log")

    def _events(self, target: UUID) -> list[e.Event]:
        return [recorded.event for recorded in at_once(self._world.store.log.read(target))]


def has_started(events: Sequence[e.Event]) -> bool:
    """Tell whether the execution has begun."""
    return any(isinstance(event, e.ExecutionStarted) for event in events)


def has_signal(events: Sequence[e.Event], signal_id: str) -> bool:
    """Tell whether the signal is there."""
    return any(isinstance(event, e.SignalReceived) and event.signal_id == signal_id for event in events)


def overdue(world: World, since: datetime) -> list[str]:
    """Return the executions that go on: those that are older, and wait for more than a signal, a start or a person.

    One that waits for a limit may wait as long as nothing of it is free.
    """
    rows = at_once(world.store.index.executions(ExecutionFilter(limit=100_000)))
    going_on = {row.execution_id for row in rows if row.finished_at is None}
    return [
        f"{row.execution_id} of {row.workflow} is {row.status} and waits for {row.cause or 'nothing'}"
        for row in rows
        if row.execution_id in going_on
        and row.cause not in ("signal", "start", "person")
        and row.started_at <= since
        and (row.cause != "limit" or _all_free(world, row.execution_id))
        and not (row.cause == "child" and going_on.intersection(_children(world.state(row.execution_id))))
    ]


def _children(state: State) -> set[UUID]:
    return {*state.children.values(), *state.leaving} if isinstance(state, Running) else set()


def _all_free(world: World, target: UUID) -> bool:
    """Tell whether something that the execution waits for could go on: there is a slot of each of its limits."""
    state = world.state(target)
    waiting = state.limited.values() if isinstance(state, Running) else ()
    return any(
        all(
            slot.most is None or at_once(world.store.slots.use(slot.limit, slot.key)).held < slot.most
            for slot in slots.slots
        )
        for slots in waiting
    )


def stray_leases(world: World) -> list[str]:
    """Return where leases and handlers that are owed differ."""
    found = []
    leases, _ = world.leases()
    for target in sorted({recorded.execution_id for recorded in world.events()}):
        state = world.state(target)
        lease = target in leases
        if lease != (isinstance(state, Running) and has_work(state)):
            found.append(f"{target} has {'a' if lease else 'no'} lease, and {'no' if lease else 'a'} handler is owed")
    return found


def violations(world: World) -> list[str]:
    """Return what is wrong with what is left."""
    histories: defaultdict[UUID, list[Recorded]] = defaultdict(list)
    found = list(world.acknowledged.at_the_end())
    last = 0
    for recorded in world.events():
        histories[recorded.execution_id].append(recorded)
        if recorded.position <= last:
            found.append(f"position {recorded.position} after {last}")
        last = recorded.position
    checked = Histories()
    for recorded in world.events():
        found += map(str, checked.take(recorded))
    found += _told_twice(world.events())
    found += _of_slots(world, histories)
    keys: defaultdict[tuple[Any, Any], int] = defaultdict(int)
    for target, history in histories.items():
        events = [recorded.event for recorded in history]
        found += [f"{target}: {problem}" for problem in _of_history(history)]
        try:
            state = fold(events)
        except Exception as error:  # noqa: BLE001  whatever it is, it is a finding
            found.append(f"{target} cannot be folded: {error!r}")
            continue
        found += [f"{target}: {problem}" for problem in (*_of_state(state), *_of_index(world, target, state, events))]
        found += [f"{target}: {problem}" for problem in _of_steps(world, target, state, events)]
        if not isinstance(state, NotStarted) and state.dedupe_key is not None:
            keys[state.trigger_name, state.dedupe_key] += 1
    found += [f"{count} executions of the key {key}" for key, count in keys.items() if count > 1]
    rows = at_once(world.store.index.executions(ExecutionFilter(limit=100_000)))
    found += [f"{row.execution_id} is in the index only" for row in rows if row.execution_id not in histories]
    return found


def _told_twice(log: Sequence[Recorded]) -> Iterator[str]:
    told: set[tuple[UUID, str, int, UUID]] = set()
    for recorded in log:
        if isinstance(event := recorded.event, e.ChildFinished):
            what = (recorded.execution_id, event.address, event.attempt, event.child)
            if what in told:
                yield f"{recorded.execution_id} was told twice of the end of {event.child}"
            told.add(what)


def _of_slots(world: World, histories: Mapping[UUID, Sequence[Recorded]]) -> Iterator[str]:
    """Compare who has slots, and who waits, by the store and by the log."""
    for target, history in histories.items():
        state = fold(recorded.event for recorded in history)
        known = ((state.limited, False), (state.holding, True)) if isinstance(state, Running) else ()
        wanted = {
            (address, slot.limit, slot.key, held)
            for all_slots, held in known
            for address, slots in all_slots.items()
            for slot in slots.slots
            if not held or slot.most is not None
        }
        if (have := set(at_once(world.store.slots.of(target)))) != wanted:
            yield f"{target} has slots {sorted(have)}, by the log {sorted(wanted)}"


def _of_history(history: Sequence[Recorded]) -> Iterator[str]:
    events = [recorded.event for recorded in history]
    versions = [recorded.version for recorded in history]
    if versions != list(range(1, len(versions) + 1)):
        yield f"versions {versions}"
    starts = [event for event in events if isinstance(event, e.ExecutionStarted)]
    ends = [index for index, event in enumerate(events) if isinstance(event, ENDS)]
    if len(starts) > 1:
        yield f"{len(starts)} starts"
    if any(not isinstance(after, e.UndoRequested) for end in ends for after in events[end + 1 : end + 2]):
        yield f"ends at {ends} of {len(events)}"
    settled: set[str] = set()
    began: set[tuple[str, int]] = set()
    signals: set[str] = set()
    for event in events:
        match event:
            case e.StepStarted(address=address, attempt=attempt):
                if (address, attempt) in began or address in settled:
                    yield f"attempt {attempt} of {address} is started again"
                began.add((address, attempt))
            case (
                e.StepSucceeded(address=address)
                | e.StepSkipped(address=address)
                | e.StepFailed(address=address, retry_at=None)
            ):
                if address in settled:
                    yield f"{address} is settled twice"
                settled.add(address)
            case e.ManualActionDone(address=address, choice="retry"):
                settled.discard(address + UNDO)
            case e.SignalReceived(signal_id=signal_id):
                if signal_id in signals:
                    yield f"signal {signal_id} came twice"
                signals.add(signal_id)
            case _:
                pass


def _of_state(state: State) -> Iterator[str]:
    if not isinstance(state, Finished) and not cause(state):
        yield "it waits for nothing"
    if isinstance(state, Running):
        there = {signal.name for signal in state.signals.values()}
        for address, step in state.steps.items():
            if isinstance(step, Awaiting) and step.name in there:
                yield f"{address} waits for the signal {step.name}, which is there"


def _of_index(world: World, target: UUID, state: State, events: Sequence[e.Event]) -> Iterator[str]:
    row = at_once(world.store.index.execution(target))
    expected = execution_row(target, state, events[-1].at)
    if row is None:
        yield "it is not in the index"
        return
    for field in expected.__struct_fields__:
        if field != "updated_at" and (have := getattr(row, field)) != (want := getattr(expected, field)):
            if isinstance(state, NotStarted) and field == "started_at":
                continue
            yield f"the index has {field} {have!r}, the log {want!r}"
    timers = dict(world.store.index._timers.get(target, {}))
    wanted = {name: timer.due for name, timer in state.timers.items()} if isinstance(state, Running) else {}
    if timers != wanted:
        yield f"the index has timers {timers}, the log {wanted}"


def _of_steps(world: World, target: UUID, state: State, events: Sequence[e.Event]) -> Iterator[str]:
    """Compare what the log says that steps have done with what was seen of it."""
    if isinstance(state, NotStarted):
        return
    plan = next(plan for plan in world.plans if plan.hash == state.definition)
    published = b" ".join(stored.message.body for stored in world.broker.messages("out"))
    calls: dict[str, str] = {}
    for event in events:
        if isinstance(event, e.FunctionAdvanced):
            calls |= _kinds(event)
        if not isinstance(event, e.StepSucceeded):
            continue
        kind = calls.get(event.address) or plan.nodes[node_of(event.address)].type.name
        if kind == "task":
            runs = world.witness.runs.get((f"{target}/{event.address}", event.attempt), [])
            output = from_json(event.output)
            if output not in [run.token for run in runs if run.succeeded]:
                yield f"nobody has given the result of {event.address}, attempt {event.attempt}: {output}"
        elif kind == "publish" and str(target).encode() not in published:
            yield f"{event.address} has published nothing"


def _kinds(event: e.FunctionAdvanced) -> Iterator[tuple[str, str]]:
    """Give the addresses of what a function has called, and of what undoes that, with the kind of node of each."""
    for call in event.calls:
        address = f"{event.address}.{call.id}"
        yield address, "task" if call.kind == "step" else call.kind
        yield address + UNDO, "task"
