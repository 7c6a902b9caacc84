"""The engine over real stores: order, conflicts, refusals, what is kept in memory, and going on after a loss."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest

from daemon.core.commands import CancelExecution, ReceiveSignal
from daemon.core.errors import ExecutionFinished, ExecutionNotFound
from daemon.core.state import Finished, Running, cause
from daemon.core.values import to_json
from daemon.runtime.plans import MissingDefinition
from daemon.settings import Limits
from daemon.testing.clock import FakeClock
from eventstore.errors import StoreError, Unavailable
from eventstore.index import ExecutionFilter
from tests.support import gated_handlers
from tests.support.daemons import PATIENCE_S, finished, in_flight, running, settings_for, start, until
from triggers.routing import execution_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from daemon.assembled import Daemon
    from eventstore.log import Append, EventLog

TWO = """
workflow: two
nodes: {a: {task: pass, with: {value: 1}}, b: {task: gate, with: {name: "{{ input }}", value: "{{ a }}"}}}
edges: [a -> b]
"""
SIGNALLED = """
workflow: signalled
nodes: {ask: {signal: {name: answer, timeout: 1h}}}
edges: []
"""
THEN_GATED = """
workflow: then-gated
nodes: {ask: {signal: go}, b: {task: gate, with: {name: "{{ input }}"}}}
edges: [ask -> b]
"""
RETRIED = """
workflow: retried
nodes: {a: {task: flaky, with: {name: "{{ input }}"}, retry: {max_attempts: 3, initial: 10m}}, b: {wait: 24h}}
edges: [a -> b]
output: "{{ a }}"
"""


class Turnstile:
    """A log that lets one insert through for each `passes.release()`."""

    def __init__(self, inner: EventLog) -> None:
        self.inner = inner
        self.passes = asyncio.Semaphore(0)
        self.came = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def insert(self, batch: Sequence[Append]) -> None:
        self.came += 1
        await self.passes.acquire()
        await self.inner.insert(batch)


def signal(daemon: Daemon, number: int) -> ReceiveSignal:
    return ReceiveSignal(
        signal_id=f"s{number}", name="hello", data=to_json(number), actor="test", at=daemon.clock.now()
    )


async def test_commands_of_one_execution_are_decided_one_after_the_other(tmp_path: Path) -> None:
    """Fifty at once give fifty events with versions in a row, in fewer appends."""
    async with running(settings_for(tmp_path, TWO)) as daemon:
        target = await start(daemon, "two", "open-1")
        await until(daemon, target, in_flight("b"))
        await asyncio.gather(*(daemon.engine.send(target, signal(daemon, number)) for number in range(50)))
        recorded = await daemon.history.events(target)
        assert [each.version for each in recorded] == list(range(1, len(recorded) + 1))
        assert sum(each.event.NAME == "SignalReceived" for each in recorded) == 50
        gated_handlers.gates["open-1"].set()
        assert (await finished(daemon, target)).status == "completed"


async def test_a_command_is_decided_again_when_another_daemon_was_first(tmp_path: Path) -> None:
    """What a second daemon appends to an execution that the first holds in memory is found, not overwritten."""
    async with running(settings_for(tmp_path, TWO)) as first:
        target = await start(first, "two", "open-2")
        await until(first, target, in_flight("b"))
        async with running(first.settings, store=first.store) as second:
            await second.engine.send(target, signal(second, 1))
        gated_handlers.gates["open-2"].set()
        state = await finished(first, target)
        recorded = await first.history.events(target)
    assert state.status == "completed"
    assert [each.version for each in recorded] == list(range(1, len(recorded) + 1))
    assert sum(each.event.NAME == "SignalReceived" for each in recorded) == 1


async def test_whoever_holds_the_lease_runs_the_steps_and_hears_of_what_others_append(tmp_path: Path) -> None:
    """A second daemon appends the cancellation; the handler is at work in the first one, which ends it."""
    async with running(settings_for(tmp_path, TWO)) as first:
        target = await start(first, "two", "open-lease")
        await until(first, target, in_flight("b"))
        async with running(first.settings, store=first.store) as second:
            cancel = CancelExecution(reason="enough", actor="test", at=second.clock.now())
            handled = await second.engine.send(target, cancel)
            assert isinstance(handled.state, Finished)
            assert second.engine.active == 0
            async with asyncio.timeout(PATIENCE_S):
                while first.engine.active or await first.store.index.busy(after=None, limit=1):  # noqa: ASYNC110  nothing tells
                    await asyncio.sleep(0)
        assert first.engine.active == 0


async def test_a_step_that_another_daemon_began_meanwhile_is_not_taken_for_its_own(tmp_path: Path) -> None:
    """Its append to an execution that nobody works on meets one that begins a step: the lease is the other's."""
    async with running(settings_for(tmp_path, THEN_GATED)) as first:
        target = await start(first, "then-gated", "open-not-ours")
        turnstile = Turnstile(first.store.log)
        store = replace(first.store, log=cast("EventLog", turnstile))
        async with running(first.settings, store=store) as second:
            hellos = [asyncio.create_task(second.engine.send(target, signal(second, number))) for number in (1, 2)]
            await met(lambda: turnstile.came == 1)
            late = asyncio.create_task(second.engine.send(target, signal(second, 3)))
            turnstile.passes.release()
            await met(lambda: turnstile.came == 2)
            await first.intake.signal(target, "go", None, signal_id="go", actor="test")
            for _ in range(3):
                turnstile.passes.release()
            await asyncio.gather(*hellos, late)
            assert (first.engine.holds(target), second.engine.holds(target)) == (True, False)
            assert second.engine.active == 0
        gated_handlers.gates["open-not-ours"].set()
        assert (await finished(first, target)).status == "completed"


