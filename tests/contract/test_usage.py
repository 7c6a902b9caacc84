"""The contract of `eventstore.usage.Usage`, on every store."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Raw

from eventstore.index import ForkRow, IndexChange
from eventstore.log import Append
from eventstore.packing import packed
from eventstore.usage import Used
from tests.support.stores import NOW, Noted, append, row

if TYPE_CHECKING:
    from eventstore.store import Store

ONE, TWO, THREE, FOUR = (UUID(int=number) for number in range(1, 5))


def long(letter: str) -> Raw:
    return Raw(f'"{letter * 1998}"'.encode())


def hash_of(letter: str) -> str:
    return sha256(bytes(long(letter))).hexdigest()


async def put(
    store: Store, execution_id: UUID, letters: str, *, after_h: int | None = 1, workflow: str = "orders"
) -> None:
    """Put an execution with such payloads, that has ended so many hours after NOW."""
    finished_at = None if after_h is None else NOW + timedelta(hours=after_h)
    index = IndexChange(execution=row(execution_id, workflow=workflow, finished_at=finished_at))
    await store.log.insert([Append(execution_id, 0, tuple(Noted(each, long(each)) for each in letters), index)])


async def test_payloads_are_counted_by_workflow_each_once(store: Store) -> None:
    await put(store, ONE, "ab")
    await put(store, TWO, "b")
    await put(store, THREE, "b", workflow="other")
    await store.log.insert([append(FOUR)])
    assert await store.usage.used() == [Used("orders", 2, 4000), Used("other", 1, 2000)]


async def test_what_nobody_needs_to_go_on_may_be_dropped(store: Store) -> None:
    """The first to end goes first; what is open, another workflow's, or a fork's past is needed."""
    await put(store, ONE, "abc", after_h=2)
    await put(store, TWO, "d", after_h=1)
    await put(store, THREE, "b", after_h=None)
    await put(store, FOUR, "c", workflow="other")
    assert await store.usage.oldest("orders", limit=9) == [(hash_of("d"), 2000), (hash_of("a"), 2000)]
    assert await store.usage.oldest("orders", limit=1) == [(hash_of("d"), 2000)]
    fork = UUID(int=9)
    forked = IndexChange(execution=row(fork), forked=ForkRow(fork, TWO, 1, NOW))
    await store.log.insert([Append(fork, 0, (Noted("x"),), forked)])
    assert await store.usage.oldest("orders", limit=9) == [(hash_of("a"), 2000)]
    assert await store.usage.evict("orders", hash_of("d")) is False


async def test_what_was_dropped_leaves_a_tombstone(store: Store) -> None:
    """Only when it still may be dropped; and the same value brings it back."""
    await put(store, ONE, "ab")
    assert await store.usage.evict("orders", hash_of("a")) is True
    assert await store.usage.evict("orders", hash_of("a")) is False
    first, second = await store.log.read(ONE)
    assert b'"$deleted"' in bytes(first.event.value)
    assert second.event.value == long("b")
    assert await store.usage.used() == [Used("orders", 1, 2000)]
    await put(store, TWO, "ab", after_h=None)
    assert await store.usage.evict("orders", hash_of("b")) is False
    assert await store.usage.used() == [Used("orders", 2, 4000)]


async def test_what_was_packed_reads_as_before(store: Store) -> None:
    """It takes less, and is not offered again; nor is what would not be smaller."""
    await put(store, ONE, "a", after_h=1)
    await put(store, TWO, "b", after_h=2)
    smaller = packed(bytes(long("a")))
    assert await store.usage.oldest("orders", limit=1, unpacked=True) == [(hash_of("a"), 2000)]
    assert await store.usage.pack(hash_of("a"), smaller) is True
    assert await store.usage.pack(hash_of("a"), smaller) is False
    assert await store.usage.oldest("orders", limit=9, unpacked=True) == [(hash_of("b"), 2000)]
    assert await store.usage.pack(hash_of("b"), None) is True
    assert await store.usage.oldest("orders", limit=9, unpacked=True) == []
    assert await store.usage.used() == [Used("orders", 2, 2000 + len(smaller))]
    assert await store.usage.oldest("orders", limit=9) == [(hash_of("a"), len(smaller)), (hash_of("b"), 2000)]
    for execution_id, letter in ((ONE, "a"), (TWO, "b")):
        [found] = await store.log.read(execution_id)
        assert found.event.value == long(letter)
        [found] = (await store.log.read_many([execution_id], limit=1))[execution_id]
        assert found.event.value == long(letter)


async def test_what_was_dropped_is_not_packed(store: Store) -> None:
    """And what comes back after that may be."""
    await put(store, ONE, "a")
    await store.usage.pack(hash_of("a"), packed(bytes(long("a"))))
    assert await store.usage.evict("orders", hash_of("a")) is True
    assert await store.usage.pack(hash_of("a"), b"x") is False
    await put(store, TWO, "a")
    assert await store.usage.oldest("orders", limit=9, unpacked=True) == [(hash_of("a"), 2000)]


async def test_what_was_read_last_goes_last(store: Store) -> None:
    """What was never read is as old as the end of its execution; an earlier time than is known changes nothing."""
    for execution_id, letter, after_h in ((ONE, "a", 1), (TWO, "b", 2), (THREE, "c", 3)):
        await put(store, execution_id, letter, after_h=after_h)
    a, b, c = map(hash_of, "abc")
    assert [key for key, _ in await store.usage.least_read("orders", limit=9)] == [a, b, c]
    await store.usage.note_reads([b, hash_of("x")], at=NOW + timedelta(hours=9))
    await store.usage.note_reads([a, b], at=NOW + timedelta(hours=4))
    assert await store.usage.least_read("orders", limit=9) == [(c, 2000), (a, 2000), (b, 2000)]
    assert [key for key, _ in await store.usage.least_read("orders", limit=1)] == [c]
    await store.usage.evict("orders", b)
    await store.usage.forget_reads()
    await put(store, FOUR, "b", after_h=5)
    assert [key for key, _ in await store.usage.least_read("orders", limit=9)] == [c, a, b]
    await store.usage.note_reads([], at=NOW)


async def test_reading_an_execution_is_noted(store: Store) -> None:
    """In memory, when it is wanted; not by who reads the whole log, or stored forms."""
    await put(store, ONE, "ab")
    await store.log.read(ONE)
    assert store.reads.take() == set()
    store.reads.wanted = True
    await store.log.read_all()
    await store.archive.payloads([hash_of("a")])
    assert store.reads.take() == set()
    await store.log.read(ONE, after_version=1)
    assert store.reads.take() == {hash_of("b")}
    await store.log.read_many([ONE], limit=9)
    assert store.reads.take() == {hash_of("a"), hash_of("b")}
    assert store.reads.take() == set()
