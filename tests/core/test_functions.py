"""The rules of durable functions, as given / when / then: the function itself is played by the test."""

from __future__ import annotations

from datetime import timedelta

import pytest

from daemon.core import commands as c
from daemon.core.effects import Advance, RetainSteps, effects, owed
from daemon.core.errors import Rejected
from daemon.core.events import Parent, StepError
from daemon.core.function_events import Call, CallUndo
from daemon.core.retry import RetryPolicy
from daemon.core.state import Running, cause
from daemon.core.throttle import SharedLimit
from daemon.core.values import to_json
from daemon.nodes import builtin_node_types
from daemon.runtime.definitions import Compiler
from tests.core.spec import EXECUTION, Story, minute

FLOW = """
workflow: flow
%s
nodes:
  f: {function: t.f, with: {n: "{{ input.n }}"}}
  after: {task: t.after, with: "{{ f }}"}
  sorry: {task: t.sorry, with: "{{ f.error.code }}"}
edges: [f -> after, f.error -> sorry]
"""
UNDO = CallUndo(handler="t.undo", input=to_json({"id": "{{ step.output }}"}))


def step(call_id: str, value: object = None, **policy: object) -> Call:
    return Call(id=call_id, kind="step", name="t.x", input=to_json(value), **policy)  # type: ignore[arg-type]


def begun(*calls: Call, keys: str = "", text: str = FLOW) -> Story:
    """Tell of a function that has begun, with these calls."""
    story = Story.of(text % keys)
    story.start({"n": 1})
    if calls:
        story.advance(*calls)
    return story


def advances(story: Story) -> list[Advance]:
    return [effect for effect in owed(story.state) if isinstance(effect, Advance)]


def test_a_function_begins_with_an_advance_that_is_owed() -> None:
    story = Story.of(FLOW % "")
    assert story.start({"n": 1})[1:] == ['FunctionStarted address=f function=t.f input={"n":1}']
    assert advances(story) == [Advance("f[0]", 0)]
    assert cause(story.state) == "step"


def test_its_calls_are_steps_in_its_journal() -> None:
    """They begin in the append that records them, and their input is that of any step."""
    story = begun()
    lines = story.advance(step("1:x", {"a": 1}), Call(id="1@1", kind="sleep", due=minute(5)))
    assert [line.split(" ")[0] for line in lines] == ["FunctionAdvanced", "StepStarted", "TimerSet"]
    assert lines[1] == 'StepStarted address=f[0].1:x input={"a":1}'
    assert lines[2] == "TimerSet timer_id=f[0].1@1#wait address=f[0].1@1 purpose=wait due=5m"
    assert advances(story) == []


def test_a_result_lets_it_go_on() -> None:
    """The next advance is owed with the result, and the result leaves the state when it was seen."""
    story = begun(step("1:x"))
    story.complete("f[0].1:x", "big")
    assert advances(story) == [Advance("f[0]", 1)]
    assert isinstance(story.state, Running)
    assert "f[0].1:x" in story.state.steps
    assert story.advance(step("2:x"))[0].startswith("FunctionAdvanced address=f[0] seen=1")
    assert isinstance(story.state, Running)
    assert "f[0].1:x" not in story.state.steps
    assert "f[0].1:x" not in story.state.calls


def test_results_that_come_meanwhile_are_owed_again() -> None:
    story = begun(step("1:x"), step("1@1:x"))
    story.complete("f[0].1@1:x")
    story.complete("f[0].1:x")
    story.advance(seen=1)
    assert advances(story) == [Advance("f[0]", 2)]
    story.advance()
    assert advances(story) == []


def test_what_it_returns_is_the_output_of_its_node() -> None:
    story = begun(step("1:x"))
    story.complete("f[0].1:x")
    assert story.advance(outcome={"ok": True}) == [
        "FunctionAdvanced address=f[0] seen=1",
        "TurnSucceeded address=f[0] output=null",
        'StepSucceeded address=f output={"ok":true}',
        'StepStarted address=after input={"ok":true}',
        "StepSkipped address=sorry",
    ]