async def met(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0)


async def test_who_has_been_taken_for_dead_writes_nothing_and_joins_again(tmp_path: Path) -> None:
    """The result of a handler that another daemon runs by now is refused, and what comes later is not."""
    async with running(settings_for(tmp_path, TWO)) as daemon:
        target = await start(daemon, "two", "open-fenced")
        await until(daemon, target, in_flight("b"))
        before = daemon.membership.id
        assert before is not None
        await daemon.store.leases.leave(before)
        with pytest.raises(Unavailable):
            await daemon.engine.send(target, signal(daemon, 1))
        gated_handlers.gates["open-fenced"].set()
        assert (await finished(daemon, target)).status == "completed"
        assert daemon.membership.id != before


async def test_a_start_right_behind_its_signal_has_its_plan(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, SIGNALLED)) as daemon:
        target = execution_id("signalled/api", "order-8")
        await asyncio.gather(
            daemon.intake.signal(target, "answer", 42, signal_id="early", actor="test"),
            start(daemon, "signalled", key="order-8"),
        )
        assert bytes((await finished(daemon, target)).output) == b'{"ask":42}'


async def test_what_is_unknown_or_finished_is_refused(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, "workflow: w\nnodes: {a: {transform: 1}}\nedges: []")) as daemon:
        cancel = CancelExecution(reason="enough", actor="test", at=daemon.clock.now())
        with pytest.raises(ExecutionNotFound):
            await daemon.engine.send(UUID(int=7), cancel)
        with pytest.raises(ExecutionNotFound):
            await daemon.engine.resume(UUID(int=7))
        target = await start(daemon, "w")
        with pytest.raises(ExecutionFinished):
            await daemon.engine.send(target, signal(daemon, 1))
        assert (await daemon.engine.send(target, cancel)).events == ()
        assert daemon.engine.active == 0


async def test_an_execution_that_waits_for_a_signal_holds_no_memory(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, SIGNALLED)) as daemon:
        targets = [await start(daemon, "signalled") for _ in range(5)]
        assert daemon.engine.active == 0
        await daemon.intake.signal(targets[0], "answer", 42, actor="test")
        assert (await finished(daemon, targets[0])).status == "completed"
        (row, *_) = await daemon.store.index.executions(ExecutionFilter(status="running"))
        assert row.cause == "signal"
        assert await daemon.store.index.busy(after=None, limit=1) == []


