"""What a failed attempt leaves in the log, and what it does not: secrets."""

import asyncio
import sys
from typing import Any

import pytest

from daemon.core.commands import FailStep, ReportProgress
from daemon.core.node import NodeType
from daemon.core.templates import SecretName, SecretSlot
from daemon.core.values import from_json
from daemon.handlers import Context, StepFailure, handler
from daemon.nodes.context import NodeContext
from daemon.nodes.task import NODE_TYPE as TASK
from tests.support.step_bench import bench, node_of_type


class CardDeclinedError(StepFailure):
    """A failure of the user's own kind."""


async def fail_with(error: BaseException) -> FailStep:
    @handler("work")
    async def work() -> None:
        raise error

    async with bench(work) as steps:
        steps.run(value={})
        return await steps.failure()


async def test_a_step_failure_is_recorded_as_it_says() -> None:
    failed = await fail_with(StepFailure("no funds", "declined", retryable=False, details={"needed": 3}))
    assert (failed.error.message, failed.error.code, failed.error.type) == ("no funds", "declined", "")
    assert (from_json(failed.error.details), failed.retryable) == ({"needed": 3}, False)


@pytest.mark.parametrize(("code", "recorded"), [(404, "404"), (None, "None"), ("", "error"), ("a\ud800", "a?")])
async def test_a_code_is_recorded_as_text_whatever_it_was(code: Any, recorded: str) -> None:
    """Else the log would hold an event that nobody can read."""
    assert (await fail_with(StepFailure("no", code))).error.code == recorded


