"""The budget of a step: processor time by part, in microseconds, and of a whole daemon on a log that answers at once.

A step of the chain is `StepSucceeded` and the next `StepStarted` in one append. Each part is called by itself on the
real objects of such a step; what the parts do not add up to is the event loop, hand-overs and bookkeeping. The log, its
driver and the database are in `steps` and `append`; here the daemon's own work is seen apart from them.
"""

from __future__ import annotations

import asyncio
import time
import timeit
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from daemon.core.commands import CompleteStep, StartExecution
from daemon.core.decide import decide
from daemon.core.effects import effects
from daemon.core.evolve import fold
from daemon.core.scope import Scope
from daemon.core.state import INITIAL, Running, State
from daemon.core.values import to_json
from daemon.main import open_daemon
from daemon.runtime.clock import SystemClock
from daemon.runtime.codec import codec_of
from daemon.runtime.collection import calm_garbage_collector
from daemon.runtime.engine import Committed
from daemon.runtime.metrics import Metrics
from daemon.runtime.projection import project
from daemon.settings import Settings
from eventstore.arrays import Bigints, Bytes, Texts, Uuids
from eventstore.store import open_store
from tests.bench.figures import Bench, Benchmark, Figure, WrongOutcomeError
from tests.bench.peers.driver import STEPS
from tests.bench.rig import WIDE, ClockedLog, Rig, settings_of
from tests.bench.workflows import chain
from tests.support.workflows import plan_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daemon.core.events import Event
    from daemon.core.plan import Plan
    from eventstore.log import Append

CALLS = 2_000
IN_A_COMMIT = 500


class InstantLog(ClockedLog):
    """A log that takes every append at once and forgets it: what is left is the daemon."""

    async def insert(self, batch: Sequence[Append]) -> None:
        """Let the loop turn once, as a real commit does."""
        await asyncio.sleep(0)
        self.note(0.0, batch)


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure the whole, then the parts."""
    whole = await _whole(bench)
    return [Figure("a step on a log that answers at once, in all", whole, "µs"), *_parts()]


async def _whole(bench: Bench) -> float:
    count = bench.sizes.at_once
    settings = settings_of("memory://", bench.folder, chain(STEPS), WIDE)
    store = await open_store(settings.store.url, codec_of(settings))
    async with open_daemon(settings, store=replace(store, log=InstantLog(store.log, lambda *_: None))) as daemon:
        await daemon.start()
        calm_garbage_collector()
        rig = Rig(daemon)
        await rig.run(bench.sizes.warm_up, "warm-up")
        begun = time.process_time()
        await rig.run(count, "timed")
        return (time.process_time() - begun) / (count * STEPS) * 1e6


def _parts() -> list[Figure]:
    plan, before, command = _in_the_middle(plan_of(chain(STEPS)))
    execution_id = before.execution_id
    events = decide(plan, before, command)
    after = fold(events, before)
    committed = Committed(execution_id, before, events, after)
    metrics, codec = Metrics(), codec_of(Settings())
    template = plan.nodes["s5"].config.input
    payloads: dict[str, bytes] = {}
    parts: dict[str, Callable[[], object]] = {
        "decide and evolve (2 events), templates included": lambda: decide(plan, before, command),
        "  of which templates": lambda: template.render(Scope(plan, after)),
        "  of which evolve": lambda: fold(events, before),
        "effects": lambda: effects(after, events),
        "index rows": lambda: project(execution_id, before, events, after),
        "metrics": lambda: metrics.committed(committed),
        "encoding (2 events)": lambda: [codec.encode(event, payloads) for event in events],
    }
    figures = [Figure(name, _microseconds(part), "µs") for name, part in parts.items()]
    return [*figures, Figure("arrays for Postgres (2 events of 500)", _arrays(events), "µs")]


def _in_the_middle(plan: Plan) -> tuple[Plan, Running, CompleteStep]:
    """Return the state in which the fifth step is at work, and its result."""
    at, execution_id = SystemClock().now(), uuid4()
    start = StartExecution(execution_id=execution_id, input=to_json({"n": 1}), actor="bench", at=at)
    state: State = fold(decide(plan, INITIAL, start))
    for number in range(4):
        done = CompleteStep(address=f"s{number}", attempt=1, output=to_json(number), at=at)
        state = fold(decide(plan, state, done), state)
    if not isinstance(state, Running):
        raise WrongOutcomeError("the execution has ended already")
    return plan, state, CompleteStep(address="s4", attempt=1, output=to_json(5), at=at)


def _arrays(events: Sequence[Event]) -> float:
    codec = codec_of(Settings())
    stored = [codec.encode(event, {}) for event in events] * (IN_A_COMMIT // len(events))
    topics, states = [topic for topic, _ in stored], [state for _, state in stored]
    ids, versions = [uuid4().bytes] * len(stored), list(range(len(stored)))

    def build() -> None:
        Uuids.of(ids)
        Bigints.of(versions)
        Texts.of(topics)
        Bytes.of(states)

    return _microseconds(build, calls=CALLS // 100) / len(stored) * len(events)


def _microseconds(part: Callable[[], object], calls: int = CALLS) -> float:
    return min(timeit.repeat(part, number=calls, repeat=5, timer=time.process_time)) / calls * 1e6


BENCHMARK = Benchmark("budget", "Budget of a step: processor time of the daemon", run, stores=("postgres",))
