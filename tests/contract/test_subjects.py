"""Keys of subjects, and the log that seals with them: one contract for every store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from msgspec import Raw

from eventstore.codec import Codec
from eventstore.errors import Conflict, Undecodable, Unusable
from eventstore.index import ExecutionChange, IndexChange
from eventstore.keyring import DataKey, Keyring
from eventstore.log import Append, KeyUsed, Sealing
from eventstore.results import Claim, Result
from eventstore.sealing import Personal
from eventstore.snapshots import Snapshot
from eventstore.streams import Batch, StreamId
from eventstore.subjects import SubjectKey
from tests.support.stores import NOW, Noted, opened, row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from eventstore.store import Store

KEYRING = Keyring([b"k" * 32, b"o" * 32])
CODEC = Codec([Noted], payload_threshold_bytes=1000, keyring=KEYRING, personal=Personal(frozenset({("Noted", "text")})))
ENDED = ExecutionChange(status="completed", cause="", updated_at=NOW, finished_at=NOW)
ANNS, BOBS = uuid4(), uuid4()
LARGE = Raw(b'"' + b"large " * 500 + b'"')


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    async with opened(store_url, CODEC) as store:
        yield store


async def write(
    store: Store,
    execution_id: UUID,
    *values: Raw,
    after: int = 0,
    subject: str = "ann",
    key_of: UUID | None = None,
    ends: bool = False,
) -> None:
    index = IndexChange(execution=row(execution_id)) if not after else IndexChange()
    if ends:
        index = IndexChange(execution=row(execution_id, finished_at=NOW, status="completed"))
    events = tuple(Noted("said", value) for value in values)
    await store.log.insert([Append(execution_id, after, events, index, sealing=Sealing(subject, key_of))])


async def values(store: Store, execution_id: UUID) -> list[bytes]:
    return [bytes(each.event.value) for each in await store.log.read(execution_id)]


async def destroy(store: Store, subject: str = "ann") -> bool:
    keys = [key.key_id for key in await store.subjects.in_use(KEYRING.hashes(subject))]
    return await store.subjects.destroy(keys, by="bob", reason="asked", at=NOW)


async def test_what_is_sealed_is_read_and_stored_otherwise(store: Store) -> None:
    """Small values in the event, large ones beside it, once each; every reader gets them."""
    one = uuid4()
    await write(store, one, Raw(b'{"a":1}'), LARGE, LARGE, Raw(b"null"), Raw(b'{"$ref":0}'))

    expected = [b'{"a":1}', bytes(LARGE), bytes(LARGE), b"null", b'{"$ref":0}']
    assert await values(store, one) == expected
    assert [bytes(each.event.value) for each in await store.log.read_all()] == expected
    many = await store.log.read_many([one], limit=9)
    assert [bytes(each.event.value) for each in many[one]] == expected
    stored = await store.archive.rows(one, after_version=0, up_to_version=9)
    assert not any(b"said" in row.state or b"large" in row.state for row in stored)
    assert len({row.state for row in stored[1:3]}) == 1, "a value is stored once"


async def test_a_destroyed_key_leaves_what_happened(store: Store) -> None:
    """Of values it is known that there were some; equal texts stay equal, and others differ."""
    one = uuid4()
    await write(store, one, Raw(b'{"a":1}'), LARGE, Raw(b"null"), ends=True)
    assert await destroy(store)

    [key] = await store.subjects.known(KEYRING.hashes("ann"))
    forgotten = b'{"$forgotten":"%b"}' % key.key_id.encode()
    assert await values(store, one) == [forgotten, forgotten, b"null"]
    texts = {each.event.text for each in await store.log.read(one)}
    assert len(texts) == 1
    assert texts.pop().startswith("$forgotten:")
    assert (key.wrapped, key.name, key.forgotten_by, key.reason, key.forgotten_at) == (None, None, "bob", "asked", NOW)
    assert await destroy(store), "a repeat is harmless"


async def test_an_open_execution_keeps_the_key(store: Store) -> None:
    one, two = uuid4(), uuid4()
    await write(store, one, Raw(b"1"), ends=True)
    await write(store, two, Raw(b"2"))
    [key] = await store.subjects.in_use(KEYRING.hashes("ann"))

    assert await store.subjects.open_executions([key.key_id]) == [two]
    assert not await destroy(store)
    assert await values(store, two) == [b"2"]
    change = IndexChange(changed=ENDED)
    await store.log.insert([Append(two, 1, (Noted("end"),), change, sealing=Sealing("ann", two))])
    assert await destroy(store)


async def test_nothing_is_written_with_a_key_that_is_gone(store: Store, store_url: str) -> None:
    """Whoever has it in memory still is told that the execution has moved on; a new one has a new key."""
    one, fork = uuid4(), uuid4()
    await write(store, one, Raw(b"1"), ends=True)
    assert await destroy(store)

    for execution_id, after in ((one, 1), (fork, 0)):
        with pytest.raises(Conflict) as refused:
            await write(store, execution_id, Raw(b"2"), after=after, key_of=one)
        assert refused.value.losers == {execution_id}
    assert await store.subjects.of_execution(fork) == []
    other = uuid4()
    await write(store, other, Raw(b"3"))
    assert await values(store, other) == [b"3"]
    assert len(await store.subjects.known(KEYRING.hashes("ann"))) == 2


async def test_only_the_loser_of_a_batch_is_refused_for_good(store: Store) -> None:
    """The log names those whose keys are gone; the batch goes again without them."""
    one, two = uuid4(), uuid4()
    await write(store, one, Raw(b"1"), ends=True)
    assert await destroy(store)
    lost = Append(one, 1, (Noted("x"),), sealing=Sealing("ann", one))
    plain = Append(two, 0, (Noted("y"),))
    with pytest.raises(Conflict) as refused:
        await store.log.insert([lost, plain])
    assert refused.value.losers == {one}
    assert await store.log.read(two) == []


async def test_a_key_that_goes_between_is_noticed_by_the_database(store: Store) -> None:
    """The check is part of the append's transaction."""
    one, gone = uuid4(), SubjectKey(key_id=uuid4().hex, hash="h", wrapped=None, name=None, created_at=NOW)
    await store.subjects.add(gone)
    with pytest.raises(Conflict):
        await store.log.insert([Append(one, 0, (Noted("x"),), key=KeyUsed((gone.key_id,)))])
    assert await store.log.read(one) == []
    await store.log.insert([Append(one, 0, (Noted("x"),), key=KeyUsed((gone.key_id,), checked=False))])
    assert await store.subjects.of_execution(one) == [gone]


