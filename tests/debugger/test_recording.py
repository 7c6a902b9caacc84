"""Forks and rewinds under the debugger: all that was decided, in the order in which it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.branch_events import Edits, StepEdit
from daemon.core.values import to_json
from daemon.debugger.looking import evaluate, said
from daemon.debugger.recording import recording
from daemon.debugger.session import Session
from daemon.main import open_daemon
from daemon.runtime.branches import ForkWish
from daemon.settings import load_settings
from tests.support.daemons import finished

if TYPE_CHECKING:
    from tests.debugger.conftest import Played


async def test_of_a_fork_the_source_is_shown_before_and_the_other_result_after(played: Played) -> None:
    settings = load_settings(played.folder / "sagad.toml", {})
    async with open_daemon(settings, environ={}) as daemon:
        await daemon.start()
        given = {"items": [], "amount": 30}
        source, _ = await daemon.intake.start("order", given, actor="test")
        await finished(daemon, source)
        edits = Edits(steps={"charge": StepEdit(output=to_json(7))})
        fork, _ = await daemon.branches.fork(source, ForkWish(where="before:charge", actor="ann", edits=edits))
        await finished(daemon, fork)
        session = Session(await recording(daemon.history, daemon.plans, fork))
    shown = [said(each) for each in session.moments]
    assert shown[0] == "order starts"
    assert "order is forked" in shown
    assert shown[-1] == "order completes"
    session.position = len(shown) - 1
    assert evaluate("charge", session.here, session.outputs()) == 7


async def test_what_a_rewind_has_left_behind_is_shown_too(played: Played) -> None:
    """After the rewind the state is the past's again, and the debugger can step back over it."""
    settings = load_settings(played.folder / "sagad.toml", {})
    async with open_daemon(settings, environ={}) as daemon:
        await daemon.start()
        source, _ = await daemon.intake.start("order", {"items": ["a"], "amount": 30}, actor="test")
        await finished(daemon, source)
        await daemon.branches.rewind(source, "before:charge", actor="ann")
        await finished(daemon, source)
        session = Session(await recording(daemon.history, daemon.plans, source))
    shown = [said(each) for each in session.moments]
    assert shown.count("charge begins") == 2
    session.position = shown.index("order is rewound")
    assert "charge" not in session.here.context.steps
    assert session.move("back")
    assert said(session.here) == "order completes"
