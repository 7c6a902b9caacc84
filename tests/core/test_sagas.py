"""The rules of sagas, as given / when / then."""

from __future__ import annotations

import pytest

from daemon.core.effects import RetainSteps, effects
from daemon.core.errors import Rejected
from daemon.core.state import Finished, Running, cause
from tests.core.spec import Story

TRIP = """
workflow: trip
%s
nodes:
  flight:
    task: t.fly
    with: {to: "{{ input.to }}"}
    compensate: {task: t.cancel, with: {id: "{{ step.output.id }}", to: "{{ step.input.to }}"}}
  hotel: {task: t.sleep, compensate: {task: t.leave, with: "{{ step.output }}", retry: {max_attempts: 2, initial: 1m}}}
  look: {task: t.look, side_effects: none}
  pay: {task: t.pay, compensate: {task: t.refund}}
edges: [flight -> hotel -> look -> pay]
"""


def trip(keys: str = "", *, until: str = "pay") -> Story:
    """Tell a trip of which the steps before `until` have succeeded."""
    story = Story.of(TRIP % keys)
    story.start({"to": "Graz"})
    for step in ("flight", "hotel", "look"):
        if step == until:
            break
        story.complete(step, {"id": f"{step}-1"})
    return story


def test_a_success_records_what_would_undo_it() -> None:
    story = trip(until="flight")
    assert story.complete("flight", {"id": 7}) == [
        'StepSucceeded address=flight output={"id":7}',
        'CompensationOwed address=flight began=2 input={"id":7,"to":"Graz"}',
        "StepStarted address=hotel input={}",
    ]


def test_a_failure_undoes_what_succeeded_newest_first() -> None:
    story = trip()
    assert story.fail("pay", "declined") == [
        "StepFailed address=pay error=declined",
        "UndoPlanned status=failed mode=automatic error=declined failed_step=pay",
        'StepStarted address=hotel~undo input={"id":"hotel-1"}',
    ]
    assert cause(story.state) == "step"
    assert story.complete("hotel~undo") == [
        "StepSucceeded address=hotel~undo output=null",
        'StepStarted address=flight~undo input={"id":"flight-1","to":"Graz"}',
    ]
    assert story.complete("flight~undo") == [
        "StepSucceeded address=flight~undo output=null",
        "UndoCompleted compensated=2 by_hand=0 skipped=0",
        "ExecutionFailed error=declined address=pay",
    ]


def test_a_completed_execution_owes_nothing() -> None:
    story = trip()
    assert story.complete("pay")[-1].startswith("ExecutionCompleted")


def test_without_a_compensation_an_execution_ends_at_once() -> None:
    story = trip(until="flight")
    assert story.fail("flight")[-1].startswith("ExecutionFailed")


def test_undo_none_leaves_everything_as_it_is() -> None:
    assert trip("undo: none").fail("pay")[1:] == ["ExecutionFailed error=error address=pay"]


def test_a_cancelled_execution_is_undone_and_then_cancelled() -> None:
    story = trip("timeout: 2h", until="look")
    assert story.cancel() == [
        "CancelRequested reason=enough",
        "TimerCancelled timer_id=execution",
        "UndoPlanned status=cancelled mode=automatic reason=enough",
        'StepStarted address=hotel~undo input={"id":"hotel-1"}',
    ]
    assert RetainSteps() in effects(story.state, story.events[-4:])
    assert story.complete("look") == []
    story.complete("hotel~undo")
    assert story.complete("flight~undo")[-1] == "ExecutionCancelled reason=enough"


def test_an_execution_that_takes_too_long_is_undone() -> None:
    story = trip("timeout: 2h", until="look")
    assert story.fire("execution", after=120)[1] == "UndoPlanned status=failed mode=automatic error=timeout"


def test_an_undo_cannot_be_cancelled() -> None:
    story = trip()
    story.fail("pay")
    with pytest.raises(Rejected, match="cannot be cancelled"):
        story.cancel()


def test_a_step_at_work_that_can_be_undone_is_waited_for() -> None:
    """Nobody knows what a handler has done that was cut off in the middle; so it ends first."""
    story = trip()
    assert story.cancel()[1:] == ['UndoPlanned status=cancelled mode=automatic reason=enough draining=["pay"]']
    assert story.complete("pay", "p1") == [
        "StepSucceeded address=pay output=p1",
        "CompensationOwed address=pay began=10 input={}",
        "StepStarted address=pay~undo input={}",
    ]


def test_a_step_that_is_waited_for_is_not_tried_again() -> None:
    story = trip()
    story.cancel()
    assert story.fail("pay", "declined") == [
        "StepFailed address=pay error=declined",
        'StepStarted address=hotel~undo input={"id":"hotel-1"}',
    ]


def test_a_compensation_is_tried_again_as_it_says() -> None:
    story = trip()
    story.fail("pay")
    assert story.fail("hotel~undo", "busy") == [
        "StepFailed address=hotel~undo error=busy retry_at=1m",
        "TimerSet timer_id=hotel~undo#retry address=hotel~undo purpose=retry due=1m",
    ]
    assert story.fire("hotel~undo#retry", after=1)[1:] == ["StepStarted address=hotel~undo attempt=2"]


