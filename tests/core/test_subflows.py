"""The rules of subflows, as given / when / then."""

from __future__ import annotations

import pytest

from daemon.core.child_events import Parent
from daemon.core.commands import FinishChild
from daemon.core.effects import CancelChild, RunStep, TellParent, effects, owed
from daemon.core.errors import Rejected
from daemon.core.events import ChildCancelRequested, StepError
from daemon.core.leaving import child_id_of
from daemon.core.state import INITIAL, Finished, Running, cause, has_work
from daemon.core.values import to_json
from tests.core.spec import EXECUTION, Story, minute

ORDER = """
workflow: order
%s
nodes:
  ship: {subflow: shipping, with: {id: "{{ input.id }}"}%s}
  mail: {task: m.mail}
edges: [ship -> mail]
"""

TRIP = """
workflow: trip
nodes:
  flight: {task: t.fly, compensate: {task: t.cancel}}
  hotel: {subflow: booking}
  pay: {task: t.pay}
edges: [flight -> hotel -> pay]
"""

EACH = """
workflow: w
nodes:
  each:
    parallel: 2
    do:
      nodes: {ship: {subflow: shipping}}
"""


def order(more: str = "", keys: str = "") -> Story:
    """Tell of an order whose child has started."""
    story = Story.of(ORDER % (keys, more))
    story.start({"id": 7})
    story.await_child("ship")
    return story


def trip() -> Story:
    """Tell of a trip whose hotel, a child that can be undone, is booked."""
    story = Story.of(TRIP)
    story.start()
    story.complete("flight")
    story.await_child("hotel")
    story.finish_child("hotel", owes=True)
    return story


def test_a_subflow_is_started_by_a_handler_and_then_waits_for_its_child_alone() -> None:
    story = Story.of(ORDER % ("", ""))
    assert story.start({"id": 7})[1:] == [
        'StepStarted address=ship input={"input":{"id":7},"version":null,"workflow":"shipping"}'
    ]
    assert story.await_child("ship") == ["ChildStarted address=ship attempt=1"]
    assert cause(story.state) == "child"
    assert not has_work(story.state)
    assert owed(story.state) == ()


def test_a_step_that_waits_for_its_child_is_settled_by_that_alone() -> None:
    """An attempt that was taken over by another daemon may still report; the child is at work all the same."""
    story = order(", timeout: 5m")
    assert story.fail("ship", code="timeout") == []
    assert story.complete("ship", 1) == []
    assert story.fire("ship#child", after=5)[1].startswith("ChildCancelRequested")


def test_the_childs_output_is_the_steps() -> None:
    assert order().finish_child("ship", output={"no": 1}) == [
        "ChildFinished address=ship attempt=1 status=completed",
        'StepSucceeded address=ship output={"no":1}',
        "StepStarted address=mail input={}",
    ]


def test_the_result_is_made_of_the_childs_output() -> None:
    story = order(', result: "{{ child.output.no }} of {{ input.id }}"')
    assert story.finish_child("ship", output={"no": 1})[1] == "StepSucceeded address=ship output=1 of 7"


def test_a_result_that_cannot_be_made_fails_the_step() -> None:
    story = order(', result: "{{ child.output.no.way }}"')
    assert story.finish_child("ship", output=3)[1] == "StepFailed address=ship error=expression"


def test_a_child_that_ends_before_its_start_is_recorded_settles_the_step_too() -> None:
    story = Story.of(ORDER % ("", ""))
    story.start({"id": 7})
    assert story.finish_child("ship", output=1)[:3] == [
        "ChildStarted address=ship attempt=1",
        "ChildFinished address=ship attempt=1 status=completed",
        "StepSucceeded address=ship output=1",
    ]
    assert story.await_child("ship") == []


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_child_that_ends_badly_fails_the_step(status: str) -> None:
    assert order().finish_child("ship", status)[1] == f"StepFailed address=ship error=child_{status}"


def test_each_attempt_has_a_child_of_its_own() -> None:
    story = order(", retry: {max_attempts: 2, initial: 1m}")
    story.finish_child("ship", "failed")
    assert story.fire("ship#retry", after=1)[-1] == "StepStarted address=ship attempt=2"
    assert story.finish_child("ship", output="of the first") == []
    story.await_child("ship", attempt=2)
    assert story.finish_child("ship", attempt=2)[1] == "StepSucceeded address=ship attempt=2 output=null"
    assert child_id_of(EXECUTION, "ship", 1) != child_id_of(EXECUTION, "ship", 2)


def test_a_child_that_takes_too_long_is_asked_to_end_and_then_fails_the_step() -> None:
    story = order(", timeout: 5m")
    assert story.fire("ship#child", after=5)[1:] == [
        "ChildCancelRequested address=ship attempt=1 undo=true reason=it has taken too long"
    ]
    assert story.finish_child("ship", "cancelled")[1] == "StepFailed address=ship error=timeout"


