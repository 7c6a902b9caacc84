"""What travels between daemons and remote workers beside plain results, and who records it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.events import StepFailed, StepProgressed
from daemon.core.state import Running
from daemon.core.values import from_json
from daemon.runtime.handler_registry import load_handlers
from daemon.settings import Limits, Settings
from daemon.settings_outside import Workers
from tests.support import gated_handlers as gated
from tests.support.daemons import finished, in_flight, running, settings_for, start, until
from tests.support.remote import working
from triggers.errors import BrokerUnavailable, TooLarge
from triggers.memory_broker import MemoryBroker
from triggers.publishing import Outbound

if TYPE_CHECKING:
    from pathlib import Path

HANDLERS = "tests.support.remote_handlers"
WORDS = {"SAGAD_SECRET_WORD": "sesame"}


def far(folder: Path, workflow: str, **parts: Any) -> Settings:
    return settings_for(folder, workflow, handlers=HANDLERS, workers=Workers(broker="memory"), **parts)


async def run(settings: Settings, workflow: str, value: Any = None) -> tuple[Any, list[Any]]:
    """Return how an execution ended that one worker works for, and its events."""
    async with running(settings) as daemon:
        async with working(settings, daemon.brokers, handlers=load_handlers([HANDLERS]), environ=WORDS):
            execution_id = await start(daemon, workflow, value)
            state = await finished(daemon, execution_id)
        return state, [recorded.event for recorded in await daemon.history.events(execution_id)]


async def test_ports_calls_again_and_progress_travel(tmp_path: Path) -> None:
    text = """
workflow: w
nodes:
  a: {task: far.thrice, worker: far, ports: [enough]}
  b: {transform: "{{ a }}"}
edges: [a.enough -> b]
output: "{{ b }}"
"""
    state, events = await run(far(tmp_path, text), "w")
    assert from_json(state.output) == 3
    told = [from_json(event.progress) for event in events if isinstance(event, StepProgressed)]
    assert {"calls": 1} in told


async def test_a_pause_travels_and_so_does_the_input(tmp_path: Path) -> None:
    settings = far(tmp_path, "workflow: w\nnodes: {a: {task: far.pauses, worker: far}}")
    async with (
        running(settings) as daemon,
        working(settings, daemon.brokers, handlers=load_handlers([HANDLERS]), environ=WORDS),
    ):
        target = await start(daemon, "w", None)
        await until(daemon, target, lambda state: isinstance(state, Running) and bool(state.people))
        await daemon.people.resume_step(target, "a", 7, resume_id="r1", actor="ann")
        state = await finished(daemon, target)
    assert from_json(state.output) == {"a": [7, "asked"]}


async def test_a_failure_in_a_thread_comes_back_as_it_is_without_its_secret(tmp_path: Path) -> None:
    text = 'workflow: w\nnodes: {a: {task: far.thread, worker: far, with: {word: "{{ secret.WORD }}"}}}'
    state, events = await run(far(tmp_path, text), "w")
    assert (state.error.code, state.error.message) == ("declined", "not ***")
    assert from_json(state.error.details)["key"].endswith("/a")
    [failed] = [event for event in events if isinstance(event, StepFailed)]
    assert not failed.unknown


async def test_what_the_worker_does_not_have_fails_retryably(tmp_path: Path) -> None:
    text = "workflow: w\nnodes: {a: {task: nobody.knows, worker: far}}"
    state, _ = await run(far(tmp_path, text), "w")
    assert state.error.code == "handler_unknown"


@pytest.mark.parametrize(("place", "code"), [("results", "output_too_large"), ("requests.far", "request_too_large")])
async def test_what_the_broker_does_not_take_is_the_steps_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, code: str
) -> None:
    publish = MemoryBroker.publish

    async def limited(self: MemoryBroker, message: Outbound) -> str:
        if message.destination == f"sagad.{place}" and len(message.body) > 10_000:
            raise TooLarge("10,000 bytes at most")
        return await publish(self, message)

    monkeypatch.setattr(MemoryBroker, "publish", limited)
    size = 20_000 if place == "results" else 1
    text = (
        "workflow: w\nnodes: {a: {task: far.large, worker: far, with: {size: '{{ input.size }}', x: '{{ input.x }}'}}}"
    )
    settings = far(tmp_path, text.replace(", x: '{{ input.x }}'", "") if place == "results" else text)
    state, _ = await run(settings, "w", {"size": size, "x": "y" * 20_000 if place != "results" else ""})
    assert state.error.code == code


@pytest.mark.parametrize("place", ["requests.far", "results"])
@pytest.mark.parametrize("arrives", ["lost", "unconfirmed"])
async def test_a_message_is_sent_until_the_broker_confirms_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, arrives: str
) -> None:
    """A request or an outcome; the handler runs once, whether the first ones came or not."""
    monkeypatch.setattr("daemon.runtime.remote_calls.SEND_AGAIN_S", 0.01)
    publish, refused = MemoryBroker.publish, 0

    async def away(self: MemoryBroker, message: Outbound) -> str:
        nonlocal refused
        if message.destination == f"sagad.{place}" and refused < 2:
            refused += 1
            if arrives == "unconfirmed":
                await publish(self, message)
            raise BrokerUnavailable("gone for a moment")
        return await publish(self, message)

    monkeypatch.setattr(MemoryBroker, "publish", away)
    gated.gates["confirmed"].set()
    text = "workflow: w\nnodes: {a: {task: gate, worker: far, with: {name: confirmed}}}"
    settings = settings_for(tmp_path, text, workers=Workers(broker="memory"))
    async with running(settings) as daemon, working(settings, daemon.brokers):
        execution_id = await start(daemon, "w")
        assert (await finished(daemon, execution_id)).status == "completed"
    assert refused == 2 or (arrives == "unconfirmed" and refused == 1)
    assert gated.runs[f"{execution_id}/a"] == 1


async def test_what_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    """In each of the four places; the work goes on beside it."""
    settings = far(tmp_path, "workflow: w\nnodes: {a: {task: far.echo, worker: far, with: {n: 1}}}")
    async with running(settings) as daemon:
        memory, calls = daemon.brokers.memory, daemon.steps.calls
        assert calls is not None
        async with working(settings, daemon.brokers, handlers=load_handlers([HANDLERS])) as worker:
            places = ["requests.far", "results", f"signs.{calls.id}", f"control.{worker.id}"]
            for place in places:
                await memory.publish(Outbound(destination=f"sagad.{place}", body=b"{"))
            assert (await finished(daemon, await start(daemon, "w"))).status == "completed"
            letters = [f"sagad.{place.split('.')[0]}.dead-letters" for place in places]
            letters[0] = "sagad.requests.far.dead-letters"
            async with asyncio.timeout(10):
                while not all(memory.messages(letter) for letter in letters):  # noqa: ASYNC110  it has no event
                    await asyncio.sleep(0.01)


async def test_an_attempt_that_takes_too_long_is_given_up_at_the_worker_too(tmp_path: Path) -> None:
    text = """
