"""Executions lived again in shadow: under their own definition nothing differs; under another it is told what does."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from daemon.core import events as e
from daemon.core.break_events import Breakpoint
from daemon.core.state import INITIAL
from daemon.runtime.definitions import InputSchemas
from daemon.runtime.shadow_check import Life, junit, report, shadowed
from tests.core.generator.dice import Dice
from tests.core.generator.executions import case
from tests.core.laws import TOO_LARGE
from tests.core.spec import EXECUTION, FORK, Story
from tests.support.workflows import plan_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.core.plan import Plan
    from daemon.core.state import State
    from daemon.runtime.shadow import Missing
    from daemon.runtime.shadow_check import Shadowed

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "time_machine"
CASES = 500
"""Each whole, and open at one place: 1,000 lives."""
IN_A_TEST = 50
ORDER = """
workflow: order
input: {type: object}
nodes:
  reserve: {task: t.reserve, with: "{{ input.item }}"}
  charge: {task: t.charge, with: {amount: "{{ input.total }}"}, retry: {max_attempts: 2, initial: 1m}}
  ok: {signal: {name: ok, timeout: 1h}}
  ship: {task: t.ship, with: "{{ ok }}"}
edges: [reserve -> charge -> ok -> ship]
output: {shipped: "{{ ship }}"}
"""


def life(events: Sequence[e.Event], base: State = INITIAL) -> Life:
    return Life(
        execution_id=EXECUTION, workflow="order", trigger=None, started_at=events[0].at, events=events, base=base
    )


def lived(story: Story, new: str | Plan, *, missing: Missing = "stop", after: float = 0) -> Shadowed:
    """Live the story again under another definition, `after` minutes after its last event."""
    until = story.events[-1].at + timedelta(minutes=after)
    plan = plan_of(new) if isinstance(new, str) else new
    return shadowed(
        life(story.events, story.first),
        story.plan,
        plan,
        missing=missing,
        until=until,
        check_input=InputSchemas().check,
    )


def ordered() -> Story:
    """Tell an order whose charge failed once, and whose signal came late."""
    story = Story.of(ORDER)
    story.start({"item": "lamp", "total": 10})
    story.complete("reserve", "r1")
    story.fail("charge")
    story.fire("charge#retry", after=1)
    story.complete("charge", "c1", attempt=2)
    story.clock += 5
    story.signal("ok", "yes")
    story.complete("ship", "s1")
    return story


def changes(found: Shadowed) -> dict[str, Any]:
    return {each.field: each.shadow for each in found.differences}


@pytest.mark.parametrize("first", range(0, CASES, IN_A_TEST))
def test_under_its_own_definition_nothing_differs(first: int) -> None:
    """Of random executions of random definitions, whole and still open; but what was too large is not in the log."""
    checked = 0
    for number in range(first, first + IN_A_TEST):
        history = case(number).history
        assert history is not None
        events = history.events
        if any(isinstance(event, e.StepFailed) and event.error.code in TOO_LARGE for event in events):
            continue
        turns = [turn.after.version for turn in history.turns if turn.events and turn.after.version > 1]
        open_at = Dice("shadow", number).pick(turns)
        for upto in (len(events), open_at):
            if not any(isinstance(event, e.ExecutionStarted) for event in events[:upto]):
                continue
            until = events[upto - 1].at
            found = shadowed(
                life(events[:upto]),
                history.plan,
                history.plan,
                missing="stop",
                until=until,
                check_input=lambda _plan, _input: None,
            )
            assert (number, upto, found.severity, found.reason, found.refused, found.assumed) == (
                (number, upto, "none", "", [], [])
            )
            checked += 1
    assert checked > IN_A_TEST


def test_what_is_sent_may_differ_while_the_outcome_is_the_same() -> None:
    """The recorded result is used all the same, and that is said."""
    found = lived(ordered(), ORDER.replace("amount: ", "cents: "))
    assert (found.severity, found.recorded, found.shadow) == ("minor", "completed", "completed")
    assert list(found.assumed) == ["charge"]
    assert changes(found)["sent.charge.input.cents"] == 10


def test_a_step_without_a_recorded_result_stops_it() -> None:
    """Or fails, or gives null, as is wished: nothing is made up."""
    new = ORDER.replace("ship: {task", "wrap: {task: t.wrap, with: 1}\n  ship: {task").replace(
        "ok -> ship", "ok -> wrap -> ship"
    )
    found = lived(ordered(), new)
    assert (found.severity, found.shadow, list(found.not_recorded)) == ("major", "running", ["wrap"])
    assert found.reason == "it comes to wrap, which the log has no result for"
    assert list(changes(found)) == ["sent.wrap", "steps.wrap"]
    failed = lived(ordered(), new, missing="fail")
    assert (failed.severity, failed.shadow) == ("critical", "failed")
    assert "was completed, and would be failed: the log has no result" in failed.reason
    null = lived(ordered(), new, missing="null")
    assert (null.severity, null.shadow, list(null.ran)) == ("minor", "completed", ["wrap"])


def test_a_retry_less_means_a_failure() -> None:
    """The recorded first attempt failed; nothing of the second is used."""
    found = lived(ordered(), ORDER.replace("max_attempts: 2", "max_attempts: 1"))
    assert (found.severity, found.shadow) == ("critical", "failed")
    assert list(found.not_run) == ["ok", "ship"]
    assert found.refused == ["ReceiveSignal ok: the execution has failed; it takes no signal 'ok'"]


def test_a_signal_comes_at_its_time() -> None:
    """Where the wait for it is shorter than it took to come, it is too late."""
    found = lived(ordered(), ORDER.replace("timeout: 1h", "timeout: 2m"))
    assert (found.shadow, changes(found)["error"]["code"]) == ("failed", "timeout")
    assert found.refused == ["ReceiveSignal ok: the execution has failed; it takes no signal 'ok'"]


def test_a_signal_that_nobody_waits_for_is_kept() -> None:
    found = lived(ordered(), ORDER.replace("name: ok,", "name: fine,"), after=10)
    assert (found.shadow, found.reason) == (
        "failed",
        "it was completed, and would be failed: no signal 'fine' came in time",
    )


def test_an_input_that_is_not_taken_any_more_is_critical() -> None:
    found = lived(ordered(), ORDER.replace("{type: object}", "{type: object, required: [customer]}"))
    assert (found.severity, found.shadow) == ("critical", "")
    assert "customer" in found.reason


def test_an_open_execution_is_as_open_in_shadow() -> None:
    """What is due after the log was read has not happened, in neither; a shorter wait is over in the shadow."""
    text = "workflow: w\nnodes: {nap: {wait: 1h}, b: {task: t.b}}\nedges: [nap -> b]\n"
    story = Story.of(text)
    story.start(1)
    assert lived(story, text, after=30).severity == "none"
    found = lived(story, text.replace("1h", "10m"), after=30)
    assert (found.reason, found.severity) == ("it comes to b, which the log has no result for", "major")
    assert lived(story, text.replace("1h", "40m"), after=30).severity == "none"


def test_a_node_that_has_moved_keeps_its_results() -> None:
    """Also into a loop, when it is sent the same there."""
    story = Story.of('workflow: w\nnodes: {a: {task: t.a, with: x}, b: {task: t.b, with: y}}\noutput: "{{ a }}"\n')
    story.start(1)
    story.complete("a", 1)
    story.complete("b", 2)
    new = """