def test_one_that_completes_while_it_is_asked_to_end_has_completed() -> None:
    story = order(", timeout: 5m")
    story.fire("ship#child", after=5)
    assert story.finish_child("ship", output=1)[1] == "StepSucceeded address=ship output=1"


def test_one_to_be_abandoned_is_not_waited_for_after_its_time() -> None:
    story = order(", timeout: 5m, on_close: abandon")
    assert story.fire("ship#child", after=5)[1] == "StepFailed address=ship error=timeout"
    assert isinstance(story.state, Finished)


def test_an_end_in_time_clears_the_timer() -> None:
    story = order(", timeout: 5m")
    assert story.finish_child("ship")[0] == "TimerCancelled timer_id=ship#child"


def test_cancelling_reaches_the_child_and_waits_for_it() -> None:
    story = order()
    assert story.cancel() == [
        "CancelRequested reason=enough",
        'UndoPlanned status=cancelled mode=automatic reason=enough draining=["ship"]',
        "ChildCancelRequested address=ship attempt=1 undo=true reason=its parent has cancelled",
    ]
    assert has_work(story.state)
    assert owed(story.state) == (
        CancelChild("ship", 1, child_id_of(EXECUTION, "ship", 1), undo=True, reason="its parent has cancelled"),
    )
    assert story.finish_child("ship", "cancelled")[-2:] == [
        "UndoCompleted compensated=0 by_hand=0 skipped=0",
        "ExecutionCancelled reason=enough",
    ]


def test_a_child_that_has_only_begun_to_start_is_asked_to_end_when_it_has() -> None:
    story = Story.of(ORDER % ("", ""))
    story.start({"id": 7})
    story.cancel()
    assert story.await_child("ship")[1].startswith("ChildCancelRequested address=ship")


@pytest.mark.parametrize(("policy", "line"), [("terminate", "undo=false"), ("cancel", "undo=true")])
def test_the_policy_says_whether_the_child_undoes_itself(policy: str, line: str) -> None:
    assert line in order(f", on_close: {policy}").cancel()[-1]


def test_an_abandoned_child_goes_on_by_itself() -> None:
    story = order(", on_close: abandon")
    assert story.cancel()[-1] == "ExecutionCancelled reason=enough"
    assert story.finish_child("ship", output=1) == []


def test_a_cancel_without_undo_waits_for_children_all_the_same() -> None:
    story = order()
    assert story.cancel(undo=False)[1] == 'UndoPlanned status=cancelled mode=none reason=enough draining=["ship"]'
    story.finish_child("ship", "cancelled")
    assert isinstance(story.state, Finished)


def test_a_cancel_without_undo_leaves_what_was_done() -> None:
    story = trip()
    assert story.cancel(undo=False)[1:] == ["ExecutionCancelled reason=enough"]


def test_a_completed_child_is_undone_in_its_turn() -> None:
    story = trip()
    assert story.fail("pay")[1:] == [
        "UndoPlanned status=failed mode=automatic error=error failed_step=pay",
        f'StepStarted address=hotel~undo input={{"undo":"{child_id_of(EXECUTION, "hotel", 1)}"}}',
    ]
    story.await_child("hotel~undo")
    assert cause(story.state) == "child"
    assert story.finish_child("hotel~undo", "cancelled") == [
        "ChildFinished address=hotel~undo attempt=1 status=cancelled",
        "StepSucceeded address=hotel~undo output=null",
        "StepStarted address=flight~undo input={}",
    ]


def test_a_child_with_nothing_to_undo_is_left_alone() -> None:
    story = order()
    story.finish_child("ship")
    assert story.fail("mail")[-1] == "ExecutionFailed error=error address=mail"


def test_a_declared_compensation_takes_the_place_of_the_childs_undo() -> None:
    story = order(", compensate: {task: s.back}")
    story.finish_child("ship", owes=True)
    assert story.fail("mail")[-1] == "StepStarted address=ship~undo input={}"


def test_a_turn_that_is_given_up_asks_its_child_to_end_and_the_execution_waits_for_it() -> None:
    story = Story.of(EACH)
    story.start()
    story.await_child("each[0].ship")
    story.await_child("each[1].ship")
    told = story.finish_child("each[0].ship", "failed")
    assert "ChildCancelRequested address=each[1].ship attempt=1 undo=true reason=its step was given up" in told
    assert told[-1] == "UndoPlanned status=failed mode=automatic error=child_failed failed_step=each"
    assert cause(story.state) == "child"
    assert story.finish_child("each[1].ship", "cancelled")[-1] == "ExecutionFailed error=child_failed address=each"