def test_what_it_fails_with_takes_the_error_edge() -> None:
    story = begun()
    assert story.advance(outcome=StepError("no", "refused"))[-2:] == [
        "StepSkipped address=after",
        "StepStarted address=sorry input=refused",
    ]


def test_a_call_that_fails_is_retried_by_its_own_policy_and_then_told() -> None:
    """It fails nothing by itself: the function is told of it."""
    story = begun(step("1:x", retry=RetryPolicy(max_attempts=2, initial=timedelta(minutes=1))))
    story.fail("f[0].1:x")
    assert advances(story) == []
    story.fire("f[0].1:x#retry", after=1)
    assert story.fail("f[0].1:x", attempt=2) == ["StepFailed address=f[0].1:x attempt=2 error=error"]
    assert advances(story) == [Advance("f[0]", 1)]


def test_a_sleep_in_the_past_is_over_at_once() -> None:
    story = begun()
    lines = story.advance(Call(id="1", kind="sleep", due=minute(-5)))
    assert lines[1].startswith("StepSucceeded address=f[0].1")
    assert advances(story) == [Advance("f[0]", 1)]


def test_a_signal_that_does_not_come_in_time_fails_the_call() -> None:
    story = begun(Call(id="1:go", kind="signal", name="go", timeout=timedelta(minutes=3)))
    assert cause(story.state) == "signal"
    assert story.fire("f[0].1:go#signal", after=3)[-1] == "StepFailed address=f[0].1:go error=timeout"


def test_a_call_waits_for_a_slot_as_any_step() -> None:
    story = begun(step("1@1:x"), step("1@2:x", 2), keys="concurrency: 1")
    assert cause(story.state) == "step"
    assert story.complete("f[0].1@1:x")[-1] == "StepStarted address=f[0].1@2:x input=2"


def test_limits_of_the_settings_hold_for_calls() -> None:
    """Those for a handler, and those for the type of node that does the same."""
    shared = {
        "x": SharedLimit(name="x", most=1, handlers=("t.x",)),
        "tasks": SharedLimit(name="tasks", most=9, node_types=("task",)),
        "children": SharedLimit(name="children", most=2, node_types=("subflow",)),
    }
    compiler = Compiler(node_types=builtin_node_types(), handlers=None, env={}, shared=shared)
    [plan] = compiler.load_text(FLOW % "").plans
    story = Story(plan)
    story.start({"n": 1})
    story.crowded = {("x", "")}
    child = Call(id="2", kind="child", name="c", input=to_json({"workflow": "c", "input": None}))
    lines = story.advance(step("1:x"), Call(id="1@1", kind="sleep", due=minute(5)), child)
    slots = '[{"limit":"tasks","most":9},{"limit":"x","most":1}]'
    assert lines[1] == f"SlotsAsked address=f[0].1:x slots={slots}"
    assert lines[3] == 'SlotsTaken address=f[0].2 slots=[{"limit":"children","most":2}]'
    assert story.grant("f[0].1:x")[1].startswith("StepStarted address=f[0].1:x")


def test_calls_that_are_given_up_are_cancelled_with_their_timers() -> None:
    signal = Call(id="1@1:go", kind="signal", name="go", timeout=timedelta(minutes=3))
    story = begun(step("1:x"), signal, step("1@2:x"))
    story.complete("f[0].1@2:x")
    lines = story.advance(step("2:x"), cancelled=("f[0].1:x", "f[0].1@1:go"))
    assert lines[0] == "TimerCancelled timer_id=f[0].1@1:go#signal"
    assert "f[0].1:x" in lines[1]
    assert RetainSteps() in effects(story.state, story.events[-3:])
    assert isinstance(story.state, Running)
    assert set(story.state.in_flight) == {"f[0].2:x"}


