"""The contract of `eventstore.index.Index`, on every store."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import asdict, replace

from eventstore.index import (
    DefinitionUse,
    DueTimer,
    ExecutionChange,
    ExecutionFilter,
    ExecutionRow,
    ForkRow,
    IndexChange,
    TimerRow,
)
from eventstore.store import Store
from tests.support.stores import NOW, append, row, timer


async def put(store: Store, execution_id: UUID, change: IndexChange) -> None:
    version = len(await store.log.read(execution_id))
    await store.log.insert([append(execution_id, version, index=change)])


async def stream(changes: Sequence[tuple[UUID, IndexChange]]) -> AsyncIterator[tuple[UUID, IndexChange]]:
    for change in changes:
        yield change


async def due(store: Store, seconds: int = 10_000) -> list[str]:
    return [found.timer_id for found in await store.index.due_timers(NOW + timedelta(seconds=seconds), limit=100)]


async def test_an_empty_index(store: Store) -> None:
    index = store.index
    assert await index.execution(uuid4()) is None
    assert await index.executions(ExecutionFilter()) == []
    assert dict(await index.counts()) == {}
    assert await index.busy(after=None, limit=10) == []
    assert await index.due_timers(NOW, limit=10) == []
    assert await index.next_due() is None
    assert await index.latest_dedupe_key("orders/nightly") is None
    assert await index.without_cause() == []


async def test_a_row_comes_back_as_it_was(store: Store) -> None:
    one = uuid4()
    full = row(
        one,
        status="failed",
        cause="",
        trigger="orders/hook",
        dedupe_key="Zürich \U0001f600",
        finished_at=NOW + timedelta(microseconds=1),
        error="it's broken",
    )
    await put(store, one, IndexChange(full))
    assert await store.index.execution(one) == full


async def test_a_change_replaces_the_whole_row(store: Store) -> None:
    """A signal came first, so every field differs from the pending row."""
    one = uuid4()
    await put(store, one, IndexChange(row(one, status="pending", cause="signal", workflow="", definition="")))
    started = row(one, trigger="orders/hook", dedupe_key="k", started_at=NOW + timedelta(seconds=1), error="e")
    await put(store, one, IndexChange(started))
    assert await store.index.execution(one) == started
    for later in (
        row(one, cause="timer", updated_at=NOW + timedelta(seconds=2)),
        row(one, status="completed", cause="", finished_at=NOW),
        row(one, status="running", cause="step"),
    ):
        await put(store, one, IndexChange(later))
        assert await store.index.execution(one) == later


ENDED = ExecutionChange(
    status="failed", cause="", updated_at=NOW + timedelta(seconds=1), finished_at=NOW + timedelta(seconds=1), error="e"
)


async def test_a_part_of_a_row_changes(store: Store) -> None:
    """Many at once, each to its own; what an execution never had stays as it is not."""
    ids = [uuid4() for _ in range(4)]
    before = {one: row(one, trigger="orders/hook", dedupe_key=one.hex) for one in ids}
    for one in ids[:3]:
        await put(store, one, IndexChange(before[one], (timer("a", 1),)))
    waiting = ExecutionChange(status="running", cause="timer", updated_at=NOW)
    changes = {ids[0]: (ENDED, 1), ids[1]: (waiting, 1), ids[3]: (ENDED, 0)}
    await store.log.insert([append(one, at, index=IndexChange(changed=to)) for one, (to, at) in changes.items()])
    for one, change in ((ids[0], ENDED), (ids[1], waiting)):
        assert await store.index.execution(one) == replace(before[one], **asdict(change))
    assert await store.index.execution(ids[2]) == before[ids[2]]
    assert await store.index.execution(ids[3]) is None
    assert len(await due(store)) == 2


async def test_the_latest_key_is_never_lowered(store: Store) -> None:
    one, two = uuid4(), uuid4()
    await put(store, one, IndexChange(row(one, trigger="t", dedupe_key="2")))
    await put(store, two, IndexChange(row(two, trigger="t", dedupe_key="1")))
    assert await store.index.latest_dedupe_key("t") == "2"
    await store.index.rebuild(stream([(two, IndexChange(row(two, trigger="t", dedupe_key="1")))]))
    assert await store.index.latest_dedupe_key("t") == "1"


async def test_an_append_without_a_row_leaves_it(store: Store) -> None:
    one = uuid4()
    await put(store, one, IndexChange(row(one)))
    await put(store, one, IndexChange())
    assert await store.index.execution(one) == row(one)


async def test_a_batch_of_new_and_old_rows(store: Store) -> None:
    old, new = uuid4(), uuid4()
    await put(store, old, IndexChange(row(old)))
    changed = row(old, cause="timer")
    await store.log.insert([append(new, index=IndexChange(row(new))), append(old, 1, index=IndexChange(changed))])
    assert await store.index.execution(old) == changed
    assert await store.index.execution(new) == row(new)


async def test_text_that_no_database_takes_is_mended_and_cut(store: Store) -> None:
    one = uuid4()
    await put(store, one, IndexChange(row(one, dedupe_key="a\0b" + "k" * 5000, error="\ud800" + "e" * 5000)))
    found = await store.index.execution(one)
    assert found is not None
    assert found.dedupe_key == "a�b" + "k" * 497
    assert found.error is not None
    assert found.error.startswith("�")
    assert found.error.endswith("eee")
    assert len(found.error) <= 2002


async def test_executions_newest_first(store: Store) -> None:
    ids = [UUID(int=number) for number in range(1, 6)]
    for number, one in enumerate(ids):
        await put(store, one, IndexChange(row(one, started_at=NOW + timedelta(seconds=number // 2))))
    found = await store.index.executions(ExecutionFilter())
    assert [execution.execution_id for execution in found] == ids[::-1]


async def test_pages_of_executions_join_up(store: Store) -> None:
    ids = [UUID(int=number) for number in range(1, 8)]
    for number, one in enumerate(ids):
        await put(store, one, IndexChange(row(one, started_at=NOW + timedelta(seconds=number // 3))))
    found: list[ExecutionRow] = []
    after = None
    while page := await store.index.executions(ExecutionFilter(limit=2, after=after)):
        assert len(page) <= 2
        found += page
        after = (page[-1].started_at, page[-1].execution_id)
    assert [execution.execution_id for execution in found] == ids[::-1]


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (ExecutionFilter(workflow="billing"), {2}),
        (ExecutionFilter(status="failed"), {3}),
        (ExecutionFilter(trigger="orders/hook"), {4}),
        (ExecutionFilter(since=NOW + timedelta(seconds=3)), {3, 4}),
        (ExecutionFilter(until=NOW + timedelta(seconds=3)), {1, 2}),
        (ExecutionFilter(workflow="orders", status="running"), {1, 4}),
        (ExecutionFilter(workflow="orders", since=NOW + timedelta(seconds=4), until=NOW + timedelta(seconds=5)), {4}),
        (ExecutionFilter(workflow="none"), set()),
    ],
)
async def test_filters(store: Store, which: ExecutionFilter, expected: set[int]) -> None:
    special = {2: {"workflow": "billing"}, 3: {"status": "failed"}, 4: {"trigger": "orders/hook"}}
    for number in range(1, 5):
        one = UUID(int=number)
        await put(
            store, one, IndexChange(row(one, started_at=NOW + timedelta(seconds=number), **special.get(number, {})))
        )
    assert {found.execution_id.int for found in await store.index.executions(which)} == expected


async def test_counts_by_workflow_and_status(store: Store) -> None:
    for workflow, status in (("a", "running"), ("a", "running"), ("a", "failed"), ("b", "completed")):
        one = uuid4()
        await put(store, one, IndexChange(row(one, workflow=workflow, status=status)))
    assert dict(await store.index.counts()) == {("a", "running"): 2, ("a", "failed"): 1, ("b", "completed"): 1}


async def test_uses_of_definitions(store: Store) -> None:
    """Of one workflow, the last used first; those that have ended are no open ones."""
    special: list[dict[str, Any]] = [
        {"definition": "old"},
        {"definition": "old"},
        {"definition": "old", "status": "completed", "finished_at": NOW},
        {"definition": "new"},
        {"definition": "gone", "status": "failed", "finished_at": NOW},
        {"definition": "new", "workflow": "other"},
    ]
    start = {"old": 1, "new": 9, "gone": 0}

    def at(number: int) -> datetime:
        return NOW + timedelta(seconds=start[special[number]["definition"]], milliseconds=number)

    for number, fields in enumerate(special):
        one = uuid4()
        await put(store, one, IndexChange(row(one, started_at=at(number), **fields)))
    assert list(await store.index.uses("orders")) == [
        DefinitionUse("new", 1, 1, at(3), at(3)),
        DefinitionUse("old", 2, 3, at(0), at(2)),
        DefinitionUse("gone", 0, 1, None, at(4)),
    ]
    assert list(await store.index.uses("nobody's")) == []


async def test_busy_executions_by_page(store: Store) -> None:
    ids = [UUID(int=number << 120 | number) for number in (1, 9, 10, 200)]
    for one in ids:
        await put(store, one, IndexChange(row(one), busy=True))
        await put(store, one, IndexChange())
    idle, finished = uuid4(), uuid4()
    await put(store, idle, IndexChange(row(idle)))
    await put(store, finished, IndexChange(row(finished), busy=True))
    await put(store, finished, IndexChange(row(finished, finished_at=NOW), busy=False))
    first = await store.index.busy(after=None, limit=3)
    assert first == ids[:3]
    assert await store.index.busy(after=first[-1], limit=3) == ids[3:]


async def test_timers_come_due_earliest_first(store: Store) -> None:
    one, two = UUID(int=1), UUID(int=2)
    await put(store, one, IndexChange(timers_set=(timer("late", 30), timer("early", 10))))
    await put(store, two, IndexChange(timers_set=(timer("middle", 20),)))
    assert await store.index.next_due() == NOW + timedelta(seconds=10)
    assert await store.index.due_timers(NOW + timedelta(seconds=9), limit=10) == []
    assert await store.index.due_timers(NOW + timedelta(seconds=20), limit=10) == [
        DueTimer(one, "early", NOW + timedelta(seconds=10)),
        DueTimer(two, "middle", NOW + timedelta(seconds=20)),
    ]
    assert len(await store.index.due_timers(NOW + timedelta(seconds=60), limit=2)) == 2


async def test_timers_are_cleared_then_set(store: Store) -> None:
    one, other = uuid4(), uuid4()
    await put(store, one, IndexChange(timers_set=(timer("a", 1), timer("b", 2))))
    await put(store, other, IndexChange(timers_set=(timer("a", 3),)))
    await put(store, one, IndexChange(timers_cleared=("a", "b", "never set"), timers_set=(timer("b", 5),)))
    assert await store.index.due_timers(NOW + timedelta(seconds=9), limit=9) == [
        DueTimer(other, "a", NOW + timedelta(seconds=3)),
        DueTimer(one, "b", NOW + timedelta(seconds=5)),
    ]
    await put(store, one, IndexChange(timers_set=(timer("b", 1),)))
    assert await store.index.next_due() == NOW + timedelta(seconds=1)


async def test_a_finished_execution_drops_its_timers(store: Store) -> None:
    one, other = uuid4(), uuid4()
    await put(store, one, IndexChange(row(one), (timer("a", 1),)))
    await put(store, other, IndexChange(row(other), (timer("b", 1),)))
    await put(store, one, IndexChange(row(one, finished_at=NOW), (timer("c", 1),)))
    assert await due(store) == ["b"]


async def test_the_latest_dedupe_key_is_by_code_point(store: Store) -> None:
    for key in ("2026-03-29T01:00", "B", "a", "Z", "ä", None):
        one = uuid4()
        await put(store, one, IndexChange(row(one, trigger="t", dedupe_key=key)))
    one = uuid4()
    await put(store, one, IndexChange(row(one, trigger="other", dedupe_key="\U0001f600")))
    assert await store.index.latest_dedupe_key("t") == "ä"


async def test_what_waits_for_nothing_is_found(store: Store) -> None:
    lost, fine, finished = uuid4(), uuid4(), uuid4()
    await put(store, lost, IndexChange(row(lost, cause="")))
    await put(store, fine, IndexChange(row(fine)))
    await put(store, finished, IndexChange(row(finished, cause="", finished_at=NOW)))
    assert await store.index.without_cause() == [lost]


async def test_a_rebuild_replaces_everything(store: Store) -> None:
    gone, kept = uuid4(), uuid4()
    await put(store, gone, IndexChange(row(gone), (timer("old", 1),)))
    await store.index.rebuild(
        stream(
            [
                (kept, IndexChange(row(kept), (timer("a", 1), timer("b", 2)))),
                (kept, IndexChange(timers_cleared=("a",))),
                (kept, IndexChange(row(kept, cause="timer"), (timer("c", 3),))),
            ]
        )
    )
    assert await store.index.execution(gone) is None
    assert await store.index.execution(kept) == row(kept, cause="timer")
    assert await due(store) == ["b", "c"]


async def test_a_rebuild_applies_changes_in_order(store: Store) -> None:
    """An execution that finished and was rewound keeps only the timers it set after."""
    one = uuid4()
    changes = [
        (one, IndexChange(row(one), (timer("before", 1),))),
        (one, IndexChange(row(one, finished_at=NOW))),
        (one, IndexChange(row(one, cause="timer"), (timer("after", 2),))),
        (one, IndexChange(timers_cleared=("after",), timers_set=(timer("again", 3),))),
    ]
    await store.index.rebuild(stream(changes))
    assert await due(store) == ["again"]
    assert await store.index.execution(one) == row(one, cause="timer")


async def test_a_rebuild_folds_parts_into_rows(store: Store) -> None:
    one, two = uuid4(), uuid4()
    waiting = ExecutionChange(status="running", cause="timer", updated_at=NOW)
    await store.index.rebuild(
        stream(
            [
                (one, IndexChange(row(one), (timer("a", 1),))),
                (one, IndexChange(changed=waiting)),
                (two, IndexChange(row(two))),
                (one, IndexChange(changed=ENDED)),
                (one, IndexChange(changed=waiting, timers_set=(timer("b", 1),))),
                (two, IndexChange(changed=ENDED)),
            ]
        )
    )
    assert await store.index.execution(one) == row(one, cause="timer")
    assert await store.index.execution(two) == replace(row(two), **asdict(ENDED))
    assert await due(store) == ["b"]


async def test_a_large_rebuild_equals_the_appends(store: Store) -> None:
    changes = []
    for number in range(1200):
        one = UUID(int=number)
        changes.append((one, IndexChange(row(one), (TimerRow(f"t{number}", NOW),))))
    await store.log.insert([append(one, index=change) for one, change in changes])
    before = await store.index.executions(ExecutionFilter(limit=5000))
    await store.index.rebuild(stream(changes))
    assert await store.index.executions(ExecutionFilter(limit=5000)) == before
    assert len(await store.index.due_timers(NOW, limit=5000)) == 1200


async def test_a_failed_rebuild_leaves_the_old_tables(store: Store) -> None:
    one = uuid4()
    await put(store, one, IndexChange(row(one), (timer("a", 1),)))

    async def failing() -> AsyncIterator[tuple[UUID, IndexChange]]:
        for number in range(600):
            yield UUID(int=number), IndexChange(row(UUID(int=number)))
        raise RuntimeError("the log is damaged")

    with pytest.raises(RuntimeError, match="damaged"):
        await store.index.rebuild(failing())
    assert await store.index.executions(ExecutionFilter()) == [row(one)]
    assert await due(store) == ["a"]
    await put(store, one, IndexChange(row(one, cause="timer")))


@pytest.mark.parametrize("yields", [0, 1, 600])
async def test_a_cancelled_rebuild_leaves_the_old_tables(store: Store, yields: int) -> None:
    one = uuid4()
    await put(store, one, IndexChange(row(one)))

    async def stuck() -> AsyncIterator[tuple[UUID, IndexChange]]:
        for number in range(yields):
            yield UUID(int=number), IndexChange(row(UUID(int=number)))
        await asyncio.Event().wait()

    rebuilding = asyncio.create_task(store.index.rebuild(stuck()))
    for _ in range(yields):
        await asyncio.sleep(0)
    rebuilding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rebuilding
    assert await store.index.executions(ExecutionFilter()) == [row(one)]
    await put(store, one, IndexChange(row(one, cause="timer")))


async def test_a_rebuild_keeps_appends_waiting_and_readers_not(store: Store) -> None:
    one, late = uuid4(), uuid4()
    await put(store, one, IndexChange(row(one)))
    inserting: list[asyncio.Task[None]] = []

    async def while_rebuilding() -> AsyncIterator[tuple[UUID, IndexChange]]:
        inserting.append(asyncio.create_task(store.log.insert([append(late, index=IndexChange(row(late)))])))
        assert len(await store.log.read_all()) == 1
        assert await store.index.execution(one) == row(one)
        done, _ = await asyncio.wait(inserting, timeout=0.05)
        assert not done
        yield one, IndexChange(row(one, cause="rebuilt"))

    await store.index.rebuild(while_rebuilding())
    await asyncio.gather(*inserting)
    assert await store.index.execution(one) == row(one, cause="rebuilt")
    assert await store.index.execution(late) == row(late)


async def test_forks_are_found_from_both_sides(store: Store) -> None:
    """In the order in which they were made; a rebuild forgets those that the log does not have."""
    source, first, second = uuid4(), uuid4(), uuid4()
    rows = [ForkRow(first, source, 4, NOW), ForkRow(second, source, 2, NOW + timedelta(seconds=1))]
    for each in rows:
        await put(store, each.execution_id, IndexChange(forked=each))
    assert await store.index.fork(first) == rows[0]
    assert await store.index.fork(source) is None
    assert list(await store.index.forks(source)) == rows
    assert list(await store.index.forks(source, limit=1)) == rows[:1]
    await store.index.rebuild(stream([(second, IndexChange(forked=rows[1]))]))
    assert list(await store.index.forks(source)) == rows[1:]
