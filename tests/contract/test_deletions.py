"""The contract of `eventstore.deletions.Deletions`, on every store."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from msgspec import Raw
from msgspec.structs import replace

from eventstore.deletions import Deletion
from eventstore.errors import Conflict
from eventstore.index import ApprovalChange, ApprovalRow, ForkRow, IndexChange
from eventstore.log import Append, Verbatim
from eventstore.slots import KEPT, Slot, SlotChange
from eventstore.snapshots import Snapshot
from eventstore.streams import Batch, StreamId
from tests.support.stores import NOW, Noted, append, row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from eventstore.store import Store

ONE, TWO, THREE = UUID(int=1), UUID(int=2), UUID(int=3)
DAY = timedelta(days=1)
LONG = Raw(b'"' + b"x" * 2000 + b'"')
HASH = sha256(bytes(LONG)).hexdigest()


def ended(execution_id: UUID, *, after: timedelta = DAY, **changes: object) -> IndexChange:
    """Return what the index is to say: it has ended so long after NOW."""
    finished = {"status": "completed", "cause": "", "finished_at": NOW + after}
    return IndexChange(execution=row(execution_id, **{**finished, **changes}))


async def put(store: Store, execution_id: UUID, index: IndexChange, *events: Noted) -> None:
    given = events or (Noted("a"), Noted("b"))
    await store.log.insert([Append(execution_id, 0, given, index)])


async def newer(store: Store) -> None:
    """Append something that is newer than all there is."""
    await store.log.insert([append(uuid4())])


def deletion(execution_id: UUID, *, version: int = 2, archived_as: str | None = None) -> Deletion:
    return Deletion(execution_id=execution_id, version=version, head="h", at=NOW + 2 * DAY, archived_as=archived_as)


async def test_nothing_of_it_is_left_but_that_it_was(store: Store) -> None:
    """Events, rows, snapshots and chunks go in one transaction; what tells of it stays."""
    approval = ApprovalRow(
        execution_id=ONE, address="ask", question=1, workflow="orders", status="approved", prompt="?", requested_at=NOW
    )
    index = replace(ended(ONE, trigger="orders/in", dedupe_key="k9"), approvals=(ApprovalChange(approval, ("ann",)),))
    await put(store, ONE, index, Noted("a"), Noted("b", LONG))
    await store.snapshots.save(Snapshot(ONE, 1, "f", b"s", NOW, "named"), keep_last=1)
    stream = StreamId(ONE, "step")
    run = await store.streams.begin(stream, attempt=1, at=NOW)
    await store.streams.add(stream, run, Batch(1, 1, b"[]"), bytes_so_far=2)
    await newer(store)

    assert await store.deletions.delete(deletion(ONE, archived_as="file:///a")) == "deleted"

    assert await store.log.read(ONE) == []
    assert [each.execution_id for each in await store.log.read_all() if each.execution_id == ONE] == []
    assert await store.index.execution(ONE) is None
    assert await store.snapshots.all_of(ONE) == []
    assert await store.streams.newest(stream) is None
    assert await store.archive.payloads([HASH]) == {}
    kept = await store.deletions.deleted(ONE)
    assert kept is not None
    assert (kept.workflow, kept.status, kept.dedupe_key, kept.events) == ("orders", "completed", "k9", 2)
    assert (kept.deleted_at, kept.archived_as, kept.finished_at) == (NOW + 2 * DAY, "file:///a", NOW + DAY)
    assert await store.index.latest_dedupe_key("orders/in") == "k9"


async def test_it_cannot_begin_again(store: Store) -> None:
    """Its key outlives it: whoever would start it, or still knows where it was, is refused."""
    await put(store, ONE, ended(ONE))
    await newer(store)
    await store.deletions.delete(deletion(ONE))
    for after_version in (0, 2):
        with pytest.raises(Conflict):
            await store.log.insert([append(ONE, after_version)])
    with pytest.raises(Conflict):
        await store.archive.adopt(given(Append(ONE, 0, (Verbatim("Noted/1", b'{"text":"a"}', {}),))))
    assert await store.log.read(ONE) == []


async def test_positions_go_on_where_they_were(store: Store) -> None:
    """A reader of the whole log misses nothing that comes after a deletion."""
    await put(store, ONE, ended(ONE))
    await put(store, TWO, ended(TWO))
    head = await store.log.head()
    await store.deletions.delete(deletion(TWO))
    await store.deletions.delete(deletion(ONE))
    await put(store, THREE, ended(THREE))
    assert [each.execution_id for each in await store.log.read_all(after_position=head)] == [THREE, THREE]


async def test_what_is_not_as_the_caller_knows_it_stays(store: Store) -> None:
    """Nothing is done to what goes on, has gone on, owes something, or is another's past."""
    await put(store, ONE, IndexChange(execution=row(ONE)))
    await put(store, TWO, replace(ended(TWO), busy=True))
    await put(store, THREE, ended(THREE))
    fork = uuid4()
    await put(store, fork, replace(ended(fork), forked=ForkRow(fork, THREE, 1, NOW)))
    await newer(store)
    delete = store.deletions.delete
    assert await delete(deletion(UUID(int=9))) == "gone"
    assert await delete(deletion(ONE)) == "changed"
    assert await delete(deletion(TWO, version=1)) == "changed"
    assert await delete(deletion(TWO)) == "owed"
    assert await delete(deletion(THREE)) == "forked"
    assert len(await store.log.read(THREE)) == 2
    assert await delete(deletion(fork)) == "deleted"
    assert await delete(deletion(THREE)) == "deleted"
    assert await delete(deletion(THREE)) == "gone"


