"""The rules of breakpoints in an execution that goes on, as given / when / then."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from daemon.core import commands as c
from daemon.core.branch_events import InputEdit
from daemon.core.break_events import Breakpoint, BreakpointHit
from daemon.core.errors import Rejected
from daemon.core.evolve import evolve
from daemon.core.redeciding import redecide
from daemon.core.state import InFlight, Running, cause
from daemon.core.values import from_json, to_json
from tests.core.spec import EXECUTION, Story, minute

FLOW = """
workflow: w
vars: {rate: 1}
nodes:
  a: {task: t.a, with: {rate: "{{ vars.rate }}"}}
  b: {task: t.b, retry: {max_attempts: 2, initial: 1m}, with: {got: "{{ a | default(0) }}"}}
  side: {task: t.side}
  c: {transform: "{{ [b, vars.rate] }}"}
  d: {task: t.d}
edges: [a -> b -> c -> d]
output: "{{ c }}"
"""
AT_B = Breakpoint(node="b")
ERRORS = Breakpoint(errors=True)


def broken(*points: Breakpoint, flow: str = FLOW) -> Story:
    """Return a story whose first steps have begun when the breakpoints are set."""
    story = Story.of(flow)
    story.start({})
    story.breakpoints(*points)
    return story


def test_the_execution_stands_before_the_step_begins() -> None:
    """What is at work goes on; that it stands, where and because of whom, is in its state."""
    story = broken(AT_B)
    assert story.complete("a", 7)[1:] == ["StepQueued address=b", 'BreakpointHit address=b breakpoint={"node":"b"}']
    assert cause(story.state) == "step"
    story.complete("side")
    assert cause(story.state) == "breakpoint"
    assert isinstance(story.state, Running)
    assert story.state.stop is not None
    assert (story.state.stop.address, story.state.stop.actor) == ("b", "ann")


def test_going_on_begins_the_step_and_stops_at_the_next_breakpoint() -> None:
    """A step that needs no handler is held too."""
    story = broken(AT_B, Breakpoint(node="c"))
    story.complete("a", 7)
    assert story.leave()[1:] == ['StepStarted address=b input={"got":7}']
    assert story.complete("b", 8)[1:] == ["StepQueued address=c", 'BreakpointHit address=c breakpoint={"node":"c"}']
    assert story.leave()[1:] == ["StepSucceeded address=c output=[8,1]", "StepStarted address=d input={}"]


def test_what_becomes_ready_meanwhile_waits_too() -> None:
    story = broken(Breakpoint(node="x"), flow="workflow: w\nnodes: {a: {task: t.a}, x: {task: t.x}, nap: {wait: 5m}, "
                   "y: {transform: 1}, z: {task: t.z}}\nedges: [a -> x, nap -> y, y -> z]")  # fmt: skip
    story.complete("a")
    assert story.fire("nap#wait", after=5)[1:] == [
        "StepSucceeded address=nap output=2026-03-01T12:05:00Z",
        "StepQueued address=y",
    ]
    assert story.leave()[1:] == [
        "StepStarted address=x input={}",
        "StepSucceeded address=y output=1",
        "StepStarted address=z input={}",
    ]


def test_a_condition_must_hold() -> None:
    """One that has no value does not fit; what the step's templates see can be asked."""
    assert broken(Breakpoint(node="b", condition="a > 5")).complete("a", 7)[-1].startswith("BreakpointHit")
    assert broken(Breakpoint(node="b", condition="a > 9")).complete("a", 7)[-1].startswith("StepStarted")
    assert broken(Breakpoint(node="b", condition="vars.nothing.there")).complete("a", 7)[-1].startswith("StepStarted")


def test_a_condition_reads_no_output_that_has_left_the_state() -> None:
    flow = "workflow: w\nnodes: {a: {task: t.a}, b: {task: t.b}, c: {task: t.c}}\nedges: [a -> b -> c]"
    story = broken(Breakpoint(node="c", condition="a | length > 5"), flow=flow)
    story.complete("a", "x" * 2000)
    assert story.complete("b")[-1].startswith("StepStarted address=c")


def test_a_condition_alone_stops_once() -> None:
    story = broken(Breakpoint(condition="a is defined"))
    assert story.complete("a", 7)[-1].startswith("BreakpointHit address=b")
    story.leave()
    assert story.complete("b", 8)[-1].startswith("StepStarted address=d")


