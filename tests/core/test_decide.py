"""The rules of the walk, as given / when / then."""

from __future__ import annotations

import pytest

from daemon.core import commands as c
from daemon.core.decide import decide
from daemon.core.errors import ExecutionFinished, Rejected
from daemon.core.evolve import evolve
from daemon.core.state import INITIAL, Finished, NotStarted, Running, cause
from daemon.core.values import from_json
from tests.core.spec import EXECUTION, Story, minute

TWO_STEPS = """
workflow: two
nodes:
  a: {task: t.a, with: "{{ input }}"}
  b: {task: t.b, with: {got: "{{ a.value }}"}}
edges: [a -> b]
output: "{{ b }}"
"""


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


def test_an_execution_that_takes_too_long_fails() -> None:
    story = Story.of("workflow: w\ntimeout: 30m\nnodes: {a: {task: t.a}}\nedges: []")
    assert story.start()[1] == "TimerSet timer_id=execution address= purpose=execution due=30m"
    assert story.fire("execution", after=30) == ["TimerFired timer_id=execution", "ExecutionFailed error=timeout"]


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