async def test_a_signal_before_the_start_waits_for_it(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, SIGNALLED)) as daemon:
        target = execution_id("signalled/api", "order-7")
        await daemon.intake.signal(target, "answer", 42, signal_id="early", actor="test")
        row = await daemon.store.index.execution(target)
        assert row is not None
        assert (row.status, row.cause) == ("pending", "start")
        assert await start(daemon, "signalled", key="order-7") == target
        assert bytes((await finished(daemon, target)).output) == b'{"ask":42}'


async def test_timers_and_retries_need_no_real_time(tmp_path: Path) -> None:
    """Two retries and a day's wait pass as fast as the clock is moved."""
    clock = FakeClock()
    gated_handlers.failures["twice"] = 2
    async with running(settings_for(tmp_path, RETRIED), clock=clock) as daemon:
        target = await start(daemon, "retried", "twice")
        await until(daemon, target, lambda state: cause(state) == "timer")
        assert daemon.engine.active == 0
        for minutes in (10, 20, 24 * 60):
            await clock.advance(minutes * 60)
        state = await finished(daemon, target)
    assert bytes(state.output) == b"3"
    assert (state.finished_at - state.started_at).total_seconds() == (10 + 20 + 24 * 60) * 60


async def test_a_lost_daemon_is_taken_over_where_it_was(tmp_path: Path) -> None:
    """The step in flight runs again with the same idempotency key; the one that was recorded does not."""
    settings = settings_for(tmp_path, TWO, store_url=f"sqlite:///{tmp_path}/log.db")
    async with running(settings) as lost:
        target = await start(lost, "two", "open-3")
        await asyncio.wait_for(gated_handlers.entered["open-3"].wait(), 5)
    gated_handlers.gates["open-3"].set()
    async with running(settings) as daemon:
        assert daemon.supervisor.recovered == 1
        assert (await finished(daemon, target)).status == "completed"
    assert gated_handlers.runs[f"{target}/a"] == 1
    assert gated_handlers.runs[f"{target}/b"] == 2


async def test_a_large_state_is_snapshot_less_often(tmp_path: Path) -> None:
    """Snapshots cost no more than reading the events between them would: a kilobyte is worth one event."""
    text = SIGNALLED.replace("workflow: signalled", "workflow: signalled\nsnapshot_every: 5")
    async with running(settings_for(tmp_path, text)) as daemon:
        taken = {}
        for name, size in (("small", 10), ("large", 19_000)):
            target = await start(daemon, "signalled", "x" * size)
            for number in range(40):
                await daemon.engine.send(target, signal(daemon, number))
            await until(daemon, target, lambda state: state.version == 43)
            taken[name] = [each.version for each in await daemon.store.snapshots.all_of(target)]
        assert taken == {"small": [30, 35, 40], "large": [20, 40]}


async def test_snapshots_are_taken_and_shorten_loading(tmp_path: Path) -> None:
    text = TWO.replace("workflow: two", "workflow: two\nsnapshot_every: 5")
    async with running(settings_for(tmp_path, text)) as daemon:
        target = await start(daemon, "two", "open-4")
        await until(daemon, target, in_flight("b"))
        for number in range(12):
            await daemon.engine.send(target, signal(daemon, number))
        await until(daemon, target, lambda state: state.version >= 15)
        versions = [snapshot.version for snapshot in await daemon.store.snapshots.all_of(target)]
        assert versions
        state = await daemon.history.load(target)
        assert isinstance(state, Running)
        await daemon.store.snapshots.clear(target)
        assert await daemon.history.load(target) == state
        gated_handlers.gates["open-4"].set()
        await finished(daemon, target)