def test_a_move_goes_over_a_loop_into_it_and_out_of_it() -> None:
    """Each stops before the next step that is as deep as it says."""
    flow = """
workflow: w
nodes:
  a: {task: t.a}
  each: {forEach: [1, 2], do: {nodes: {x: {task: t.x}}}}
  z: {task: t.z}
edges: [a -> each -> z]
"""
    story = broken(Breakpoint(node="each"), flow=flow)
    story.complete("a")
    assert story.leave("into")[-1] == "BreakpointHit address=each[0].x"
    assert story.leave("over")[-1] == "StepStarted address=each[0].x input={}"
    assert story.complete("each[0].x")[-1] == "BreakpointHit address=each[1].x"
    story.leave("out")
    assert story.complete("each[1].x")[-1] == "BreakpointHit address=z"


def test_the_next_step_stops_whichever_it_is() -> None:
    story = Story.of(FLOW)
    story.start({})
    assert story.breakpoints(stop_next=True) == ["BreakpointsSet breakpoints=[] next=true"]
    assert story.complete("a", 7)[-1] == "BreakpointHit address=b"


def test_a_step_is_skipped_with_an_output() -> None:
    """Its handler is not called, and what follows reads what was given."""
    story = broken(AT_B)
    story.complete("a", 7)
    assert story.leave("skip", {"by": "hand"})[1:] == [
        'StepSucceeded address=b output={"by":"hand"}',
        'StepSucceeded address=c output=[{"by":"hand"},1]',
        "StepStarted address=d input={}",
    ]


def test_a_failure_is_held_before_anything_follows() -> None:
    """After all attempts; then the step is tried once more, or has failed, as somebody says."""
    story = broken(ERRORS)
    story.complete("a", 7)
    assert story.fail("b")[0].startswith("StepFailed")
    story.fire("b#retry", after=1)
    held = story.fail("b", attempt=2)
    assert held[0] == "StepQueued address=b"
    assert held[1].startswith('BreakpointHit address=b breakpoint={"errors":true} error=error attempt=2 begun=true')
    assert story.leave("retry")[1:] == [
        "StepFailed address=b attempt=2 error=error retry_at=1m",
        "StepStarted address=b attempt=3",
    ]
    story.fail("b", attempt=3)
    assert story.leave()[1:3] == ["StepFailed address=b attempt=3 error=error", "ExecutionFailed error=error address=b"]


def test_a_failed_step_is_given_a_result() -> None:
    story = broken(ERRORS)
    story.complete("a", 7)
    story.fail("b", retryable=False)
    assert story.leave("skip", 9)[1:3] == ["StepSucceeded address=b output=9", "StepSucceeded address=c output=[9,1]"]


def test_a_failure_without_an_attempt_is_tried_again_with_other_variables() -> None:
    flow = "workflow: w\nvars: {n: 0}\nnodes: {a: {task: t.a}, b: {transform: '{{ 1 / vars.n }}'}}\nedges: [a -> b]"
    story = broken(ERRORS, flow=flow)
    assert "error=expression begun" not in story.complete("a")[-1]
    assert story.edit(n=2) == ['BreakpointEdited address=b stop=6 variables={"n":2}']
    assert story.leave("retry")[1] == "StepSucceeded address=b output=0.5"


def test_a_wait_for_a_signal_that_came_too_late_is_begun_again() -> None:
    story = broken(ERRORS, flow="workflow: w\nnodes: {s: {signal: {name: go, timeout: 5m}}}")
    assert story.fire("s#signal", after=5)[1] == "StepQueued address=s"
    assert story.leave("retry")[1:] == ["SignalAwaited address=s name=go", story.told[-1]]
    assert story.signal("go", 1)[-1].startswith("ExecutionCompleted")


def test_two_failures_are_gone_through_one_after_the_other() -> None:
    story = broken(ERRORS)
    story.fail("a")
    story.fail("side")
    assert isinstance(story.state, Running)
    assert story.leave("skip", 7)[-1] == "StepQueued address=b"
    assert story.state.stop is not None
    assert story.leave("skip")[-1] == 'StepStarted address=b input={"got":7}'


