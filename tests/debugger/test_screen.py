"""`sagad debug --tui`: keys and lines in Textual's own pilot, on recorded executions and on one carried out here."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from textual.widgets import Input, OptionList, RichLog, Static, Tree
from typer.testing import CliRunner

from daemon.cli.program import app as app_of_commands
from daemon.cli.remotes import live
from daemon.debugger.debuggee import Recorded
from daemon.debugger.local import local
from daemon.debugger.screen import Screen, screen
from daemon.settings import load_settings
from tests.debugger.test_session import played as recorded_session

if TYPE_CHECKING:
    import pytest
    from textual.pilot import Pilot

    from tests.debugger.conftest import Going, Played

SIZE = (120, 45)


def labels(app: Screen) -> dict[str, str]:
    """Return the lines of the graph by node."""
    found: dict[str, str] = {}
    waiting: list[Any] = [app.query_one("#graph", Tree).root]
    while waiting:
        node = waiting.pop()
        waiting += node.children
        if node.data:
            found[node.data] = str(node.label)
    return found


def told(app: Screen) -> str:
    return "\n".join(line.text for line in app.query_one("#told", RichLog).lines)


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def test_keys_move_both_ways_and_the_panes_follow() -> None:
    app = screen(Recorded(recorded_session()))
    async with app.run_test(size=SIZE) as pilot:
        total = len(app._debuggee.session.moments)
        assert app.sub_title.startswith(f"1/{total} ")
        first = labels(app)
        assert all(label.lstrip().startswith("·") for label in first.values())
        await press(pilot, "n")
        assert app.sub_title.startswith("2/")
        await press(pilot, "s", "s", "b", "o")
        await press(pilot, "c")
        assert app.sub_title.startswith(f"{total}/")
        assert any("✓" in label for label in labels(app).values())
        events = app.query_one("#events", OptionList)
        assert events.highlighted == events.option_count - 1
        assert "steps" in str(app.query_one("#seen", Static).render())
        await press(pilot, "r")
        assert app.sub_title.startswith("1/")


async def test_a_breakpoint_is_toggled_on_the_selected_node() -> None:
    app = screen(Recorded(recorded_session()))
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "down", "t")
        (point,) = app._debuggee.session.breakpoints
        assert labels(app)[point.node].startswith("●")
        await press(pilot, "c")
        assert f"{point.node} begins" in app.sub_title
        await press(pilot, "t", "e")
        assert not labels(app)[point.node].startswith("●")
        assert app._debuggee.session.breakpoints[0].errors == "failed"


async def test_an_expression_and_a_command_are_typed() -> None:
    app = screen(Recorded(recorded_session()))
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "c", "slash")
        assert isinstance(app.focused, Input)
        app.query_one("#line", Input).value = "20 + 22"
        await press(pilot, "enter")
        assert "42" in told(app)
        app.query_one("#line", Input).value = ":goto 2"
        await press(pilot, "enter")
        assert app.sub_title.startswith("2/")
        app.query_one("#line", Input).value = ":nothing"
        await press(pilot, "enter")
        assert "no command 'nothing'" in told(app)
        await press(pilot, "escape")
        assert app.focused is app.query_one("#graph")


async def test_an_event_is_selected() -> None:
    app = screen(Recorded(recorded_session()))
    async with app.run_test(size=SIZE) as pilot:
        app.query_one("#events", OptionList).focus()
        await press(pilot, "end", "enter")
        total = len(app._debuggee.session.moments)
        assert app.sub_title.startswith(f"{total}/")


async def test_a_workflow_is_carried_out_step_by_step(played: Played) -> None:
    """A step's answer is told before it is recorded, and can be another."""
    settings = load_settings(played.folder / "sagad.toml", {})
    given = {"items": ["a"], "amount": 30}
    async with local(settings, played.folder / "flow.yaml", given) as debuggee:
        app = screen(debuggee)
        async with app.run_test(size=SIZE) as pilot:
            assert set(labels(app)) == {"charge", "each", "note", "pack"}
            await press(pilot, "n", "s", "n")
            assert "has answered" in told(app)
            app.query_one("#line", Input).value = ':edit "Z"'
            app.query_one("#line", Input).focus()
            await press(pilot, "enter")
            app.query_one("#line", Input).value = "pack"
            await press(pilot, "enter")
            assert '"Z"' in told(app)
            await press(pilot, "escape", "c")
            assert "order completes" in app.sub_title
            await press(pilot, "q")
        assert not app.is_running


async def test_a_live_execution_is_stopped_on_the_screen(going: Going) -> None:
    """A breakpoint that the daemon refuses is told."""
    async with live(load_settings(going.folder / "sagad.toml", {}), str(going.target), going.url) as debuggee:
        app = screen(debuggee)
        async with app.run_test(size=SIZE) as pilot:
            assert "a begins" in app.sub_title
            await press(pilot, "down", "down", "down", "t")
            assert [each for each, label in labels(app).items() if label.startswith("●")] == ["x"]
            going.open_gate()
            await press(pilot, "c")
            assert "each[0].x is held" in app.sub_title
            app.query_one("#line", Input).value = ":skip 9"
            app.query_one("#line", Input).focus()
            await press(pilot, "enter")
            assert "each[1].x is held" in app.sub_title
            await press(pilot, "escape", "t", "c")
            assert "live completes" in app.sub_title
            await press(pilot, "t")
            assert "it stops nowhere any more" in told(app)
    assert await going.output() == [[9, 2], 1]


async def test_without_the_extra_it_says_what_to_install(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "daemon.debugger.screen")
    monkeypatch.setitem(sys.modules, "textual.app", None)
    arguments = ("debug", played.done, "--tui", "-c", played.config)
    result = await asyncio.to_thread(CliRunner().invoke, app_of_commands, arguments)
    assert (result.exit_code, "pip install 'sagad[tui]'" in result.output) == (2, True)
