"""The rules of the walk, as given / when / then."""

from __future__ import annotations

import pytest

from daemon.core import commands as c
from daemon.core.decide import decide
from daemon.core.errors import Rejected
from daemon.core.evolve import evolve
from daemon.core.state import INITIAL, Finished, cause
from daemon.core.values import from_json
from tests.core.spec import EXECUTION, TWO_STEPS, Story, minute


def test_a_start_begins_the_first_step_in_the_same_append() -> None:
    assert Story.of(TWO_STEPS).start({"n": 1}) == [
        'ExecutionStarted input={"n":1}',
        'StepStarted address=a input={"n":1}',
    ]


def test_a_result_and_the_step_that_it_makes_ready_are_one_append() -> None:
    story = Story.of(TWO_STEPS)
    story.start({})
    assert story.complete("a", {"value": 7}) == [
        'StepSucceeded address=a output={"value":7}',
        'StepStarted address=b input={"got":7}',
    ]


def test_the_last_result_completes_the_execution_with_its_output() -> None:
    story = Story.of(TWO_STEPS)
    story.start({})
    story.complete("a", {"value": 7})
    assert story.complete("b", "done") == [
        "StepSucceeded address=b output=done",
        "ExecutionCompleted output=done",
    ]
    assert isinstance(story.state, Finished)
    assert bytes(story.state.output) == b'"done"'


def test_without_an_output_template_the_last_outputs_are_given_by_id() -> None:
    story = Story.of("workflow: w\nnodes: {a: {transform: 1}, b: {transform: 2}, c: {transform: 3}}\nedges: [a -> b]")
    assert story.start()[-1] == 'ExecutionCompleted output={"b":2,"c":3}'


def test_a_late_answer_of_an_attempt_that_was_answered_decides_nothing() -> None:
    story = Story.of(TWO_STEPS)
    story.start({})
    story.complete("a", {"value": 7})
    assert story.complete("a", {"value": 8}) == []
    assert story.fail("a") == []


def test_a_second_start_decides_nothing() -> None:
    story = Story.of(TWO_STEPS)
    story.start({})
    assert story.start({"other": True}) == []


def test_independent_steps_start_together() -> None:
    story = Story.of("workflow: w\nnodes: {a: {task: t.x}, b: {task: t.x}, c: {task: t.x}}\nedges: []")
    assert [event.split(" ")[1] for event in story.start(1)[1:]] == ["address=a", "address=b", "address=c"]


JOIN = """
workflow: join
nodes: {a: {task: t.x}, b: {task: t.x}, c: {task: t.x, with: ["{{ a }}", "{{ b }}"]}}
edges: [a -> c, b -> c]
"""


def test_a_join_waits_for_every_edge() -> None:
    story = Story.of(JOIN)
    story.start()
    assert story.complete("b", 2) == ["StepSucceeded address=b output=2"]
    assert story.complete("a", 1)[-1] == "StepStarted address=c input=[1,2]"


BRANCH = """
workflow: branch
nodes:
  large: {branch: "{{ input.total > 1000 }}"}
  review: {task: t.review, with: "{{ input }}"}
  extra: {task: t.extra}
  charge: {task: t.charge, with: "{{ input }}"}
edges: [large.true -> review, review -> extra, extra -> charge, large.false -> charge]
"""


def test_a_branch_not_taken_is_skipped_through_to_the_join() -> None:
    assert Story.of(BRANCH).start({"total": 5}) == [
        'ExecutionStarted input={"total":5}',
        "StepSucceeded address=large output=false port=false",
        "StepSkipped address=review",
        "StepSkipped address=extra",
        'StepStarted address=charge input={"total":5}',
    ]


def test_a_branch_taken_begins_what_follows_it() -> None:
    story = Story.of(BRANCH)
    assert story.start({"total": 5000})[-1] == 'StepStarted address=review input={"total":5000}'
    story.complete("review")
    assert story.complete("extra")[-1].startswith("StepStarted address=charge")


def test_when_every_way_to_a_node_is_dead_it_is_skipped_and_the_execution_completes() -> None:
    story = Story.of(
        'workflow: w\nnodes: {b: {branch: "{{ false }}"}, x: {task: t.x}, y: {task: t.x}}\nedges: [b.true -> x, x -> y]'
    )
    assert story.start()[1:] == [
        "StepSucceeded address=b output=false port=false",
        "StepSkipped address=x",
        "StepSkipped address=y",
        "ExecutionCompleted output={}",
    ]


ERROR_EDGE = """
workflow: w
nodes:
  charge: {task: t.charge}
  sorry: {task: t.sorry, with: {why: "{{ charge.error.code }}", attempt: "{{ charge.error.attempt }}"}}
  thanks: {task: t.thanks}
edges: [charge -> thanks, charge.error -> sorry]
"""


