"""The contract of `eventstore.archive.Archive`, on every store."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from msgspec import Raw

from eventstore.codec import Codec
from eventstore.errors import Conflict
from eventstore.index import IndexChange
from eventstore.log import Append, Verbatim
from eventstore.slots import Slot, SlotChange
from tests.support.stores import NOW, Noted, append, opened, row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from eventstore.store import Store

ONE, TWO = UUID(int=1), UUID(int=2)


async def given(*appends: Append) -> AsyncIterator[Append]:
    for each in appends:
        yield each


def verbatim(text: str, **payloads: bytes) -> Verbatim:
    return Verbatim("Noted/1", f'{{"text": "{text}"}}'.encode(), payloads)


async def all_rows(store: Store, execution_id: UUID) -> Sequence[tuple[int, str, bytes]]:
    rows = await store.archive.rows(execution_id, after_version=0, up_to_version=99)
    return [(each.version, each.topic, bytes(each.state)) for each in rows]


async def test_executions_are_listed_in_pages(store: Store) -> None:
    """With their last versions, in the order of their ids."""
    await store.log.insert([append(TWO, count=3), append(ONE)])
    assert await store.archive.logged(after=None, limit=1) == [(ONE, 1)]
    assert await store.archive.logged(after=ONE, limit=9) == [(TWO, 3)]
    assert await store.archive.logged(after=TWO, limit=9) == []


async def test_rows_are_given_as_they_are_stored(store: Store) -> None:
    await store.log.insert([append(ONE, count=3)])
    rows = await store.archive.rows(ONE, after_version=1, up_to_version=2)
    assert [(each.version, each.topic) for each in rows] == [(2, "Noted/1")]
    assert b'"event 2"' in bytes(rows[0].state)


async def test_what_is_adopted_is_stored_as_it_is_given(store: Store) -> None:
    """With spaces that no encoder of ours would write, and with its rows of the index."""
    index = IndexChange(execution=row(ONE))
    first, second = Append(ONE, 0, (verbatim("a"), verbatim("b")), index), Append(ONE, 2, (verbatim("c"),))
    await store.archive.adopt(given(first, Append(TWO, 0, (verbatim("d"),)), second))
    assert await all_rows(store, ONE) == [
        (number, "Noted/1", f'{{"text": "{text}"}}'.encode()) for number, text in enumerate("abc", start=1)
    ]
    assert [each.event.text for each in await store.log.read(ONE)] == ["a", "b", "c"]
    assert await store.index.execution(ONE) == row(ONE)


async def test_all_is_adopted_or_nothing(store: Store) -> None:
    await store.log.insert([append(TWO)])
    with pytest.raises(Conflict):
        await store.archive.adopt(given(Append(ONE, 0, (verbatim("a"),)), Append(TWO, 0, (verbatim("b"),))))
    assert await all_rows(store, ONE) == []
    await store.log.insert([append(ONE)])


async def test_payloads_come_along_once(store: Store) -> None:
    data = b'"much"'
    key = sha256(data).hexdigest()
    for execution_id in (ONE, TWO):
        await store.archive.adopt(given(Append(execution_id, 0, (verbatim("a", **{key: data}),))))
    assert {name: bytes(found or b"") for name, found in (await store.archive.payloads([key, "no"])).items()} == {
        key: data
    }


async def test_a_tombstone_is_put_only_where_nothing_is(store: Store) -> None:
    data = b'"much"'
    key = sha256(data).hexdigest()
    await store.archive.bury(key)
    await store.archive.bury(key)
    assert await store.archive.payloads([key]) == {key: None}
    await store.archive.adopt(given(Append(ONE, 0, (verbatim("a", **{key: data}),))))
    await store.archive.bury(key)
    assert bytes((await store.archive.payloads([key]))[key] or b"") == data


async def test_slots_are_taken_whether_they_are_free_or_not(store: Store) -> None:
    """What is adopted has happened: it is too late to refuse it."""
    slot = Slot(limit="l", key="", most=1, burst=1)
    take = SlotChange(action="take", address="a", slots=(slot,), at=NOW)
    for _ in range(2):
        await store.archive.adopt(given(Append(uuid4(), 0, (verbatim("a"),), IndexChange(slots=(take,)))))
    assert len(await store.slots.holders("l", "", most=9)) == 2


async def test_what_is_sealed_here_is_sealed_there_in_another_way(store: Store, tmp_path: Path) -> None:
    """States are given to `adopt` open, and are packed as this store packs them."""
    import zlib  # noqa: PLC0415  stands for any compressor

    packing = Codec([Noted], compressor=zlib)
    async with opened(f"sqlite:///{tmp_path}/packed.db", packing) as other:
        await other.archive.adopt(given(Append(ONE, 0, (verbatim("a"),))))
        [(_, _, state)] = await all_rows(other, ONE)
        assert zlib.decompress(state) == b'{"text": "a"}'
        assert [each.event for each in await other.log.read(ONE)] == [Noted("a", Raw(b"null"))]
    assert await all_rows(store, ONE) == []