class UnspeakableError(Exception):
    """Cannot be turned into text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


async def test_an_exception_that_cannot_be_shown_fails_its_step_alone() -> None:
    failed = await fail_with(UnspeakableError())
    assert (failed.error.message, failed.error.type) == ("UnspeakableError", "UnspeakableError")


async def test_a_failure_of_the_users_own_kind_keeps_its_name() -> None:
    failed = await fail_with(CardDeclinedError("no", "declined"))
    assert (failed.error.code, failed.error.type, failed.retryable) == ("declined", "CardDeclinedError", True)


async def test_any_exception_is_recorded_with_the_users_part_of_the_traceback() -> None:
    failed = await fail_with(ZeroDivisionError("by zero"))
    assert (failed.error.message, failed.error.code, failed.error.type) == ("by zero", "error", "ZeroDivisionError")
    traceback = from_json(failed.error.details)["traceback"]
    assert "raise error" in traceback
    assert "daemon/runtime" not in traceback
    assert failed.retryable


async def test_what_is_recorded_of_an_exception_is_bounded_and_text() -> None:
    failed = await fail_with(ValueError("x" * 100_000 + "\ud800"))
    assert len(failed.error.message) == 2000
    assert len(from_json(failed.error.details)["traceback"]) <= 8000
    assert (await fail_with(KeyError())).error.message == "KeyError"


async def test_details_without_a_json_form_are_recorded_as_text() -> None:
    failed = await fail_with(StepFailure("odd", "odd", details={1, object}))
    assert "object" in from_json(failed.error.details)


async def test_a_handler_that_exits_does_not_end_the_daemon() -> None:
    assert (await fail_with(SystemExit(3))).error.type == "SystemExit"

    @handler("work")
    def in_a_thread() -> None:
        sys.exit(3)

    async with bench(in_a_thread) as steps:
        steps.run(value={})
        assert (await steps.failure()).error.message == "the handler raised SystemExit: 3"


async def test_input_that_does_not_fit_is_not_tried_again() -> None:
    @handler("work")
    async def work(total: int) -> None:
        pass

    async with bench(work) as steps:
        steps.run(value={"total": "x"})
        failed = await steps.failure()
        assert (failed.error.code, failed.retryable) == ("invalid_input", False)
        assert failed.error.message == "with.total: Expected int, got str"


@pytest.mark.parametrize("output", [object(), {"cycle": ...}, "\ud800"])
async def test_output_without_a_json_form_is_not_tried_again(output: Any) -> None:
    @handler("work")
    async def work() -> Any:
        return output

    async with bench(work) as steps:
        steps.run(value={})
        failed = await steps.failure()
        assert (failed.error.code, failed.retryable) == ("invalid_output", False)


async def test_a_handler_that_this_daemon_does_not_have_may_be_tried_again() -> None:
    async with bench() as steps:
        steps.run("missing", {})
        failed = await steps.failure()
        assert (failed.error.code, failed.retryable) == ("handler_unknown", True)


async def test_a_node_type_without_anything_to_run_is_a_bug_and_stops_the_daemon() -> None:
    nothing = NodeType(
        name="nothing", summary="", schema={}, parse=dict, templates=lambda _: (), begin=TASK.begin, execute=None
    )

    async def story() -> None:
        async with bench() as steps:
            steps.run(node=node_of_type(nothing, None))
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as raised:
        await story()
    assert raised.group_contains(TypeError)


async def test_a_node_type_may_call_handlers_that_it_did_not_announce() -> None:
    @handler("greet")
    def greet(name: str) -> str:
        return f"hello {name}"

    async def execute(context: NodeContext, value: Any) -> object:
        return [await context.services.call("greet", {"name": name}, context) for name in value]

    several = NodeType(
        name="several", summary="", schema={}, parse=dict, templates=lambda _: (), begin=TASK.begin, execute=execute
    )
    async with bench(greet, max_threads=1) as steps:
        steps.run(value=["a", "b"], node=node_of_type(several, None))
        assert await steps.output() == ["hello a", "hello b"]


# Secrets.

TOKEN = 's3cr3t/"token" ä'
AUTHORIZATION = (SecretSlot(("token",), ("Bearer ", SecretName("TOKEN"))),)


async def test_a_handler_gets_the_secret_and_its_failure_does_not_tell_it() -> None:
    @handler("work")
    async def work(token: str) -> None:
        assert token == f"Bearer {TOKEN}"
        quoted = "https://x/?t=s3cr3t%2F%22token%22%20%C3%A4"
        raise ValueError(f"refused {token} {token!r} {quoted}")

    async with bench(work, secrets={"SAGAD_SECRET_TOKEN": TOKEN}) as steps:
        steps.run(value={"token": "Bearer ***"}, secrets=AUTHORIZATION)
        failed = await steps.failure()
        assert failed.error.message == "refused Bearer *** 'Bearer ***' https://x/?t=***"
        assert "s3cr3t" not in from_json(failed.error.details)["traceback"]


async def test_details_and_progress_do_not_tell_secrets() -> None:
    @handler("work")
    async def work(token: str, context: Context) -> None:
        context.progress({"using": token})
        raise StepFailure("refused", "refused", details={"sent": [token], token: 1})

    async with bench(work, secrets={"SAGAD_SECRET_TOKEN": TOKEN}) as steps:
        steps.run(value={"token": "Bearer ***"}, secrets=AUTHORIZATION)
        failed = await steps.failure()
        progress = steps.reported[0][1]
        assert isinstance(progress, ReportProgress)
        assert from_json(progress.progress) == {"using": "Bearer ***"}
        assert from_json(failed.error.details) == {"sent": ["Bearer ***"], "Bearer ***": 1}


async def test_an_output_that_echoes_a_secret_does_not_tell_it() -> None:
    @handler("work")
    async def work(token: str) -> dict[str, object]:
        return {"sent": token, "count": 1}

    async with bench(work, secrets={"SAGAD_SECRET_TOKEN": TOKEN}) as steps:
        steps.run(value={"token": "Bearer ***"}, secrets=AUTHORIZATION)
        assert await steps.output() == {"sent": "Bearer ***", "count": 1}


@pytest.mark.parametrize("value", [{"token": "Bearer ***"}, {"token": "edited"}, {}])
async def test_a_secret_that_is_missing_or_has_no_place_is_not_tried_again(value: Any) -> None:
    @handler("work")
    async def work(token: str) -> None:
        pass

    async with bench(work, secrets={} if value == {"token": "Bearer ***"} else {"SAGAD_SECRET_TOKEN": TOKEN}) as steps:
        steps.run(value=value, secrets=AUTHORIZATION)
        failed = await steps.failure()
        assert (failed.error.code, failed.retryable) == ("secret", False)
        assert "s3cr3t" not in failed.error.message


@pytest.mark.parametrize("timeout_s", [None, 60])
@pytest.mark.parametrize("instead", ["an error", "a result"])
async def test_what_a_handler_makes_of_its_cancellation_is_not_recorded(timeout_s: float | None, instead: str) -> None:
    """The daemon stops: the step stays owed, and is not a failed one because its driver says `connection closed`."""
    begun = asyncio.Event()

    @handler("work")
    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if instead == "an error":
                raise ConnectionError("closed") from None

    async with bench(work) as steps:
        steps.run(value={}, timeout_s=timeout_s)
        await begun.wait()
        await steps.steps.stop(0)
        assert steps.reported == []
