"""The contract of `eventstore.outside.Objects`, on every store, and that what is outside is read as if it were not."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from eventstore.errors import Unavailable, Undecodable
from eventstore.packing import packed
from eventstore.pins import Pin
from eventstore.usage import Used
from tests.contract.test_deletions import deletion, newer
from tests.contract.test_usage import hash_of, long, put
from tests.support.stores import NOW, Shelf, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from eventstore.store import Store

ONE, TWO, THREE = (UUID(int=number) for number in range(1, 4))
A, B = hash_of("a"), hash_of("b")
DAY = timedelta(days=1)
LONG_AGO = NOW - DAY


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def store(store_url: str, shelf: Shelf) -> AsyncIterator[Store]:
    """Give a store of each kind, with a place outside of it."""
    async with opened(store_url, outside=shelf) as store:
        yield store


async def moved(store: Store, shelf: Shelf, letter: str, name: str = "x") -> bool:
    """Move a payload out, as `daemon/runtime/room` does."""
    name = await store.objects.note(hash_of(letter), name, at=NOW)
    [(_, data)] = (await store.archive.payloads([hash_of(letter)])).items()
    assert data is not None
    await shelf.put(name, bytes(data))
    return await store.objects.move("orders", hash_of(letter), name)


async def unwanted(store: Store) -> list[str]:
    return list(await store.objects.unwanted(noted_before=LONG_AGO, limit=9))


async def test_what_was_moved_out_is_read_as_before(store: Store, shelf: Shelf) -> None:
    """By every way of reading; it takes nothing of the database, and is not offered again."""
    await put(store, ONE, "ab")
    assert await moved(store, shelf, "a") is True
    assert await store.usage.used() == [Used("orders", 1, 2000, 1)]
    assert await store.usage.oldest("orders", limit=9) == [(B, 2000)]
    for found in (
        await store.log.read(ONE),
        (await store.log.read_many([ONE], limit=9))[ONE],
        await store.log.read_all(),
    ):
        assert [each.event.value for each in found] == [long("a"), long("b")]
    stored = await store.archive.payloads([A, B])
    assert {key: bytes(data or b"") for key, data in stored.items()} == {A: bytes(long("a")), B: bytes(long("b"))}
    assert await unwanted(store) == []


async def test_a_place_that_does_not_answer_is_told(store: Store, shelf: Shelf) -> None:
    """It is another error than for what is gone, or is another value; what is here is read all the same."""
    await put(store, ONE, "a")
    await put(store, TWO, "b")
    await moved(store, shelf, "a")
    shelf.away = True
    with pytest.raises(Unavailable, match="the shelf is away"):
        await store.log.read(ONE)
    assert len(await store.log.read(TWO)) == 1
    shelf.away = False
    shelf.there["x"] = b'"another"'
    with pytest.raises(Undecodable, match=f"payload {A} was changed where it was moved out of the database, as x"):
        await store.log.read(ONE)
    del shelf.there["x"]
    with pytest.raises(Undecodable, match=f"payload {A} is gone: there is no x where"):
        await store.archive.payloads([A])


async def test_without_a_place_what_is_outside_is_away(store_url: str, tmp_path: object, shelf: Shelf) -> None:
    """The message names what the settings lack."""
    assert tmp_path
    if store_url.startswith("memory:"):
        store_url = f"sqlite:///{tmp_path}/other.db"  # what is in memory cannot be opened twice
    async with opened(store_url, outside=shelf) as store:
        await put(store, ONE, "a")
        await moved(store, shelf, "a")
    async with opened(store_url) as store:
        with pytest.raises(
            Unavailable, match=f"payload {A} is outside of the database, as x, and the settings name no"
        ):
            await store.log.read(ONE)


async def test_what_somebody_needs_stays_here(store: Store, shelf: Shelf) -> None:
    """An open execution, another workflow, or a pin; and what was not noted is not taken out."""
    await put(store, ONE, "ab")
    assert await store.objects.move("orders", A, "x") is False
    await put(store, TWO, "a", after_h=None)
    assert await moved(store, shelf, "a") is False
    assert await store.objects.move("other", B, await store.objects.note(B, "y", at=NOW)) is False
    await store.pins.put(Pin(execution_id=ONE, at=NOW, by="ana"))
    assert await moved(store, shelf, "b", "y") is False
    await store.pins.drop(ONE)
    assert await moved(store, shelf, "b", "y") is True


async def test_what_was_left_half_done_is_taken_up(store: Store, shelf: Shelf) -> None:
    """By the note: the payload is written under the same name; after a day nobody comes back to it."""
    await put(store, ONE, "ab")
    assert await store.objects.note(A, "first", at=NOW) == "first"
    assert await store.objects.note(A, "second", at=NOW + DAY) == "first"
    assert await store.objects.note(B, "other", at=NOW) == "other"
    assert list(await store.objects.unwanted(noted_before=NOW + DAY, limit=9)) == ["other"]
    assert await store.objects.move("orders", B, "other") is False
    await store.objects.removed("first")
    await store.objects.removed("other")
    assert await unwanted(store) == []
    assert await store.objects.note(B, "third", at=NOW) == "third"
    assert await moved(store, shelf, "a", "fourth") is True
    assert shelf.there.keys() == {"first"}


async def test_objects_go_with_the_last_that_refers_to_them(store: Store, shelf: Shelf) -> None:
    await put(store, ONE, "a")
    await put(store, TWO, "a")
    await moved(store, shelf, "a")
    await newer(store)
    assert await store.deletions.delete(deletion(ONE, version=1)) == "deleted"
    assert await unwanted(store) == []
    assert [each.event.value for each in await store.log.read(TWO)] == [long("a")]
    assert await store.deletions.delete(deletion(TWO, version=1)) == "deleted"
    assert await unwanted(store) == ["x"]
    assert await store.archive.payloads([A]) == {}
    await store.objects.removed("x")
    assert await unwanted(store) == []


async def test_what_is_written_again_is_here_again(store: Store, shelf: Shelf) -> None:
    """And goes out again to where it is, without a second object."""
    await put(store, ONE, "a")
    await store.usage.pack(A, packed(bytes(long("a"))))
    await moved(store, shelf, "a")
    await put(store, TWO, "a")
    assert await store.usage.used() == [Used("orders", 1, 2000)]
    assert await store.usage.oldest("orders", limit=9, unpacked=True) == [(A, 2000)]
    shelf.away = True
    assert [each.event.value for each in await store.log.read(TWO)] == [long("a")]
    shelf.away = False
    assert await store.objects.unwanted(noted_before=NOW + DAY, limit=9) == []
    assert await moved(store, shelf, "a", "y") is True
    assert shelf.there.keys() == {"x"}
    assert await unwanted(store) == []


async def test_a_tombstone_has_no_object(store: Store, shelf: Shelf) -> None:
    await put(store, ONE, "a")
    await moved(store, shelf, "a")
    assert await store.payloads.delete(A) is True
    assert await store.payloads.delete(A) is False
    assert await unwanted(store) == ["x"]
    [found] = await store.log.read(ONE)
    assert b'"$deleted"' in bytes(found.event.value)
