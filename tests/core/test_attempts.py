"""The rules of attempts, retries and slots, as given / when / then."""

from __future__ import annotations

import pytest

from daemon.core.state import Running
from tests.core.spec import TWO_STEPS, Story

RETRY = """
workflow: w
nodes:
  a:
    task: t.a
    with: "{{ input }}"
    retry: {max_attempts: 3, backoff: exponential, initial: 1m, non_retryable: [fatal]}
edges: []
"""


def test_a_retry_waits_for_its_timer_and_sends_the_same_input() -> None:
    story = Story.of(RETRY)
    story.start("x")
    assert story.fail("a") == [
        "StepFailed address=a error=error retry_at=1m",
        "TimerSet timer_id=a#retry address=a purpose=retry due=1m",
    ]
    assert story.fire("a#retry", after=0.5) == []
    assert story.fire("a#retry", after=0.5) == ["TimerFired timer_id=a#retry", "StepStarted address=a attempt=2"]
    assert isinstance(story.state, Running)
    assert bytes(story.state.steps["a"].input or b"") == b'"x"'  # type: ignore[union-attr]


def test_the_pause_doubles_and_the_last_failure_is_final() -> None:
    story = Story.of(RETRY)
    story.start()
    story.fail("a")
    story.fire("a#retry", after=1)
    assert story.fail("a", attempt=2)[0] == "StepFailed address=a attempt=2 error=error retry_at=3m"
    story.fire("a#retry", after=2)
    assert story.fail("a", attempt=3) == [
        "StepFailed address=a attempt=3 error=error",
        "ExecutionFailed error=error address=a",
    ]


@pytest.mark.parametrize("how", [{"code": "fatal"}, {"type_name": "fatal"}, {"retryable": False}])
def test_what_is_not_retryable_is_not_tried_again(how: dict[str, str]) -> None:
    story = Story.of(RETRY)
    story.start()
    assert story.fail("a", **how)[-1].startswith("ExecutionFailed")  # type: ignore[arg-type]


LIMITED = """
workflow: w
concurrency: 1
nodes:
  a: {task: t.a, retry: {max_attempts: 2, backoff: fixed, initial: 1m}}
  b: {task: t.b}
  c: {task: t.c, with: "{{ input.missing }}"}
  d: {task: t.d}
edges: [c.error -> d]
"""


def test_steps_beyond_the_limit_are_queued_and_begin_in_order() -> None:
    story = Story.of(LIMITED)
    assert story.start({})[1:] == ["StepStarted address=a input={}", "StepQueued address=b", "StepQueued address=c"]
    assert story.complete("a", 1) == ["StepSucceeded address=a output=1", "StepStarted address=b input={}"]


def test_a_queued_step_whose_input_cannot_be_made_fails_when_its_turn_comes() -> None:
    story = Story.of(LIMITED)
    story.start({})
    story.complete("a", 1)
    assert story.complete("b", 2) == [
        "StepSucceeded address=b output=2",
        "StepFailed address=c error=expression port=error",
        "StepStarted address=d input={}",
    ]


def test_a_retry_waits_for_a_slot_too_and_keeps_its_attempt() -> None:
    story = Story.of(LIMITED)
    story.start({})
    assert story.fail("a")[2:] == ["StepStarted address=b input={}"]
    assert story.fire("a#retry", after=1) == ["TimerFired timer_id=a#retry", "StepQueued address=a"]
    assert story.complete("b") == [
        "StepSucceeded address=b output=null",
        "StepFailed address=c error=expression port=error",
        "StepStarted address=a attempt=2",
        "StepQueued address=d",
    ]


def test_progress_is_recorded_in_order_and_once() -> None:
    story = Story.of(TWO_STEPS)
    story.start({})
    expected = ["StepProgressed address=a attempt=1 number=2 progress=50"]
    assert story.progress("a", 50, number=2) == expected
    assert story.progress("a", 25, number=1) == []
    assert story.progress("a", 75, number=3, attempt=2) == []


def test_a_handler_that_leaves_by_an_unknown_port_fails_its_step() -> None:
    story = Story.of(TWO_STEPS)
    story.start({})
    assert story.complete("a", port="left")[0] == "StepFailed address=a error=port unknown=true"
