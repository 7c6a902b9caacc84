"""Those who wait for an execution are told when it moves, also by another daemon; nobody asks while nobody waits."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from daemon.runtime.changes import GATHER_S, LINGER_S, Changes, ForeignChanges
from daemon.testing.clock import FakeClock
from eventstore.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence


class Bench:
    """A store of which only versions and hints are known, and the two under test."""

    def __init__(self) -> None:
        self.clock, self.changes = FakeClock(), Changes()
        self.known: dict[UUID, int] = {}
        self.asked: list[Sequence[UUID]] = []
        self.committed: asyncio.Event | None = None
        self.alone = False
        self.away = False
        self.foreign = ForeignChanges(self.changes, self.versions, self.hints, self.clock, alone=lambda: self.alone)

    async def versions(self, execution_ids: Sequence[UUID]) -> Mapping[UUID, int]:
        self.asked.append(execution_ids)
        if self.away:
            raise Unavailable("away")
        return {each: self.known[each] for each in execution_ids if each in self.known}

    @asynccontextmanager
    async def hints(self) -> AsyncIterator[asyncio.Event]:
        self.committed = asyncio.Event()
        yield self.committed
        self.committed = None

    async def append(self, execution_id: UUID) -> None:
        """Another daemon appends."""
        self.known[execution_id] = self.known.get(execution_id, 0) + 1
        if self.committed is not None:
            self.committed.set()
        await self.clock.advance(2 * GATHER_S)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    running = asyncio.create_task(bench.foreign.run())
    yield bench
    running.cancel()


async def test_who_watches_is_told_what_another_daemon_appends(bench: Bench) -> None:
    one, two = uuid4(), uuid4()
    bench.known = {one: 3, two: 1}
    with bench.changes.watch(one) as hint, bench.changes.watch(two) as other:
        await bench.clock.advance(1)
        hint.clear()
        other.clear()
        await bench.append(one)
        assert (hint.is_set(), other.is_set()) == (True, False)


async def test_one_query_asks_about_all_that_are_watched(bench: Bench) -> None:
    ids = [uuid4() for _ in range(50)]
    with _all(bench, ids):
        await bench.clock.advance(1)
        bench.asked.clear()
        await bench.append(ids[7])
        assert [sorted(each) for each in bench.asked] == [sorted(ids)]


async def test_nothing_is_asked_while_nobody_watches_or_nothing_is_appended(bench: Bench) -> None:
    await bench.append(uuid4())
    await bench.clock.advance(60)
    assert bench.asked == []
    with bench.changes.watch(uuid4()):
        await bench.clock.advance(1)
        bench.asked.clear()
        await bench.clock.advance(600)
    await bench.append(uuid4())
    await bench.clock.advance(LINGER_S + 1)
    assert bench.asked == []
    assert bench.committed is None, "it still listens"


async def test_nothing_is_asked_by_a_daemon_that_is_alone_until_another_comes(bench: Bench) -> None:
    bench.alone = True
    execution_id = uuid4()
    with bench.changes.watch(execution_id) as hint:
        await bench.clock.advance(60)
        assert bench.asked == []
        bench.alone = False
        bench.changes.come.set()
        await bench.append(execution_id)
        assert hint.is_set()


async def test_a_store_that_is_away_is_asked_again_at_the_next_commit(bench: Bench) -> None:
    execution_id = uuid4()
    with bench.changes.watch(execution_id) as hint:
        bench.away = True
        await bench.append(execution_id)
        assert not hint.is_set()
        bench.away = False
        await bench.append(execution_id)
        assert hint.is_set()


def _all(bench: Bench, ids: Sequence[UUID]) -> ExitStack:
    stack = ExitStack()
    for each in ids:
        stack.enter_context(bench.changes.watch(each))
    return stack
