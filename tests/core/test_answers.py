"""What a handler may answer beside a plain value: which way the flow leaves, that it ends, or a later call."""

from __future__ import annotations

import pytest

from daemon.core import events as e
from daemon.core.effects import RunStep, owed
from daemon.core.evolve import evolve
from daemon.core.spans import Span, Trace, spans_of, trace_of
from daemon.core.state import InFlight, Queued, Retrying, Running
from daemon.core.values import from_json, to_json
from tests.core.spec import Story, minute

# Port.

PORTS = """
workflow: w
nodes:
  charge: {task: t.charge, ports: [declined, later]}
  ship: {task: t.ship}
  ask: {task: t.ask, with: {why: "{{ charge.why }}"}}
edges: [charge -> ship, charge.declined -> ask, charge.later -> ask]
"""


def test_a_handler_leaves_by_a_port_that_the_node_declares() -> None:
    story = Story.of(PORTS)
    story.start()
    assert story.complete("charge", {"why": "limit"}, port="declined") == [
        'StepSucceeded address=charge output={"why":"limit"} port=declined',
        "StepSkipped address=ship",
        'StepStarted address=ask input={"why":"limit"}',
    ]


def test_a_task_with_ports_has_the_usual_one_too() -> None:
    story = Story.of(PORTS)
    story.start()
    assert story.complete("charge")[1:] == ["StepStarted address=ship input={}", "StepSkipped address=ask"]


@pytest.mark.parametrize(
    ("port", "message"),
    [
        ("gone", "out, declined, later"),
        ("error", "out, declined, later; a failure is raised: StepFailure"),
    ],
)
def test_a_port_that_is_not_declared_fails_the_step(port: str, message: str) -> None:
    story = Story.of(PORTS)
    story.start()
    assert story.complete("charge", port=port)[0] == "StepFailed address=charge error=port unknown=true"
    assert isinstance(failed := story.events[-2], e.StepFailed)
    assert failed.error.message == f"the handler left by port {port!r}; the node has: {message}"


# Route.

ROUTES = """
workflow: w
nodes:
  pick: {task: t.pick, ports: [none]}
  a: {task: t.a}
  b: {task: t.b}
  c: {task: t.c}
  all: {join: all}
edges: [pick -> a, pick -> b, pick -> c, "[a, b, c] -> all", pick.none -> all]
"""


def test_only_the_nodes_that_a_handler_routes_to_go_on() -> None:
    story = Story.of(ROUTES)
    story.start()
    assert story.complete("pick", 1, to=("c", "a")) == [
        'StepSucceeded address=pick output=1 to=["c","a"]',
        "StepStarted address=a input={}",
        "StepSkipped address=b",
        "StepStarted address=c input={}",
    ]
    story.complete("a", "A")
    story.complete("c", "C")
    assert story.result == {"all": {"a": "A", "c": "C"}}


def test_a_route_to_none_of_the_nodes_skips_them_all() -> None:
    story = Story.of(ROUTES)
    story.start()
    assert story.complete("pick", to=())[1:-1] == [f"StepSkipped address={each}" for each in ("a", "b", "c", "all")]


@pytest.mark.parametrize(
    ("text", "to", "message"),
    [
        (ROUTES, ("a", "all", "x"), "'all', 'x', where no `out` edge leads; they lead to: a, b, c"),
        ("workflow: w\nnodes: {pick: {task: t.pick}}", ("a",), "'a', where no `out` edge leads; there is none"),
    ],
)
def test_a_route_to_where_no_edge_leads_fails_the_step(text: str, to: tuple[str, ...], message: str) -> None:
    story = Story.of(text)
    story.start()
    assert story.complete("pick", to=to)[0] == "StepFailed address=pick error=route unknown=true"
    assert isinstance(failed := story.events[-2], e.StepFailed)
    assert failed.error.message == f"the handler routed to {message}"


def test_a_route_in_a_turn_names_the_nodes_beside_it() -> None:
    body = "do: {nodes: {pick: {task: t}, a: {task: t}, b: {task: t}}, edges: [pick -> a, pick -> b]}"
    story = Story.of(f"workflow: w\nnodes: {{each: {{for: 1, {body}}}}}")
    story.start()
    assert story.complete("each[0].pick", to=("b",))[1:] == [
        "StepSkipped address=each[0].a",
        "StepStarted address=each[0].b input={}",
    ]


# End.


def test_an_end_skips_what_follows_and_keeps_the_output() -> None:
    text = """
    workflow: w
    nodes: {check: {task: t.check}, go: {task: t.go}, other: {task: t.other}}
    edges: [check -> go]
    output: "{{ check }}"
    """
    story = Story.of(text)
    story.start()
    assert story.complete("check", "nothing to do", port="") == [
        "StepSucceeded address=check output=nothing to do port=",
        "StepSkipped address=go",
    ]
    story.complete("other")
    assert story.result == "nothing to do"


# Again.

POLL = """
workflow: w
nodes:
  poll: {task: t.poll, with: "{{ input }}", retry: {max_attempts: 2, backoff: linear, initial: 10m}}
  next: {task: t.next}
edges: [poll -> next]
"""


def at(story: Story, address: str = "poll") -> InFlight | Retrying | Queued:
    """Return the condition of a step that is not settled."""
    assert isinstance(story.state, Running)
    step = story.state.steps[address]
    assert isinstance(step, InFlight | Retrying | Queued)
    return step


