"""Daemons in the test's own process: real parts, wired as in production, on a store and a clock of its choice."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from daemon.core.state import Finished, Running, State
from daemon.main import open_daemon
from daemon.settings import Limits, Settings, Store, Workflows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.runtime.clock import Clock
    from eventstore.store import Store as OpenStore

PATIENCE_S = 20
"""How long a test waits for what must come."""


def settings_for(
    folder: Path,
    workflows: str,
    *,
    handlers: str = "tests.support.gated_handlers",
    store_url: str = "memory://",
    **parts: Any,
) -> Settings:
    """Return settings for the workflows in this text, which is put into a file in `folder`."""
    file = folder / "workflows.yaml"
    file.write_text(workflows)
    limits = parts.pop("limits", Limits(grace_s=0.1))
    return Settings(
        store=Store(url=store_url), workflows=Workflows(paths=(file,), handlers=(handlers,)), limits=limits, **parts
    )


@asynccontextmanager
async def running(
    settings: Settings, *, clock: Clock | None = None, store: OpenStore | None = None
) -> AsyncIterator[Daemon]:
    """Run a daemon for the block."""
    async with open_daemon(settings, clock=clock, store=store, environ={}, jitter=lambda: 0.0) as daemon:
        await daemon.start()
        yield daemon


async def start(daemon: Daemon, workflow: str, value: Any = None, *, key: str | None = None) -> UUID:
    """Start an execution; return its id."""
    execution_id, _ = await daemon.intake.start(workflow, value, key=key, actor="test")
    return execution_id


async def until(daemon: Daemon, execution_id: UUID, condition: Callable[[State], bool]) -> State:
    """Return the execution's state as soon as the condition holds for it."""
    async with asyncio.timeout(PATIENCE_S):
        with daemon.changes.watch(execution_id) as changed:
            while not condition(state := await daemon.history.load(execution_id)):
                await changed.wait()
                changed.clear()
            return state


async def finished(daemon: Daemon, execution_id: UUID) -> Finished:
    """Return the execution's state when it has ended."""
    state = await until(daemon, execution_id, lambda state: isinstance(state, Finished))
    assert isinstance(state, Finished)
    return state


def in_flight(address: str) -> Callable[[State], bool]:
    """Return the condition that the step's handler is owed."""
    return lambda state: isinstance(state, Running) and address in state.in_flight
