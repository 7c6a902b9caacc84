"""Results are reported until they are taken; progress is thinned out."""

import asyncio
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from daemon.core.commands import CompleteStep, ReportProgress
from daemon.core.errors import Rejected
from daemon.core.values import from_json
from daemon.handlers import Context, handler
from daemon.testing.clock import settle
from eventstore.errors import Conflict, Unavailable, Undecodable
from tests.support.step_bench import EXECUTION, bench


async def test_a_result_is_reported_again_until_the_store_takes_it() -> None:
    calls = []

    @handler("work")
    async def work() -> str:
        calls.append(1)
        return "done"

    errors: list[Exception] = [Unavailable("away"), Unavailable("away"), Conflict(EXECUTION, 2), Unavailable("away")]
    with capture_logs() as logs:
        async with bench(work) as steps:
            steps.refuse = lambda _: errors.pop() if errors else None
            steps.run(value={})
            pauses: list[float] = []
            for _ in range(4):
                await steps.clock.until_sleeping()
                pauses += steps.clock.pauses()
                await steps.clock.advance(pauses[-1])
            assert await steps.output() == "done"
    assert pauses == [0.1, 0.2, 0.4, 0.8]
    assert calls == [1]
    assert [entry["event"] for entry in logs] == ["result_waits_for_store"] * 4


async def test_a_stop_ends_the_wait_for_the_store() -> None:
    @handler("work")
    async def work() -> None:
        return None

    with capture_logs():
        async with bench(work) as steps:
            steps.refuse = lambda _: Unavailable("away")
            steps.run(value={})
            await steps.clock.until_sleeping()
            await steps.steps.stop(0)
            assert not steps.reported


async def test_a_stop_does_not_wait_for_a_report_that_the_store_never_answers() -> None:
    """What comes of it after the stop is of no use to anybody, and nothing is begun for it."""

    @handler("work")
    async def work() -> None:
        return None

    async with bench(work) as steps:
        steps.silent = True
        steps.run(value={})
        await settle()
        await steps.steps.stop(0)
        for answer in steps.unanswered:
            answer(None, Unavailable("the writer is closed"))
        await settle()
        assert not steps.clock.pauses()


@pytest.mark.parametrize("error", [Undecodable("damaged"), Rejected("no definition")])
async def test_a_result_that_can_never_be_recorded_is_told_to_the_operator(error: Exception) -> None:
    @handler("work")
    async def work() -> None:
        return None

    with capture_logs() as logs:
        async with bench(work) as steps:
            steps.refuse = lambda _: error
            steps.run(value={})
            await settle()
            assert not list(steps.steps.at_work())
    assert [(entry["event"], entry["log_level"], entry["step"]) for entry in logs] == [
        ("result_not_recorded", "error", "work")
    ]


async def test_a_bug_in_the_engine_stops_the_daemon() -> None:
    @handler("work")
    async def work() -> None:
        return None

    async def story() -> None:
        async with bench(work) as steps:
            steps.refuse = lambda _: AssertionError("a bug")
            steps.run(value={})
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as raised:
        await story()
    assert raised.group_contains(AssertionError)


# Progress.


async def test_progress_is_thinned_out_and_the_last_report_is_kept() -> None:
    more = asyncio.Queue[int]()

    @handler("work")
    async def work(context: Context) -> None:
        while (number := await more.get()) >= 0:
            context.progress(number)

    async with bench(work) as steps:
        steps.run(value={})
        for number in (1, 2, 3):
            more.put_nowait(number)
            await settle()
        await steps.clock.advance(1)
        for number in (4, 5):
            more.put_nowait(number)
            await settle()
        more.put_nowait(-1)
        await steps.result()
        *progress, last = [command for _, command in steps.reported]
        assert [(each.number, from_json(each.progress)) for each in progress if isinstance(each, ReportProgress)] == [
            (1, 1),
            (2, 3),
            (3, 5),
        ]
        assert isinstance(last, CompleteStep)


async def test_progress_after_a_quiet_time_is_recorded_at_once() -> None:
    more = asyncio.Queue[int]()

    @handler("work")
    async def work(context: Context) -> None:
        while True:
            context.progress(await more.get())

    async with bench(work) as steps:
        steps.run(value={}, progress_number=7)
        more.put_nowait(1)
        await settle()
        await steps.clock.advance(5)
        more.put_nowait(2)
        await settle()
        assert [command.number for _, command in steps.reported if isinstance(command, ReportProgress)] == [8, 9]


async def test_progress_of_a_thread_is_recorded_before_its_result() -> None:
    @handler("work")
    def work(context: Context) -> None:
        for number in range(1000):
            context.progress(number)

    async with bench(work) as steps:
        steps.run(value={})
        await steps.result()
        *_, last, result = [command for _, command in steps.reported]
        assert isinstance(last, ReportProgress)
        assert from_json(last.progress) == 999
        assert isinstance(result, CompleteStep)
        assert len(steps.reported) <= 3


async def test_progress_that_the_store_does_not_take_is_let_go() -> None:
    @handler("work")
    async def work(context: Context) -> str:
        context.progress(1)
        await settle()
        return "done"

    with capture_logs():
        async with bench(work) as steps:
            steps.refuse = lambda command: Unavailable("away") if isinstance(command, ReportProgress) else None
            steps.run(value={})
            assert await steps.output() == "done"


async def test_progress_without_a_json_form_is_the_handlers_own_mistake() -> None:
    @handler("work")
    async def work(context: Context) -> None:
        context.progress(object())

    async with bench(work) as steps:
        steps.run(value={})
        assert (await steps.failure()).error.type == "TypeError"


async def test_a_heartbeat_is_shown() -> None:
    beat = asyncio.Event()

    @handler("work")
    async def work(context: Context) -> None:
        await beat.wait()
        context.heartbeat()
        await asyncio.Event().wait()

    async with bench(work) as steps:
        started = steps.clock.now()
        steps.run(value={})
        await steps.clock.advance(5)
        (before,) = steps.steps.at_work()
        beat.set()
        await settle()
        (after,) = steps.steps.at_work()
        assert (before.started_at, before.last_sign) == (started, started)
        assert (after.started_at, after.last_sign) == (started, started + timedelta(seconds=5))
