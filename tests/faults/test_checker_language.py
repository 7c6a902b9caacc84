"""The checker's rules of undoing, of people and of durable functions: each finds a history that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.break_events import Breakpoint
from daemon.core.function_events import Call
from daemon.core.values import to_json
from eventstore.log import Recorded
from tests.core.histories import History, histories
from tests.core.spec import EXECUTION, Story
from tests.faults.checker.histories import Histories

Events = list[e.Event]
Spoil = Callable[[Events], object]

GRANTED = "limits"
"""The rule that a random history may break: its slots are granted by dice, not by a store."""
SAGA = """
workflow: saga
nodes:
  a: {task: t.a, compensate: {task: t.undo}}
  b: {task: t.b, compensate: {task: t.undo}}
  c: {task: t.c}
edges: [a -> b, b -> c]
"""
APPROVAL = """
workflow: ask
nodes:
  ask:
    approval:
      prompt: ok?
      approvers: [ann, bob]
      rule: all
      timeout: 3m
      reminder: 1m
      on_timeout: {escalate: {to: [cid, dan], rule: all, timeout: 2m, then: reject}}
"""


def undone() -> Events:
    """Two steps are undone because a third has failed."""
    story = Story.of(SAGA)
    story.start({})
    story.complete("a")
    story.complete("b")
    story.fail("c", retryable=False)
    story.complete("b~undo")
    story.complete("a~undo")
    return story.events


def asked() -> Events:
    """Bob hands his decision on to Eve, nobody is quick enough, and the next two approve."""
    story = Story.of(APPROVAL)
    story.start({})
    story.fire("ask#reminder", after=1)
    story.delegate("ask", "bob", "eve")
    story.decide("ask", "eve")
    story.fire("ask#approval", after=2)
    story.decide("ask", "cid")
    story.decide("ask", "dan")
    return story.events


def resumed() -> Events:
    """Pause a handler twice; its inputs came early."""
    story = Story.of("workflow: w\nnodes: {pay: {task: t.pay}}")
    story.start({})
    story.give_input("pay", 1, resume_id="r1")
    story.give_input("pay", 2, resume_id="r2")
    story.suspend("pay")
    story.suspend("pay", attempt=2)
    story.complete("pay", attempt=3)
    return story.events


def advanced() -> Events:
    """Let a durable function make two calls, give one up, and end."""
    story = Story.of("workflow: durable\nnodes: {f: {function: t.f}}")
    story.start({})
    story.advance(
        Call(id="1:pay", kind="step", name="t.pay", input=to_json(1)), Call(id="2:go", kind="signal", name="go")
    )
    story.complete("f[0].1:pay", 1)
    story.advance(cancelled=("f[0].2:go",), outcome="done")
    return story.events


def held() -> Events:
    """Stop where a step fails, try it again, and stop before the next."""
    story = Story.of("workflow: w\nnodes: {a: {task: t.a}, b: {task: t.b}}\nedges: [a -> b]")
    story.start({})
    story.breakpoints(Breakpoint(errors=True), Breakpoint(node="b"))
    story.fail("a", retryable=False)
    story.leave("retry")
    story.complete("a", attempt=2)
    story.leave()
    story.complete("b")
    return story.events


def broken(events: Events) -> list[str]:
    """Return the rules that this history of one execution breaks."""
    checked = Histories()
    return [
        violation.rule
        for version, event in enumerate(events, 1)
        for violation in checked.take(Recorded(EXECUTION, version, version, event))
    ]


def swap(kind: type[e.Event], address: str, other: str) -> Spoil:
    """Let the events of this kind at two addresses change places."""

    def change(events: Events) -> None:
        here, there = (_place(events, kind, each) for each in (address, other))
        events[here], events[there] = events[there], events[here]

    return change


def twice(kind: type[e.Event], **changed: object) -> Spoil:
    """Let the first event of this kind come again, changed so."""

    def change(events: Events) -> None:
        place = _place(events, kind)
        events.insert(place + 1, replace(events[place], **changed))

    return change


def without(kind: type[e.Event], address: str = "") -> Spoil:
    return lambda events: events.pop(_place(events, kind, address))


def changed(kind: type[e.Event], **fields: object) -> Spoil:
    def change(events: Events) -> None:
        place = _place(events, kind)
        events[place] = replace(events[place], **fields)

    return change


def _place(events: Events, kind: type[e.Event], address: str = "") -> int:
    found = (n for n, event in enumerate(events) if isinstance(event, kind))
    return next(n for n in found if not address or getattr(events[n], "address", "") == address)


DIVERGED: e.Event = e.FunctionDiverged(address="f[0]", version=3, recorded="a", found="b", at=undone()[0].at)
SPOILT: list[tuple[str, str, Callable[[], Events], Spoil]] = [
    ("undo", "the older one first", undone, swap(e.StepStarted, "b~undo", "a~undo")),
    ("undo", "nothing is owed", undone, without(e.CompensationOwed, "b")),
    ("undo", "nobody has planned it", undone, without(e.UndoPlanned)),
    ("undo", "not all of it", undone, without(e.StepSucceeded, "a~undo")),
    ("undo", "miscounted", undone, changed(e.UndoCompleted, compensated=3)),
    ("undo", "owed twice", undone, twice(e.CompensationOwed)),
    ("undo", "it ends without", undone, lambda events: events.__delitem__(slice(_place(events, e.UndoPlanned), -1))),
    (
        "success",
        "undone twice",
        undone,
        lambda events: events.insert(-2, events[_place(events, e.StepSucceeded, "b~undo")]),
    ),
    ("approvals", "one who is not asked", asked, changed(e.ApprovalGiven, approver="eva")),
    ("approvals", "one who has handed it on", asked, changed(e.ApprovalGiven, approver="bob")),
    ("approvals", "twice by one", asked, twice(e.ApprovalGiven)),
    ("approvals", "asked twice", asked, twice(e.ApprovalRequested)),
    ("approvals", "escalated twice", asked, twice(e.ApprovalEscalated)),
    ("approvals", "handed on twice", asked, twice(e.ApprovalDelegated)),
    ("approvals", "a reminder of nothing", asked, without(e.ApprovalRequested)),
    ("approvals", "not as decided", asked, changed(e.StepSucceeded, port="rejected")),
    (
        "approvals",
        "after the verdict",
        asked,
        lambda events: events.insert(-2, replace(events[_place(events, e.ApprovalReminded)])),
    ),
    ("inputs", "received twice", resumed, twice(e.ResumeReceived)),
    ("inputs", "taken out of turn", resumed, changed(e.StepResumed, resume_id="r2")),
    ("inputs", "taken, and never there", resumed, changed(e.StepResumed, resume_id="r9")),
    ("inputs", "it has not paused", resumed, without(e.StepSuspended)),
    ("attempts", "it pauses twice", resumed, twice(e.StepSuspended)),
    ("attempts", "it goes on without input", resumed, without(e.StepResumed)),
    ("attempts", "queued at work, and not held", held, without(e.BreakpointHit)),
    ("attempts", "another attempt is held", held, changed(e.BreakpointHit, attempt=2)),
    ("attempts", "tried again, and has not failed", held, without(e.StepFailed)),
    ("breaks", "it goes on where it stands", held, without(e.BreakpointLeft, "b")),
    ("functions", "called twice", advanced, twice(e.FunctionAdvanced)),
    ("functions", "begun twice", advanced, twice(e.FunctionStarted)),
    ("functions", "not begun", advanced, without(e.FunctionStarted)),
    ("functions", "a result of no call", advanced, changed(e.FunctionAdvanced, calls=())),
    ("functions", "a result that there is not", advanced, changed(e.FunctionAdvanced, seen=1)),
    (
        "functions",
        "it goes on after its end",
        advanced,
        lambda events: events.insert(-1, events[_place(events, e.FunctionAdvanced)]),
    ),
    ("functions", "it goes on, and its code does not fit", advanced, lambda events: events.insert(4, DIVERGED)),
]


@pytest.mark.parametrize("story", [undone, asked, resumed, advanced, held])
def test_a_sound_story_breaks_no_rule(story: Callable[[], Events]) -> None:
    assert broken(story()) == []


@pytest.mark.parametrize(("rule", "how", "story", "spoil"), SPOILT, ids=[f"{rule}: {how}" for rule, how, *_ in SPOILT])
def test_each_rule_finds_what_breaks_it(rule: str, how: str, story: Callable[[], Events], spoil: Spoil) -> None:
    events = list(story())
    spoil(events)
    assert rule in broken(events)


@given(histories(max_turns=100))
def test_a_random_history_breaks_no_rule(history: History) -> None:
    """Of steps, timers, signals, undo, people and functions, told twice, the core and the checker say the same."""
    assert list(_of_random(history)) == []


def _of_random(history: History) -> Iterator[str]:
    checked = Histories()
    for version, event in enumerate(history.events, 1):
        for violation in checked.take(Recorded(EXECUTION, version, version, event)):
            if violation.rule != GRANTED:
                yield str(violation)
        checked.lives[EXECUTION].undoing.keeps |= history.plan.definition.undo == "none"