def test_an_error_edge_takes_the_error_and_the_flow_goes_on() -> None:
    story = Story.of(ERROR_EDGE)
    story.start()
    assert story.fail("charge", "declined") == [
        "StepFailed address=charge error=declined port=error",
        "StepSkipped address=thanks",
        'StepStarted address=sorry input={"attempt":1,"why":"declined"}',
    ]
    assert story.complete("sorry", 1)[-1] == 'ExecutionCompleted output={"sorry":1}'


def test_without_an_error_edge_the_policy_stop_fails_the_execution() -> None:
    story = Story.of(TWO_STEPS)
    story.start({})
    assert story.fail("a", "declined") == [
        "StepFailed address=a error=declined",
        "ExecutionFailed error=declined address=a",
    ]


CONTINUE = """
workflow: w
on_error: continue
nodes: {a: {task: t.a}, b: {task: t.b, default: 0}, c: {task: t.c}, d: {task: t.d, with: "{{ b }}"}}
edges: [a -> c, b -> d]
"""


def test_the_policy_continue_skips_what_needs_the_result_and_uses_a_declared_default() -> None:
    story = Story.of(CONTINUE)
    story.start()
    assert story.fail("a") == ["StepFailed address=a error=error", "StepSkipped address=c"]
    assert story.fail("b") == ["StepFailed address=b error=error port=out output=0", "StepStarted address=d input=0"]
    assert story.complete("d", 1)[-1] == 'ExecutionCompleted output={"d":1}'


def test_a_cancelled_execution_absorbs_everything() -> None:
    story = Story.of(TWO_STEPS)
    story.start({})
    assert story.cancel() == ["CancelRequested reason=enough", "ExecutionCancelled reason=enough"]
    assert story.complete("a") == []
    assert story.fire("a#retry", after=1) == []
    assert story.start() == []


def test_only_starts_and_signals_come_before_the_start() -> None:
    with pytest.raises(Rejected, match="not started"):
        Story.of(TWO_STEPS).cancel()


def test_an_expression_without_a_value_fails_the_step_and_names_the_path() -> None:
    story = Story.of(TWO_STEPS)
    story.start({})
    assert story.complete("a", {"valu": 7})[1:] == [
        "StepFailed address=b error=expression",
        "ExecutionFailed error=expression address=b",
    ]
    assert isinstance(story.state, Finished)
    assert story.state.error is not None
    assert "value" in story.state.error.message


def test_an_output_without_a_value_fails_the_execution() -> None:
    story = Story.of('workflow: w\nnodes: {a: {transform: 1}}\nedges: []\noutput: "{{ a.b }}"')
    assert story.start()[-1] == "ExecutionFailed error=expression"


def test_a_fail_node_fails_the_execution_with_its_code() -> None:
    story = Story.of('workflow: w\nnodes: {deny: {fail: {message: "no {{ input }}", code: refused}}}\nedges: []')
    assert story.start("beer")[1:] == [
        "StepFailed address=deny error=refused",
        "ExecutionFailed error=refused address=deny",
    ]


def test_nothing_begins_after_a_start_that_failed() -> None:
    story = Story.of("workflow: w\nnodes: {a: {fail: stop}, b: {task: t.b}}\nedges: []")
    assert [event.split(" ")[0] for event in story.start()] == ["ExecutionStarted", "StepFailed", "ExecutionFailed"]


def test_a_running_execution_is_not_decided_without_its_plan() -> None:
    story = Story.of(TWO_STEPS)
    story.start({})
    command = c.CancelExecution(reason="", actor="", at=minute(0))
    with pytest.raises(TypeError, match="needs the plan"):
        decide(None, story.state, command)


def test_a_finished_execution_takes_no_event() -> None:
    story = Story.of(TWO_STEPS)
    story.start({})
    first = story.events[0]
    story.cancel()
    with pytest.raises(TypeError, match="after the execution has cancelled"):
        evolve(story.state, first)


def test_scope_shows_input_steps_trigger_env_and_execution() -> None:
    story = Story.of(
        """
workflow: w
nodes:
  a: {transform: 1}
  b:
    transform:
      steps: "{{ steps.a }}"
      all: "{{ steps | length }}"
      id: "{{ execution.id }}"
      env: "{{ env.HOME_TOWN }}"
      trigger: "{{ trigger }}"
edges: [a -> b]
output: "{{ b }}"
"""
    )
    story.start()
    assert isinstance(story.state, Finished)
    assert from_json(story.state.output) == {
        "steps": 1,
        "all": 1,
        "id": str(EXECUTION),
        "env": "Graz",
        "trigger": None,
    }


def test_the_initial_state_waits_for_its_start() -> None:
    assert cause(INITIAL) == "start"
