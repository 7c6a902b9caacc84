"""What cannot have happened is noticed: the fold of a damaged log raises, it does not invent a state."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from daemon.core import commands as c
from daemon.core import events as e
from daemon.core.decide import decide
from daemon.core.draft import Draft
from daemon.core.evolve import evolve, fold
from daemon.core.leaving import leave
from daemon.core.node import Beginning, Repeat
from daemon.core.saga import proceed
from daemon.core.state import INITIAL, Running
from daemon.core.values import to_json
from tests.core.spec import EXECUTION, Story, minute

STEP = "workflow: w\nnodes: {a: {task: t.a, retry: {max_attempts: 2}}, b: {task: t.b}}\nedges: [a -> b]"


START = c.StartExecution(execution_id=EXECUTION, input=to_json({}), actor="test", at=minute(0))


def started() -> Story:
    story = Story.of(STEP)
    story.start({})
    return story


NOW = minute(0)
ERROR = e.StepError("broken", "error")


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (e.StepStarted(address="b", attempt=2, at=NOW), "no attempt before it failed"),
        (e.StepProgressed(address="a", attempt=1, number=1, progress=to_json(1), at=NOW), None),
        (e.StepFailed(address="b", error=ERROR, retry_at=minute(1), at=NOW), "was not in flight"),
        (
            e.ChildStarted(address="b", attempt=1, child=EXECUTION, workflow="w", definition="d", at=NOW),
            "not in flight",
        ),
    ],
)
def test_events_that_do_not_follow_are_refused(event: e.Event, message: str | None) -> None:
    story = started()
    if message is None:
        assert isinstance(evolve(story.state, event), Running)
    else:
        with pytest.raises(TypeError, match=message):
            evolve(story.state, event)


def test_a_settled_step_cannot_change() -> None:
    story = started()
    story.complete("a", 1)
    with pytest.raises(TypeError, match="settled and cannot change"):
        evolve(story.state, e.StepSucceeded(address="a", output=to_json(2), at=NOW))
    with pytest.raises(TypeError, match="not in flight"):
        evolve(story.state, e.StepProgressed(address="a", attempt=1, number=1, progress=to_json(1), at=NOW))


def test_an_execution_starts_once_and_first() -> None:
    story = started()
    with pytest.raises(TypeError, match="ExecutionStarted twice"):
        evolve(story.state, story.events[0])
    with pytest.raises(TypeError, match="before the execution has started"):
        fold(story.events[1:], INITIAL)


def test_a_turn_belongs_to_a_loop_and_a_step_to_its_turn() -> None:
    state = started().state
    with pytest.raises(TypeError, match="each has no turns under way"):
        evolve(state, e.TurnStarted(address="each[0]", at=NOW))
    looping = fold([e.LoopStarted(address="each", total=2, at=NOW)], state)
    with pytest.raises(TypeError, match=r"each.x stands in no turn"):
        evolve(looping, e.StepSucceeded(address="each.x", output=to_json(1), at=NOW))
    with pytest.raises(TypeError, match=r"each\[0\] is no turn that is under way"):
        evolve(looping, e.TurnSucceeded(address="each[0]", output=to_json(1), at=NOW))


def test_only_what_was_done_is_owed_and_only_what_is_owed_is_undone() -> None:
    story = started()
    with pytest.raises(TypeError, match="a has had no effect that could be undone"):
        evolve(story.state, e.CompensationOwed(address="a", began=2, at=NOW))
    with pytest.raises(TypeError, match="nothing is being undone"):
        proceed(Draft(story.plan, story.state, NOW), "")
    asked = evolve(story.state, e.ManualActionRequested(address="a", kind="confirm", message="?", at=NOW))
    with pytest.raises(TypeError, match="nothing is owed for a"):
        evolve(asked, e.ManualActionDone(address="a", choice="skip", actor="ann", at=NOW))


def test_only_a_function_that_has_begun_goes_on() -> None:
    with pytest.raises(TypeError, match="is no journal that is under way"):
        evolve(started().state, e.FunctionAdvanced(address="f[0]", at=NOW))


def test_only_an_output_that_is_there_is_released() -> None:
    with pytest.raises(TypeError, match="a has no output to release"):
        evolve(started().state, e.OutputsReleased(addresses=("a",), at=NOW))


def test_a_node_type_that_asks_for_turns_and_has_none_is_a_bug_that_is_told() -> None:
    story = started()
    node = story.plan.nodes["a"]
    node = replace(node, type=replace(node.type, begin=lambda *_: Repeat(total=1)))
    plan = replace(story.plan, nodes={"a": node})
    with pytest.raises(TypeError, match="`task` asks for turns and has none to offer"):
        decide(plan, INITIAL, START)


def test_a_retry_timer_without_a_retry_is_a_bug_that_is_told() -> None:
    story = started()
    due = minute(1)
    stray = e.TimerSet(timer_id="a#retry", address="a", purpose="retry", due=due, at=NOW)
    state = evolve(story.state, stray)
    with pytest.raises(TypeError, match="does not wait for a retry"):
        decide(story.plan, state, c.FireTimer(timer_id="a#retry", at=due))


def test_a_decision_after_the_end_is_a_bug_that_is_told() -> None:
    story = started()
    story.cancel()
    with pytest.raises(TypeError, match="after the end"):
        _ = Draft(story.plan, story.state, NOW).running


def test_only_a_subflow_at_work_has_a_child_to_end() -> None:
    story = started()
    with pytest.raises(TypeError, match="starts no execution"):
        leave(Draft(story.plan, story.state, NOW), "a", "why")


def test_a_step_that_has_settled_has_no_child_to_end() -> None:
    story = Story.of("workflow: w\nnodes: {a: {subflow: s}, b: {wait: 5m}}")
    story.start({})
    story.finish_child("a")
    with pytest.raises(TypeError, match="waits for no child"):
        leave(Draft(story.plan, story.state, NOW), "a", "why")


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (
            e.ApprovalGiven(address="a", approver="ann", decision="approved", actor="ann", at=NOW),
            "waits for no decision",
        ),
        (e.StepSuspended(address="b", reason="look", at=NOW), "was not in flight"),
        (e.StepResumed(address="a", resume_id="r1", at=NOW), "was not suspended"),
    ],
)
def test_people_answer_only_what_was_asked(event: e.Event, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        evolve(started().state, event)


@pytest.mark.parametrize("purpose", ["approval", "input"])
def test_a_timer_of_what_people_do_not_do_is_a_bug_that_is_told(purpose: str) -> None:
    story, due = started(), minute(1)
    state = evolve(story.state, e.TimerSet(timer_id="t", address="a", purpose=purpose, due=due, at=NOW))
    with pytest.raises(TypeError, match="waits for no"):
        decide(story.plan, state, c.FireTimer(timer_id="t", at=due))


def test_a_notice_never_begins_by_itself() -> None:
    story = Story.of("workflow: w\nnodes: {a: {approval: {prompt: x, approvers: ann, notify: [{handler: t.t}]}}}")
    notice = story.plan.nodes["a~notify"]
    with pytest.raises(TypeError, match="never begins by itself"):
        notice.type.begin(notice.config, Beginning({}, (), NOW))
