"""Slots: exact in every store, whoever takes, and in the same order of service."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from eventstore.errors import Conflict, Full
from eventstore.index import IndexChange
from eventstore.log import Append
from eventstore.slots import Slot, SlotChange
from eventstore.store import Store
from eventstore.writer import Writer
from tests.support.stores import NOW, noted, submit

ONE = Slot(limit="payments", key="a", most=1)
TWO = Slot(limit="payments", key="a", most=2)
PER_SECOND = Slot(limit="calls", key="", interval_us=1_000_000, burst=2)


def ask(*slots: Slot, address: str = "step", seconds: float = 0, priority: int = 0) -> SlotChange:
    at = NOW + timedelta(seconds=seconds)
    return SlotChange(action="ask", address=address, slots=slots, priority=priority, at=at)


def take(*slots: Slot, address: str = "step", seconds: float = 0, priority: int = 0, fresh: bool = False) -> SlotChange:
    at = NOW + timedelta(seconds=seconds)
    return SlotChange(action="take", address=address, slots=slots, priority=priority, at=at, fresh=fresh)


def free(address: str = "step") -> SlotChange:
    return SlotChange(action="free", address=address)


class Executions:
    """Appends to executions, each at its version."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._versions: dict[UUID, int] = {}

    def append(self, execution_id: UUID, *changes: SlotChange) -> Append:
        version = self._versions.get(execution_id, 0)
        return Append(execution_id, version, noted(1, start=version + 1), IndexChange(slots=changes))

    async def do(self, execution_id: UUID, *changes: SlotChange) -> None:
        await self._store.log.insert([self.append(execution_id, *changes)])
        self._versions[execution_id] = self._versions.get(execution_id, 0) + 1

    async def batch(self, *appends: Append) -> None:
        await self._store.log.insert(appends)
        for each in appends:
            self._versions[each.execution_id] = each.after_version + 1


@pytest.fixture
def executions(store: Store) -> Executions:
    return Executions(store)


def some(number: int) -> list[UUID]:
    return sorted(uuid4() for _ in range(number))


async def order(store: Store, limit: str = "payments", key: str = "a") -> Sequence[UUID]:
    return [head.execution_id for head in await store.slots.heads(limit, key, most=100)]


async def test_a_limit_is_never_exceeded(store: Store, executions: Executions) -> None:
    """A take beyond `most` is refused, and nothing of its append is written."""
    first, second = some(2)
    await executions.do(first, take(ONE))
    with pytest.raises(Full) as refused:
        await executions.do(second, take(ONE))
    assert refused.value.losers == {second}
    assert not await store.log.read(second)
    assert (await store.slots.use("payments", "a")).held == 1


async def test_one_batch_cannot_exceed_it_either(store: Store, executions: Executions) -> None:
    """The takes of a batch are counted in their order: those that find none free are named, and no other."""
    first, second, third = some(3)
    with pytest.raises(Full) as refused:
        await executions.batch(*(executions.append(each, take(TWO)) for each in (first, second, third)))
    assert refused.value.losers == {third}
    assert await store.log.head() == 0
    assert (await store.slots.use("payments", "a")).held == 0


async def test_keys_do_not_meet(executions: Executions) -> None:
    """A limit counts each of its keys by itself."""
    first, second = some(2)
    await executions.do(first, take(ONE))
    await executions.do(second, take(Slot(limit="payments", key="b", most=1)))


async def test_what_is_freed_can_be_taken_in_the_same_batch_after_it(store: Store, executions: Executions) -> None:
    """A batch is worked off in order, as its events stand in the log."""
    first, second = some(2)
    await executions.do(first, take(ONE))
    await executions.batch(executions.append(first, free()), executions.append(second, take(ONE)))
    assert [held.execution_id for held in await store.slots.holders("payments", "a", most=9)] == [second]


async def test_all_slots_of_a_take_are_taken_or_none(store: Store, executions: Executions) -> None:
    """A step under two limits holds nothing while one of them is full."""
    first, second = some(2)
    other = Slot(limit="other", most=5)
    await executions.do(first, take(ONE))
    with pytest.raises(Full):
        await executions.do(second, take(other, ONE))
    assert (await store.slots.use("other", "")).held == 0


async def test_a_take_that_has_not_waited_overtakes_nobody(executions: Executions) -> None:
    """It is refused while somebody waits, unless its priority is higher."""
    waits, fresh = some(2)
    await executions.do(waits, ask(TWO))
    with pytest.raises(Full):
        await executions.do(fresh, take(TWO, fresh=True))
    await executions.do(fresh, take(TWO, fresh=True, priority=1))


async def test_who_waited_holds_afterwards(store: Store, executions: Executions) -> None:
    """A grant turns what was asked into what is held."""
    [one] = some(1)
    await executions.do(one, ask(ONE))
    assert await store.slots.queues(most=9) == [("payments", "a")]
    assert await store.slots.waiting() == {"payments": 1}
    await executions.do(one, take(ONE, seconds=5))
    assert await store.slots.queues(most=9) == []
    assert await store.slots.of(one) == [("step", "payments", "a", True)]
    await executions.do(one, free())
    assert await store.slots.uses(most=9) == []


