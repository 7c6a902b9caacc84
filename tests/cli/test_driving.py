"""An execution is carried on without a daemon, unless a daemon that lives has it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from daemon.cli.driving import drive
from daemon.core.commands import PauseExecution
from daemon.core.state import Finished, Running
from daemon.main import open_daemon
from daemon.settings import Daemon as Naming
from eventstore.errors import Unusable
from tests.support import gated_handlers
from tests.support.daemons import PATIENCE_S, finished, running, settings_for, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from uuid import UUID

    from daemon.settings import Settings

WORKFLOW = """
workflow: gated
nodes: {a: {task: gate, with: {name: "{{ input }}", value: 7}}}
"""


async def left_in_flight(settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """Start an execution in a daemon that ends before the handler has run."""
    async with open_daemon(settings, environ={}) as daemon:
        await daemon.load()
        await daemon.membership.join()
        monkeypatch.setattr(daemon.steps, "run", lambda *_: None)
        return await start(daemon, "gated", name)


async def test_what_a_dead_daemon_has_left_is_carried_on_here(
    tmp_path: Path, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, name = settings_for(tmp_path, WORKFLOW, store_url=f"sqlite:///{tmp_path}/log.db"), unique_name("left")
    execution_id = await left_in_flight(settings, name, monkeypatch)
    gated_handlers.gates[name].set()
    state, holder = await drive(settings, execution_id)
    assert isinstance(state, Finished)
    assert (bytes(state.output), holder) == (b'{"a":7}', None)


async def test_what_a_living_daemon_has_is_left_to_it(
    tmp_path: Path, fresh_postgres_url: str, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("held")
    settings = settings_for(tmp_path, WORKFLOW, store_url=fresh_postgres_url, daemon=Naming(name="holder"))
    async with running(settings) as daemon:
        execution_id = await start(daemon, "gated", name)
        await asyncio.wait_for(gated_handlers.entered[name].wait(), PATIENCE_S)
        state, holder = await drive(settings, execution_id)
        assert (type(state), holder) == (Running, "holder")
        gated_handlers.gates[name].set()
        await finished(daemon, execution_id)
    assert gated_handlers.runs[f"{execution_id}/a"] == 1


async def test_a_file_on_which_a_daemon_works_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_for(tmp_path, WORKFLOW, store_url=f"sqlite:///{tmp_path}/log.db")
    execution_id = await left_in_flight(settings, "never", monkeypatch)
    async with running(settings):
        with pytest.raises(ExceptionGroup) as raised:
            await drive(settings, execution_id)
        assert raised.group_contains(Unusable, match="another daemon works on this file")


async def test_a_pause_is_ended_here_too(tmp_path: Path, unique_name: Callable[[str], str]) -> None:
    settings, name = settings_for(tmp_path, WORKFLOW, store_url=f"sqlite:///{tmp_path}/log.db"), unique_name("paused")
    async with running(settings) as daemon:
        execution_id = await start(daemon, "gated", name)
        await asyncio.wait_for(gated_handlers.entered[name].wait(), PATIENCE_S)
        await daemon.engine.send(execution_id, PauseExecution(actor="test", at=daemon.clock.now()))
    gated_handlers.gates[name].set()
    state, _ = await drive(settings, execution_id)
    assert isinstance(state, Finished)
    assert state.status == "completed"
