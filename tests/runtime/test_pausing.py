"""Handlers that pause: wherever they run, over restarts, with inputs that come early or do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.events import StepSuspended
from daemon.core.people import Suspended
from daemon.core.state import Running
from daemon.core.values import from_json
from daemon.handlers import Pause
from daemon.nodes.context import StepFailure
from daemon.runtime.step_answers import Paused, answer_of, read_answer
from daemon.testing.clock import FakeClock
from tests.support.daemons import finished, running, settings_for, start, until
from tests.support.pausing_handlers import gates

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.core.state import State

NUMBER: Any = 7
HANDLERS = "tests.support.pausing_handlers"


def flow(handler: str) -> str:
    return f"workflow: choose\nnodes: {{pick: {{task: {handler}}}}}"


def suspended(state: State) -> bool:
    return isinstance(state, Running) and bool(state.people)


@pytest.mark.parametrize("handler", ["pick", "pick.thread", "pick.process"])
async def test_a_handler_pauses_wherever_it_runs(tmp_path: Path, handler: str) -> None:
    async with running(settings_for(tmp_path, flow(handler), handlers=HANDLERS)) as daemon:
        target = await start(daemon, "choose")
        await until(daemon, target, suspended)
        await daemon.people.resume_step(target, "pick", {"account": 7}, resume_id="r1", actor="ann")
        output = from_json((await finished(daemon, target)).output)
    assert output == {"pick": {"account": 7, "calls": 2, "left": "asked"}}


async def test_a_pause_outlives_the_daemon(tmp_path: Path, fresh_postgres_url: str) -> None:
    settings = settings_for(tmp_path, flow("pick"), handlers=HANDLERS, store_url=fresh_postgres_url)
    async with running(settings) as daemon:
        target = await start(daemon, "choose")
        await until(daemon, target, suspended)
    async with running(settings) as daemon:
        await daemon.people.resume_step(target, "pick", {"account": 8}, resume_id="r1", actor="ann")
        state = await finished(daemon, target)
    assert from_json(state.output)["pick"]["account"] == 8


async def test_an_early_input_that_does_not_fit_is_refused_when_it_is_taken(tmp_path: Path) -> None:
    """The step waits again, and says why; the next one that is there is tried."""
    async with running(settings_for(tmp_path, flow("pick.gated"), handlers=HANDLERS)) as daemon:
        target = await start(daemon, "choose")
        for number, value in enumerate(({"account": "x"}, {"account": 9}, {"account": 1})):
            await daemon.people.resume_step(target, "pick", value, resume_id=f"r{number}", actor="ann")
        gates[str(target)].set()
        state = await finished(daemon, target)
        events = [recorded.event for recorded in await daemon.history.events(target)]
    assert from_json(state.output)["pick"]["account"] == 9
    problems = [event.problem for event in events if isinstance(event, StepSuspended)]
    assert problems[0] == ""
    assert "account" in problems[1]


async def test_a_pause_ends_by_its_time_limit(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(settings_for(tmp_path, flow("pick.briefly"), handlers=HANDLERS), clock=clock) as daemon:
        target = await start(daemon, "choose")
        state = await until(daemon, target, suspended)
        assert isinstance(state, Running)
        step = state.steps["pick"]
        assert isinstance(step, Suspended)
        assert step.due is not None
        await clock.advance((step.due - clock.now()).total_seconds())
        ended = await finished(daemon, target)
    assert ended.error is not None
    assert (ended.error.code, ended.failed_step) == ("timeout", "pick")


def test_a_pause_is_read_and_given_back_as_it_was() -> None:
    asked = Pause("why", expects={"type": "object"}, state=[1], timeout="2m")
    read = read_answer(asked)
    assert isinstance(read, Paused)
    assert read_answer(answer_of(read)) == read


@pytest.mark.parametrize(
    "wrong",
    [
        Pause(""),
        Pause(NUMBER),
        Pause("x", expects={"type": "nonsense"}),
        Pause("x", expects="text"),
        Pause("x", timeout="soon"),
    ],
)
def test_a_pause_that_cannot_be_meant_fails_the_step(wrong: Pause) -> None:
    with pytest.raises(StepFailure) as caught:
        read_answer(wrong)
    assert (caught.value.code, caught.value.retryable) == ("pause", False)