async def test_higher_priority_first_then_age(store: Store, executions: Executions) -> None:
    """Of equal priority, who has asked first."""
    low, old, new = some(3)
    await executions.do(old, ask(ONE, seconds=2, priority=7))
    await executions.do(low, ask(ONE, seconds=1))
    await executions.do(new, ask(ONE, seconds=3, priority=7))
    assert await order(store) == [old, new, low]


async def test_fairness_keys_take_turns(store: Store, executions: Executions) -> None:
    """One key with many waiting does not keep another waiting: each has its turn in a round."""
    big, small = (
        Slot(limit="payments", key="a", most=1, fair="big"),
        Slot(limit="payments", key="a", most=1, fair="small"),
    )
    many, few = some(4), some(2)
    for number, each in enumerate(many):
        await executions.do(each, ask(big, seconds=number))
    for number, each in enumerate(few):
        await executions.do(each, ask(small, seconds=10 + number))
    assert await order(store) == [many[0], few[0], many[1], few[1], many[2], many[3]]


async def test_a_key_that_comes_late_has_missed_its_turns(store: Store, executions: Executions) -> None:
    """Rounds that have passed are not made up for: who comes late begins with the round that is served now."""
    big, late = (
        Slot(limit="payments", key="a", most=1, fair="big"),
        Slot(limit="payments", key="a", most=1, fair="late"),
    )
    many, few = some(5), some(2)
    for number, each in enumerate(many):
        await executions.do(each, ask(big, seconds=number))
    for each in many[:2]:
        await executions.do(each, free())
    await executions.do(many[2], take(big, seconds=9))
    for number, each in enumerate(few):
        await executions.do(each, ask(late, seconds=10 + number))
    assert await order(store) == [few[0], many[3], few[1], many[4]]


async def test_a_rate_lets_a_burst_through_and_then_one_by_one(store: Store, executions: Executions) -> None:
    """Two at once after a quiet time, then one a second."""
    for each in some(2):
        await executions.do(each, take(PER_SECOND))
    [late] = some(1)
    with pytest.raises(Full):
        await executions.do(late, take(PER_SECOND, seconds=0.999))
    await executions.do(late, take(PER_SECOND, seconds=1))
    assert (await store.slots.use("calls", "")).held == 0


async def test_a_refused_take_costs_no_rate(store: Store, executions: Executions) -> None:
    """What is refused by one limit is not counted by another."""
    first, second = some(2)
    await executions.do(first, take(ONE))
    with pytest.raises(Full):
        await executions.do(second, take(PER_SECOND, ONE))
    assert (await store.slots.use("calls", "")).next_us is None


async def test_what_is_kept_for_ever_is_in_no_list(store: Store, executions: Executions) -> None:
    """Whose message it is can be asked; a list of limits leaves it out."""
    [one] = some(1)
    await executions.do(one, take(Slot(limit="w#message", key="m", most=1), address="#message:m"))
    assert [each.execution_id for each in await store.slots.holders("w#message", "m", most=1)] == [one]
    assert await store.slots.uses(most=9) == []


async def test_the_writer_tells_only_the_loser(store: Store, executions: Executions) -> None:
    """The others of its batch are written."""
    first, second, third = some(3)
    await executions.do(first, take(ONE))
    writer = Writer(store.log)
    lost, won = (submit(writer, each) for each in (executions.append(second, take(ONE)), executions.append(third)))
    await won
    with pytest.raises(Full):
        await lost
    await writer.close()


async def test_a_conflict_changes_no_slot(store: Store, executions: Executions) -> None:
    """Who was not at its version has taken nothing."""
    [one] = some(1)
    await executions.do(one)
    with pytest.raises(Conflict):
        await store.log.insert([Append(one, 0, noted(1), IndexChange(slots=(take(ONE),)))])
    assert (await store.slots.use("payments", "a")).held == 0


async def test_a_rebuild_finds_the_same(store: Store, executions: Executions) -> None:
    """Who holds and who waits follows from the changes alone."""
    first, second, third = some(3)
    changes = [
        (first, take(ONE, PER_SECOND)),
        (second, ask(ONE, seconds=1)),
        (third, ask(ONE, seconds=2)),
        (second, free()),
    ]
    for execution_id, change in changes:
        await executions.do(execution_id, change)
    before = await store.slots.uses(most=9), await store.slots.use("calls", ""), await order(store)

    async def all_changes() -> AsyncIterator[tuple[UUID, IndexChange]]:
        for execution_id, change in changes:
            yield execution_id, IndexChange(slots=(change,))

    await store.index.rebuild(all_changes())
    assert (await store.slots.uses(most=9), await store.slots.use("calls", ""), await order(store)) == before
