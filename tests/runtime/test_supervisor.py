"""Stopping and reloading a daemon that has its hands full."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from daemon.settings import Limits
from eventstore.errors import Unavailable
from eventstore.index import ExecutionFilter
from tests.support import gated_handlers
from tests.support.daemons import finished, in_flight, running, settings_for, start, until
from triggers.publishing import Outbound

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

GATED = """
workflow: gated
triggers: [{name: orders, memory: {topic: orders}, dedupe: "{{ message.value }}"}]
nodes: {a: {task: gate, with: {name: "{{ input }}"}}}
edges: []
"""


async def test_a_full_daemon_stops_and_leaves_the_waiting_message_to_its_broker(tmp_path: Path) -> None:
    """A message that waits for room is given back unacknowledged; the stop does not wait for room."""
    settings = settings_for(tmp_path, GATED, limits=Limits(max_active_executions=1, grace_s=0.1))
    async with running(settings) as daemon:
        first = await start(daemon, "gated", "full-1")
        await until(daemon, first, in_flight("a"))
        await daemon.brokers.memory.publish(Outbound(destination="orders", body=b'"full-2"'))
        await asyncio.wait_for(daemon.stop(), 10)
        assert len(await daemon.store.index.executions(ExecutionFilter())) == 1


async def test_a_daemon_whose_store_is_away_stops_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message under way is not acknowledged, and the stop waits for the store no longer than its grace."""
    async with running(settings_for(tmp_path, GATED)) as daemon:

        async def away(_batch: object) -> None:
            raise Unavailable("away")

        monkeypatch.setattr(daemon.store.log, "insert", away)
        await daemon.brokers.memory.publish(Outbound(destination="orders", body=b'"lost"'))
        await asyncio.wait_for(daemon.stop(), 15)


async def test_a_stop_may_come_twice_and_before_the_start(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, GATED)
    async with running(settings) as daemon:
        await daemon.stop()
        await daemon.stop()


async def test_a_reload_brings_new_workflows_and_lets_old_executions_go_on(tmp_path: Path) -> None:
    """The execution in flight keeps its definition; the next start takes the new one."""
    async with running(settings_for(tmp_path, GATED)) as daemon:
        old = await start(daemon, "gated", "reload-1")
        await until(daemon, old, in_flight("a"))
        (tmp_path / "workflows.yaml").write_text("workflow: gated\nnodes: {a: {transform: new}}\nedges: []")
        await daemon.reload()
        assert daemon.plans.triggers() == {}
        new = await start(daemon, "gated", "reload-1")
        assert bytes((await finished(daemon, new)).output) == b'{"a":"new"}'
        gated_handlers.gates["reload-1"].set()
        assert bytes((await finished(daemon, old)).output) == b'{"a":null}'


async def test_a_reload_with_a_mistake_changes_nothing(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, GATED)) as daemon:
        before = daemon.plans.current("gated")
        (tmp_path / "workflows.yaml").write_text("workflow: gated\nnodes: {a: {task: nosuch}}\nedges: []")
        await daemon.reload()
        assert daemon.plans.current("gated") is before
        assert list(daemon.plans.triggers()) == ["gated/orders"]
