"""The rules of pauses, as given / when / then."""

from __future__ import annotations

from daemon.core.state import Running, cause
from tests.core.spec import Story

FLOW = """
workflow: w
nodes:
  a: {task: t.a, retry: {max_attempts: 2, initial: 1m}}
  nap: {wait: 5m}
  b: {task: t.b}
  c: {task: t.c}
edges: [a -> b, nap -> c]
"""


def paused() -> Story:
    story = Story.of(FLOW)
    story.start()
    assert story.pause("the bank is down") == ["ExecutionPaused reason=the bank is down"]
    return story


def test_a_handler_at_work_goes_on_and_no_other_begins() -> None:
    story = paused()
    assert cause(story.state) == "step"
    assert story.complete("a") == ["StepSucceeded address=a output=null", "StepQueued address=b"]
    assert cause(story.state) == "pause"


def test_timers_are_taken_while_it_is_paused() -> None:
    story = paused()
    assert story.fire("nap#wait", after=5)[1:] == [
        "StepSucceeded address=nap output=2026-03-01T12:05:00Z", "StepQueued address=c",
    ]  # fmt: skip


def test_a_retry_waits_for_the_end_of_the_pause() -> None:
    story = paused()
    story.fail("a")
    assert story.fire("a#retry", after=1) == ["TimerFired timer_id=a#retry", "StepQueued address=a"]
    assert story.resume() == ["ExecutionResumed", "StepStarted address=a attempt=2"]


def test_what_has_waited_begins_in_order_when_it_is_resumed() -> None:
    story = paused()
    story.fire("nap#wait", after=5)
    story.complete("a")
    assert story.resume() == [
        "ExecutionResumed",
        "StepStarted address=c input={}",
        "StepStarted address=b input={}",
    ]
    assert isinstance(story.state, Running)
    assert story.state.paused is None


def test_to_pause_or_resume_again_decides_nothing() -> None:
    story = paused()
    assert story.pause() == []
    story.resume()
    assert story.resume() == []


def test_a_paused_execution_can_be_cancelled() -> None:
    assert paused().cancel()[-1].startswith("ExecutionCancelled")


def test_an_undo_can_be_paused_too() -> None:
    story = Story.of(
        "workflow: w\nnodes: {a: {task: t.a, compensate: {task: t.undo, retry: {max_attempts: 2, initial: 1m}}},"
        " b: {task: t.b, compensate: {task: t.undo}}, c: {fail: no}}\nedges: [a -> b -> c]"
    )
    story.start()
    story.complete("a")
    story.complete("b")
    story.pause()
    assert story.complete("b~undo") == ["StepSucceeded address=b~undo output=null"]
    assert cause(story.state) == "pause"
    assert story.resume() == ["ExecutionResumed", "StepStarted address=a~undo input={}"]
    story.fail("a~undo")
    story.pause()
    assert story.fire("a~undo#retry", after=1)[1:] == ["StepQueued address=a~undo"]
    assert story.resume()[1:] == ["StepStarted address=a~undo attempt=2"]
