"""Group reading: one reading at a time, of all that was asked for meanwhile; each caller is told of its own only."""

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID, uuid4

import pytest

from daemon.runtime.loads import LONG, MOST, Loads
from eventstore.errors import Unavailable, Undecodable
from eventstore.log import Recorded
from eventstore.memory import MemoryIndex, MemoryLog
from tests.support.stores import CODEC, FaultyLog, append, opened


class SlowLog(FaultyLog):
    """A log that answers a reading of many only when it is told to, and notes what was read together."""

    def __init__(self) -> None:
        super().__init__(MemoryLog(CODEC, MemoryIndex()))
        self.read_together: list[list[UUID]] = []
        self.errors: dict[UUID, Exception] = {}
        self.go = asyncio.Event()

    async def read_many(self, execution_ids: Sequence[UUID], *, limit: int) -> Mapping[UUID, Sequence[Recorded]]:
        self.read_together.append(list(execution_ids))
        await self.go.wait()
        for execution_id in execution_ids:
            if execution_id in self.errors:
                raise self.errors[execution_id]
        return await self.inner.read_many(execution_ids, limit=limit)


@pytest.fixture
def log() -> SlowLog:
    return SlowLog()


async def filled(log: SlowLog, count: int) -> list[UUID]:
    """Put so many executions into the log: the first with one event, the second with two, and so on up to five."""
    ids = [uuid4() for _ in range(count)]
    await log.insert([append(key, count=place % 5 + 1) for place, key in enumerate(ids)])
    return ids


async def begin(loads: Loads, *ids: UUID) -> list[asyncio.Task[Sequence[Recorded] | None]]:
    """Ask for each in a task of its own, and let them all come to wait."""
    tasks = [asyncio.ensure_future(loads.events(key)) for key in ids]
    await asyncio.sleep(0)
    return tasks


async def test_an_idle_log_is_read_at_once_and_without_a_task() -> None:
    async with opened("memory://") as store:
        one = append(count=3)
        await store.log.insert([one])
        coroutine = Loads(store.log).events(one.execution_id)
        with pytest.raises(StopIteration) as ended:
            coroutine.send(None)
        assert [recorded.version for recorded in ended.value.value] == [1, 2, 3]


async def test_what_is_asked_for_meanwhile_is_read_together(log: SlowLog) -> None:
    ids, loads = await filled(log, 5), Loads(log)
    tasks = await begin(loads, *ids, ids[3])
    log.go.set()
    found = await asyncio.gather(*tasks)
    assert log.read_together == [ids[:1], ids[1:]]
    assert [[event.version for event in events or ()] for events in found] == [
        [1],
        [1, 2],
        [1, 2, 3],
        [1, 2, 3, 4],
        [1, 2, 3, 4, 5],
        [1, 2, 3, 4],
    ]


async def test_after_a_group_an_execution_is_read_at_once_again(log: SlowLog) -> None:
    ids, loads = await filled(log, 3), Loads(log)
    log.go.set()
    await asyncio.gather(*await begin(loads, *ids))
    await loads.events(ids[0])
    assert log.read_together[-1] == ids[:1]


async def test_very_many_are_read_in_parts(log: SlowLog) -> None:
    ids, loads = await filled(log, MOST + 11), Loads(log)
    tasks = await begin(loads, *ids)
    log.go.set()
    await asyncio.gather(*tasks)
    assert [len(group) for group in log.read_together] == [1, MOST, 10]


async def test_one_that_the_log_does_not_know_has_no_events(log: SlowLog) -> None:
    [one], loads = await filled(log, 1), Loads(log)
    log.go.set()
    tasks = await begin(loads, one, uuid4())
    assert [list(await task or ()) == [] for task in tasks] == [False, True]


async def test_a_long_one_is_left_to_its_snapshots(log: SlowLog) -> None:
    short, long = append(count=LONG), append(count=LONG + 1)
    await log.insert([short, long])
    log.go.set()
    loads = Loads(log)
    tasks = await begin(loads, short.execution_id, short.execution_id, long.execution_id)
    found = [await task for task in tasks]
    assert [len(events) if events is not None else None for events in found] == [LONG, LONG, None]
    assert await loads.events(long.execution_id) is None


async def test_only_the_execution_that_cannot_be_read_is_told(log: SlowLog) -> None:
    ids, loads = await filled(log, 4), Loads(log)
    log.errors[ids[2]] = Undecodable("damaged")
    tasks = await begin(loads, *ids)
    log.go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, Undecodable) for outcome in outcomes] == [False, False, True, False]


async def test_a_store_that_is_away_is_told_to_all_and_then_asked_again(log: SlowLog) -> None:
    ids, loads = await filled(log, 3), Loads(log)
    log.errors[ids[1]] = Unavailable("away")
    tasks = await begin(loads, *ids)
    log.go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, Unavailable) for outcome in outcomes] == [False, True, True]
    log.errors.clear()
    assert len(await loads.events(ids[1]) or ()) == 2


@pytest.mark.parametrize("cancelled", [0, 1, 2])
async def test_a_caller_that_is_cancelled_keeps_nobody_waiting(log: SlowLog, cancelled: int) -> None:
    """The first is the one that reads."""
    ids, loads = await filled(log, 3), Loads(log)
    tasks = await begin(loads, *ids)
    tasks[cancelled].cancel()
    await asyncio.sleep(0)
    log.go.set()
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    assert [isinstance(outcome, asyncio.CancelledError) for outcome in outcomes] == [
        place == cancelled for place in range(3)
    ]
    assert len(await loads.events(ids[0]) or ()) == 1
