"""The debugger in generated executions: whatever happened in them, it can be walked and looked at anywhere."""

from __future__ import annotations

import msgspec
import pytest

from daemon.core.state import INITIAL
from daemon.debugger.breakpoints import Breakpoint
from daemon.debugger.looking import frames, said, seen, step_at
from daemon.debugger.recording import definitions_in, taken_of
from daemon.debugger.session import Session
from tests.core.generator.executions import case

CASES = 120
IN_A_TEST = 20


@pytest.mark.parametrize("first", range(0, CASES, IN_A_TEST))
def test_every_moment_of_any_execution_can_be_looked_at(first: int) -> None:
    """Moves stay within their bounds, and the way back leads to where it came from."""
    walked = 0
    for number in range(first, first + IN_A_TEST):
        if (history := case(number).history) is None or not history.events:
            continue
        session = Session(
            taken_of(history.events, dict.fromkeys(definitions_in(history.events), history.plan), INITIAL)
        )
        if session.moments:
            walked += look(session)
    assert walked > IN_A_TEST


def look(session: Session) -> int:
    """Look at all that is to be seen at each moment, and move away from it and back; return how many there are."""
    session.breakpoints = (Breakpoint(errors="attempt"), Breakpoint(condition="vars.x is defined"))
    for number, moment in enumerate(session.moments):
        session.position = number
        assert said(moment)
        assert all(not frame.node or frame.node in moment.plan.nodes for frame in frames(moment))
        assert msgspec.json.encode([step_at(moment), seen(moment, session.outputs())])
        for how in ("over", "into", "out", "back", "continue", "reverse"):
            session.position = number
            found = session.move(how)
            assert not found or (session.position < number) == (how in ("back", "reverse"))
            assert not found or how != "over" or session.here.depth <= moment.depth
            assert not found or how != "out" or session.here.depth < moment.depth
    return len(session.moments)
