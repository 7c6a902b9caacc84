"""Running handlers: what they see, limits, timeouts, cancellation and stop."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

from structlog.testing import capture_logs

from daemon.core.commands import CompleteStep
from daemon.core.trace_ids import step_traceparent
from daemon.core.values import from_json
from daemon.handlers import Context, handler
from daemon.testing.clock import settle
from tests.support.step_bench import EXECUTION, Command, bench, execution


def output_of(command: Command) -> Any:
    assert isinstance(command, CompleteStep)
    return from_json(command.output)


async def test_a_result_is_reported() -> None:
    @handler("work")
    async def double(number: int) -> int:
        return 2 * number

    async with bench(double) as steps:
        steps.run(value={"number": 21})
        assert await steps.output() == 42
        result = await steps.result()
        assert (result.address, result.attempt, result.at) == ("work", 1, steps.clock.now())


async def test_a_repeat_of_a_step_at_work_is_ignored() -> None:
    calls = []
    go_on = asyncio.Event()

    @handler("work")
    async def work() -> None:
        calls.append(1)
        await go_on.wait()

    async with bench(work) as steps:
        steps.run(value={})
        steps.run(value={})
        await settle()
        assert [each.address for each in steps.steps.at_work()] == ["work"]
        go_on.set()
        await steps.result()
        await settle()
        assert calls == [1]
        steps.run(value={}, attempt=2)
        assert len(await steps.commands(2)) == 2


async def test_the_context_tells_about_the_attempt() -> None:
    seen: list[Context] = []

    @handler("work")
    async def work(context: Context) -> None:
        seen.append(context)

    started_in = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with bench(work) as steps:
        steps.run(value={}, address="each[3].work", attempt=2, timeout_s=30, traceparent=started_in)
        await steps.result()
        context = seen[0]
        assert (context.execution_id, context.workflow) == (str(EXECUTION), "orders")
        assert (context.address, context.attempt) == ("each[3].work", 2)
        assert context.deadline == steps.clock.now() + timedelta(seconds=30)
        assert context.traceparent == step_traceparent(EXECUTION, "each[3].work", 2, started_in)
        assert not context.cancelled


async def test_the_idempotency_key_is_the_same_at_each_attempt_and_of_one_step_only() -> None:
    @handler("work")
    async def work(context: Context) -> str:
        return context.idempotency_key

    async with bench(work) as steps:
        steps.run(value={}, attempt=1)
        steps.run(value={}, attempt=2)
        steps.run(value={}, address="other")
        steps.run(value={}, execution_id=execution(2))
        first, second, *others = [output_of(command) for command in await steps.commands(4)]
        assert first == second == f"{EXECUTION}/work"
        assert len({first, *others}) == 3


async def test_the_logger_is_bound_to_the_attempt_and_its_trace() -> None:
    @handler("work")
    async def work(context: Context) -> None:
        context.logger.info("hello")

    with capture_logs() as logs:
        async with bench(work) as steps:
            steps.run(value={})
            await steps.result()
    assert logs[0]["execution_id"] == str(EXECUTION)
    assert (logs[0]["step"], logs[0]["attempt"], logs[0]["trace_id"]) == ("work", 1, EXECUTION.hex)


async def test_an_input_is_the_handlers_own_copy() -> None:
    seen = []

    @handler("work")
    async def work(numbers: list[int]) -> None:
        seen.append(list(numbers))
        numbers.append(2)

    async with bench(work) as steps:
        steps.run(value={"numbers": [1]}, attempt=1)
        steps.run(value={"numbers": [1]}, attempt=2)
        await steps.commands(2)
        assert seen == [[1], [1]]


# Limits.


async def test_no_more_than_max_running_are_at_work_and_the_rest_wait_in_order() -> None:
    order: list[int] = []
    gates = [asyncio.Event() for _ in range(5)]

    @handler("work")
    async def work(number: int) -> None:
        order.append(number)
        await gates[number].wait()

    async with bench(work, max_running=2) as steps:
        for number in range(5):
            steps.run(value={"number": number}, execution_id=execution(number))
        await settle()
        assert order == [0, 1]
        gates[1].set()
        await steps.commands(1)
        await settle()
        assert order == [0, 1, 2]
        for gate in gates:
            gate.set()
        await steps.commands(5)
        assert order == [0, 1, 2, 3, 4]


async def test_waiting_for_a_slot_is_no_part_of_the_timeout() -> None:
    gate = asyncio.Event()

    @handler("work")
    async def work(name: str) -> str:
        if name == "first":
            await gate.wait()
        return name

    async with bench(work, max_running=1) as steps:
        steps.run(value={"name": "first"}, address="first")
        steps.run(value={"name": "second"}, address="second", timeout_s=1)
        await steps.clock.advance(100)
        gate.set()
        assert [type(command) for command in await steps.commands(2)] == [CompleteStep, CompleteStep]


async def test_a_sync_handler_runs_in_a_thread() -> None:
    @handler("work")
    def work(context: Context) -> bool:
        context.heartbeat()
        return threading.current_thread() is threading.main_thread()

    async with bench(work) as steps:
        steps.run(value={})
        assert await steps.output() is False


async def test_the_number_of_threads_is_bounded_and_they_are_used_again() -> None:
    go_on = threading.Event()
    threads: list[int] = []

    @handler("work")
    def work() -> None:
        threads.append(threading.get_ident())
        assert go_on.wait(60)

    async with bench(work, max_threads=2) as steps:
        for number in range(6):
            steps.run(value={}, execution_id=execution(number))
        await settle()
        assert len(list(steps.steps.at_work())) == 2
        go_on.set()
        results = await steps.commands(6)
        assert all(isinstance(result, CompleteStep) for result in results)
        assert len(set(threads)) <= 2


async def test_handlers_that_wait_for_a_thread_leave_the_others_their_slots() -> None:
    go_on = threading.Event()

    @handler("slow")
    def slow() -> None:
        assert go_on.wait(60)

    @handler("quick")
    async def quick() -> str:
        return "done"

    async with bench(slow, quick, max_running=2, max_threads=1) as steps:
        for number in range(4):
            steps.run("slow", {}, execution_id=execution(number))
        steps.run("quick", {})
        assert await steps.output() == "done"
        go_on.set()
        await steps.commands(5)


# Timeouts and cancellation.


async def test_an_attempt_that_takes_too_long_is_cancelled_and_fails_retryably() -> None:
    ended: list[str] = []

    @handler("work")
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    async with bench(work) as steps:
        steps.run(value={}, attempt=3, timeout_s=10)
        await steps.clock.until_sleeping()
        await steps.clock.advance(9.9)
        assert not steps.reported
        await steps.clock.advance(0.1)
        failed = await steps.failure()
        assert (failed.error.code, failed.error.message) == ("timeout", "not finished within 10s")
        assert (failed.attempt, failed.error.attempt, failed.retryable, failed.jitter) == (3, 3, True, 0.25)
        assert ended == ["cleaned up"]


async def test_a_handler_in_time_is_not_cancelled() -> None:
    @handler("work")
    async def work() -> str:
        return "in time"

    async with bench(work) as steps:
        steps.run(value={}, timeout_s=10)
        assert await steps.output() == "in time"
        await settle()
        assert steps.clock.sleeping == 0


async def test_a_handler_that_ignores_its_cancellation_is_not_waited_for_for_ever() -> None:
    go_on = asyncio.Event()

    @handler("work")
    async def stubborn() -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    with capture_logs() as logs:
        async with bench(stubborn) as steps:
            steps.run(value={}, timeout_s=1)
            await steps.clock.until_sleeping()
            await steps.clock.advance(1)
            assert not steps.reported
            await steps.clock.advance(5)
            assert (await steps.failure()).error.code == "timeout"
            go_on.set()
    assert [entry["event"] for entry in logs] == ["handler_ignores_cancellation"]


async def test_a_thread_that_is_given_up_sees_it_and_keeps_its_place_until_it_returns() -> None:
    returned, started, saw = threading.Event(), asyncio.Event(), list[bool]()
    loop = asyncio.get_running_loop()

    @handler("slow")
    def slow(context: Context) -> None:
        loop.call_soon_threadsafe(started.set)
        assert returned.wait(60)
        saw.append(context.cancelled)

    @handler("next")
    def following() -> str:
        return "done"

    async with bench(slow, following, max_threads=1) as steps:
        steps.run("slow", {}, timeout_s=1)
        await started.wait()
        await steps.clock.advance(1)
        assert (await steps.failure()).error.code == "timeout"
        steps.run("next", {}, address="next")
        await settle()
        assert len(steps.reported) == 1
        returned.set()
        assert isinstance((await steps.commands(2))[1], CompleteStep)
        assert saw == [True]


async def test_what_is_cancelled_reports_nothing() -> None:
    cancelled: list[bool] = []

    @handler("work")
    async def work(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(context.cancelled)

    async with bench(work, max_running=1) as steps:
        steps.run(value={}, address="working")
        steps.run(value={}, address="waiting")
        steps.run(value={}, address="other", execution_id=execution(2))
        await settle()
        steps.steps.cancel(EXECUTION)
        steps.steps.cancel(execution(3))
        await settle()
        assert [each.address for each in steps.steps.at_work()] == ["other"]
        assert (cancelled, steps.reported) == ([True], [])


async def test_a_result_whose_own_report_ends_the_execution_is_not_cancelled() -> None:
    @handler("work")
    async def work() -> None:
        return None

    async with bench(work) as steps:

        def end_execution(_: Command) -> None:
            steps.steps.cancel(EXECUTION)

        steps.refuse = end_execution
        steps.run(value={})
        assert isinstance(await steps.result(), CompleteStep)


async def test_a_cancellation_that_nobody_asked_for_is_a_failure() -> None:
    @handler("work")
    async def work() -> None:
        lost = asyncio.get_running_loop().create_future()
        lost.cancel()
        await lost

    async with bench(work) as steps:
        steps.run(value={})
        assert (await steps.failure()).error.type == "CancelledError"


async def test_stop_waits_for_what_is_at_work_and_starts_nothing_more() -> None:
    gate = asyncio.Event()

    @handler("work")
    async def work(name: str) -> str:
        await gate.wait()
        return name

    async with bench(work, max_running=1) as steps:
        steps.run(value={"name": "at work"}, address="a")
        steps.run(value={"name": "waits"}, address="b")
        await settle()
        stopping = asyncio.create_task(steps.steps.stop(10))
        await settle()
        steps.run(value={"name": "late"}, address="c")
        gate.set()
        await stopping
        assert [output_of(command) for _, command in steps.reported] == ["at work"]


async def test_stop_cancels_after_the_grace_and_the_step_stays_owed() -> None:
    @handler("work")
    async def work() -> None:
        await asyncio.Event().wait()

    async with bench(work) as steps:
        steps.run(value={})
        await settle()
        stopping = asyncio.create_task(steps.steps.stop(10))
        await steps.clock.until_sleeping()
        await steps.clock.advance(9)
        assert not stopping.done()
        await steps.clock.advance(1)
        await stopping
        assert not steps.reported
        await steps.steps.stop(0)


async def test_a_second_stop_cuts_the_first_short() -> None:
    @handler("work")
    async def work() -> None:
        await asyncio.Event().wait()

    async with bench(work) as steps:
        steps.run(value={})
        await settle()
        first = asyncio.create_task(steps.steps.stop(1000))
        await settle()
        await steps.steps.stop(0)
        await first
