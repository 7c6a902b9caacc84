"""Two daemons on one Postgres, in one process: each answers for the other's executions, whatever their clocks say."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest

from daemon.api.app import create_app
from daemon.core.events import StepSucceeded, TimerFired, TimerSet
from daemon.core.state import Finished
from daemon.settings import Daemon as Naming
from tests.support import gated_handlers
from tests.support.daemons import PATIENCE_S, running, settings_for, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon

WORKFLOWS = """
workflow: gated
nodes: {a: {task: gate, with: {name: "{{ input }}", value: 1}}}
---
workflow: both
nodes:
  a: {task: gate, with: {name: "{{ input }}-a"}}
  ask: {signal: go}
  b: {task: gate, with: {name: "{{ input }}-b", value: "{{ ask }}"}}
edges: [ask -> b]
output: "{{ b }}"
---
workflow: nap
nodes: {nap: {wait: 200ms}, flaky: {task: flaky, with: {name: "{{ input }}"}, retry: {max_attempts: 3, initial: 100ms}}}
edges: [nap -> flaky]
"""


class SkewedClock:
    """The machine's clock, wrong by so much."""

    def __init__(self, wrong_by: timedelta) -> None:
        self._wrong_by = wrong_by

    def now(self) -> datetime:
        return datetime.now(UTC) + self._wrong_by

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@asynccontextmanager
async def daemon_on(url: str, folder: Path, name: str, wrong_by: timedelta = timedelta(0)) -> AsyncIterator[Daemon]:
    folder = folder / name
    folder.mkdir()
    settings = settings_for(folder, WORKFLOWS, store_url=url, daemon=Naming(name=name, lease_ttl_s=2))
    async with running(settings, clock=SkewedClock(wrong_by)) as daemon:
        yield daemon


@pytest.fixture
def wrong_by() -> timedelta:
    """Give how wrong the clocks are; `skewed` makes them so."""
    return timedelta(0)


skewed = pytest.mark.parametrize(
    "wrong_by", [timedelta(minutes=5), timedelta(minutes=-5)], ids=["first-ahead", "first-behind"]
)


