"""The same story with a crash, or a lost answer, at each of its appends: it always ends the same.

The story has a retry, a branch, an error edge, a timer and a signal. Messages come from a broker that delivers again
what was not acknowledged.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from daemon.core.events import EVENT_TYPES, UPCASTERS, StepSucceeded
from daemon.core.state import Failed, Finished, Skipped, State, Succeeded, cause
from daemon.main import open_daemon
from eventstore.codec import Codec
from eventstore.index import ExecutionFilter
from eventstore.store import Store, open_store
from tests.support import gated_handlers
from tests.support.clock import FakeClock
from tests.support.daemons import settings_for
from tests.support.faulty_log import Crash, Fault, Where, faulty
from triggers.message import Ack, Inbound, Retry
from triggers.routing import execution_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from daemon.main import Daemon
    from daemon.settings import Settings

STORY = """
workflow: story
triggers:
  - {name: orders, memory: {topic: orders}, dedupe: "{{ message.value.id }}"}
  - name: answers
    memory: {topic: answers}
    signal: {name: answer, key: "{{ message.value.id }}"}
    input: "{{ message.value.answer }}"
nodes:
  a: {task: pass, with: {value: "{{ input.n }}"}}
  large: {branch: "{{ a > 10 }}"}
  flaky: {task: flaky, with: {name: "{{ execution.id }}"}, retry: {max_attempts: 3, initial: 1m}}
  broken: {task: pass, with: {value: "{{ input.missing }}"}}
  caught: {task: pass, with: {value: "{{ broken.error.code }}"}}
  nap: {wait: 5m}
  ask: {signal: answer}
  end: {task: pass, with: {value: ["{{ flaky }}", "{{ ask }}", "{{ caught }}"]}}
edges:
  - a -> large
  - large.true -> flaky
  - large.false -> end
  - a -> broken
  - broken.error -> caught
  - flaky -> nap
  - nap -> ask
  - ask -> end
  - caught -> end
output: "{{ end }}"
"""
TARGET = execution_id("story/orders", "A7")
MOST_INSERTS = 30


def message(trigger: str, body: bytes, number: int, clock: FakeClock) -> Inbound:
    return Inbound(
        trigger=f"story/{trigger}",
        source=f"test:{trigger}@{number}",
        identity=f"{trigger}/{number}",
        body=body,
        received_at=clock.now(),
    )


async def live(settings: Settings, store: Store, clock: FakeClock) -> State:
    """Be a daemon and a broker until the story has ended: deliver what is not acknowledged, move the clock."""
    async with open_daemon(settings, clock=clock, store=store, environ={}, jitter=lambda: 0.0) as daemon:
        await daemon.start()
        messages = [
            message("orders", b'{"id": "A7", "n": 50}', 1, clock),
            message("orders", b'{"id": "A7", "n": 50}', 2, clock),
            message("answers", b'{"id": "A7", "answer": "yes"}', 3, clock),
        ]
        for inbound in messages:
            (verdict,) = await daemon.intake([inbound])
            while isinstance(verdict, Retry):
                await clock.advance(verdict.after.total_seconds())
                (verdict,) = await daemon.intake([inbound])
            assert isinstance(verdict, Ack), verdict
        await _until(daemon, clock, lambda state: isinstance(state, Finished))
        return await daemon.history.load(TARGET)


async def _until(daemon: Daemon, clock: FakeClock, condition: Callable[[State], bool]) -> None:
    """Move the clock on whenever the execution waits for it."""
    async with asyncio.timeout(20):
        while not condition(state := await daemon.history.load(TARGET)):
            with daemon.changes.watch(TARGET) as changed:
                if cause(state) == "timer":
                    await clock.advance(60)
                else:
                    await clock.advance(1)
                    if await daemon.history.load(TARGET) == state:
                        await asyncio.wait_for(_either(changed, clock), 10)


async def _either(changed: asyncio.Event, clock: FakeClock) -> None:
    for _ in range(200):
        if changed.is_set():
            return
        await asyncio.sleep(0.005)
    await clock.advance(1)


def outcome(state: State) -> object:
    """Return what must be the same however the story went: status, output, and what became of each step."""
    assert isinstance(state, Finished)
    steps = {}
    for address, step in state.steps.items():
        match step:
            case Succeeded(output=output, port=port):
                told = b"" if address == "nap" else bytes(output)  # a wait's output is the time it ended
                steps[address] = ("succeeded", told, port)
            case Failed(error=error):
                steps[address] = ("failed", error.code.encode(), step.port)
            case Skipped():
                steps[address] = ("skipped", b"", "")
    return state.status, bytes(state.output), steps


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path, STORY)


async def fresh() -> Store:
    gated_handlers.runs.clear()
    gated_handlers.failures[str(TARGET)] = 1
    return await open_store("memory://", Codec(EVENT_TYPES, UPCASTERS))


async def uninterrupted(settings: Settings) -> tuple[object, int]:
    counted = Fault(at=0, where="before", crash=False)
    return outcome(await live(settings, faulty(await fresh(), counted), FakeClock())), counted.inserts


@pytest.mark.parametrize("crash", [True, False], ids=["crash", "lost-answer"])
@pytest.mark.parametrize("where", ["before", "after"])
async def test_every_append_may_fail(settings: Settings, where: Where, crash: bool) -> None:  # noqa: FBT001  a parameter of the test
    """At each append, before and after it is written: the end is that of the uninterrupted run."""
    expected, inserts = await uninterrupted(settings)
    assert 5 < inserts < MOST_INSERTS
    for at in range(1, inserts + 1):
        store, clock = await fresh(), FakeClock()
        fault = Fault(at=at, where=where, crash=crash)
        try:
            state = await live(settings, faulty(store, fault), clock)
        except* Crash:
            state = await live(settings, store, clock)
        assert fault.inserts >= at, "the fault was never reached"
        assert outcome(state) == expected, fault
        await _check_log(store, fault)


async def _check_log(store: Store, fault: Fault) -> None:
    """One execution, versions without gaps, no result twice, at most one run more than needed, nothing waiting."""
    recorded = await store.log.read(TARGET)
    succeeded = [each.event.address for each in recorded if isinstance(each.event, StepSucceeded)]
    assert [each.version for each in recorded] == list(range(1, len(recorded) + 1)), fault
    assert len(set(succeeded)) == len(succeeded), fault
    rows = await store.index.executions(ExecutionFilter())
    assert [row.execution_id for row in rows] == [TARGET]
    assert await store.index.without_cause() == []
    ran = {key: count for key, count in gated_handlers.runs.items() if not key.endswith("/flaky")}
    assert all(count <= 2 for count in ran.values()), (fault, ran)