def failed_undo() -> Story:
    story = trip()
    story.fail("pay", "declined")
    story.fail("hotel~undo", "busy", retryable=False)
    return story


def test_a_compensation_that_fails_for_good_stops_and_asks() -> None:
    story = failed_undo()
    assert cause(story.state) == "person"
    [asked] = [line for line in story.told if "ManualActionRequested" in line]
    assert asked == "ManualActionRequested address=hotel kind=failed message=the compensation failed: broken"


def test_a_person_may_have_it_tried_again() -> None:
    story = failed_undo()
    assert story.answer("hotel", "retry") == [
        "ManualActionDone address=hotel choice=retry",
        'StepStarted address=hotel~undo attempt=2 input={"id":"hotel-1"}',
    ]
    story.complete("hotel~undo", attempt=2)
    assert story.complete("flight~undo")[-1] == "ExecutionFailed error=declined address=pay"


@pytest.mark.parametrize(("choice", "counted"), [("skip", "by_hand=0 skipped=1"), ("done", "by_hand=1 skipped=0")])
def test_a_person_may_leave_it_or_have_done_it(choice: str, counted: str) -> None:
    story = failed_undo()
    assert story.answer("hotel", choice)[1].startswith("StepStarted address=flight~undo")
    assert f"UndoCompleted compensated=1 {counted}" in story.complete("flight~undo")


def test_an_answer_nobody_asked_for_is_refused_and_a_repeat_decides_nothing() -> None:
    story = failed_undo()
    with pytest.raises(Rejected, match="'go' is no answer about hotel; choose: retry, skip, done"):
        story.answer("hotel", "go")
    assert story.answer("flight", "skip", question=1) == []


def test_a_manual_plan_waits_for_a_person() -> None:
    story = trip("undo: manual")
    assert story.fail("pay", "declined")[2].startswith("ManualActionRequested address= kind=plan")
    assert cause(story.state) == "person"
    assert story.answer("", "go")[1].startswith("StepStarted address=hotel~undo")


def test_a_manual_plan_may_be_dropped() -> None:
    story = trip("undo: manual")
    story.fail("pay", "declined")
    assert story.answer("", "skip")[1:] == [
        "UndoCompleted compensated=0 by_hand=0 skipped=2",
        "ExecutionFailed error=declined address=pay",
    ]


def test_each_compensation_may_need_a_person_to_confirm_it() -> None:
    story = trip("undo: confirm_each")
    assert story.fail("pay")[2].startswith("ManualActionRequested address=hotel kind=confirm")
    assert story.answer("hotel", "go")[1].startswith("StepStarted address=hotel~undo")
    assert story.complete("hotel~undo")[1].startswith("ManualActionRequested address=flight kind=confirm")
    assert story.answer("flight", "done")[-1].startswith("ExecutionFailed")


SIDE_BY_SIDE = """
workflow: w
nodes:
  a: {task: t.a, compensate: {task: t.undo}}
  b: {task: t.a, compensate: {task: t.undo}}
  c: {task: t.a, compensate: {task: t.undo}}
  last: {task: t.a}
edges: [a -> b -> last, c -> last]
"""


def test_what_ran_side_by_side_is_undone_side_by_side() -> None:
    """`c` was at work all the time that `a` and `b` were; `b` began when `a` had succeeded."""
    story = Story.of(SIDE_BY_SIDE)
    story.start()
    story.complete("a")
    story.complete("b")
    story.complete("c")
    begun = [line.split()[1] for line in story.fail("last") if line.startswith("StepStarted")]
    assert begun == ["address=c~undo", "address=b~undo"]
    assert story.complete("c~undo")[1:] == []
    assert story.complete("b~undo")[1:] == ["StepStarted address=a~undo input={}"]


def test_the_limit_of_the_workflow_holds_for_compensations() -> None:
    story = Story.of("concurrency: 1" + SIDE_BY_SIDE)
    story.start()
    for step in ("a", "b", "c"):
        story.complete(step)
    story.fail("last")
    assert isinstance(story.state, Running)
    assert len(story.state.in_flight) == 1
    for step in ("c~undo", "b~undo", "a~undo"):
        story.complete(step)
    assert isinstance(story.state, Finished)


KINDS = """
workflow: w
nodes:
  mail: {task: t.mail, timeout: 1m, compensate: %s}
  last: {task: t.a}
edges: [mail -> last]
"""


def test_what_cannot_be_undone_is_asked_of_a_person() -> None:
    story = Story.of(KINDS % "{irreversible: {reason: a mail is gone, manual: call the customer}}")
    story.start()
    story.complete("mail")
    assert story.fail("last")[2] == (
        "ManualActionRequested address=mail kind=irreversible message=a mail is gone. call the customer"
    )
    assert story.answer("mail", "done")[-1].startswith("ExecutionFailed")


