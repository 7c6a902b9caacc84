"""The contract of `eventstore.snapshots.Snapshots`, on every store."""

from datetime import timedelta
from uuid import UUID, uuid4

from eventstore.snapshots import Snapshot
from eventstore.store import Store
from tests.support.stores import NOW

ONE = UUID(int=1)


def snapshot(
    version: int, *, execution_id: UUID = ONE, state: bytes = b"\0state", label: str | None = None, known: bool = True
) -> Snapshot:
    taken_at = NOW + timedelta(seconds=version)
    return Snapshot(execution_id, version, "fold/1", state, taken_at, label, taken_at if known else None)


async def versions(store: Store, execution_id: UUID = ONE) -> list[int]:
    return [found.version for found in await store.snapshots.all_of(execution_id)]


async def test_none(store: Store) -> None:
    assert await store.snapshots.latest(ONE) is None
    assert await store.snapshots.all_of(ONE) == []
    assert await store.snapshots.clear(ONE) == 0


async def test_a_snapshot_comes_back_as_it_was(store: Store) -> None:
    await store.snapshots.save(snapshot(3, label="before pay"), keep_last=2)
    assert await store.snapshots.latest(ONE) == snapshot(3, label="before pay")


async def test_the_newest_up_to_a_version(store: Store) -> None:
    for version in (30, 10, 20):
        await store.snapshots.save(snapshot(version), keep_last=9)
    found = [await store.snapshots.latest(ONE, up_to_version=limit) for limit in (None, 30, 29, 10, 9)]
    assert [held and held.version for held in found] == [30, 30, 20, 10, None]


async def test_all_but_the_last_are_dropped(store: Store) -> None:
    for version in (10, 20, 30, 40):
        await store.snapshots.save(snapshot(version), keep_last=2)
    assert await versions(store) == [30, 40]


async def test_labelled_ones_stay(store: Store) -> None:
    await store.snapshots.save(snapshot(10, label="checkpoint"), keep_last=1)
    for version in (20, 30):
        await store.snapshots.save(snapshot(version), keep_last=1)
    assert await versions(store) == [10, 30]


async def test_one_of_the_same_version_is_replaced(store: Store) -> None:
    await store.snapshots.save(snapshot(10, state=b"old"), keep_last=3)
    await store.snapshots.save(snapshot(10, state=b"new"), keep_last=3)
    assert [held.state for held in await store.snapshots.all_of(ONE)] == [b"new"]


async def test_executions_do_not_touch_each_other(store: Store) -> None:
    other = uuid4()
    await store.snapshots.save(snapshot(10), keep_last=1)
    await store.snapshots.save(snapshot(20, execution_id=other), keep_last=1)
    assert await store.snapshots.clear(ONE) == 1
    assert await versions(store) == []
    assert await versions(store, other) == [20]


async def test_the_newest_that_has_no_event_after_a_time(store: Store) -> None:
    """One of which that is not known is not asked for by time."""
    for version in (10, 20, 30):
        await store.snapshots.save(snapshot(version), keep_last=9)
    await store.snapshots.save(snapshot(25, known=False), keep_last=9)
    times = [NOW + timedelta(seconds=seconds) for seconds in (99, 30, 29, 10, 9)]
    found = [await store.snapshots.latest(ONE, covers_to=time) for time in times]
    assert [held and held.version for held in found] == [30, 30, 20, 10, None]
    earlier = await store.snapshots.latest(ONE, covers_to=times[0], up_to_version=29)
    assert earlier is not None
    assert earlier.version == 20


async def test_one_by_its_version(store: Store) -> None:
    await store.snapshots.save(snapshot(10, label="before pay"), keep_last=9)
    assert await store.snapshots.get(ONE, 10) == snapshot(10, label="before pay")
    assert await store.snapshots.get(ONE, 11) is None


async def test_a_label_outlives_the_next_one_of_the_version(store: Store) -> None:
    """An automatic snapshot does not take a checkpoint's name away."""
    await store.snapshots.save(snapshot(10, label="before pay"), keep_last=1)
    await store.snapshots.save(snapshot(10), keep_last=1)
    assert [held.label for held in await store.snapshots.all_of(ONE)] == ["before pay"]


async def test_what_is_stored_without_its_state(store: Store) -> None:
    await store.snapshots.save(snapshot(20, state=b"x" * 1000), keep_last=9)
    await store.snapshots.save(snapshot(10, label="small", known=False), keep_last=9)
    small, large = await store.snapshots.stored(ONE)
    assert (small.version, small.label, small.covers_to) == (10, "small", None)
    assert (large.version, large.label, large.covers_to) == (20, None, NOW + timedelta(seconds=20))
    assert 0 < small.stored_bytes < large.stored_bytes


async def test_one_is_cleared(store: Store) -> None:
    for version in (10, 20):
        await store.snapshots.save(snapshot(version), keep_last=9)
    assert await store.snapshots.clear(ONE, version=10) == 1
    assert await store.snapshots.clear(ONE, version=10) == 0
    assert await versions(store) == [20]
