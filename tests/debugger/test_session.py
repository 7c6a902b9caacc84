"""Moving in a recorded execution, and looking at it: with no store and no daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.evaluation import EvaluationError
from daemon.core.state import INITIAL
from daemon.core.values import from_json
from daemon.debugger.breakpoints import Breakpoint
from daemon.debugger.looking import evaluate, frames, said, seen, step_at
from daemon.debugger.recording import taken_of
from daemon.debugger.session import Session
from tests.core.spec import Story

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = """
workflow: order
vars: {seen: 0}
nodes:
  reserve: {task: t.reserve, with: "{{ input.order }}", retry: {max_attempts: 2, initial: 1m}}
  each:
    forEach: "{{ input.items }}"
    do:
      nodes:
        pack: {task: t.pack, with: "{{ loop.item }}"}
        note: {set: {seen: "{{ vars.seen + 1 }}"}}
      edges: [pack -> note]
  charge: {task: t.charge, with: "{{ reserve.price }}"}
edges: [reserve -> each -> charge]
"""


def played(*, charged: bool = True) -> Session:
    """Return an order of two items, whose reservation needed two attempts."""
    story = Story.of(TEXT)
    story.start({"order": 7, "items": ["a", "b"]})
    story.fail("reserve")
    story.fire("reserve#retry", after=5)
    story.complete("reserve", {"price": 30}, attempt=2)
    story.complete("each[0].pack", "A")
    story.complete("each[1].pack", "B")
    story.complete("charge", "paid") if charged else story.fail("charge")
    return session_of(story)


def session_of(story: Story) -> Session:
    return Session(taken_of(story.events, {story.plan.hash: story.plan}, INITIAL))


def trail(session: Session, how: str, steps: int = 20) -> list[str]:
    """Return where the session stops until a move finds nothing more."""
    found = []
    for _ in range(steps):
        if not session.move(how):
            break
        found.append(said(session.here))
    return found


def test_the_moments_are_beginnings_failures_and_the_end() -> None:
    """A node that needs no handler has one too, in the middle of the decision that settled it."""
    assert [said(each) for each in played().moments] == [
        "order starts",
        "reserve begins",
        "reserve fails: broken (error)",
        "reserve begins (attempt 2)",
        "each begins",
        "each[0].pack begins",
        "each[0].note settles",
        "each[1].pack begins",
        "each[1].note settles",
        "charge begins",
        "order completes",
    ]


def test_over_stays_out_of_loops_and_into_goes_in() -> None:
    session = played()
    over = ["reserve begins", "reserve fails: broken (error)", "reserve begins (attempt 2)", "each begins"]
    assert trail(session, "over") == [*over, "charge begins", "order completes"]
    session = played()
    assert len(trail(session, "into")) == len(session.moments) - 1


def test_out_leaves_the_loop_and_back_returns_before_it() -> None:
    session = played()
    session.position = 6
    assert said(session.here) == "each[0].note settles"
    assert session.move("out")
    assert said(session.here) == "charge begins"
    assert session.move("back")
    assert said(session.here) == "each begins"
    assert not session.move("reverse")
    assert session.position == 0


@pytest.mark.parametrize(
    ("breakpoint_", "stops"),
    [
        (Breakpoint(node="pack"), ["each[0].pack begins", "each[1].pack begins"]),
        (Breakpoint(node="each[1].pack"), ["each[1].pack begins"]),
        (Breakpoint(node="pack", condition="loop.item == 'b'"), ["each[1].pack begins"]),
        (Breakpoint(condition="vars.seen == 1"), ["each[0].note settles"]),
        (Breakpoint(errors="attempt"), ["reserve fails: broken (error)"]),
        (Breakpoint(errors="failed"), []),
        (Breakpoint(node="pack", condition="nothing.there"), []),
    ],
)
def test_continue_and_reverse_stop_at_the_same_breakpoints(breakpoint_: Breakpoint, stops: list[str]) -> None:
    session = played()
    session.breakpoints = (breakpoint_,)
    assert trail(session, "continue") == stops
    assert session.newest
    session.position = len(session.moments) - 1
    assert trail(session, "reverse") == stops[::-1]


def test_an_execution_that_fails_stops_at_the_step_and_at_its_end() -> None:
    session = played(charged=False)
    session.breakpoints = (Breakpoint(errors="failed"),)
    assert trail(session, "continue") == ["charge fails: broken (error)", "order fails: broken (error)"]


def test_what_is_seen_is_what_templates_saw() -> None:
    """In its turn, with what was set by then and nothing later, and with results that have left the state since."""
    session = played()
    session.position = 7
    moment, output = session.here, session.outputs()
    assert said(moment) == "each[1].pack begins"
    assert evaluate("{{ loop.item }}", moment, output) == "b"
    assert evaluate("vars.seen", moment, output) == 1
    assert evaluate("reserve.price * 2", moment, output) == 60
    assert (step_at(moment)["status"], step_at(moment)["input"]) == ("running", "b")
    assert seen(moment, output)["vars"] == {"seen": 1}
    assert seen(moment, output)["steps"]["reserve"] == {"price": 30}
    assert "charge" not in seen(moment, output)["steps"]
    assert [frame.name for frame in frames(moment)] == ["each[1].pack", "each: turn 1", "order"]


def test_at_the_end_everything_can_still_be_seen() -> None:
    session = played()
    while session.move("into"):
        pass
    assert evaluate("charge", session.here, session.outputs()) == "paid"
    assert evaluate("vars.seen", session.here, session.outputs()) == 2


@pytest.mark.parametrize("text", ["nothing", "1 +", "env()"])
def test_what_cannot_be_evaluated_says_why(text: str) -> None:
    session = played()
    with pytest.raises(EvaluationError):
        evaluate(text, session.here, session.outputs())


def test_outputs_that_were_released_come_from_the_log() -> None:
    """As they were at that moment: what is recorded later is not seen."""
    session = played()
    output: Callable[[str], Any] = session.outputs(4)
    assert from_json(output("reserve")) == {"price": 30}
    with pytest.raises(KeyError):
        output("charge")
