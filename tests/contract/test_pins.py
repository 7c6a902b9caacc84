"""The contract of `eventstore.pins.Pins`, on every store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from eventstore.index import IndexChange
from eventstore.pins import MAX_REASON_CHARS, Pin
from tests.contract.test_deletions import deletion, ended, newer
from tests.contract.test_deletions import put as put_ended
from tests.contract.test_usage import hash_of, put
from tests.support.stores import NOW, row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from eventstore.store import Store

ONE, TWO, THREE = UUID(int=1), UUID(int=2), UUID(int=3)


def pin(execution_id: UUID, **changes: object) -> Pin:
    return Pin(**{"execution_id": execution_id, "at": NOW, "by": "ana", "reason": "court", **changes})  # type: ignore[arg-type]  # tests name the fields they change


async def test_a_pin_is_put_replaced_and_dropped(store: Store) -> None:
    """The latest counts, with who did it, when and why; an execution need not have ended."""
    await put_ended(store, ONE, IndexChange(execution=row(ONE)))
    assert await store.pins.put(pin(ONE)) is True
    later = pin(ONE, by="ben", at=NOW + timedelta(hours=1), reason="")
    assert await store.pins.put(later) is True
    assert await store.pins.of([ONE, TWO]) == {ONE: later}
    assert await store.pins.of([]) == {}
    assert await store.pins.drop(ONE) is True
    assert await store.pins.drop(ONE) is False
    assert await store.pins.of([ONE]) == {}


async def test_only_what_is_there_is_pinned(store: Store) -> None:
    """Neither what never was nor what was deleted."""
    await put_ended(store, ONE, ended(ONE))
    await newer(store)
    assert await store.deletions.delete(deletion(ONE)) == "deleted"
    assert await store.pins.put(pin(ONE)) is False
    assert await store.pins.put(pin(TWO)) is False
    assert await store.pins.of([ONE, TWO]) == {}


async def test_what_is_pinned_is_not_deleted(store: Store) -> None:
    """Until it is unpinned."""
    await put_ended(store, ONE, ended(ONE))
    await newer(store)
    await store.pins.put(pin(ONE))
    assert await store.deletions.delete(deletion(ONE)) == "pinned"
    assert len(await store.log.read(ONE)) == 2
    await store.pins.drop(ONE)
    assert await store.deletions.delete(deletion(ONE)) == "deleted"


async def test_payloads_of_what_is_pinned_are_not_dropped(store: Store) -> None:
    """Not even those that others share, which have ended."""
    await put(store, ONE, "ab")
    await put(store, TWO, "bc")
    await store.pins.put(pin(ONE))
    assert await store.usage.oldest("orders", limit=9) == [(hash_of("c"), 2000)]
    assert await store.usage.evict("orders", hash_of("b")) is False
    await store.pins.drop(ONE)
    assert await store.usage.evict("orders", hash_of("b")) is True


async def test_any_text_is_a_reason(store: Store) -> None:
    """What no database holds is replaced, and a long one is cut."""
    await put_ended(store, THREE, ended(THREE))
    await store.pins.put(pin(THREE, reason="a\0b" + "é" * 2000))
    [found] = (await store.pins.of([THREE])).values()
    assert (found.reason[:3], len(found.reason)) == ("a\ufffdb", MAX_REASON_CHARS)


async def test_a_rebuild_of_the_index_keeps_pins(store: Store) -> None:
    """They are not in the log."""
    await put_ended(store, ONE, ended(ONE))
    await store.pins.put(pin(ONE))
    await store.index.rebuild(_rows())
    assert (await store.pins.of([ONE])).keys() == {ONE}


async def _rows() -> AsyncIterator[tuple[UUID, IndexChange]]:
    yield ONE, ended(ONE)
