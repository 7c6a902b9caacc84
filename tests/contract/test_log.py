"""The contract of `eventstore.log.EventLog`, on every store."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from uuid import UUID, uuid4

import pytest
from msgspec import Raw

from eventstore.codec import Codec
from eventstore.errors import Conflict, Undecodable
from eventstore.index import IndexChange
from eventstore.log import Append, Recorded
from eventstore.store import Store
from tests.support.stores import Noted, append, noted, opened, row, timer

Reopen = Callable[..., Awaitable[Store]]


async def test_an_empty_log(store: Store) -> None:
    assert await store.log.head() == 0
    assert await store.log.read_all() == []
    assert await store.log.read(uuid4()) == []


async def test_events_are_read_back_in_order_of_version(store: Store) -> None:
    one = uuid4()
    await store.log.insert([append(one, 0, 3)])
    await store.log.insert([append(one, 3, 2)])
    found = await store.log.read(one)
    assert [recorded.version for recorded in found] == [1, 2, 3, 4, 5]
    assert [recorded.event for recorded in found] == list(noted(5))
    assert {recorded.execution_id for recorded in found} == {one}


async def test_a_part_of_an_execution(store: Store) -> None:
    one = uuid4()
    await store.log.insert([append(one, 0, 6)])
    assert [found.version for found in await store.log.read(one, after_version=2)] == [3, 4, 5, 6]
    assert [found.version for found in await store.log.read(one, after_version=2, up_to_version=4)] == [3, 4]
    assert [found.version for found in await store.log.read(one, up_to_version=2)] == [1, 2]
    assert await store.log.read(one, after_version=6) == []


async def test_the_beginnings_of_many_executions(store: Store) -> None:
    one, two, unknown = uuid4(), uuid4(), uuid4()
    await store.log.insert([append(one, 0, 3), append(), append(two, 0, 1)])
    await store.log.insert([append(one, 3, 2), append(two, 1, 1)])
    whole = {one: await store.log.read(one), two: await store.log.read(two)}
    assert await store.log.read_many([two, unknown, one], limit=5) == whole
    assert await store.log.read_many([one, two], limit=2) == {one: whole[one][:2], two: whole[two]}
    assert await store.log.read_many([unknown], limit=1) == {}
    assert await store.log.read_many([], limit=1) == {}


async def test_large_values_of_many_executions(store_url: str) -> None:
    """Each is put back where it was."""
    codec = Codec([Noted], payload_threshold_bytes=10)
    async with opened(store_url, codec) as store:
        batch = [Append(uuid4(), 0, (Noted("a", Raw(b'"%s"' % (letter * 20))), Noted("b"))) for letter in (b"x", b"y")]
        await store.log.insert(batch)
        found = await store.log.read_many([each.execution_id for each in batch], limit=10)
        assert {key: tuple(recorded.event for recorded in events) for key, events in found.items()} == {
            each.execution_id: each.events for each in batch
        }


async def test_the_whole_log_in_order_of_position(store: Store) -> None:
    batches = [[append(count=2), append()], [append()], [append(count=3)]]
    for batch in batches:
        await store.log.insert(batch)
    found = await store.log.read_all()
    positions = [recorded.position for recorded in found]
    assert positions == sorted(set(positions))
    assert positions[-1] == await store.log.head()
    expected = [
        (a.execution_id, version) for batch in batches for a in batch for version in range(1, len(a.events) + 1)
    ]
    assert [(recorded.execution_id, recorded.version) for recorded in found] == expected


async def test_pages_of_the_whole_log_join_up(store: Store) -> None:
    await store.log.insert([append(count=7)])
    found: list[Recorded] = []
    after = 0
    while page := await store.log.read_all(after_position=after, limit=3):
        found += page
        after = page[-1].position
    assert [recorded.version for recorded in found] == [1, 2, 3, 4, 5, 6, 7]


async def test_positions_agree_in_both_reads(store: Store) -> None:
    one = uuid4()
    await store.log.insert([append(), append(one, 0, 2)])
    assert await store.log.read(one) == (await store.log.read_all())[1:]


@pytest.mark.parametrize("after_version", [0, 1, 3, 4, 7], ids=lambda version: f"after {version}, being at 2")
async def test_an_append_must_name_the_last_version(store: Store, after_version: int) -> None:
    one = uuid4()
    await store.log.insert([append(one, 0, 2)])
    with pytest.raises(Conflict) as refused:
        await store.log.insert([append(one, after_version)])
    assert (refused.value.execution_id, refused.value.after_version) == (one, after_version)
    assert len(await store.log.read(one)) == 2


async def test_a_new_execution_begins_at_version_0(store: Store) -> None:
    with pytest.raises(Conflict):
        await store.log.insert([append(after_version=1)])


async def test_a_conflict_refuses_the_whole_batch_and_names_all_losers(store: Store) -> None:
    taken, also_taken, free = uuid4(), uuid4(), uuid4()
    await store.log.insert([append(taken), append(also_taken)])
    head = await store.log.head()
    changed = IndexChange(row(free), (timer("t", 1),))
    with pytest.raises(Conflict) as refused:
        await store.log.insert([append(free, index=changed), append(taken), append(also_taken)])
    assert refused.value.losers == {taken, also_taken}
    assert await store.log.read(free) == []
    assert await store.log.head() == head
    assert await store.index.execution(free) is None
    assert await store.index.next_due() is None


async def test_one_of_two_racing_writers_wins(store: Store) -> None:
    one = uuid4()
    answers = await asyncio.gather(
        *(store.log.insert([append(one, 0, count)]) for count in (1, 2, 3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers if answer is not None] == [Conflict, Conflict]
    assert len(await store.log.read(one)) in (1, 2, 3)


async def test_an_event_the_codec_does_not_know_is_a_bug_and_writes_nothing(store: Store) -> None:
    class Stranger(Noted, frozen=True):
        """Not given to the codec."""

    one = uuid4()
    with pytest.raises(TypeError, match="Stranger"):
        await store.log.insert([Append(one, 0, (Noted("a"), Stranger("b")))])
    assert await store.log.read(one) == []
    await store.log.insert([append(one)])


async def test_values_come_back_as_they_were(store: Store) -> None:
    event = Noted("Zürich \0 \U0001f600", Raw(b'{"a" : [1, 2.50, null]}'), Raw(b'"x"'))
    one = uuid4()
    await store.log.insert([Append(one, 0, (event,))])
    assert (await store.log.read(one))[0].event == event


async def test_a_large_value_is_stored_once_and_read_back(store: Store) -> None:
    large = Raw(b'"' + b"x" * 5000 + b'"')
    one, two = uuid4(), uuid4()
    await store.log.insert([Append(one, 0, (Noted("a", large), Noted("b", large, large))), append(two)])
    await store.log.insert([Append(two, 1, (Noted("c", maybe=large),))])
    assert [found.event.value for found in await store.log.read(one)] == [large, large]
    assert [found.event.maybe for found in await store.log.read_all()] == [None, large, None, large]


async def test_a_deleted_payload_reads_as_a_tombstone_until_it_is_written_again(store: Store) -> None:
    large = Raw(b'"' + b"x" * 5000 + b'"')
    reference = sha256(bytes(large)).hexdigest()
    one = uuid4()
    assert await store.payloads.delete(reference) is False
    await store.log.insert([Append(one, 0, (Noted("a", large),))])
    assert await store.payloads.delete(reference) is True
    assert await store.payloads.delete(reference) is False
    found = bytes((await store.log.read(one))[0].event.value)
    assert found.startswith(b'{"$deleted":"' + reference.encode())
    await store.log.insert([Append(one, 1, (Noted("a", large),))])
    assert (await store.log.read(one))[0].event.value == large


async def test_an_event_of_an_unknown_name_is_undecodable(store_url: str, store: Store, reopen: Reopen) -> None:
    await store.log.insert([append()])
    other = await reopen(Codec([]))
    if store_url == "memory://":
        other = replace(other, log=store.log)
        store.payloads._codec = Codec([])  # type: ignore[attr-defined]  # memory cannot be opened a second time
    with pytest.raises(Undecodable, match=r"position 1, topic 'Noted/1'.*unknown event name"):
        await other.log.read_all()


async def test_what_was_answered_is_there_after_opening_again(store_url: str, store: Store, reopen: Reopen) -> None:
    """Memory, honestly, keeps nothing."""
    one = uuid4()
    await store.log.insert([append(one, 0, 2, IndexChange(row(one)))])
    other = await reopen()
    kept = 0 if store_url == "memory://" else 2
    assert len(await other.log.read(one)) == kept
    assert (await other.index.execution(one) is not None) == (kept > 0)


async def test_many_tasks_at_once(store: Store) -> None:
    ids = [UUID(int=number) for number in range(20)]

    async def story(execution_id: UUID) -> None:
        for version in range(5):
            await store.log.insert([append(execution_id, version)])
            assert len(await store.log.read(execution_id)) == version + 1

    await asyncio.gather(*(story(execution_id) for execution_id in ids))
    assert len(await store.log.read_all()) == 100
