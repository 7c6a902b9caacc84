"""Cold load of a very long execution: its state now and at a time, with a snapshot and without.

The execution is made by the core and put into the store as it stands, events and snapshot; what is measured is reading,
decoding and folding by a reader that has nothing in memory. Elapsed time; the least of several counts.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import UUID

from daemon.core.commands import CompleteStep, FireTimer, StartExecution
from daemon.core.decide import decision
from daemon.core.effects import ArmTimer, RunStep, effects
from daemon.core.state import INITIAL, Finished, Running
from daemon.core.values import to_json
from daemon.runtime.clock import SystemClock
from daemon.runtime.codec import codec_of
from daemon.runtime.collection import calm_garbage_collector
from daemon.runtime.history import History
from daemon.runtime.snapshot_taking import SnapshotTaker
from daemon.settings import Settings
from eventstore.log import Append
from eventstore.store import open_store
from tests.bench.figures import Bench, Benchmark, Figure, WrongOutcomeError
from tests.bench.workflows import NAME
from tests.support.workflows import plan_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.core.commands import Command
    from daemon.core.events import Event
    from daemon.core.state import State
    from eventstore.store import Store

EXECUTION = UUID(int=1)
TIMES = 5
BATCH = 5_000
TAIL = 100
"""Events after the snapshot: half of what lies between two automatic ones."""
SHAPES = {
    "a loop that keeps nothing": "for: 100000, collect: false",
    "a loop that keeps each output": "for: 100000",
}
TEXT = "workflow: {name}\nnodes:\n  all: {{{kind}, do: {{nodes: {{one: {{task: bench.add, with: {{n: 1}}}}}}}}}}\n"


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure each shape."""
    figures: list[Figure] = []
    calm_garbage_collector()
    for name, kind in SHAPES.items():
        events, state, before = _execution(TEXT.format(name=NAME, kind=kind), bench.sizes.events_in_one)
        with bench.fresh_store() as url:
            store = await open_store(url, codec_of(Settings()))
            try:
                figures += await _measure(store, name, events, state, before)
            finally:
                await store.close()
    return figures


async def _measure(store: Store, name: str, events: Sequence[Event], state: State, before: State) -> Sequence[Figure]:
    for first in range(0, len(events), BATCH):
        await store.log.insert([Append(EXECUTION, first, tuple(events[first : first + BATCH]))])
    without = await _least(store, state, at=False)
    history = History(store.log, store.snapshots)
    taker = SnapshotTaker(store.snapshots, history, SystemClock(), Settings().snapshots, spawn=asyncio.ensure_future)
    await taker.take(EXECUTION, before)
    (stored,) = await store.snapshots.stored(EXECUTION)
    length = f"{len(events):,} events, {name}"
    return [
        Figure(f"{length}: without a snapshot", without * 1000, "ms"),
        Figure(f"{length}: with one", await _least(store, state, at=False) * 1000, "ms"),
        Figure(f"{length}: at a time, with one", await _least(store, state, at=True) * 1000, "ms"),
        Figure(f"{length}: the snapshot", stored.stored_bytes / 1000, "kB"),
    ]


async def _least(store: Store, expected: State, *, at: bool) -> float:
    """Return the seconds of the fastest of several loads, each by a new reader. Raises WrongOutcomeError."""
    spent = []
    for _ in range(TIMES):
        history = History(store.log, store.snapshots)
        begun = time.perf_counter()
        if at:
            found = await history.state_at(EXECUTION, at=SystemClock().now())
        else:
            found = await history.load(EXECUTION)
        spent.append(time.perf_counter() - begun)
        if found != expected:
            raise WrongOutcomeError("what was loaded is not the state that was live")
    return min(spent)


def _execution(text: str, length: int) -> tuple[Sequence[Event], State, State]:
    """Return the first events of an execution, their state, and the state when a few of them were not there."""
    plan, result, at = plan_of(text), to_json(1), SystemClock().now()
    state: State = INITIAL
    before: State = INITIAL
    events: list[Event] = []
    waiting: list[Command] = [StartExecution(execution_id=EXECUTION, input=to_json({"n": 1}), actor="b", at=at)]
    while len(events) < length and not isinstance(state, Finished):
        decided = decision(plan, state, waiting.pop())
        state = decided.state
        events += decided.events
        if len(events) <= length - TAIL:
            before = state
        for effect in effects(state, decided.events):
            if isinstance(effect, RunStep):
                waiting.append(CompleteStep(address=effect.address, attempt=effect.attempt, output=result, at=at))
            elif isinstance(effect, ArmTimer):
                waiting.append(FireTimer(timer_id=effect.timer_id, at=effect.due))
    if not isinstance(state, Running):
        raise WrongOutcomeError("the execution has ended before it was long")
    return events, state, before


BENCHMARK = Benchmark("cold", "Cold load of one execution of very many events", run, named_only=True)
