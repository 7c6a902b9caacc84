"""Remote workers, by the in-process broker: claims, outcomes, losses, cancellation, and daemons that come and go."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.commands import CancelExecution
from daemon.core.errors import Misconfigured
from daemon.core.events import StepFailed
from daemon.core.state import Finished
from daemon.core.values import from_json
from daemon.nodes import all_node_types
from daemon.remote import open_worker
from daemon.runtime.definitions import Compiler
from daemon.runtime.handler_registry import load_handlers
from daemon.settings_outside import Workers
from tests.support import gated_handlers as gated
from tests.support.daemons import PATIENCE_S, finished, in_flight, running, settings_for, start, until
from tests.support.remote import died, working

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.core.events import Event
    from daemon.settings import Settings

FAR = """
workflow: far
nodes:
  work:
    task: gate
    worker: far
    heartbeat: 800ms
    with: {name: "{{ input }}", value: "{{ secret.WORD }}"}
    retry: {max_attempts: 2, initial: 10ms}
output: "{{ work }}"
"""
WORDS = {"SAGAD_SECRET_WORD": "sesame"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path, FAR, workers=Workers(broker="memory"))


@asynccontextmanager
async def both(settings: Settings, **how: Any) -> AsyncIterator[tuple[Daemon, Any]]:
    async with running(settings) as daemon, working(settings, daemon.brokers, environ=WORDS, **how) as worker:
        yield daemon, worker


async def events_of(daemon: Daemon, execution_id: UUID) -> list[Event]:
    return [recorded.event for recorded in await daemon.history.events(execution_id)]


async def entered(name: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await gated.entered[name].wait()


async def happened(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  what is watched has no event
            await asyncio.sleep(0.005)


async def test_a_worker_runs_the_handler_and_its_result_is_the_steps(settings: Settings) -> None:
    """The secret is the worker's own; in the log it is struck out, there and back."""
    async with both(settings) as (daemon, worker):
        gated.gates["r1"].set()
        execution_id = await start(daemon, "far", "r1")
        state = await finished(daemon, execution_id)
        assert from_json(state.output) == "***"
        assert gated.runs[f"{execution_id}/work"] == 1
        await happened(lambda: not worker.busy)
        await happened(lambda: not daemon.brokers.memory.messages("sagad.requests.far"))
        await happened(lambda: not daemon.brokers.memory.messages("sagad.results"))


async def test_a_step_waits_for_the_first_worker(settings: Settings) -> None:
    async with running(settings) as daemon:
        gated.gates["r2"].set()
        execution_id = await start(daemon, "far", "r2")
        await until(daemon, execution_id, in_flight("work"))
        async with working(settings, daemon.brokers, environ=WORDS):
            await finished(daemon, execution_id)


async def test_handlers_may_be_sent_away_by_the_settings(tmp_path: Path) -> None:
    """What the daemon does not have itself is no mistake then."""
    text = "workflow: w\nnodes: {a: {task: pass, with: {value: 7}}}"
    workers = Workers(broker="memory", handlers=("pass=far",))
    settings = settings_for(tmp_path, text, handlers="tests.support.answering_handlers", workers=workers)
    async with both(settings) as (daemon, _):
        assert from_json((await finished(daemon, await start(daemon, "w"))).output) == {"a": 7}


async def test_a_silent_worker_is_lost_and_the_attempt_is_tried_again(settings: Settings) -> None:
    """Whether it took effect is open; what it says later is of a superseded attempt, and changes nothing."""
    async with both(settings, concurrency=1) as (daemon, lost):
        execution_id = await start(daemon, "far", "r3")
        await entered("r3")
        await died(lost)
        gated.entered["r3"].clear()
        async with working(settings, daemon.brokers, environ=WORDS):
            await entered("r3")
            gated.gates["r3"].set()
            state = await finished(daemon, execution_id)
        assert from_json(state.output) == "***"
        failed = [event for event in await events_of(daemon, execution_id) if isinstance(event, StepFailed)]
        assert [(each.error.code, each.unknown, each.retry_at is not None) for each in failed] == [
            ("worker_lost", True, True)
        ]
        assert gated.runs[f"{execution_id}/work"] == 2
        for task in [work.task for work in lost._at_work.values()]:
            task.cancel()


async def test_an_attempt_is_begun_by_one_worker_only(settings: Settings) -> None:
    """A request that is delivered again, to another worker, is left alone there."""
    async with both(settings, concurrency=1) as (daemon, _):
        execution_id = await start(daemon, "far", "r4")
        await entered("r4")
        [request] = [each.message for each in daemon.brokers.memory.messages("sagad.requests.far")]
        async with working(settings, daemon.brokers, environ=WORDS) as other:
            await daemon.brokers.memory.publish(request)
            await happened(lambda: len(other._done) == 1)
            gated.gates["r4"].set()
            await finished(daemon, execution_id)
        assert gated.runs[f"{execution_id}/work"] == 1