def test_a_given_up_child_that_had_completed_is_undone_with_the_rest() -> None:
    story = Story.of(EACH)
    story.start()
    story.await_child("each[0].ship")
    story.await_child("each[1].ship")
    story.finish_child("each[0].ship", "failed")
    sent = f'input={{"undo":"{child_id_of(EXECUTION, "each[1].ship", 1)}"}}'
    assert story.finish_child("each[1].ship", owes=True)[1:] == [
        f"CompensationOwed address=each[1].ship began=16 kind=idempotent {sent}",
        f"StepStarted address=each[1].ship~undo {sent}",
    ]


def test_a_recursion_ends_at_the_limit() -> None:
    story = Story.of(ORDER % ("limits: {depth: 1}", ""))
    story.start({"id": 7})
    assert story.started == ["ship"]
    deep = Story.of(ORDER % ("limits: {depth: 1}", ""))
    assert deep.start({"id": 7}, parent=Parent(EXECUTION, "ship", 1))[1] == "StepFailed address=ship error=recursion"


def test_a_paused_execution_starts_no_child() -> None:
    story = Story.of("workflow: w\nnodes: {a: {task: t}, ship: {subflow: s}}\nedges: [a -> ship]")
    story.start()
    story.pause()
    assert story.complete("a")[-1] == "StepQueued address=ship"
    assert story.resume()[-1].startswith("StepStarted address=ship")


def test_a_child_tells_its_parent_how_it_has_ended() -> None:
    story = Story.of("workflow: w\nnodes: {a: {task: t, compensate: {task: u}}}")
    parent = Parent(EXECUTION, "ship", 1)
    story.start(parent=parent)
    story.complete("a", 5)
    told = TellParent(parent, "w", story.plan.hash, "completed", to_json({"a": 5}), None, owes=True, ended_at=minute(0))
    assert owed(story.state) == (told,)
    assert told in effects(story.state, ())
    assert has_work(story.state)
    assert not has_work(INITIAL)


def test_a_cancelled_child_tells_why() -> None:
    story = Story.of("workflow: w\nnodes: {a: {task: t}}")
    story.start(parent=Parent(EXECUTION, "ship", 1))
    story.cancel()
    [told] = owed(story.state)
    assert isinstance(told, TellParent)
    assert told.error == StepError("enough", "cancelled")


def test_a_child_that_never_began_ends_the_wait_too() -> None:
    story = Story.of(EACH)
    story.start()
    story.fail("each[0].ship", retryable=False)
    never = child_id_of(EXECUTION, "each[1].ship", 1)
    ended = FinishChild(address="each[1].ship", attempt=1, child=never, status="cancelled", at=minute(0))
    story.when(ended)
    assert isinstance(story.state, Finished)


def test_a_child_that_is_asked_to_end_and_has_ended_in_one_decision_is_not_asked() -> None:
    story = order()
    story.cancel()
    asked = [event for event in story.events if isinstance(event, ChildCancelRequested)]
    story.finish_child("ship", "cancelled")
    assert not any(isinstance(effect, CancelChild) for effect in effects(story.state, asked))


def test_a_completed_execution_is_undone_when_somebody_wants_it() -> None:
    story = Story.of("workflow: w\nundo: none\nnodes: {a: {task: t, compensate: {task: u}}}")
    story.start()
    story.complete("a")
    assert story.undo() == [
        "UndoRequested reason=mistaken",
        "UndoPlanned status=cancelled mode=automatic reason=mistaken",
        "StepStarted address=a~undo input={}",
    ]
    assert story.complete("a~undo")[-1] == "ExecutionCancelled reason=mistaken"
    assert story.undo() == []


def test_one_that_owes_nothing_stays_as_it_is() -> None:
    story = Story.of("workflow: w\nnodes: {a: {task: t}}")
    story.start()
    story.complete("a")
    assert story.undo() == []


def test_one_that_goes_on_is_to_be_cancelled_instead() -> None:
    story = Story.of("workflow: w\nnodes: {a: {task: t}}")
    story.start()
    with pytest.raises(Rejected, match="has not completed"):
        story.undo()


def test_one_that_is_being_undone_tells_whoever_asks_last() -> None:
    story = Story.of("workflow: w\nnodes: {a: {task: t, compensate: {task: u}}}")
    story.start()
    story.complete("a")
    story.undo()
    parent = Parent(EXECUTION, "ship~undo", 1)
    assert [each.split()[0] for each in story.undo(parent=parent)] == ["UndoRequested"]
    assert isinstance(story.state, Running)
    assert story.state.parent == parent


def test_the_start_of_a_child_that_fails_is_not_in_doubt() -> None:
    story = Story.of(ORDER % ("", ""))
    story.start({"id": 7})
    assert story.fail("ship", "timeout")[0] == "StepFailed address=ship error=timeout"
    assert not any(isinstance(effect, RunStep) for effect in owed(story.state))
