"""What daemons and people look up at the store: who lives, who has what, what moved, what is due next."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from eventstore.index import IndexChange
from tests.support.stores import NOW, append, timer

if TYPE_CHECKING:
    from eventstore.index import DueTimer
    from eventstore.store import Store

BUSY = IndexChange(busy=True)


async def joined(store: Store) -> UUID:
    daemon_id = uuid4()
    await store.leases.join(daemon_id, "d", ttl=timedelta(seconds=10))
    return daemon_id


async def lease(store: Store, by: UUID | None) -> UUID:
    execution_id = uuid4()
    await store.log.insert([append(execution_id, index=BUSY, by=by)])
    return execution_id


async def test_members_are_known_to_those_who_are_none(store: Store) -> None:
    assert await store.leases.members() == []
    mine = await joined(store)
    (member,) = await store.leases.members()
    assert (member.id, member.name) == (mine, "d")
    await store.leases.leave(mine)
    assert await store.leases.members() == []


async def test_leases_are_counted_by_daemon(store: Store) -> None:
    mine = await joined(store)
    for _ in range(3):
        await lease(store, mine)
    await lease(store, None)
    assert await store.leases.counts() == {mine: 3, None: 1}


async def test_the_holder_can_be_asked_to_look(store: Store) -> None:
    """Without a lease, or a living holder, there is nobody to ask."""
    mine = await joined(store)
    held, orphan = await lease(store, mine), await lease(store, None)
    async with store.leases.news(mine) as news:
        await store.leases.hinted(mine)
        news.clear()
        assert await store.leases.hint(held) is True
        if not store.url.startswith("sqlite"):
            await asyncio.wait_for(news.wait(), 5)
    assert await store.leases.hint(orphan) is False
    assert await store.leases.hint(uuid4()) is False
    assert await store.leases.hinted(mine) == [held]
    assert await store.leases.hinted(mine) == []
    await store.leases.leave(mine)
    assert await store.leases.hint(held) is False


async def test_versions_of_many_are_told_at_once(store: Store) -> None:
    one, two, unknown = uuid4(), uuid4(), uuid4()
    await store.log.insert([append(one, count=3), append(two)])
    await store.log.insert([append(two, 1)])
    assert await store.versions([one, two, unknown]) == {one: 3, two: 2}
    assert await store.versions([]) == {}


async def test_due_timers_are_read_page_by_page(store: Store) -> None:
    """Each page goes on after a row, also among timers that are due at the same moment."""
    for seconds in (3, 1, 2, 2, 2, 9):
        change = IndexChange(timers_set=(timer("a", seconds), timer("b", seconds)))
        await store.log.insert([append(uuid4(), index=change)])
    now = NOW + timedelta(seconds=5)
    last: DueTimer | None = None
    found: list[DueTimer] = []
    while page := await store.index.due_timers(now, after=last, limit=3):
        found += page
        last = page[-1]
    assert found == await store.index.due_timers(now, limit=100)
    assert len(found) == 10


async def test_the_next_due_time_may_be_asked_for_after_another(store: Store) -> None:
    change = IndexChange(timers_set=(timer("a", 1), timer("b", 2)))
    await store.log.insert([append(uuid4(), index=change)])
    assert await store.index.next_due(after=NOW) == NOW + timedelta(seconds=1)
    assert await store.index.next_due(after=NOW + timedelta(seconds=1)) == NOW + timedelta(seconds=2)
    assert await store.index.next_due(after=NOW + timedelta(seconds=2)) is None