async def test_an_executions_own_key_goes_with_its_subjects(store: Store) -> None:
    """It has one from before its subject was known."""
    one = uuid4()
    await write(store, one, Raw(b"1"), subject="")
    await write(store, one, Raw(b"2"), after=1, subject="", key_of=one)
    await write(store, one, Raw(b"3"), after=2, ends=True)
    assert await values(store, one) == [b"1", b"2", b"3"]
    assert await destroy(store)
    assert all(b"$forgotten" in value for value in await values(store, one))


async def test_what_was_made_of_values_goes_with_the_key(store: Store) -> None:
    """Snapshots, chunks and cached results; those of others stay."""
    for subject, execution_id in (("ann", ANNS), ("bob", BOBS)):
        await write(store, execution_id, Raw(b"1"), subject=subject, ends=True)
        await store.snapshots.save(Snapshot(execution_id, 1, "f", b"state", NOW), keep_last=3)
        stream = StreamId(execution_id, "a")
        run = await store.streams.begin(stream, attempt=1, at=NOW)
        assert run == 1
        assert await store.streams.add(stream, run, Batch(1, 1, b"chunk"), bytes_so_far=5)
        claim = Claim(cache="c", key=subject, workflow="w", by=execution_id, expires_at=NOW + timedelta(hours=1))
        assert await store.results.claim(claim, now=NOW)
        made = Result(
            cache="c",
            key=subject,
            value=b"value",
            workflow="w",
            execution_id=execution_id,
            address="a",
            stored_at=NOW,
            expires_at=claim.expires_at,
        )
        assert await store.results.put(made, by=execution_id)
    ann, bob = [await store.subjects.in_use(KEYRING.hashes(who)) for who in ("ann", "bob")]
    counted = await store.subjects.sealed([ann[0].key_id])
    assert (counted.executions, counted.events, counted.snapshots, counted.results) == (1, 1, 1, 1)

    assert await destroy(store, "ann")
    for key, left in ((ann[0], 0), (bob[0], 1)):
        counted = await store.subjects.sealed([key.key_id])
        assert (counted.snapshots, counted.results) == (left, left)
    assert (await store.results.find("c", "ann", now=NOW)).result is None
    kept = (await store.results.find("c", "bob", now=NOW)).result
    assert kept is not None
    assert kept.value == b"value"
    snapshot = await store.snapshots.latest(BOBS)
    assert snapshot is not None
    assert snapshot.state == b"state"
    assert [batch.data for batch in await store.streams.read(StreamId(BOBS, "a"), 1, after=0, limit=9)] == [b"chunk"]