def test_variables_and_the_input_are_edited() -> None:
    """The handler is sent what was given by hand, attempt for attempt."""
    story = broken(AT_B)
    story.complete("a", 7)
    assert story.edit(rate=3, given={"got": 8}) == [
        'BreakpointEdited address=b stop=7 variables={"rate":3} input={"value":{"got":8}}'
    ]
    assert story.leave()[1:] == ['StepStarted address=b input={"got":8}']
    assert isinstance(story.state, Running)
    assert from_json(story.state.variables["rate"]) == 3


def test_variables_are_edited_where_something_else_holds_the_execution() -> None:
    """The same again decides nothing; what a step is sent can be edited at a breakpoint only."""
    story = broken()
    edit = c.EditAtBreakpoint(stop=0, address="a", variables={"rate": to_json(3)}, actor="ann", at=minute(0))
    assert story.when(edit) == ['BreakpointEdited address=a stop=0 variables={"rate":3}']
    assert story.when(edit) == []
    with pytest.raises(Rejected, match="does not stand at a breakpoint"):
        story.when(c.EditAtBreakpoint(stop=0, input=InputEdit(to_json(1)), actor="ann", at=minute(0)))
    (*_, edited) = redecide(story.plan, story.events)
    assert isinstance(edited.command, c.EditAtBreakpoint)


def test_the_input_of_a_further_attempt_is_edited() -> None:
    story = broken(ERRORS)
    story.complete("a", 7)
    story.fail("b", retryable=False)
    story.edit(given={"got": 8})
    story.leave("retry")
    assert isinstance(story.state, Running)
    step = story.state.steps["b"]
    assert isinstance(step, InFlight)
    assert from_json(step.input) == {"got": 8}


@pytest.mark.parametrize(
    ("flow", "what"),
    [
        ("a: {task: t.a}, b: {approval: {prompt: ok?, approvers: [ann]}}", "ApprovalRequested"),
        ("a: {task: t.a}, b: {signal: go}", "SignalAwaited"),
        ("a: {task: t.a}, b: {wait: 5m}", "TimerSet"),
        ("a: {task: t.a}, b: {for: 2, do: {nodes: {x: {task: t.x}}}}", "LoopStarted"),
        ("a: {task: t.a}, b: {function: t.f}", "FunctionStarted"),
        ("a: {task: t.a}, b: {task: t.b, throttle: {concurrency: 1}}", "SlotsTaken"),
    ],
)
def test_every_kind_of_step_is_held(flow: str, what: str) -> None:
    story = broken(AT_B, flow=f"workflow: w\nnodes: {{{flow}}}\nedges: [a -> b]")
    assert story.complete("a")[-1].startswith("BreakpointHit")
    assert story.leave()[1].startswith(what)
    assert isinstance(story.state, Running)
    assert not story.state.queue


def test_a_step_that_gets_its_slot_while_it_stands_waits_for_the_going_on() -> None:
    flow = "workflow: w\nnodes: {a: {task: t.a}, b: {task: t.b}, l: {task: t.l, throttle: {concurrency: 1}}}"
    story = Story.of(f"{flow}\nedges: [a -> b]")
    story.crowded = None
    story.start({})
    story.breakpoints(AT_B)
    story.complete("a")
    story.crowded = ()
    assert story.grant("l") == ["StepQueued address=l"]
    story.leave()
    assert story.started == ["a", "b", "l"]


def test_what_is_undone_does_not_stop() -> None:
    """An execution that is cancelled where it stands is undone to its end."""
    flow = "workflow: w\nnodes: {a: {task: t.a, compensate: {task: t.undo}}, b: {task: t.b}}\nedges: [a -> b]"
    story = broken(AT_B, ERRORS, flow=flow)
    story.complete("a", 1)
    assert story.cancel()[-1].startswith("StepStarted address=a~undo")
    assert isinstance(story.state, Running)
    assert story.state.breaking is None
    with pytest.raises(Rejected, match="being undone"):
        story.breakpoints(AT_B)
    assert story.complete("a~undo")[-1].startswith("ExecutionCancelled")


