"""Children whose parent is parked: they owe it their end until it can be worked on, and what a rebuilt index has."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from daemon.cli.upkeep import changes
from daemon.runtime.children import PARKED_PAUSE_S
from daemon.testing.clock import FakeClock, settle
from daemon.testing.databases import new_database
from eventstore.index import ExecutionFilter
from tests.runtime.test_subflows import begun, cancel, child_of, ended, settings_of, shipped
from tests.support import gated_handlers
from tests.support.daemons import finished, in_flight, running, until
from tests.support.services import required

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.settings import Settings
    from eventstore.store import Store


@contextmanager
def hidden(folder: Path, definition: str) -> Iterator[Callable[[], None]]:
    """Take a definition out of the store, and give what puts it back."""

    def execute(statement: str) -> None:
        with closing(sqlite3.connect(folder / "log.db", timeout=60)) as database:
            database.execute(statement, [definition])
            database.commit()

    execute("UPDATE definitions SET hash = 'x' || hash WHERE hash = ?")
    yield lambda: execute("UPDATE definitions SET hash = ?1 WHERE hash = 'x' || ?1")


async def parked(folder: Path, name: str) -> tuple[Settings, UUID, str]:
    """Start an order, and let its daemon end; return it, and the hash of its definition, which no file has any more."""
    settings = settings_of(folder / "w", store_url=f"sqlite:///{folder}/log.db")
    async with running(settings) as first:
        target = await begun(first, name)
        definition = first.plans.current("order").hash
    (folder / "w" / "workflows.yaml").unlink()
    gated_handlers.gates[f"{name}-pack"].set()
    return settings, target, definition


async def owes(daemon: Daemon, target: UUID) -> bool:
    """Tell whether the order's child, which has ended, keeps its lease."""
    await finished(daemon, child_of(target))
    await daemon.children.settled()
    return child_of(target) in await daemon.store.index.busy(after=None, limit=10)


async def test_a_child_whose_parent_is_parked_keeps_what_it_owes_to_it(tmp_path: Path) -> None:
    """The parent's definition is missing: when it is there again, the next daemon takes the child up and tells it."""
    settings, target, definition = await parked(tmp_path, "parked")
    with hidden(tmp_path, definition) as put_back:
        async with running(settings) as second:
            assert await owes(second, target)
        put_back()
    async with running(settings) as third:
        await until(third, target, in_flight("mail"))


async def test_a_parent_that_is_resumed_is_told(tmp_path: Path) -> None:
    """It is enough to resume the parent: its child waits for that, on the same daemon."""
    settings, target, definition = await parked(tmp_path, "resumed")
    with hidden(tmp_path, definition) as put_back:
        async with running(settings) as second:
            assert await owes(second, target)
            put_back()
            await second.recovery.resume(target)
            await until(second, target, in_flight("mail"))


async def test_a_parent_that_is_mended_elsewhere_is_told_after_a_while(tmp_path: Path) -> None:
    """Nobody tells this daemon: it looks now and then."""
    settings, target, definition = await parked(tmp_path, "elsewhere")
    clock = FakeClock()
    with hidden(tmp_path, definition) as put_back:
        async with running(settings, clock=clock) as second:
            assert await owes(second, target)
            put_back()
            gated_handlers.gates["elsewhere-mail"].set()
            told = asyncio.ensure_future(finished(second, target))
            while not told.done():
                await clock.advance(PARKED_PAUSE_S / 4)
                await settle()
            await told


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    """Return the kind of store."""
    return str(request.param)


@pytest.fixture
async def daemon(kind: str, tmp_path: Path) -> AsyncIterator[Daemon]:
    """Run one on an empty store of that kind."""
    with ExitStack() as stack:
        url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/log.db"}.get(kind)
        if url is None:
            url = stack.enter_context(new_database(required("SAGAD_TEST_POSTGRES_URL")))
        async with running(settings_of(tmp_path / "w", store_url=url)) as found:
            yield found


async def rebuild(store: Store) -> list[object]:
    """Make the index anew from the log; return its rows as they are then, and as they were."""
    before = await store.index.executions(ExecutionFilter())
    await store.index.rebuild(changes(store.log, lambda *_: None, {"events": 0, "executions": 0}))
    after = await store.index.executions(ExecutionFilter())
    return [[(row.execution_id, row.status, row.cause, row.finished_at) for row in rows] for rows in (before, after)]


async def test_a_rebuilt_index_has_no_lease_of_a_child_whose_parent_knows(daemon: Daemon, kind: str) -> None:
    target = await shipped(daemon, f"known-{kind}")
    await daemon.children.settled()
    busy = await daemon.store.index.busy(after=None, limit=10)
    before, after = await rebuild(daemon.store)
    assert before == after
    assert await daemon.store.index.busy(after=None, limit=10) == busy == [target]


async def test_a_rebuilt_index_has_the_lease_of_a_child_whose_parent_does_not_know(daemon: Daemon, kind: str) -> None:
    target = await begun(daemon, f"unknown-{kind}")
    daemon.children.stop()
    gated_handlers.gates[f"unknown-{kind}-pack"].set()
    await until(daemon, child_of(target), ended)
    await rebuild(daemon.store)
    assert await daemon.store.index.busy(after=None, limit=10) == [child_of(target)]


async def test_an_index_is_rebuilt_with_a_child_that_was_undone_after_its_end(daemon: Daemon, kind: str) -> None:
    target = await shipped(daemon, f"undone-{kind}")
    await cancel(daemon, target)
    assert (await finished(daemon, target)).status == "cancelled"
    assert (await finished(daemon, child_of(target))).status == "cancelled"
    await daemon.children.settled()
    before, after = await rebuild(daemon.store)
    assert before == after
    assert await daemon.store.index.busy(after=None, limit=10) == []
