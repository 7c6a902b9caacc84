"""The index's approvals, on every store: replaced as a whole, listed by approver, oldest first."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from msgspec.structs import replace

from eventstore.index import ApprovalChange, ApprovalFilter, ApprovalRow, IndexChange
from tests.support.stores import NOW, append, row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from eventstore.store import Store


def approval(execution_id: UUID, address: str = "ask", minute: int = 0, **more: Any) -> ApprovalRow:
    given: dict[str, Any] = {"question": 2, "workflow": "pay", "status": "open", "prompt": "ok?"} | more
    requested = NOW + timedelta(minutes=minute)
    return ApprovalRow(execution_id=execution_id, address=address, requested_at=requested, **given)


async def put(store: Store, *changes: ApprovalChange) -> None:
    for change in changes:
        target = change.row.execution_id
        version = len(await store.log.read(target))
        index = IndexChange(None if version else row(target), approvals=(change,))
        await store.log.insert([append(target, version, index=index)])


async def listed(store: Store, *approvers: str, **more: Any) -> list[str]:
    return [one.address for one in await store.index.approvals(ApprovalFilter(approvers=approvers, **more))]


async def test_an_approval_comes_back_as_it_was(store: Store) -> None:
    one = approval(uuid4(), due_at=NOW + timedelta(days=2), prompt="Zürich \U0001f600", question=2**40)
    await put(store, ApprovalChange(one, ("ann",)))
    assert await store.index.approvals(ApprovalFilter()) == [one]


async def test_approvals_are_listed_for_those_who_may_decide(store: Store) -> None:
    """Once each, however many of its names somebody has."""
    first, second = uuid4(), uuid4()
    await put(store, ApprovalChange(approval(first, "a", 1), ("ann", "group:g")))
    await put(store, ApprovalChange(approval(second, "b"), ("bob",)))
    assert await listed(store) == ["b", "a"]
    assert await listed(store, "ann", "group:g") == ["a"]
    assert await listed(store, "bob", "group:g") == ["b", "a"]
    assert await listed(store, "eve") == []
    assert await listed(store, "bob", workflow="other") == []


async def test_a_change_replaces_all_that_was_listed(store: Store) -> None:
    asked = approval(uuid4())
    await put(store, ApprovalChange(asked, ("ann", "bob")), ApprovalChange(asked, ("bob",)))
    assert (await listed(store, "ann"), await listed(store, "bob")) == ([], ["ask"])
    done = replace(asked, status="approved", decided_at=NOW + timedelta(hours=1))
    await put(store, ApprovalChange(done, ("ann", "bob")))
    assert await listed(store) == []
    assert await store.index.approvals(ApprovalFilter(approvers=("ann",), status="approved")) == [done]


async def test_pages_go_on_where_the_one_before_ended(store: Store) -> None:
    target = uuid4()
    for number in range(5):
        await put(store, ApprovalChange(approval(target, f"a{number}", number // 2), ("ann",)))
    seen: list[str] = []
    after = None
    while page := await store.index.approvals(ApprovalFilter(approvers=("ann",), limit=2, after=after)):
        seen += [one.address for one in page]
        after = (page[-1].requested_at, page[-1].execution_id, page[-1].address)
    assert seen == ["a0", "a1", "a2", "a3", "a4"]


async def test_what_cannot_be_stored_is_made_storable(store: Store) -> None:
    odd = approval(uuid4(), prompt="a\0b" + "x" * 5000)
    await put(store, ApprovalChange(odd, ("an\0n", "")))
    [found] = await store.index.approvals(ApprovalFilter())
    assert found.prompt.startswith("a\ufffdbx")
    assert len(found.prompt) == 1000


async def test_a_rebuild_replaces_approvals(store: Store) -> None:
    old, new = uuid4(), uuid4()
    await put(store, ApprovalChange(approval(old), ("ann",)))

    async def changes() -> AsyncIterator[tuple[UUID, IndexChange]]:
        open_now = ApprovalChange(approval(new, "b"), ("bob",))
        yield new, IndexChange(row(new), approvals=(ApprovalChange(approval(new, "b"), ("ann",)),))
        yield new, IndexChange(approvals=(open_now, ApprovalChange(approval(new, "c"), ("bob",))))

    await store.index.rebuild(changes())
    assert (await listed(store, "ann"), await listed(store, "bob")) == ([], ["b", "c"])