def test_a_handler_that_asks_is_called_again_when_its_timer_fires() -> None:
    story = Story.of(POLL)
    story.start("x")
    assert story.postpone("poll", {"page": 2}, after=3) == [
        'StepPostponed address=poll due=3m state={"page":2}',
        "TimerSet timer_id=poll#retry address=poll purpose=retry due=3m",
    ]
    assert story.fire("poll#retry", after=2) == []
    assert story.fire("poll#retry", after=1) == ["TimerFired timer_id=poll#retry", "StepStarted address=poll attempt=2"]
    assert isinstance(story.state, Running)
    (effect,) = owed(story.state)
    assert isinstance(effect, RunStep)
    assert (effect.attempt, from_json(effect.input), from_json(effect.state)) == (2, "x", {"page": 2})
    assert story.complete("poll", attempt=2)[0] == "StepSucceeded address=poll attempt=2 output=null"


def test_a_postponed_call_is_no_try_and_a_retry_keeps_the_state() -> None:
    story = Story.of(POLL)
    story.start()
    for attempt in (1, 2, 3):
        story.postpone("poll", {"call": attempt}, after=1, attempt=attempt)
        story.fire("poll#retry", after=1)
    assert story.fail("poll", attempt=4)[0] == "StepFailed address=poll attempt=4 error=error retry_at=13m"
    story.fire("poll#retry", after=10)
    assert (at(story).attempt, from_json(at(story).state), at(story).postponed) == (5, {"call": 3}, 3)
    assert story.fail("poll", attempt=5)[0] == "StepFailed address=poll attempt=5 error=error"


def test_each_call_hands_on_its_own_state_and_none_is_null() -> None:
    story = Story.of(POLL)
    story.start()
    story.postpone("poll", {"page": 2}, after=1)
    story.fire("poll#retry", after=1)
    story.postpone("poll", after=1, attempt=2)
    assert (from_json(at(story).state), at(story).postponed) == (None, 2)


def test_a_call_that_is_due_again_waits_for_a_slot_with_its_state() -> None:
    story = Story.of("workflow: w\nconcurrency: 1\nnodes: {a: {task: t.a}, b: {task: t.b}}")
    story.start()
    assert story.postpone("a", [1, 2], after=1)[-1] == "StepStarted address=b input={}"
    assert story.fire("a#retry", after=1) == ["TimerFired timer_id=a#retry", "StepQueued address=a"]
    assert isinstance(queued := at(story, "a"), Queued)
    assert (from_json(queued.state), queued.postponed) == ([1, 2], 1)
    assert story.complete("b")[-1] == "StepStarted address=a attempt=2"
    assert (from_json(at(story, "a").state), at(story, "a").postponed) == ([1, 2], 1)


def test_a_state_that_is_too_large_fails_the_step() -> None:
    story = Story.of("workflow: w\nlimits: {output_bytes: 100}\nnodes: {a: {task: t.a, retry: {max_attempts: 3}}}")
    story.start()
    assert story.postpone("a", "x" * 100, after=1)[0] == "StepFailed address=a error=state_too_large unknown=true"
    assert isinstance(failed := story.events[-2], e.StepFailed)
    assert failed.error.message.startswith("the state for the next call has 102 bytes, more than 100: store it")


def test_a_late_answer_after_a_postponement_decides_nothing() -> None:
    story = Story.of(POLL)
    story.start()
    story.postpone("poll", after=1)
    assert story.complete("poll") == []
    assert story.fail("poll") == []


def test_a_postponed_call_in_a_turn_that_is_given_up_is_not_made() -> None:
    text = "workflow: w\nnodes: {fan: {parallel: 2, enough: 1, do: {nodes: {work: {task: t.work}}}}}"
    story = Story.of(text)
    story.start()
    story.postpone("fan[0].work", after=5)
    assert "TimerCancelled timer_id=fan[0].work#retry" in story.complete("fan[1].work", 1)


def test_what_is_not_at_work_cannot_be_postponed() -> None:
    story = Story.of(POLL)
    story.start()
    story.postpone("poll", after=1)
    with pytest.raises(TypeError, match="poll is postponed but was not in flight"):
        evolve(story.state, e.StepPostponed(address="poll", due=minute(2), state=to_json(None), at=minute(1)))


# Spans.


def test_each_call_has_a_span_and_so_has_the_pause_between() -> None:
    story = Story.of(POLL)
    story.start()
    story.clock = 1
    story.postpone("poll", after=3)
    story.fire("poll#retry", after=3)
    story.clock = 6
    story.complete("poll", attempt=2, to=("next",))
    trace: Trace | None = None
    found: list[Span] = []
    for event in story.events:
        trace, closed = spans_of(trace, event)
        found += closed
    assert trace == trace_of(story.state)
    assert [(each.name, each.start, each.end, each.attributes["sagad.status"], each.error) for each in found] == [
        ("poll", minute(0), minute(1), "postponed", None),
        ("poll pause", minute(1), minute(4), "ended", None),
        ("poll", minute(4), minute(6), "succeeded", None),
    ]
    assert [each.attributes["sagad.attempt"] for each in found] == [1, 2, 2]
    assert found[-1].attributes["sagad.to"] == "next"