async def test_keys_are_listed_and_wrapped_anew(store: Store) -> None:
    for subject in ("ann", "bob"):
        await write(store, uuid4(), Raw(b"1"), subject=subject)
    uses = await store.subjects.uses()
    assert [(use.executions, use.open) for use in uses] == [(1, 1), (1, 1)]
    assert [use.key.key_id for use in await store.subjects.uses(after=uses[0].key.key_id)] == [uses[1].key.key_id]
    key = uses[0].key
    assert key.wrapped is not None
    data = KEYRING.unwrap(key.key_id, key.wrapped)
    other = Keyring([b"n" * 32])
    await store.subjects.rewrap(
        SubjectKey(key_id=key.key_id, hash="other", wrapped=other.wrap(data), name=key.name, created_at=NOW)
    )
    [found] = await store.subjects.in_use(["other"])
    assert found.wrapped is not None
    assert other.unwrap(found.key_id, found.wrapped).open(data.seal(b"x")) == b"x"


async def test_of_two_keys_of_a_subject_one_is_in_use(store: Store) -> None:
    """Two daemons may make one at once."""
    keys = [SubjectKey(key_id=number * 32, hash="h", wrapped=b"w", name=b"n", created_at=NOW) for number in "ab"]
    for key in keys:
        await store.subjects.add(key)
    assert await store.subjects.in_use(["h"]) == keys[:1]
    assert await store.subjects.wrapped(["a" * 32, "b" * 32]) == {"a" * 32: b"w"}


async def test_without_a_keyring_nothing_of_a_subject_is_written_or_read(store_url: str) -> None:
    """It is never stored in the clear instead."""
    async with opened(store_url) as store:
        one = uuid4()
        with pytest.raises(Unusable, match=r"\[encryption\]"):
            await write(store, one, Raw(b"1"))
        await write(store, one, Raw(b"1"), subject="")
        assert await values(store, one) == [b"1"]


async def test_another_keyring_cannot_unwrap(store: Store) -> None:
    """Which is no reason to take it for forgotten."""
    key = DataKey.new("a" * 32)
    wrapped = Keyring([b"x" * 32]).wrap(key)
    await store.subjects.add(SubjectKey(key_id=key.id, hash="h", wrapped=wrapped, name=None, created_at=NOW))
    one = uuid4()
    event = CODEC.encode_sealed(Noted("x", Raw(b"1")), key)
    await store.log.insert([Append(one, 0, (event,), key=KeyUsed((key.id,)))])
    with pytest.raises(Undecodable, match=r"is not in \[encryption\] keys"):
        await store.log.read(one)


async def test_an_event_whose_key_was_never_here_cannot_be_read(store: Store) -> None:
    one = uuid4()
    event = CODEC.encode_sealed(Noted("x", Raw(b"1")), DataKey.new("b" * 32))
    await store.log.insert([Append(one, 0, (event,))])
    with pytest.raises(Undecodable, match="is not in the store"):
        await store.log.read(one)