async def test_an_execution_without_its_definition_is_parked_and_others_go_on(tmp_path: Path) -> None:
    """The missing definition is named; nothing is written for that execution."""
    settings = settings_for(tmp_path, TWO + "---" + SIGNALLED, store_url=f"sqlite:///{tmp_path}/log.db")
    async with running(settings) as daemon:
        target = await start(daemon, "two", "open-5")
        await until(daemon, target, in_flight("b"))
        version = (await daemon.history.load(target)).version
    _forget_definitions(tmp_path / "log.db")
    async with running(settings_for(tmp_path, SIGNALLED, store_url=settings.store.url)) as daemon:
        with pytest.raises(MissingDefinition, match="is not in the store"):
            await daemon.engine.resume(target)
        assert (await daemon.history.load(target)).version == version
        other = await start(daemon, "signalled")
        await daemon.intake.signal(other, "answer", 1, actor="test")
        await finished(daemon, other)


def _forget_definitions(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        (table,) = [name for name in tables if "definition" in name]
        connection.execute(f"DELETE FROM {table}")  # noqa: S608  the name is the schema's own


async def test_intake_waits_while_the_engine_is_full(tmp_path: Path) -> None:
    """Back-pressure: with room for one execution, the next message is taken when the first has ended."""
    settings = settings_for(tmp_path, TWO, limits=Limits(max_active_executions=1, grace_s=0.1))
    async with running(settings) as daemon:
        target = await start(daemon, "two", "open-6")
        await until(daemon, target, in_flight("b"))
        room = asyncio.create_task(daemon.engine.room())
        await asyncio.sleep(0)
        assert not room.done()
        gated_handlers.gates["open-6"].set()
        await finished(daemon, target)
        await asyncio.wait_for(room, 5)


async def test_of_many_that_wait_for_room_one_goes_on_for_each_place(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, TWO, limits=Limits(max_active_executions=1, grace_s=0.1))) as daemon:

        async def start_with_room(name: str) -> None:
            await daemon.engine.room()
            await start(daemon, "two", name)

        left = {f"open-room-{number}" for number in range(4)}
        starting = [asyncio.create_task(start_with_room(name)) for name in sorted(left)]
        while left:
            await met(lambda: any(gated_handlers.entered[name].is_set() for name in left))
            (at_work,) = (name for name in left if gated_handlers.entered[name].is_set())
            assert daemon.engine.active == 1
            left.remove(at_work)
            gated_handlers.gates[at_work].set()
        await asyncio.gather(*starting)


async def test_a_cancelled_execution_ends_its_handlers(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, TWO)) as daemon:
        target = await start(daemon, "two", "never")
        await until(daemon, target, in_flight("b"))
        await daemon.engine.send(target, CancelExecution(reason="enough", actor="ann", at=daemon.clock.now()))
        state = await finished(daemon, target)
        assert (state.status, state.reason) == ("cancelled", "enough")
        await _until_idle(daemon)


async def _until_idle(daemon: Daemon) -> None:
    async with asyncio.timeout(5):
        while list(daemon.steps.at_work()):  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(0)


async def test_a_damaged_execution_stops_neither_the_others_nor_the_start(tmp_path: Path) -> None:
    """An event that cannot be read parks its execution, with the place of the damage; the rest is recovered."""
    settings = settings_for(tmp_path, TWO, store_url=f"sqlite:///{tmp_path}/log.db")
    async with running(settings) as daemon:
        damaged, whole = await start(daemon, "two", "open-7"), await start(daemon, "two", "open-7")
        for target in (damaged, whole):
            await until(daemon, target, in_flight("b"))
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute(
            "UPDATE stored_events SET state = ? WHERE originator_id = ? AND originator_version = 2",
            (b"rubbish", damaged.hex),
        )
        assert connection.total_changes == 1
    gated_handlers.gates["open-7"].set()
    async with running(settings) as daemon:
        assert isinstance(await finished(daemon, whole), Finished)
        with pytest.raises(StoreError, match="event 2"):
            await daemon.history.load(damaged)
