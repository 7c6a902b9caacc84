"""Whatever asks, takes and frees in whatever order: never too many, nobody forgotten, everybody's turn in time."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from eventstore.memory_slots import MemorySlots
from eventstore.slots import Slot, SlotChange

if TYPE_CHECKING:
    from collections.abc import Sequence

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DOES = st.lists(
    st.tuples(st.sampled_from(["ask", "take", "fresh", "free", "grant"]), st.integers(0, 7), st.integers(0, 2)),
    max_size=60,
)


def an_id(number: int) -> UUID:
    return UUID(int=number)


def slot(fair: str, most: int) -> Slot:
    return Slot(limit="l", key="k", most=most, fair=fair)


def a_change(what: str, number: int, most: int, at: int, *, priority: int = 0, fair: str = "") -> SlotChange:
    moment = NOON + timedelta(seconds=at)
    if what == "free":
        return SlotChange(action="free", address="a")
    action: Literal["ask", "take"] = "ask" if what == "ask" else "take"
    fair = fair or str(number % 3)
    return SlotChange(
        action=action, address="a", slots=(slot(fair, most),), priority=priority, at=moment, fresh=what == "fresh"
    )


async def queue_of(slots: MemorySlots) -> Sequence[int]:
    return [head.execution_id.int for head in await slots.heads("l", "k", most=100)]


@given(DOES, st.integers(1, 3))
async def test_never_more_than_the_limit(does: Sequence[tuple[str, int, int]], most: int) -> None:
    """A take is refused exactly when as many others hold it as may, or when it would overtake."""
    slots = MemorySlots()
    holding: set[int] = set()
    waiting: dict[int, int] = {}
    for at, (what, number, priority) in enumerate(does):
        if what == "grant":
            head = next(iter(await queue_of(slots)), None)
            if head is None:
                continue
            what, number, priority = "take", head, waiting[head]  # noqa: PLW2901  the one whose turn it is
        elif what in ("ask", "take", "fresh") and (number in holding or number in waiting):
            continue
        change = a_change(what, number, most, at, priority=priority)
        filled = bool(slots.put([(an_id(number), change)]))
        overtakes = what == "fresh" and any(other >= priority for other in waiting.values())
        full = len(holding - {number}) >= most
        assert filled == (what in ("take", "fresh") and (full or overtakes))
        if not filled:
            holding.discard(number)
            waiting.pop(number, None)
            if what == "ask":
                waiting[number] = priority
            elif what != "free":
                holding.add(number)
        use = await slots.use("l", "k")
        assert (use.held, use.waiting) == (len(holding), len(waiting))
        assert use.held <= most
        assert set(await queue_of(slots)) == set(waiting)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), min_size=1, max_size=12))
async def test_each_key_has_its_turn_in_every_round(arrivals: Sequence[tuple[int, int]]) -> None:
    """No key that waits is passed over for longer than two rounds."""
    slots, asked, at = MemorySlots(), 0, 0
    fair_of: dict[int, str] = {}
    served: list[str] = []

    async def serve() -> bool:
        nonlocal at
        queue = await queue_of(slots)
        if not queue:
            return False
        at += 1
        change = a_change("take", queue[0], 1, at, fair=fair_of[queue[0]])
        assert not slots.put([(an_id(queue[0]), change)])
        slots.put([(an_id(queue[0]), a_change("free", queue[0], 1, at))])
        served.append(fair_of[queue[0]])
        return True

    for fair, count in arrivals:
        for _ in range(count):
            asked, at = asked + 1, at + 1
            fair_of[asked] = f"key{fair}"
            slots.put([(an_id(asked), a_change("ask", asked, 1, at, fair=f"key{fair}"))])
        await serve()
    backlog = Counter(fair_of[number] for number in await queue_of(slots))
    since: Counter[str] = Counter()
    while await serve():
        key = served[-1]
        backlog[key] -= 1
        since[key] = 0
        for other, left in backlog.items():
            if other != key and left > 0:
                since[other] += 1
                assert since[other] <= 2 * len(backlog), "a key that waits is passed over for too long"
