"""Group commit: what is batched, what fails alone, and what a lost answer does."""

import asyncio
import contextvars
from uuid import UUID, uuid4

import pytest
from msgspec import Raw

from eventstore.errors import Conflict, Fenced, Unavailable
from eventstore.log import Append
from eventstore.memory import MemoryIndex, MemoryLog
from eventstore.store import Store
from eventstore.writer import Writer
from tests.support.stores import CODEC, FaultyLog, Noted, append, submit

LOST = Unavailable("the connection was lost")


class GatedLog(FaultyLog):
    """A log whose inserts wait until let through, so that a test decides what queues up meanwhile."""

    def __init__(self) -> None:
        super().__init__(MemoryLog(CODEC, MemoryIndex()))
        self.gate = asyncio.Event()
        self.arrived = asyncio.Event()

    async def insert(self, batch: object) -> None:
        self.arrived.set()
        await self.gate.wait()
        await super().insert(batch)  # type: ignore[arg-type]  # passed through


class Sleeps:
    """A clock that does not sleep, and knows how long it would have."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def log() -> FaultyLog:
    return FaultyLog(MemoryLog(CODEC, MemoryIndex()))


@pytest.fixture
def gated() -> GatedLog:
    return GatedLog()


async def test_an_idle_log_commits_at_once(log: FaultyLog) -> None:
    writer = Writer(log)
    await writer.append(append())
    await writer.append(append())
    assert [len(batch) for batch in log.batches] == [1, 1]


async def test_what_arrives_during_a_commit_is_the_next_batch(gated: GatedLog) -> None:
    writer = Writer(gated)
    first = submit(writer, append())
    await gated.arrived.wait()
    rest = [submit(writer, append()) for _ in range(100)]
    assert not first.done()
    gated.gate.set()
    await asyncio.gather(first, *rest)
    assert [len(batch) for batch in gated.batches] == [1, 100]


async def test_a_batch_is_closed_by_its_number_of_events(log: FaultyLog) -> None:
    writer = Writer(log, batch_events=10)
    await asyncio.gather(*(writer.append(append(count=4)) for _ in range(5)), writer.append(append(count=50)))
    assert [sum(len(a.events) for a in batch) for batch in log.batches] == [8, 8, 4, 50]


async def test_a_batch_is_closed_by_the_length_of_its_values(log: FaultyLog) -> None:
    """One too long for the database to answer in time would be tried again for ever, as it is."""
    writer = Writer(log, batch_bytes=1000)
    long = Raw(b'"' + b"x" * 398 + b'"')
    await asyncio.gather(*(writer.append(Append(uuid4(), 0, (Noted("a", long, long),))) for _ in range(3)))
    await asyncio.gather(*(writer.append(Append(uuid4(), 0, (Noted("a", long),))) for _ in range(3)))
    assert [len(batch) for batch in log.batches] == [1, 1, 1, 2, 1]


async def test_one_commit_is_in_flight_at_a_time(gated: GatedLog) -> None:
    writer = Writer(gated, batch_events=1)
    waiting = [submit(writer, append()) for _ in range(3)]
    await gated.arrived.wait()
    gated.arrived.clear()
    assert not gated.arrived.is_set()
    gated.gate.set()
    await asyncio.gather(*waiting)
    assert len(gated.batches) == 3


async def test_appends_of_one_execution_keep_their_order(log: FaultyLog) -> None:
    one = uuid4()
    writer = Writer(log)
    others = [submit(writer, append()) for _ in range(3)]
    mine = [submit(writer, append(one, version)) for version in range(4)]
    await asyncio.gather(*others, *mine)
    for batch in log.batches:
        assert len({a.execution_id for a in batch}) == len(batch)
    assert [found.version for found in await log.read(one)] == [1, 2, 3, 4]


async def test_only_the_loser_fails(log: FaultyLog) -> None:
    taken, also = uuid4(), uuid4()
    await log.inner.insert([append(taken), append(also)])
    writer = Writer(log)
    answers = await asyncio.gather(
        *(writer.append(a) for a in (append(), append(taken), append(), append(also), append())), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [type(None), Conflict, type(None), Conflict, type(None)]
    assert len(log.batches) == 2


async def test_what_was_queued_behind_a_loser_fails_too(log: FaultyLog) -> None:
    """It was decided on events that never came to be, though its version would fit what another writer wrote."""
    one = uuid4()
    await log.inner.insert([append(one)])
    writer = Writer(log)
    appending = [submit(writer, append(one, version)) for version in (0, 1)]
    answers = await asyncio.gather(*appending, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Conflict, Conflict]
    assert len(await log.read(one)) == 1


async def test_a_conflict_names_no_execution_of_the_batch(log: FaultyLog) -> None:
    log.faults = [("before", Conflict(uuid4(), 3))]
    with pytest.raises(Conflict):
        await Writer(log).append(append())


async def test_an_unavailable_log_is_asked_again_with_growing_pauses(log: FaultyLog) -> None:
    log.faults = [("before", LOST)] * 4
    sleeps = Sleeps()
    writer = Writer(log, first_pause_s=1, max_pause_s=5, sleep=sleeps)
    one = uuid4()
    await writer.append(append(one))
    assert sleeps.pauses == [1, 2, 4, 5]
    assert len(await log.read(one)) == 1


async def test_a_lost_answer_is_settled_by_reading_back(log: FaultyLog) -> None:
    log.faults = [("after", LOST)]
    writer = Writer(log, sleep=Sleeps())
    ids = [uuid4(), uuid4()]
    await asyncio.gather(*(writer.append(append(one, count=2)) for one in ids))
    assert [len(await log.read(one)) for one in ids] == [2, 2]
    assert len(log.batches) == 2


async def test_reading_back_waits_for_the_log_too(log: FaultyLog) -> None:
    log.faults = [("after", LOST)]
    log.read_faults = [LOST, LOST]
    await Writer(log, sleep=Sleeps()).append(append())


async def test_after_a_lost_answer_another_writers_events_are_a_conflict(log: FaultyLog) -> None:
    one = uuid4()
    log.faults = [("before", LOST)]
    await log.inner.insert([Append(one, 0, (Noted("of another writer"),))])
    with pytest.raises(Conflict):
        await Writer(log, sleep=Sleeps()).append(append(one))


async def test_after_a_lost_answer_a_part_of_ours_is_a_conflict(log: FaultyLog) -> None:
    one = uuid4()
    log.faults = [("before", LOST)]
    await log.inner.insert([append(one, 0, 1)])
    with pytest.raises(Conflict):
        await Writer(log, sleep=Sleeps()).append(append(one, 0, 2))


async def test_without_a_lost_answer_equal_events_of_another_writer_are_a_conflict(log: FaultyLog) -> None:
    one = uuid4()
    await log.inner.insert([append(one)])
    with pytest.raises(Conflict):
        await Writer(log).append(append(one))


async def test_large_and_encrypted_events_are_known_again(store: Store) -> None:
    log = FaultyLog(store.log)
    log.faults = [("after", LOST)]
    one = uuid4()
    await Writer(log, sleep=Sleeps()).append(Append(one, 0, (Noted("a", Raw(b'"' + b"x" * 5000 + b'"')),)))
    assert len(await store.log.read(one)) == 1


async def test_an_event_that_cannot_be_encoded_fails_alone(log: FaultyLog) -> None:
    writer = Writer(log)
    answers = await asyncio.gather(
        writer.append(append()),
        writer.append(Append(uuid4(), 0, (object(),))),
        writer.append(append()),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [type(None), TypeError, type(None)]


async def test_back_pressure_bounds_what_waits(gated: GatedLog) -> None:
    writer = Writer(gated, max_waiting=5)
    tasks = [asyncio.create_task(writer.append(append())) for _ in range(50)]
    await gated.arrived.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(writer._queue) == 5
    gated.gate.set()
    await asyncio.gather(*tasks)
    assert max(len(batch) for batch in gated.batches) <= 5
    assert sum(len(batch) for batch in gated.batches) == 50


async def test_a_cancelled_waiter_does_not_take_its_append_back(gated: GatedLog) -> None:
    writer = Writer(gated)
    one, two = uuid4(), uuid4()
    first = asyncio.create_task(writer.append(append(one)))
    await gated.arrived.wait()
    second = asyncio.create_task(writer.append(append(two)))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    await asyncio.wait({first, second})
    gated.gate.set()
    await writer.close()
    assert len(await gated.read(one)) == len(await gated.read(two)) == 1


async def test_close_writes_what_was_accepted_and_takes_no_more(gated: GatedLog) -> None:
    writer = Writer(gated, batch_events=1)
    waiting = [submit(writer, append()) for _ in range(3)]
    gated.gate.set()
    await writer.close()
    assert all(done.done() and done.exception() is None for done in waiting)
    with pytest.raises(Unavailable, match="closed"):
        await writer.append(append())
    await writer.close()


async def test_close_gives_up_after_its_grace_and_says_so(gated: GatedLog) -> None:
    writer = Writer(gated)
    waiting = [submit(writer, append()) for _ in range(3)]
    await writer.close(grace_s=0)
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 3


async def test_close_of_a_writer_that_never_wrote(log: FaultyLog) -> None:
    await Writer(log).close()


async def test_commits_do_not_run_in_the_context_of_the_first_task(gated: GatedLog) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("execution")
    seen: list[str] = []
    insert = gated.insert

    async def spy(batch: object) -> None:
        seen.append(variable.get("none"))
        await insert(batch)

    gated.insert = spy  # type: ignore[method-assign]  # to look around at that moment
    gated.gate.set()
    variable.set("of one execution")
    await Writer(gated).append(append())
    assert seen == ["none"]


async def test_a_thousand_executions_in_few_commits(store: Store) -> None:
    log = FaultyLog(store.log)
    writer = Writer(log)

    async def story(execution_id: UUID) -> None:
        for version in (0, 2, 4):
            await writer.append(append(execution_id, version, 2))

    await asyncio.gather(*(story(UUID(int=number)) for number in range(1000)))
    await writer.close()
    assert await store.log.head() == len(await store.log.read_all(limit=10_000)) == 6000
    assert len(log.batches) <= 24


async def test_answers_come_once_and_never_inside_submit(log: FaultyLog) -> None:
    writer = Writer(log)
    answers: list[BaseException | None] = []
    writer.submit(append(), answers.append)
    assert answers == []
    await writer.close()
    assert answers == [None]
    writer.submit(append(), answers.append)
    assert len(answers) == 1
    await asyncio.sleep(0)
    assert [type(answer) for answer in answers] == [type(None), Unavailable]


async def test_an_answer_may_submit(log: FaultyLog) -> None:
    """The next step of an execution is submitted where the last one is answered, without a task between."""
    writer = Writer(log)
    one, done = uuid4(), asyncio.Event()

    def go_on(version: int) -> None:
        if version == 5:
            done.set()
        else:
            writer.submit(append(one, version), lambda _: go_on(version + 1))

    go_on(0)
    await done.wait()
    assert len(await log.read(one)) == 5


async def test_an_answer_that_raises_keeps_nobody_else_waiting(log: FaultyLog) -> None:
    writer = Writer(log)
    bugs: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context["exception"]))

    def wrong(_error: BaseException | None) -> None:
        raise RuntimeError("a bug")

    writer.submit(append(), wrong)
    await writer.append(append())
    assert [str(bug) for bug in bugs] == ["a bug"]


async def test_the_next_commit_is_sent_before_the_last_is_answered(gated: GatedLog) -> None:
    writer = Writer(gated, batch_events=1)
    order: list[str] = []
    insert = gated.insert

    async def noting(batch: object) -> None:
        order.append("sent")
        await insert(batch)

    gated.insert = noting  # type: ignore[method-assign]  # to look around at that moment
    gated.gate.set()
    for _ in range(3):
        writer.submit(append(), lambda _: order.append("answered"))
    await writer.close()
    assert order[:2] == ["sent", "sent"]
    assert sorted(order) == ["answered"] * 3 + ["sent"] * 3


async def test_what_a_fenced_daemon_wrote_before_is_written(log: FaultyLog) -> None:
    """The answer was lost, then it was fenced: reading back tells."""
    one, two, gone = uuid4(), uuid4(), uuid4()
    log.faults = [("before", LOST), ("before", Fenced([gone]))]
    await log.inner.insert([append(one)])
    writer = Writer(log, sleep=Sleeps())
    appending = [submit(writer, append(key, by=gone)) for key in (one, two)]
    answers = await asyncio.gather(*appending, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), Fenced]


async def test_many_appends_of_one_execution_do_not_keep_others_waiting(log: FaultyLog) -> None:
    one = uuid4()
    writer = Writer(log, batch_events=50)
    mine = [submit(writer, append(one, version)) for version in range(40)]
    await asyncio.gather(submit(writer, append()), *mine)
    assert [len(batch) for batch in log.batches] == [2, *[1] * 39]