def test_a_step_in_doubt_that_was_held_is_undone() -> None:
    """It may have taken effect, whatever becomes of it: by its failure, and by a result that it is given."""
    flow = "workflow: w\nnodes: {a: {task: t.a, compensate: {task: t.undo}}}"
    for how, follows in (("continue", "StepFailed"), ("skip", "StepSucceeded")):
        story = broken(ERRORS, flow=flow)
        assert story.fail("a", "timeout")[-1].endswith("begun=true unknown=true")
        lines = story.leave(how)
        assert lines[1].startswith(follows)
        assert lines[2].startswith("CompensationOwed address=a")


def test_a_child_that_has_failed_is_started_again() -> None:
    story = broken(ERRORS, flow="workflow: w\nnodes: {s: {subflow: s}}")
    story.await_child("s")
    assert story.finish_child("s", "failed")[1:][0] == "StepQueued address=s"
    assert story.leave("retry")[-1] == "StepStarted address=s attempt=2"


def test_a_stop_ends_with_the_turn_that_it_stands_in() -> None:
    flow = """
workflow: w
nodes:
  fan: {parallel: 2, enough: 1, do: {nodes: {x: {task: t.x}, y: {task: t.y}}, edges: [x -> y]}}
  z: {task: t.z}
edges: [fan -> z]
"""
    story = broken(Breakpoint(node="fan[1].y"), flow=flow)
    story.complete("fan[0].x")
    story.complete("fan[1].x")
    assert cause(story.state) == "step"
    assert story.complete("fan[0].y")[-1] == "StepStarted address=z input={}"
    assert isinstance(story.state, Running)
    assert story.state.stop is None


def test_to_set_the_same_again_decides_nothing_and_none_takes_them_away() -> None:
    story = broken(AT_B)
    assert story.breakpoints(AT_B) == []
    assert story.breakpoints() == ["BreakpointsSet breakpoints=[]"]
    assert isinstance(story.state, Running)
    assert story.state.breaking is None
    assert story.complete("a")[-1].startswith("StepStarted address=b")


def test_breakpoints_taken_away_leave_it_where_it_stands() -> None:
    story = broken(AT_B)
    story.complete("a")
    story.breakpoints()
    assert isinstance(story.state, Running)
    assert story.state.stop is not None
    story.leave()
    assert story.started[-1] == "b"


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (Breakpoint(), "names a node"),
        (Breakpoint(node="bb"), "there is no node 'bb'; did you mean 'b'?"),
        (
            Breakpoint(node="b", condition="vars.rate > 1 and lop.item"),
            "there is nothing called 'lop'; did you mean 'loop'",
        ),
        (Breakpoint(node="b", condition="1 +"), "the condition '1 \\+'"),
    ],
)
def test_a_breakpoint_that_could_never_fit_is_refused(point: Breakpoint, message: str) -> None:
    with pytest.raises(Rejected, match=message):
        broken(point)


def test_too_many_breakpoints_are_refused() -> None:
    with pytest.raises(Rejected, match="101 breakpoints are more than the 100"):
        broken(*[AT_B] * 101)


def test_what_cannot_be_done_where_it_stands_is_refused() -> None:
    story = broken(AT_B, Breakpoint(node="c"))
    story.complete("a", 7)
    for how, message in (("jump", "no way to go on"), ("retry", "has not failed")):
        with pytest.raises(Rejected, match=message):
            story.leave(how)
    with pytest.raises(Rejected, match="no port 'far'"):
        story.leave("skip", port="far")
    with pytest.raises(Rejected, match="bytes, more than"):
        story.leave("skip", "x" * 20_000_000)
    with pytest.raises(Rejected, match="bytes, more than"):
        story.edit(rate="x" * 20_000_000)
    with pytest.raises(Rejected, match="no variable 'rat'; did you mean 'rate'"):
        story.edit(rat=1)
    story.leave()
    story.complete("b")
    with pytest.raises(Rejected, match="no handler that is sent an input"):
        story.edit(given=1)


def test_a_page_that_is_given_by_hand_must_be_one() -> None:
    flow = "workflow: w\nnodes: {each: {forEach: {pages: {task: t.list}}, do: {nodes: {x: {task: t.x}}}}}"
    story = broken(ERRORS, flow=flow)
    story.fail("each[0]~page")
    with pytest.raises(Rejected, match="gave no page"):
        story.leave("skip", 7)
    assert "PageTaken address=each number=0 count=1" in story.leave("skip", {"items": [1]})