workflow: w
nodes: {a: {task: gate, worker: far, timeout: 300ms, with: {name: late}}}
"""
    settings = settings_for(tmp_path, text, workers=Workers(broker="memory"))
    async with running(settings) as daemon, working(settings, daemon.brokers):
        state = await finished(daemon, await start(daemon, "w"))
        assert state.error is not None
        assert state.error.code == "timeout"
        async with asyncio.timeout(10):
            await gated.cancelled["late"].wait()


async def test_outcomes_find_the_right_daemon_through_any_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_postgres_url: str
) -> None:
    """Both take outcomes from one place; what the wrong one takes is recorded, and the other goes on from there."""
    text = """
workflow: w
nodes:
  a: {task: far.echo, worker: far, with: {n: "{{ input }}"}}
  b: {task: far.echo, worker: far, with: {n: "{{ a + 1 }}"}}
edges: [a -> b]
output: "{{ b }}"
"""
    shared = MemoryBroker()
    monkeypatch.setattr("daemon.runtime.brokers.MemoryBroker", lambda now: shared)
    settings = far(tmp_path, text, store_url=fresh_postgres_url, limits=Limits(grace_s=1.0))
    async with running(settings) as first, running(settings) as second:
        async with working(settings, first.brokers, handlers=load_handlers([HANDLERS])):
            ids = [await start(daemon, "w", n) for n in range(15) for daemon in (first, second)]
            states = [await finished(first, execution_id) for execution_id in ids]
        assert [from_json(state.output) for state in states] == [n // 2 + 1 for n in range(30)]


async def test_a_daemon_that_stops_leaves_its_workers_at_work(tmp_path: Path) -> None:
    """It does not wait out its grace for them either."""
    settings = settings_for(
        tmp_path,
        "workflow: w\nnodes: {a: {task: gate, worker: far, with: {name: left}}}",
        workers=Workers(broker="memory"),
        limits=Limits(grace_s=60.0),
    )
    async with (
        asyncio.timeout(20),
        running(settings) as daemon,
        working(settings, daemon.brokers, grace_s=0) as worker,
    ):
        execution_id = await start(daemon, "w")
        await until(daemon, execution_id, in_flight("a"))
        await gated.entered["left"].wait()
        await daemon.stop()
        assert (worker.busy, gated.cancelled["left"].is_set()) == (1, False)


def test_settings_are_values(tmp_path: Path) -> None:
    settings = far(tmp_path, "workflow: w\nnodes: {a: {task: far.echo}}")
    sent = dataclasses.replace(settings.workers, handlers=("a.b=x", "c=y"))
    assert sent.sent_away() == {"a.b": "x", "c": "y"}