@pytest.fixture
async def two(fresh_postgres_url: str, tmp_path: Path, wrong_by: timedelta) -> AsyncIterator[tuple[Daemon, Daemon]]:
    """Give two daemons; the clock of the first is wrong by so much, that of the second by as much the other way."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(daemon_on(fresh_postgres_url, tmp_path, "one", wrong_by))
        other = await stack.enter_async_context(daemon_on(fresh_postgres_url, tmp_path, "two", -wrong_by))
        await know_each_other(one, other)
        yield one, other


async def know_each_other(*daemons: Daemon) -> None:
    for daemon in daemons:
        daemon.membership.doubt()
    await eventually(lambda: all(daemon.membership.share.daemons == len(daemons) for daemon in daemons))


@asynccontextmanager
async def api(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(daemon))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", trust_env=False) as client:
        yield client


async def gate_reached(name: str) -> None:
    await asyncio.wait_for(gated_handlers.entered[name].wait(), PATIENCE_S)


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not (holds := condition()) or not (holds is True or await holds):  # noqa: ASYNC110  what it asks gives no event
            await asyncio.sleep(0.01)


async def is_finished(daemon: Daemon, execution_id: UUID) -> bool:
    return isinstance(await daemon.history.load(execution_id), Finished)


@skewed
async def test_a_signal_to_the_other_daemon_makes_the_holder_go_on(
    two: tuple[Daemon, Daemon], unique_name: Callable[[str], str]
) -> None:
    """The other appends the signal and what follows from it; the holder, which has a handler at work, runs that."""
    one, other = two
    name = unique_name("signal")
    execution_id = await start(one, "both", name)
    await gate_reached(f"{name}-a")
    async with api(other) as client:
        answer = await client.post(f"/executions/{execution_id}/signals/go", json="now")
        assert answer.status_code == 200, answer.text
    await gate_reached(f"{name}-b")
    assert {work.address for work in one.steps.at_work()} == {"a", "b"}
    assert list(other.steps.at_work()) == []
    gated_handlers.gates[f"{name}-a"].set()
    gated_handlers.gates[f"{name}-b"].set()
    async with api(other) as client:
        shown = (await client.get(f"/executions/{execution_id}", params={"wait": "20s"})).json()
    assert (shown["status"], shown["output"]) == ("completed", "now")
    assert gated_handlers.runs[f"{execution_id}/a"] == gated_handlers.runs[f"{execution_id}/b"] == 1


async def test_a_cancel_by_the_other_daemon_stops_the_holders_handlers(
    two: tuple[Daemon, Daemon], unique_name: Callable[[str], str]
) -> None:
    one, other = two
    name = unique_name("cancel")
    execution_id = await start(one, "gated", name)
    await gate_reached(name)
    async with api(other) as client:
        answer = await client.post(f"/executions/{execution_id}/cancel", json={"reason": "twice"})
        assert answer.json()["status"] == "cancelled"
    await eventually(lambda: list(one.steps.at_work()) == [])
    await eventually(lambda: is_free(one, execution_id))


async def is_free(daemon: Daemon, execution_id: UUID) -> bool:
    return execution_id not in await daemon.store.index.busy(after=None, limit=10)


async def test_each_tells_of_the_others_executions(
    two: tuple[Daemon, Daemon], unique_name: Callable[[str], str]
) -> None:
    one, other = two
    name = unique_name("tell")
    execution_id = await start(one, "gated", name)
    await gate_reached(name)
    async with api(other) as client:
        why = (await client.get(f"/executions/{execution_id}/why")).json()
        daemons = (await client.get("/daemons")).json()
        resumed = (await client.post(f"/executions/{execution_id}/resume")).json()
    assert (why["daemon"], why["causes"][0]["kind"]) == ("one", "step")
    shown = [(each["name"], each["rank"], each["this"], each["executions"]) for each in daemons["daemons"]]
    assert shown == [("one", 0, False, 1), ("two", 1, True, 0)]
    assert resumed["status"] == "running"
    assert list(other.steps.at_work()) == []
    gated_handlers.gates[name].set()


async def test_who_waits_at_one_daemon_learns_at_once_what_the_other_appends(
    two: tuple[Daemon, Daemon], unique_name: Callable[[str], str]
) -> None:
    """Many wait at once for different executions; the store is asked about all of them in one query."""
    one, other = two
    names = [unique_name("wait") for _ in range(20)]
    ids = [await start(one, "gated", name) for name in names]
    async with api(other) as client, asyncio.TaskGroup() as tasks:
        waits = [tasks.create_task(client.get(f"/executions/{each}", params={"wait": "20s"})) for each in ids]
        await eventually(lambda: len(other.changes.watched) == len(ids))
        for name in names:
            gated_handlers.gates[name].set()
    assert {answer.result().json()["status"] for answer in waits} == {"completed"}


LATEST_S = 3.0
"""A timer is fired within a second; tests run on busy machines."""


@skewed
async def test_waits_and_retries_are_kept_in_time(
    two: tuple[Daemon, Daemon], unique_name: Callable[[str], str]
) -> None:
    """Whoever has set the timer and whoever fires it: not before its time, and within a second of it."""
    for daemon in two:
        name = unique_name("nap")
        gated_handlers.failures[name] = 2
        ids = [await start(daemon, "nap", name) for _ in range(10)]
        for execution_id in ids:
            await eventually(partial(is_finished, daemon, execution_id))
            history = [each.event for each in await daemon.history.events(execution_id)]
            due = [(each.timer_id, each.due) for each in history if isinstance(each, TimerSet)]
            fired = [(each.timer_id, each.at) for each in history if isinstance(each, TimerFired)]
            assert [timer_id for timer_id, _ in due] == [timer_id for timer_id, _ in fired]
            assert len(due) == 3
            late_s = [(at - moment).total_seconds() for (_, moment), (_, at) in zip(due, fired, strict=True)]
            assert 0 <= min(late_s) <= max(late_s) < LATEST_S


@skewed
async def test_a_fenced_daemon_keeps_nothing_and_begins_anew(
    two: tuple[Daemon, Daemon], unique_name: Callable[[str], str]
) -> None:
    """Its handler is cancelled, its result is not recorded, the other does the work, and it goes on as a new member."""
    one, other = two
    name, old = unique_name("fenced"), one.membership.id
    assert old is not None
    execution_id = await start(one, "gated", name)
    await gate_reached(name)
    await other.store.leases.leave(old)
    await eventually(lambda: [work.execution_id for work in other.steps.at_work()] == [execution_id])
    one.membership.doubt()
    await eventually(lambda: one.membership.id not in {old, None})
    assert list(one.steps.at_work()) == []
    gated_handlers.gates[name].set()
    await eventually(lambda: is_finished(other, execution_id))
    history = await other.history.events(execution_id)
    assert sum(isinstance(each.event, StepSucceeded) for each in history) == 1
    again = await start(one, "gated", name)
    await eventually(lambda: is_finished(one, again))


async def test_what_a_daemon_leaves_at_its_stop_goes_on_at_the_other_at_once(
    fresh_postgres_url: str, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("leave")
    async with daemon_on(fresh_postgres_url, tmp_path, "stays") as stays:
        async with daemon_on(fresh_postgres_url, tmp_path, "goes") as goes:
            execution_id = await start(goes, "gated", name)
            await gate_reached(name)
        await eventually(lambda: [work.execution_id for work in stays.steps.at_work()] == [execution_id])
        gated_handlers.gates[name].set()
        await eventually(lambda: is_finished(stays, execution_id))
