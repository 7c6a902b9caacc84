"""Breakpoints on real daemons: over restarts, with two daemons, and with a crash at every point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.break_events import Breakpoint
from daemon.core.commands import EditAtBreakpoint, LeaveBreakpoint, SetBreakpoints
from daemon.core.state import Running, cause
from daemon.core.values import from_json, to_json
from daemon.runtime.why import why
from daemon.testing import crash_everywhere
from tests.support.daemons import finished, running, settings_for, start, until

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.core.state import State
    from daemon.testing import Execution, Sagad

FLOW = """
workflow: stops
vars: {rate: 1}
nodes:
  begin: {signal: go}
  b: {task: pass, with: {value: "{{ vars.rate }}"}}
  each: {forEach: [1, 2], do: {nodes: {x: {task: pass, with: {value: "{{ loop.item }}"}}}}}
  c: {task: flaky, with: {name: breakpoints}}
edges: [begin -> b, b -> each, each -> c]
output: ["{{ b }}", "{{ each }}", "{{ c }}"]
"""
POINTS = (Breakpoint(node="b"), Breakpoint(node="x", condition="loop.index == 1"), Breakpoint(errors=True))


def stands(state: State) -> bool:
    return isinstance(state, Running) and state.stop is not None


def stop_of(state: State) -> int:
    assert isinstance(state, Running)
    assert state.stop is not None
    return state.stop.version


async def breaking(daemon: Daemon) -> UUID:
    """Start an execution that has breakpoints before it does anything; let it come to the first."""
    target = await start(daemon, "stops")
    await daemon.engine.send(target, SetBreakpoints(breakpoints=POINTS, actor="ann", at=daemon.clock.now()))
    await daemon.intake.signal(target, "go", None, signal_id="s1", actor="test")
    await until(daemon, target, stands)
    return target


async def leave(daemon: Daemon, target: UUID, how: str = "continue") -> None:
    stop = stop_of(await daemon.history.existing(target))
    await daemon.engine.send(target, LeaveBreakpoint(stop=stop, how=how, actor="ann", at=daemon.clock.now()))


async def test_it_stands_there_after_a_restart(tmp_path: Path, fresh_postgres_url: str) -> None:
    """Another daemon tells where and because of whom, and lets it go on."""
    settings = settings_for(tmp_path, FLOW, store_url=fresh_postgres_url)
    async with running(settings) as daemon:
        target = await breaking(daemon)
        other = await start(daemon, "stops")
        await daemon.intake.signal(other, "go", None, signal_id="s1", actor="test")
        assert from_json((await finished(daemon, other)).output) == [1, [{"x": 1}, {"x": 2}], 1]
    async with running(settings) as daemon:
        state = await daemon.history.existing(target)
        assert cause(state) == "breakpoint"
        told = why(state, daemon.plans.current("stops"), daemon.clock.now()).causes
        assert [each.kind for each in told] == ["breakpoint"]
        assert "before step b begins" in told[0].sentence
        assert "set by ann: break b" in told[0].sentence
        await leave(daemon, target)
        state = await until(daemon, target, stands)
        assert isinstance(state, Running)
        assert state.stop is not None
        assert state.stop.address == "each[1].x"
        await leave(daemon, target)
        assert from_json((await finished(daemon, target)).output) == [1, [{"x": 1}, {"x": 2}], 1]


async def test_another_daemon_lets_it_go_on(tmp_path: Path, fresh_postgres_url: str) -> None:
    """One daemon is asked, whichever it is; the steps run once."""
    settings = settings_for(tmp_path, FLOW, store_url=fresh_postgres_url)
    async with running(settings) as first, running(settings) as second:
        target = await breaking(first)
        await leave(second, target, "over")
        await until(second, target, stands)
        await second.engine.send(target, SetBreakpoints(breakpoints=(), actor="bob", at=second.clock.now()))
        await leave(first, target)
        assert from_json((await finished(second, target)).output) == [1, [{"x": 1}, {"x": 2}], 1]


@pytest.mark.parametrize("how", ["retry", "skip"])
async def test_a_crash_anywhere_changes_nothing(sagad: Sagad, how: str) -> None:
    """A failure is held and tried again, or given a result; a variable is edited on the way."""

    async def debug(execution: Execution) -> None:
        stage = execution._stage

        async def send(command: Any) -> None:
            await stage.act(lambda daemon: daemon.engine.send(execution.id, command), "a debugger's command")

        def stop() -> int:
            return stop_of(execution.state)

        at = stage.time.clock.now()
        await send(SetBreakpoints(breakpoints=POINTS, actor="ann", at=at))
        await execution.signal("go", signal_id="s1")
        await execution.until(lambda it: stands(it.state))
        await send(EditAtBreakpoint(stop=stop(), variables={"rate": to_json(3)}, actor="ann", at=at))
        first = stop()
        await send(LeaveBreakpoint(stop=first, how="continue", actor="ann", at=at))
        await execution.until(lambda it: stands(it.state) and stop_of(it.state) != first)
        second = stop()
        await send(LeaveBreakpoint(stop=second, how="continue", actor="ann", at=at))
        await execution.until(lambda it: stands(it.state) and stop_of(it.state) != second)
        await send(LeaveBreakpoint(stop=stop(), how=how, output=to_json(2), actor="ann", at=at))

    flow = sagad.workflow(FLOW)
    flow.fake("pass", calls=lambda value: value)
    flow.fake("flaky", fails="busy", times=1, returns=2)
    report = await crash_everywhere(flow, then=debug)
    assert report.missed == 0
    assert report.points > 20
