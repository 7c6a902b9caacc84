"""The contract of `eventstore.snapshots.Snapshots`, on every store."""

from datetime import timedelta
from uuid import UUID, uuid4

from eventstore.snapshots import Snapshot
from eventstore.store import Store
from tests.support.stores import NOW

ONE = UUID(int=1)


def snapshot(
    version: int, *, execution_id: UUID = ONE, state: bytes = b"\0state", label: str | None = None
) -> Snapshot:
    return Snapshot(execution_id, version, "fold/1", state, NOW + timedelta(seconds=version), label)


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