async def test_nothing_goes_on_from_what_was_deleted(store: Store) -> None:
    """A fork that is begun at the same moment is refused; others of its batch are not."""
    await put(store, ONE, ended(ONE))
    await newer(store)
    await store.deletions.delete(deletion(ONE))
    fork = uuid4()
    with pytest.raises(Conflict) as caught:
        await put(store, fork, IndexChange(execution=row(fork), forked=ForkRow(fork, ONE, 1, NOW)))
    assert caught.value.losers == {fork}
    assert await store.log.read(fork) == []


async def test_payloads_that_others_refer_to_stay(store: Store) -> None:
    """Each is stored once, and goes with the last that refers to it."""
    await put(store, ONE, ended(ONE), Noted("a", LONG))
    await put(store, TWO, ended(TWO), Noted("a", LONG), Noted("b", LONG))
    await newer(store)
    await store.deletions.delete(deletion(ONE, version=1))
    assert [each.event.value for each in await store.log.read(TWO)] == [LONG, LONG]
    await store.deletions.delete(deletion(TWO))
    assert await store.archive.payloads([HASH]) == {}


async def given(*appends: Append) -> AsyncIterator[Append]:
    for each in appends:
        yield each


async def test_what_was_deleted_comes_back(store: Store) -> None:
    """It counts as ended since then, and can be deleted again."""
    await put(store, ONE, ended(ONE))
    await newer(store)
    await store.deletions.delete(deletion(ONE))
    back = NOW + 9 * DAY
    event = Verbatim("Noted/1", b'{"text":"a"}', {})
    await store.archive.adopt(given(Append(ONE, 0, (event,)), Append(ONE, 1, (event,), ended(ONE))), at=back)
    assert len(await store.log.read(ONE)) == 2
    assert await store.deletions.deleted(ONE) is None
    assert await store.deletions.all_deleted() == []
    assert await store.deletions.ended(before=back, limit=9) == []
    assert [each.since for each in await store.deletions.ended(before=back + DAY, limit=9)] == [back]
    await newer(store)
    assert await store.deletions.delete(deletion(ONE)) == "deleted"
    assert await store.deletions.deleted(ONE) is not None


async def test_those_that_have_ended_are_listed_in_pages(store: Store) -> None:
    """Oldest start first, of those that ended before a time."""
    starts: Callable[[int], datetime] = lambda hours: NOW - timedelta(hours=hours)  # noqa: E731  one line is enough
    await put(store, ONE, ended(ONE, started_at=starts(1)))
    await put(store, TWO, ended(TWO, started_at=starts(2)))
    await put(store, THREE, ended(THREE, after=3 * DAY, started_at=starts(3)))
    await put(store, uuid4(), IndexChange())
    [first] = await store.deletions.ended(before=NOW + 2 * DAY, limit=1)
    assert (first.row.execution_id, first.since, first.row.finished_at) == (TWO, NOW + DAY, NOW + DAY)
    [second] = await store.deletions.ended(before=NOW + 2 * DAY, after=(starts(2), TWO), limit=9)
    assert second.row == await store.index.execution(ONE)
    assert await store.deletions.ended(before=NOW + DAY, limit=9) == []


async def test_those_that_were_deleted_are_listed_in_pages(store: Store) -> None:
    """Latest first."""
    for execution_id in (ONE, TWO):
        await put(store, execution_id, ended(execution_id))
    await newer(store)
    await store.deletions.delete(deletion(ONE))
    await store.deletions.delete(replace(deletion(TWO), at=NOW + 3 * DAY))
    [first] = await store.deletions.all_deleted(limit=1)
    assert first.execution_id == TWO
    [second] = await store.deletions.all_deleted(after=(first.deleted_at, first.execution_id))
    assert second == await store.deletions.deleted(ONE)


async def test_a_rebuild_forgets_no_key(store: Store) -> None:
    """Greatest keys and collected messages of deleted executions are not in the log any more, and stay."""
    slot = Slot(limit="m", key="k", most=1, burst=1)
    take = SlotChange(action="take", address=f"{KEPT}1", slots=(slot,), at=NOW)
    await put(store, ONE, replace(ended(ONE, trigger="orders/in", dedupe_key="k9"), slots=(take,)))
    await newer(store)
    await store.deletions.delete(deletion(ONE))

    async def nothing() -> AsyncIterator[tuple[UUID, IndexChange]]:
        yield uuid4(), IndexChange()

    await store.index.rebuild(nothing())
    assert await store.index.latest_dedupe_key("orders/in") == "k9"
    assert [each.execution_id for each in await store.slots.holders("m", "k", most=9)] == [ONE]
