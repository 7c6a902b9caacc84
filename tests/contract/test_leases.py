"""The contract of `eventstore.leases.Leases`, and of what the log refuses to those that are fenced, on every store."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from eventstore.errors import Conflict, Fenced, Unusable
from eventstore.index import IndexChange
from eventstore.store import Store
from eventstore.writer import Writer
from tests.support.stores import NOW, Time, append, row, submit

Reopen = Callable[..., Awaitable[Store]]
TTL = timedelta(seconds=10)
BUSY = IndexChange(busy=True)
several = pytest.mark.parametrize("store_url", ["memory", "postgres"], indirect=True)
"""Where several daemons may work on one store at a time."""


async def joined(store: Store, name: str = "d") -> UUID:
    daemon_id = uuid4()
    await store.leases.join(daemon_id, name, ttl=TTL)
    return daemon_id


async def lease(store: Store, by: UUID | None) -> UUID:
    execution_id = uuid4()
    await store.log.insert([append(execution_id, index=BUSY, by=by)])
    return execution_id


async def end(store: Store, *execution_ids: UUID) -> None:
    """Record that these have ended, at `NOW`, and keep their leases."""
    for execution_id in execution_ids:
        ended = row(execution_id, status="completed", finished_at=NOW)
        await store.log.insert([append(execution_id, 1, index=IndexChange(ended))])


async def holder(store: Store, execution_id: UUID) -> UUID | None:
    member = await store.leases.holder(execution_id)
    return None if member is None else member.id


async def let_die(store: Store, url: str, time: Time, *daemons: UUID) -> None:
    """Make it long since these have beaten."""
    if url == "memory://":
        others = [member.id for member in store.leases._index.members.values() if member.id not in daemons]  # type: ignore[attr-defined]  # time passes for all
        time.now += TTL + timedelta(seconds=1)
        for other in others:
            await store.leases.beat(other)
        return
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "UPDATE daemons SET beat_at = clock_timestamp() - ttl - interval '1 s' WHERE id = ANY (%s)",
            (list(daemons),),
        )


async def test_a_member_beats_and_leaves(store: Store) -> None:
    one = await joined(store, "one")
    (member,) = await store.leases.beat(one)
    assert (member.id, member.name) == (one, "one")
    assert member.joined_at <= member.beat_at
    await store.leases.leave(one)
    await store.leases.leave(one)
    with pytest.raises(Fenced) as fenced:
        await store.leases.beat(one)
    assert fenced.value.by == {one}


@several
async def test_members_come_in_the_order_in_which_they_joined(store: Store, memory_time: Time) -> None:
    ids = []
    for number in range(4):
        memory_time.now += timedelta(seconds=1)
        ids.append(await joined(store, str(number)))
    assert [member.name for member in await store.leases.beat(ids[2])] == ["0", "1", "2", "3"]
    await store.leases.leave(ids[1])
    assert [member.id for member in await store.leases.beat(ids[2])] == [ids[0], ids[2], ids[3]]


async def test_the_lease_is_of_whose_append_made_it_busy(store: Store) -> None:
    mine = await joined(store)
    one = await lease(store, mine)
    assert await holder(store, one) == mine
    assert await store.index.busy(after=None, limit=9) == [one]
    assert await store.leases.held(mine) == [one]
    await store.log.insert([append(one, 1, index=IndexChange(row(one)), by=mine)])
    assert await holder(store, one) == mine
    await store.log.insert([append(one, 2, index=IndexChange(busy=False), by=mine)])
    assert await store.index.busy(after=None, limit=9) == []
    assert await holder(store, one) is None
    assert await store.leases.take(mine, one) is False


@several
async def test_an_append_of_another_does_not_take_the_lease(store: Store) -> None:
    mine, other = await joined(store), await joined(store)
    one = await lease(store, mine)
    await store.log.insert([append(one, 1, index=BUSY, by=other)])
    await store.log.insert([append(one, 2, index=BUSY)])
    assert await holder(store, one) == mine
    assert await store.leases.take(other, one) is False
    assert await store.leases.take(mine, one) is True


async def test_what_a_tool_made_busy_is_claimed(store: Store) -> None:
    mine = await joined(store)
    ids = {await lease(store, None) for _ in range(5)}
    assert await holder(store, next(iter(ids))) is None
    first = await store.leases.claim(mine, limit=3)
    assert len(first) == 3
    rest = await store.leases.claim(mine, limit=3)
    assert {*first, *rest} == ids == set(await store.leases.held(mine))
    assert await store.leases.claim(mine, limit=3) == []


async def test_a_fenced_daemon_claims_and_takes_nothing(store: Store) -> None:
    mine = await joined(store)
    one = await lease(store, None)
    await store.leases.leave(mine)
    with pytest.raises(Fenced):
        await store.leases.claim(mine, limit=1)
    with pytest.raises(Fenced):
        await store.leases.take(mine, one)
    assert await store.leases.hinted(mine) == []


@several
async def test_only_who_is_dead_is_fenced_and_its_leases_are_free(
    store: Store, store_url: str, memory_time: Time
) -> None:
    dead, alive = await joined(store, "dead"), await joined(store, "alive")
    one, two = await lease(store, dead), await lease(store, alive)
    assert await store.leases.fence_dead() == []
    await let_die(store, store_url, memory_time, dead)
    assert [member.id for member in await store.leases.fence_dead()] == [dead]
    assert await store.leases.fence_dead() == []
    assert await holder(store, one) is None
    assert await store.leases.claim(alive, limit=9) == [one]
    assert set(await store.leases.held(alive)) == {one, two}
    with pytest.raises(Fenced):
        await store.leases.beat(dead)


@several
async def test_who_is_late_but_not_fenced_may_write_and_live_on(
    store: Store, store_url: str, memory_time: Time
) -> None:
    late = await joined(store)
    await let_die(store, store_url, memory_time, late)
    one = await lease(store, late)
    assert len(await store.log.read(one)) == 1
    await store.leases.beat(late)
    assert await store.leases.fence_dead() == []


@several
async def test_nobody_fences_himself(store: Store, store_url: str, memory_time: Time) -> None:
    """Who asks lives, however late its beat is; the others see it as they do."""
    late = await joined(store)
    await let_die(store, store_url, memory_time, late)
    assert await store.leases.fence_dead(asker=late) == []
    assert [member.id for member in await store.leases.fence_dead(asker=uuid4())] == [late]


async def test_nothing_of_a_batch_with_a_fenced_writer_is_written(store: Store) -> None:
    gone, one, other = await joined(store), uuid4(), uuid4()
    await store.leases.leave(gone)
    changed = IndexChange(row(one), busy=True)
    with pytest.raises(Fenced) as fenced:
        await store.log.insert([append(one, index=changed), append(other, index=BUSY, by=gone)])
    assert fenced.value.by == {gone}
    assert await store.log.head() == 0
    assert await store.index.execution(one) is None
    assert await store.index.busy(after=None, limit=9) == []


async def test_the_writer_refuses_the_fenced_and_writes_the_others(store: Store) -> None:
    gone = await joined(store)
    await store.leases.leave(gone)
    mine = await joined(store)
    writer = Writer(store.log)
    one, two = uuid4(), uuid4()
    answers = await asyncio.gather(
        submit(writer, append(by=mine)),
        submit(writer, append(one, by=gone)),
        submit(writer, append()),
        submit(writer, append(two, by=gone)),
        submit(writer, append(one, 1, by=gone)),
        submit(writer, append(one, 1, by=mine)),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [type(None), Fenced, type(None), Fenced, Fenced, Conflict]
    assert await store.log.head() == 2


@several
async def test_no_lease_goes_to_two_daemons(store: Store) -> None:
    daemons = [await joined(store, str(number)) for number in range(4)]
    ids = [uuid4() for _ in range(200)]
    await store.log.insert([append(one, index=BUSY) for one in ids])

    async def claim_all(daemon_id: UUID) -> list[UUID]:
        claimed: list[UUID] = []
        while page := await store.leases.claim(daemon_id, limit=7):
            claimed += page
        return claimed

    claims = await asyncio.gather(*(claim_all(daemon_id) for daemon_id in daemons))
    assert sorted(one for claimed in claims for one in claimed) == sorted(ids)
    for daemon_id, claimed in zip(daemons, claims, strict=True):
        assert set(await store.leases.held(daemon_id)) == set(claimed)


@several
async def test_one_of_those_who_take_an_orphan_gets_it(store: Store) -> None:
    daemons = [await joined(store, str(number)) for number in range(4)]
    one = await lease(store, None)
    taken = await asyncio.gather(*(store.leases.take(daemon_id, one) for daemon_id in daemons))
    assert taken.count(True) == 1
    assert await holder(store, one) == daemons[taken.index(True)]


@several
async def test_a_hint_reaches_the_holder_once(store: Store) -> None:
    mine, other = await joined(store), await joined(store)
    one, two = await lease(store, mine), await lease(store, mine)
    async with store.leases.news(mine) as news, store.leases.news(other) as others:
        await store.log.insert([append(one, 1, index=IndexChange(hint=True), by=other), append(two, 1, by=other)])
        await asyncio.wait_for(news.wait(), 10)
        assert await store.leases.hinted(other) == []
        assert await store.leases.hinted(mine) == [one]
        assert await store.leases.hinted(mine) == []
        news.clear()
        assert await store.leases.hint(two) is True
        await asyncio.wait_for(news.wait(), 10)
        assert await store.leases.hinted(mine) == [two]
        assert not others.is_set()


async def test_a_hint_at_what_nobody_has(store: Store) -> None:
    mine = await joined(store)
    one = await lease(store, None)
    assert await store.leases.hint(one) is False
    assert await store.leases.hint(uuid4()) is False
    await store.log.insert([append(index=IndexChange(hint=True))])
    assert await store.leases.hinted(mine) == []
    assert await store.leases.claim(mine, limit=9) == [one]
    assert await store.leases.hinted(mine) == []


async def test_an_orphan_made_by_a_tool_is_news(store: Store) -> None:
    mine = await joined(store)
    async with store.leases.news(mine) as news:
        one = await lease(store, None)
        await asyncio.wait_for(news.wait(), 10)
    assert await store.leases.claim(mine, limit=9) == [one]


@several
async def test_a_departure_is_news(store: Store, store_url: str, memory_time: Time) -> None:
    leaving, dying, mine = await joined(store), await joined(store), await joined(store)
    async with store.leases.news(mine) as news:
        await store.leases.leave(leaving)
        await asyncio.wait_for(news.wait(), 10)
        news.clear()
        await let_die(store, store_url, memory_time, dying)
        await store.leases.fence_dead()
        await asyncio.wait_for(news.wait(), 10)


async def test_a_lease_is_dropped_by_who_has_it(store: Store) -> None:
    mine = await joined(store)
    one, orphan = await lease(store, mine), await lease(store, None)
    await end(store, one, orphan)
    for each in (one, orphan, uuid4()):
        await store.leases.drop(mine, each, ended_at=NOW)
    assert await store.index.busy(after=None, limit=9) == [orphan]


async def test_a_lease_is_kept_while_its_execution_goes_on_or_has_ended_again(store: Store) -> None:
    mine = await joined(store)
    going, again = await lease(store, mine), await lease(store, mine)
    await end(store, again)
    await store.leases.drop(mine, going, ended_at=NOW)
    await store.leases.drop(mine, again, ended_at=NOW - timedelta(seconds=1))
    assert set(await store.index.busy(after=None, limit=9)) == {going, again}


async def test_a_rebuild_keeps_who_has_what(store: Store) -> None:
    mine = await joined(store)
    kept, gone, orphan, new = await lease(store, mine), await lease(store, mine), await lease(store, None), uuid4()

    async def changes() -> AsyncIterator[tuple[UUID, IndexChange]]:
        for one in (kept, gone, orphan, new):
            yield one, IndexChange(row(one), busy=True)
        yield kept, IndexChange(row(kept, cause="timer"))
        yield gone, IndexChange(busy=False)

    await store.index.rebuild(changes())
    assert set(await store.index.busy(after=None, limit=9)) == {kept, orphan, new}
    assert await store.leases.held(mine) == [kept]
    assert set(await store.leases.claim(mine, limit=9)) == {orphan, new}


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_one_daemon_at_a_time_works_on_a_file(store: Store, reopen: Reopen) -> None:
    one = await joined(store, "one")
    owed = await lease(store, one)
    other = await reopen()
    with pytest.raises(Unusable, match="another daemon works on this file; several daemons need Postgres"):
        await joined(other)
    assert await store.leases.beat(one)
    await store.close()
    two = await joined(other, "two")
    assert [member.name for member in await other.leases.beat(two)] == ["two"]
    assert await other.leases.claim(two, limit=9) == [owed]
    with pytest.raises(Fenced):
        await other.log.insert([append(by=one)])


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_who_joins_a_file_anew_is_another(store: Store) -> None:
    before = await joined(store)
    one = await lease(store, before)
    after = await joined(store)
    with pytest.raises(Fenced):
        await store.leases.beat(before)
    assert await store.leases.claim(after, limit=9) == [one]
    assert await store.leases.fence_dead() == []
