"""The rules of waiting for times and signals, as given / when / then."""

from __future__ import annotations

import pytest

from daemon.core.errors import ExecutionFinished
from daemon.core.state import Finished, NotStarted, cause
from tests.core.spec import TWO_STEPS, Story


def test_a_wait_succeeds_when_its_time_has_come() -> None:
    story = Story.of("workflow: w\nnodes: {nap: {wait: 5m}}\nedges: []")
    assert story.start()[1:] == ["TimerSet timer_id=nap#wait address=nap purpose=wait due=5m"]
    assert cause(story.state) == "timer"
    assert story.fire("nap#wait", after=5)[0:1] == ["TimerFired timer_id=nap#wait"]
    assert isinstance(story.state, Finished)


SIGNAL = """
workflow: w
nodes:
  review: {signal: {name: reviewed, timeout: 10m}}
  late: {task: t.late}
  ok: {task: t.ok, with: "{{ review.by }}"}
edges: [review -> ok, review.error -> late]
"""


def test_a_signal_is_awaited_and_its_data_is_the_output() -> None:
    story = Story.of(SIGNAL)
    assert story.start()[1:] == [
        "SignalAwaited address=review name=reviewed",
        "TimerSet timer_id=review#signal address=review purpose=signal due=10m",
    ]
    assert cause(story.state) == "signal"
    assert story.signal("reviewed", {"by": "ann"}) == [
        'SignalReceived signal_id=s1 name=reviewed data={"by":"ann"}',
        "TimerCancelled timer_id=review#signal",
        'StepSucceeded address=review output={"by":"ann"} signal_id=s1',
        "StepStarted address=ok input=ann",
        "StepSkipped address=late",
    ]


def test_a_signal_that_does_not_come_fails_the_step_with_timeout() -> None:
    story = Story.of(SIGNAL)
    story.start()
    assert "StepFailed address=review error=timeout port=error" in story.fire("review#signal", after=10)


def test_a_signal_before_the_start_waits_for_it() -> None:
    story = Story.of(SIGNAL)
    assert story.signal("reviewed", {"by": "bob"}) == ['SignalReceived signal_id=s1 name=reviewed data={"by":"bob"}']
    assert isinstance(story.state, NotStarted)
    assert cause(story.state) == "start"
    assert "StepStarted address=ok input=bob" in story.start()


def test_signals_of_one_name_are_taken_in_the_order_of_arrival() -> None:
    story = Story.of(
        "workflow: w\nnodes: {a: {signal: go}, b: {signal: go}}\nedges: [a -> b]\noutput: ['{{ a }}', '{{ b }}']"
    )
    story.signal("go", 1, signal_id="z")
    story.signal("other", 9, signal_id="m")
    story.signal("go", 2, signal_id="a")
    assert story.start()[-1] == "ExecutionCompleted output=[1,2]"


def test_of_two_steps_that_wait_for_one_name_the_first_gets_the_signal() -> None:
    story = Story.of("workflow: w\nnodes: {a: {signal: go}, b: {signal: go}}\nedges: []")
    story.start()
    assert story.signal("go", 1)[1:] == ["StepSucceeded address=a output=1 signal_id=s1"]


def test_a_signal_nobody_waits_for_is_kept() -> None:
    story = Story.of(TWO_STEPS)
    story.start({})
    assert story.signal("hello") == ["SignalReceived signal_id=s1 name=hello data=null"]


def test_a_signal_id_is_taken_once_even_after_the_end() -> None:
    story = Story.of("workflow: w\nnodes: {a: {signal: go}}\nedges: []")
    story.start()
    story.signal("go", 1)
    assert story.signal("go", 2) == []
    with pytest.raises(ExecutionFinished, match="has completed"):
        story.signal("go", 2, signal_id="s2")


def test_an_execution_that_takes_too_long_fails() -> None:
    story = Story.of("workflow: w\ntimeout: 30m\nnodes: {a: {task: t.a}}\nedges: []")
    assert story.start()[1] == "TimerSet timer_id=execution address= purpose=execution due=30m"
    assert story.fire("execution", after=30) == ["TimerFired timer_id=execution", "ExecutionFailed error=timeout"]