def test_a_compensation_that_cannot_be_called_is_asked_of_a_person_and_the_step_stands() -> None:
    story = Story.of(KINDS % '{task: t.undo, with: "{{ step.output.id }}"}')
    story.start()
    owed = "CompensationOwed address=mail began=2 input=null problem=what undoes it cannot be called: step.output.id: "
    assert story.complete("mail", 1)[1].startswith(owed)
    assert "kind=broken" in story.fail("last")[2]


UNKNOWN = "whether the step took effect is not known: its attempt gave no answer"


def test_a_step_that_gave_no_answer_may_have_taken_effect() -> None:
    story = Story.of(KINDS % "{task: t.undo}")
    story.start()
    assert story.fail("mail", "timeout") == [
        "StepFailed address=mail error=timeout unknown=true",
        "CompensationOwed address=mail began=2 unknown=true input={}",
        "UndoPlanned status=failed mode=automatic error=timeout failed_step=mail",
        f"ManualActionRequested address=mail kind=unknown message={UNKNOWN}",
    ]
    assert story.answer("mail", "go")[1:] == ["StepStarted address=mail~undo input={}"]


def test_an_idempotent_compensation_runs_though_the_effect_is_not_known() -> None:
    story = Story.of(KINDS % "{task: t.undo, kind: idempotent}")
    story.start()
    assert story.fail("mail", "timeout")[-1] == "StepStarted address=mail~undo input={}"


def test_a_retry_that_is_given_up_after_an_attempt_without_an_answer_is_in_doubt() -> None:
    story = Story.of(
        (KINDS % "{task: t.undo, kind: idempotent}").replace("timeout: 1m", "retry: {max_attempts: 3, initial: 1m}")
    )
    story.start()
    story.fail("mail", "timeout")
    decided = story.cancel()
    assert decided[1] == "StepFailed address=mail attempt=2 error=given_up unknown=true"
    assert decided[-1] == "StepStarted address=mail~undo input={}"


IN_TURNS = """
workflow: w
nodes:
  each:
    parallel: 2
    on_failure: %s
    do:
      nodes:
        book: {task: t.book, compensate: {task: t.undo, with: "{{ parallel.currentItem }}", kind: idempotent}}
        check: {task: t.check}
      edges: [book -> check]
  last: {task: t.a}
edges: [each -> last]
"""


def test_what_was_done_in_turns_that_are_over_is_undone() -> None:
    story = Story.of(IN_TURNS % "collect")
    story.start()
    for index in (0, 1):
        story.complete(f"each[{index}].book")
        story.complete(f"each[{index}].check")
    decided = story.fail("last")
    assert decided[2:] == [
        "StepStarted address=each[1].book~undo input=1",
        "StepStarted address=each[0].book~undo input=0",
    ]


def test_a_turn_that_is_given_up_in_the_middle_leaves_a_doubt() -> None:
    story = Story.of(IN_TURNS % "fail_fast")
    story.start()
    story.complete("each[0].book")
    assert story.fail("each[0].check", "bad") == [
        "StepFailed address=each[0].check error=bad",
        "TurnFailed address=each[0] error=bad",
        "StepFailed address=each[1].book error=given_up unknown=true",
        "CompensationOwed address=each[1].book began=6 kind=idempotent unknown=true input=1",
        "TurnAbandoned address=each[1]",
        "StepFailed address=each error=bad",
        "UndoPlanned status=failed mode=automatic error=bad failed_step=each",
        "StepStarted address=each[1].book~undo input=1",
        "StepStarted address=each[0].book~undo input=0",
    ]


def test_a_step_that_asks_to_be_called_again_is_in_doubt_when_it_is_given_up() -> None:
    story = Story.of(KINDS % "{task: t.undo, kind: idempotent}")
    story.start()
    story.postpone("mail", {"job": 7}, after=5)
    decided = story.cancel()
    assert decided[1] == "StepFailed address=mail attempt=2 error=given_up unknown=true"
    assert decided[-1] == "StepStarted address=mail~undo input={}"


def test_a_step_that_is_waited_for_is_not_called_again() -> None:
    story = Story.of(KINDS % "{task: t.undo, kind: idempotent}")
    story.start()
    assert story.cancel()[1].endswith('draining=["mail"]')
    assert story.postpone("mail", {"job": 7}, after=5) == [
        "StepFailed address=mail error=given_up unknown=true",
        "CompensationOwed address=mail began=2 kind=idempotent unknown=true input={}",
        "StepStarted address=mail~undo input={}",
    ]


def test_a_compensation_may_ask_to_be_called_again() -> None:
    story = failed_undo()
    story.answer("hotel", "retry")
    assert story.postpone("hotel~undo", after=1, attempt=2)[0].startswith("StepPostponed address=hotel~undo attempt=2")
    assert story.fire("hotel~undo#retry", after=1)[1] == "StepStarted address=hotel~undo attempt=3"