def test_a_fork_has_no_breakpoints_and_goes_on() -> None:
    story = broken(AT_B)
    story.complete("a", 7)
    fork = story.fork(story.state.version)
    assert "b" in fork.started
    assert isinstance(fork.state, Running)
    assert fork.state.breaking is None


def test_a_rewind_keeps_the_breakpoints() -> None:
    """They are set on the execution, whatever it goes back to; and it stops at them again."""
    story = Story.of(FLOW)
    story.start({})
    version = story.state.version
    story.breakpoints(AT_B)
    story.complete("a", 7)
    story.leave()
    story.rewind(version)
    story.go_back(version)
    assert story.complete("a", 8)[-1].startswith("BreakpointHit address=b")


def test_to_leave_a_place_that_was_left_decides_nothing() -> None:
    story = broken(AT_B, Breakpoint(node="c"))
    story.complete("a", 7)
    old = story.stop
    story.leave()
    story.complete("b", 8)
    assert story.stop != old
    assert story.when(c.LeaveBreakpoint(stop=old, how="continue", actor="ann", at=minute(0))) == []
    assert story.when(c.EditAtBreakpoint(stop=old, actor="ann", at=minute(0))) == []


def test_what_fails_in_a_group_that_is_undone_is_not_held() -> None:
    """It had been given up already."""
    body = "{nodes: {a: {task: t.a, compensate: {task: t.undo}}, b: {task: t.b}}}"
    story = broken(
        Breakpoint(node="a", errors=True), flow=f"workflow: w\nnodes: {{g: {{saga: automatic, do: {body}}}}}"
    )
    story.fail("g[0].b")
    assert story.fail("g[0].a")[0].startswith("StepFailed address=g[0].a")


def test_an_approval_that_fails_is_not_held() -> None:
    ask = "{prompt: ok?, approvers: [ann], timeout: 5m}"
    story = broken(ERRORS, flow=f"workflow: w\nnodes: {{ask: {{approval: {ask}}}}}")
    assert story.fire("ask#approval", after=5)[-1].startswith("ExecutionFailed")


def test_a_log_that_stops_at_a_step_that_does_not_wait_is_damaged() -> None:
    story = broken(AT_B)
    with pytest.raises(TypeError, match="does not wait to begin"):
        evolve(story.state, BreakpointHit(address="a", at=minute(0)))


def test_an_execution_begins_with_breakpoints() -> None:
    """It may stop before it has done anything; one that could never fit starts nothing."""
    story = Story.of(FLOW)
    start = c.StartExecution(
        execution_id=EXECUTION, input=to_json({}), breakpoints=(Breakpoint(node="a"),), actor="ann", at=minute(0)
    )
    assert [line.partition(" ")[0] for line in story.when(start)] == [
        "ExecutionStarted", "BreakpointsSet", "StepQueued", "BreakpointHit", "StepQueued",
    ]  # fmt: skip
    with pytest.raises(Rejected, match="no node"):
        Story.of(FLOW).when(replace(start, breakpoints=(Breakpoint(node="z"),)))


def test_a_migration_renames_the_nodes_that_breakpoints_name() -> None:
    """An execution that stands can be migrated: it stands on."""
    story = broken(Breakpoint(node="a"), AT_B)
    story.complete("a", 7)
    stop = story.stop
    new = FLOW.replace("  a: {task", "  z: {task").replace("[a ->", "[z ->").replace("a | default(0)", "z | default(0)")
    story.migrate(new, {"a": "z"})
    assert isinstance(story.state, Running)
    assert story.state.breaking is not None
    assert [each.node for each in story.state.breaking.breakpoints] == ["z", "b"]
    assert story.stop == stop
    assert story.leave()[1:] == ['StepStarted address=b input={"got":7}']


def test_a_fork_of_a_held_failure_tries_it_with_the_key_that_it_had() -> None:
    """A service that knows the first attempt does nothing twice."""
    story = broken(ERRORS)
    story.complete("a", 7)
    story.fail("b", "timeout", retryable=False)
    fork = story.fork(story.state.version)
    assert isinstance(fork.state, Running)
    assert fork.state.keys["b"] == str(EXECUTION)
    assert "b" in fork.started