workflow: w
nodes:
  each: {for: 1, do: {nodes: {a: {task: t.a, with: x}}}}
  b: {task: t.b, with: y}
output: "{{ each[0].a }}"
"""
    found = lived(story, new)
    assert (found.shadow, list(found.ran), list(found.not_run)) == ("completed", ["each", "each[0].a"], ["a"])
    assert list(found.assumed) == ["each[0].a"]


def test_approvals_are_voted_where_they_are_asked() -> None:
    """Though the question has another number, and is asked later."""
    text = """
workflow: w
nodes:
  ask: {approval: {prompt: "Pay?", approvers: [ana, bo]}}
  pay: {task: t.pay}
edges: [ask.approved -> pay]
"""
    story = Story.of(text)
    story.start(1)
    story.decide("ask", "ana")
    story.complete("pay", "p")
    later = text.replace("nodes:", "nodes:\n  first: {wait: 2h}").replace("edges: [", "edges: [first -> ask, ")
    found = lived(story, later)
    assert (found.shadow, list(found.ran), list(found.refused)) == ("completed", ["first"], [])
    both = lived(story, text.replace("bo]", "bo], rule: all"))
    assert (both.shadow, both.reason) == ("running", "it was completed, and would be running, waiting for a person")
    gone = lived(story, "workflow: w\nnodes: {pay: {task: t.pay}}\n")
    assert (gone.shadow, gone.refused) == ("completed", ["GiveApproval ask: it was not asked"])


def test_results_of_children_are_used() -> None:
    text = "workflow: w\nnodes: {sub: {subflow: s, with: {n: 1}}}\noutput: {got: '{{ sub }}'}\n"
    story = Story.of(text)
    story.start(1)
    story.await_child("sub")
    story.finish_child("sub", output=7)
    assert lived(story, text).severity == "none"
    found = lived(story, text.replace("got:", "gotten:"))
    assert changes(found)["output.gotten"] == 7


def test_a_rewound_execution_is_lived_as_it_went_in_the_end() -> None:
    story = ordered()
    story.rewind(4, mode="none")
    story.go_back(4)
    story.fire("charge#retry", after=1)
    story.complete("charge", "c2", attempt=2)
    story.complete("ship", "s2")
    assert lived(story, ORDER).severity == "none"


def test_a_fork_is_lived_from_where_it_begins() -> None:
    source = ordered()
    fork = source.fork(11)
    fork.signal("ok", "no")
    fork.complete("ship", "s9")
    assert lived(fork, ORDER).severity == "none"
    found = lived(fork, ORDER.replace("{shipped:", "{sent:"))
    assert changes(found)["output.sent"] == "s9"


def test_the_report_counts_and_is_read_by_pipelines() -> None:
    found = lived(ordered(), ORDER.replace("amount: ", "cents: "))
    told = report([found, lived(ordered(), ORDER)], {str(FORK): "gone"})
    assert (told.checked, told.by_severity["minor"], told.by_severity["none"]) == (2, 1, 1)
    assert told.by_node == {"charge": 1}
    xml = junit(told)
    assert 'failures="1"' in xml
    assert "sent.charge.input.cents" in xml
    assert 'errors="1"' in xml


def test_a_migrated_execution_is_lived_under_the_newest_names() -> None:
    """What was done under the old ones counts for the nodes that have others since."""
    story = Story.of(ORDER)
    story.start({"item": "lamp", "total": 10})
    story.complete("reserve", "r1")
    new = ORDER.replace("reserve", "hold").replace("t.hold", "t.reserve")
    story.migrate(new, {"reserve": "hold"})
    story.complete("charge", "c1")
    story.signal("ok", "yes")
    story.complete("ship", "s1")
    found = shadowed(
        life(story.events)._replace(later={story.plan.hash: story.plan}),
        plan_of(ORDER),
        story.plan,
        missing="stop",
        until=story.events[-1].at,
        check_input=InputSchemas().check,
    )
    assert (found.severity, found.reason) == ("none", "")


def test_the_next_version_of_the_example_waits_for_another_person() -> None:
    """What deploy/examples/time_machine tells."""
    now, following = ((EXAMPLE / name).read_text() for name in ("workflow.yaml", "workflow.yaml.next"))
    story = Story.of(now)
    story.start({"order": "A7", "amount": 40})
    story.complete("find", {"item": "lamp", "account": "AT61"})
    story.decide("agree", "ana")
    story.complete("repay", {"to": "AT61", "amount": 40})
    assert lived(story, now).severity == "none"
    found = lived(story, following)
    assert (found.shadow, list(found.not_run)) == ("running", ["note", "repay"])


def test_who_stood_at_a_breakpoint_goes_on_from_it() -> None:
    """Though its event has another version in the shadow."""
    story = Story.of(ORDER)
    story.start({"item": "lamp", "total": 10})
    story.breakpoints(Breakpoint(node="charge"))
    story.complete("reserve", "r1")
    story.leave()
    story.complete("charge", "c1")
    story.signal("ok", "yes")
    story.complete("ship", "s1")
    assert lived(story, ORDER).severity == "none"
    found = lived(
        story, ORDER.replace("nodes:", "nodes:\n  first: {transform: 1}").replace("[reserve", "[first -> reserve")
    )
    assert (found.shadow, list(found.ran), found.refused) == ("completed", ["first"], [])