def test_a_call_that_has_settled_cannot_be_given_up() -> None:
    story = begun(step("1:x"))
    story.complete("f[0].1:x")
    assert story.advance(seen=0, cancelled=("f[0].1:x", "f[0].7:never")) == ["FunctionAdvanced address=f[0]"]
    assert advances(story) == [Advance("f[0]", 2)]


def test_what_is_open_when_it_ends_is_given_up() -> None:
    story = begun(step("1:x"), Call(id="1@1", kind="sleep", due=minute(5)))
    story.complete("f[0].1:x")
    lines = story.advance(outcome=1)
    assert lines[:2] == [
        "TimerCancelled timer_id=f[0].1@1#wait",
        'FunctionAdvanced address=f[0] seen=1 cancelled=["f[0].1@1"]',
    ]


def test_a_function_that_nothing_can_wake_fails() -> None:
    """It waits, and not for a call of its own."""
    story = begun()
    assert "StepFailed address=f error=stuck port=error" in story.advance()


def test_too_large_an_input_or_output_fails_the_node() -> None:
    story = Story.of((FLOW % "limits: {output_bytes: 60}").replace('"{{ input.n }}"', '"' + "x" * 80 + '"'))
    assert "StepFailed address=f error=output_too_large port=error" in story.start({"n": 1})
    story = begun(keys="limits: {output_bytes: 60}")
    assert "StepFailed address=f error=output_too_large port=error" in story.advance(outcome="x" * 80)


def test_a_call_that_succeeded_is_undone_when_the_execution_fails() -> None:
    """Though the function has ended, and the plan knows nothing of the call."""
    story = begun(
        step("1:x", undo=UNDO), text="workflow: u\nnodes: {f: {function: t.f}, g: {task: t.g}}\nedges: [f -> g] %s"
    )
    assert story.complete("f[0].1:x", 7)[-1] == 'CompensationOwed address=f[0].1:x began=4 input={"id":7}'
    story.advance(outcome=1)
    assert story.fail("g", retryable=False)[-1] == 'StepStarted address=f[0].1:x~undo input={"id":7}'
    assert story.complete("f[0].1:x~undo")[-1] == "ExecutionFailed error=error address=g"


def test_an_execution_that_has_completed_still_knows_how_to_undo_its_calls() -> None:
    """Its parent may ask for that."""
    story = Story.of("workflow: child\nnodes: {f: {function: t.f}}")
    story.start(parent=Parent(EXECUTION, "up", 1, 1))
    story.advance(step("1:x", undo=UNDO))
    story.complete("f[0].1:x", 7)
    story.advance(outcome=1)
    assert (
        story.undo(parent=Parent(EXECUTION, "up~undo", 1, 1))[-1] == 'StepStarted address=f[0].1:x~undo input={"id":7}'
    )
    assert story.complete("f[0].1:x~undo")[0] == "StepSucceeded address=f[0].1:x~undo output=null"


def test_a_call_that_is_given_up_at_work_may_have_taken_effect() -> None:
    story = begun(step("1:x", undo=UNDO), step("1@1:x"))
    story.complete("f[0].1@1:x")
    lines = story.advance(cancelled=("f[0].1:x",))
    assert lines[:2] == [
        "StepFailed address=f[0].1:x error=given_up unknown=true",
        'CompensationOwed address=f[0].1:x began=4 unknown=true input={"id":null}',
    ]
    assert advances(story) == [Advance("f[0]", 2)]


def test_a_function_whose_execution_is_undone_goes_on_no_more() -> None:
    """Its calls that can be undone are waited for, and what was under way is given up."""
    story = begun(step("1:x", undo=UNDO), Call(id="1@1:go", kind="signal", name="go"))
    story.cancel()
    assert advances(story) == []
    stale = c.AdvanceFunction(address="f[0]", number=1, seen=0, at=minute(1))
    assert story.when(stale) == []
    assert story.complete("f[0].1:x", 7)[-1] == 'StepStarted address=f[0].1:x~undo input={"id":7}'
    assert story.complete("f[0].1:x~undo")[-1] == "ExecutionCancelled reason=enough"


