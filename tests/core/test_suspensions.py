"""Handlers that pause until somebody gives input."""

from __future__ import annotations

import pytest

from daemon.core.effects import RunStep, owed
from daemon.core.errors import ExecutionFinished, Rejected
from daemon.core.state import Running, cause
from daemon.core.values import from_json
from tests.core.spec import Story


def started(keys: str = "") -> Story:
    story = Story.of(f"workflow: w\nconcurrency: 1\nnodes: {{a: {{task: t.a{keys}}}}}")
    story.start()
    return story


def run(story: Story) -> RunStep:
    [effect] = owed(story.state)
    assert isinstance(effect, RunStep)
    return effect


def test_a_handler_that_pauses_waits_for_a_person() -> None:
    story = started()
    assert story.suspend("a", "which one?", expects={"type": "string"}) == [
        'StepSuspended address=a reason=which one? expects={"type":"string"} state=null'
    ]
    assert cause(story.state) == "person"


def test_an_input_calls_the_handler_again_with_it_and_its_state() -> None:
    story = started()
    story.suspend("a", state={"page": 3})
    assert story.give_input("a", "this one") == [
        "ResumeReceived address=a resume_id=r1 input=this one",
        "StepResumed address=a resume_id=r1",
        "StepStarted address=a attempt=2",
    ]
    effect = run(story)
    assert effect.resumed is not None
    assert (from_json(effect.resumed.input), from_json(effect.state)) == ("this one", {"page": 3})


def test_what_waits_for_limits_goes_on_with_its_input_and_its_cache() -> None:
    """A step that is suspended holds no slot; the next attempt takes one, and is the same step still."""
    story = started(", throttle: {concurrency: 1}, cache: {key: k, ttl: 1h}")
    key = run(story).cache_key
    story.suspend("a")
    assert isinstance(story.state, Running)
    assert not story.state.holding
    story.crowded = {("w/a", "")}
    assert story.give_input("a", 7)[-1].startswith("SlotsAsked address=a")
    story.grant("a")
    effect = run(story)
    assert (effect.attempt, effect.cache_key) == (2, key)
    assert effect.resumed is not None
    assert from_json(effect.resumed.input) == 7


def test_a_pause_is_no_failure() -> None:
    """The retry policy does not count it, and a retry goes on with the same input."""
    story = started(", retry: {max_attempts: 2, initial: 1m}")
    story.suspend("a")
    story.give_input("a", 7)
    story.fail("a", attempt=2)
    story.fire("a#retry", after=1)
    effect = run(story)
    assert effect.attempt == 3
    assert effect.resumed is not None
    assert from_json(effect.resumed.input) == 7
    assert story.fail("a", attempt=3)[-1].startswith("ExecutionFailed")


def test_inputs_that_come_early_are_served_in_order() -> None:
    story = started()
    assert story.give_input("a", 1, resume_id="r1") == ["ResumeReceived address=a resume_id=r1 input=1"]
    story.give_input("a", 2, resume_id="r2")
    assert story.give_input("a", 2, resume_id="r2") == []
    assert story.suspend("a", within=5)[1:] == ["StepResumed address=a resume_id=r1", "StepStarted address=a attempt=2"]
    assert story.suspend("a", attempt=2)[1:] == [
        "StepResumed address=a resume_id=r2",
        "StepStarted address=a attempt=3",
    ]
    story.suspend("a", attempt=3)
    assert cause(story.state) == "person"


def test_it_waits_no_longer_than_it_said() -> None:
    story = started()
    story.suspend("a", within=5)
    story.fire("a#input", after=5)
    assert story.result == "timeout"


def test_an_input_in_time_cancels_the_limit() -> None:
    story = started()
    story.suspend("a", within=5)
    assert story.give_input("a")[1] == "TimerCancelled timer_id=a#input"


def test_a_limit_that_is_over_when_the_input_was_wrong_fails_the_step() -> None:
    story = started()
    story.suspend("a", within=0)
    assert story.result == "timeout"


def test_an_input_waits_for_a_slot_and_for_the_end_of_a_pause() -> None:
    story = started()
    story.suspend("a")
    story.pause()
    assert story.give_input("a")[-1] == "StepQueued address=a"
    assert story.resume()[-1] == "StepStarted address=a attempt=2"
    assert run(story).resumed is not None


def test_what_cannot_pause_takes_no_input() -> None:
    story = Story.of("workflow: w\nnodes: {a: {task: t.a}, b: {wait: 1m}, c: {task: t.c}}")
    story.start()
    for address in ("b", "nowhere"):
        with pytest.raises(Rejected, match="there is no step"):
            story.give_input(address)
    story.complete("c")
    with pytest.raises(Rejected, match="step c has ended"):
        story.give_input("c")


def test_an_ended_execution_takes_no_input_but_knows_a_repeat() -> None:
    story = started()
    story.give_input("a")
    story.complete("a")
    assert story.give_input("a") == []
    with pytest.raises(ExecutionFinished):
        story.give_input("a", resume_id="r2")


def test_a_state_that_is_too_large_fails_the_step() -> None:
    story = Story.of("workflow: w\nlimits: {output_bytes: 1024}\nnodes: {a: {task: t.a}}")
    story.start()
    story.suspend("a", state="x" * 2000)
    assert story.result == "state_too_large"


UNDONE = """
workflow: w
nodes:
  a: {task: t.a, compensate: {task: t.u}}
  b: {task: t.b, compensate: {task: t.u}}
  c: {task: t.c}
"""


def test_what_has_paused_may_have_taken_effect() -> None:
    """When the execution is cancelled, its compensation is asked about: nobody knows how far it was."""
    story = Story.of(UNDONE)
    story.start()
    story.suspend("a")
    story.cancel()
    assert isinstance(story.state, Running)
    story.complete("b")
    story.complete("b~undo")
    assert story.state.asking["a"].kind == "unknown"
    with pytest.raises(Rejected, match="has ended"):
        story.give_input("a")


def test_no_step_pauses_in_an_execution_that_is_undone() -> None:
    story = Story.of(UNDONE)
    story.start()
    story.fail("c")
    assert "code" not in story.suspend("a")[0]
    assert "given_up" in story.told[-2] or "given_up" in " ".join(story.told)
    with pytest.raises(Rejected, match="being undone"):
        story.give_input("b")


def test_a_compensation_may_pause() -> None:
    story = Story.of(UNDONE)
    story.start()
    story.complete("a")
    story.complete("b")
    story.fail("c")
    story.suspend("a~undo", "which account?")
    assert cause(story.state) in {"step", "person"}
    assert story.give_input("a~undo", 7)[-1] == "StepStarted address=a~undo attempt=2"


def test_an_input_for_a_compensation_is_kept_past_the_end() -> None:
    """It was taken when it came, and its sender will not send it again."""
    story = Story.of(UNDONE)
    story.start()
    assert story.give_input("a~undo", 7) == ["ResumeReceived address=a~undo resume_id=r1 input=7"]
    for step in ("a", "b", "c"):
        story.complete(step)
    story.undo()
    assert story.suspend("a~undo")[1:] == [
        "StepResumed address=a~undo resume_id=r1",
        "StepStarted address=a~undo attempt=2",
    ]