async def test_a_cancelled_execution_cancels_its_worker(settings: Settings) -> None:
    async with both(settings) as (daemon, worker):
        execution_id = await start(daemon, "far", "r5")
        await entered("r5")
        await daemon.engine.send(execution_id, CancelExecution(reason="", actor="test", at=daemon.clock.now()))
        await happened(gated.cancelled["r5"].is_set)
        await happened(lambda: not worker.busy)
        assert (await finished(daemon, execution_id)).status == "cancelled"


async def test_a_worker_that_goes_gives_back_what_it_has_not_done(settings: Settings) -> None:
    """The attempt goes on at another worker: it is the same attempt, with the same key."""
    async with running(settings) as daemon:
        async with working(settings, daemon.brokers, environ=WORDS, grace_s=0):
            execution_id = await start(daemon, "far", "r6")
            await entered("r6")
            gated.entered["r6"].clear()
        async with working(settings, daemon.brokers, environ=WORDS):
            await entered("r6")
            gated.gates["r6"].set()
            await finished(daemon, execution_id)
        assert [event.NAME for event in await events_of(daemon, execution_id)].count("StepStarted") == 1


@pytest.mark.parametrize("meanwhile", [False, True])
async def test_an_outcome_reaches_the_daemon_that_has_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, meanwhile: bool
) -> None:
    """The daemon goes while the worker is at work; the next one asks anew, and gets the one result there is.

    So it does when the work was done `meanwhile`, while there was no daemon.
    """
    name = f"r7-{meanwhile}"
    settings = settings_for(tmp_path, FAR, store_url=f"sqlite:///{tmp_path}/s.db", workers=Workers(broker="memory"))
    async with running(settings) as first:
        brokers = first.brokers
        execution_id = await start(first, "far", name)
        task, worker = await _work_alone(settings, brokers)
        await entered(name)
    monkeypatch.setattr("daemon.runtime.brokers.MemoryBroker", lambda now: brokers.memory)  # it outlives the daemon
    if meanwhile:
        gated.gates[name].set()
        await happened(lambda: not worker.busy)
    async with running(settings) as second:
        if not meanwhile:
            await _handed_over(second, execution_id, worker)
            gated.gates[name].set()
        state = await finished(second, execution_id)
        await worker.stop(1.0)
        await task
    assert isinstance(state, Finished)
    assert gated.runs[f"{execution_id}/work"] == 1


async def _work_alone(settings: Settings, brokers: Any) -> tuple[asyncio.Task[None], Any]:
    ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        handlers = load_handlers(["tests.support.gated_handlers"])
        opening = open_worker(settings, ["far"], concurrency=2, handlers=handlers, environ=WORDS, brokers=brokers)
        async with opening as worker:
            ready.set_result(worker)
            await worker.run()

    task = asyncio.create_task(work())
    return task, await ready


async def _handed_over(daemon: Daemon, execution_id: UUID, worker: Any) -> None:
    await until(daemon, execution_id, in_flight("work"))
    calls = daemon.steps.calls
    assert calls is not None
    await happened(lambda: any(work.request.daemon == calls.id for work in worker._at_work.values()))
    await happened(lambda: any(waiting.worker == worker.id for waiting in calls._waiting.values()))


async def test_settings_without_a_broker_say_so(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, FAR)) as daemon:
        state = await finished(daemon, await start(daemon, "far", "r8"))
        assert state.error is not None
        assert state.error.code == "no_workers"


def test_a_broker_that_is_nowhere_is_a_mistake_of_the_settings(tmp_path: Path) -> None:
    settings = replace(settings_for(tmp_path, FAR), workers=Workers(broker="kafka"))

    async def opened() -> None:
        async with running(settings):
            pass

    with pytest.raises(ExceptionGroup) as told:
        asyncio.run(opened())
    [error] = told.value.exceptions
    assert isinstance(error, Misconfigured)
    assert "[workers] needs kafka" in str(error)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("heartbeat: 1s", "only a remote worker has a heartbeat"),
        ("worker: far, heartbeat: 1ms", "the heartbeat is shorter than 100ms"),
        ("worker: 'a b'", "the name of a queue"),
    ],
)
def test_mistakes_of_a_node_are_told(keys: str, message: str) -> None:
    text = f"workflow: w\nnodes: {{a: {{task: gate, {keys}}}}}"
    with pytest.raises(Misconfigured) as refused:
        Compiler(node_types=all_node_types(), handlers=["gate"], env={}).load_text(text)
    assert any(message in str(problem) for problem in refused.value.problems), refused.value.problems