def test_a_group_that_is_undone_takes_the_functions_in_it_along() -> None:
    story = Story.of(
        "workflow: g\nnodes: {g: {saga: automatic, on_error: continue, default: 0, do: {nodes: "
        "{f: {function: t.f}, x: {task: t.x}}}}, h: {function: t.h}}"
    )
    story.start({})
    story.advance(step("1:x", undo=UNDO), journal="g[0].f[0]")
    story.complete("g[0].f[0].1:x", 7)
    story.fail("g[0].x", retryable=False)
    assert advances(story) == [Advance("h[0]", 0)]
    story.complete("g[0].f[0].1:x~undo")
    story.advance(outcome=1, journal="h[0]")
    assert story.result == {"g": 0, "h": 1}


def test_functions_in_turns_have_journals_of_their_own() -> None:
    story = Story.of("workflow: p\nnodes: {each: {parallel: 2, enough: 1, do: {nodes: {f: {function: t.f}}}}}")
    story.start({})
    assert [effect.address for effect in advances(story)] == ["each[0].f[0]", "each[1].f[0]"]
    story.advance(step("1:x"), journal="each[1].f[0]")
    story.advance(outcome=1, journal="each[0].f[0]")
    assert story.result == {"each": [{"f": 1}]}


def test_changed_code_pauses_the_execution_until_it_is_resumed() -> None:
    """Results are kept for it meanwhile, and are owed to it then."""
    story = begun(step("1:x"), step("1@1:x"))
    story.complete("f[0].1@1:x")
    stop = c.StopFunction(
        address="f[0]",
        number=1,
        version=3,
        recorded="call 1: step",
        found="no further call",
        place="shop.py:3",
        at=minute(1),
    )
    assert [line.split(" ")[0] for line in story.when(stop)] == ["FunctionDiverged", "ExecutionPaused"]
    assert cause(story.state) == "step"
    story.complete("f[0].1:x")
    assert advances(story) == []
    assert cause(story.state) == "pause"
    story.resume()
    assert advances(story) == [Advance("f[0]", 1)]
    assert effects(story.state, story.events[-1:]) == (Advance("f[0]", 1),)
    story.advance(outcome=1)


def test_changed_code_is_told_in_an_execution_that_is_paused_already() -> None:
    story = begun(step("1:x"), text="workflow: t\nnodes: {f: {function: t.f}, g: {function: t.g}} %s")
    story.complete("f[0].1:x")
    story.pause("lunch")
    stop = c.StopFunction(address="f[0]", number=1, version=3, recorded="a", found="b", at=minute(1))
    assert [line.split(" ")[0] for line in story.when(stop)] == ["FunctionDiverged"]
    story.resume()
    assert advances(story) == [Advance("f[0]", 1), Advance("g[0]", 0)]


def test_a_call_whose_handler_pauses_goes_on_with_its_input() -> None:
    """As any step does; what is no call of the function takes none."""
    story = begun(step("1:x"))
    story.suspend("f[0].1:x")
    assert cause(story.state) == "person"
    with pytest.raises(Rejected, match="no step"):
        story.give_input("f[0].7:x", 7)
    assert story.give_input("f[0].1:x", 7)[-1] == "StepStarted address=f[0].1:x attempt=2"


def test_a_call_that_has_paused_can_be_given_up() -> None:
    """Its timer goes with it."""
    story = begun(step("1:x"), step("2:x"))
    story.suspend("f[0].1:x", within=5)
    story.complete("f[0].2:x")
    story.advance(cancelled=("f[0].1:x",))
    assert isinstance(story.state, Running)
    assert not story.state.people
    assert not story.state.timers
