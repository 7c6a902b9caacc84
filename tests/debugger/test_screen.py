"""`sagad debug --tui`: keys and lines in Textual's own pilot, on recorded executions and on one carried out here."""

from __future__ import annotations

import asyncio
import html
import re
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
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
    from textual.pilot import Pilot

    from daemon.debugger.debuggee import Debuggee
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


def written(app: Screen) -> str:
    """Return all that is on the terminal."""
    return html.unescape(re.sub(r"<[^>]*>", "", app.export_screenshot())).replace("\xa0", " ")


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
async def test_everything_is_legible_on_small_and_large_terminals(size: tuple[int, int]) -> None:
    """Every key is shown, every pane has room, and what the step is sent stands in the first lines of the state."""
    app = screen(Recorded(recorded_session()))
    async with app.run_test(size=size) as pilot:
        await press(pilot, "n", "n", "n", "n", "s")
        text = written(app)
        keys = ("Next", "Into", "Out", "Back", "Continue", "Reverse", "Break", "Errors", "Ask", "Quit")
        assert [key for key in keys if key not in text] == []
        for seen in ("Graph", "Events", "State", "Said", "StepStarted each[0].pack", "each forEach", '"a"', ":help"):
            assert seen in text, seen
        for pane, rows in (("#graph", 8), ("#events", 4), ("#state", 6), ("#told", 3), ("#line", 1)):
            assert app.query_one(pane).content_region.height >= rows, pane


async def test_the_state_follows_the_width() -> None:
    app = screen(Recorded(recorded_session()))
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "n", "n")
        narrow = str(app.query_one("#seen", Static).render())
        await pilot.resize_terminal(200, 50)
        await pilot.pause()
        await pilot.pause()
        wide = str(app.query_one("#seen", Static).render())
        assert ("  error:\n" in narrow, '  error: {"message"' in wide) == (True, True)
        assert app.query_one("#graph").size.width > 30
        await press(pilot, "n")
        assert app.sub_title.startswith("4/")
        await pilot.resize_terminal(30, 10)
        await press(pilot, "n", "b", "c")
        assert app.is_running


BAD = [
    "nothing + 1", "1 +", ":break", ":break if 1 +", ":break nowhere", ":goto x", ":fly", ":show nothing", ":eval",
    ":edit {", ":edit 1", ":retry", ":set", ":set rat 1", ":signal none 1", ":skip {",
]  # fmt: skip


@pytest.mark.parametrize("carried_out", [False, True])
async def test_a_mistake_on_the_line_is_told_and_the_session_goes_on(played: Played, carried_out: bool) -> None:  # noqa: FBT001  a parameter of the table
    settings = load_settings(played.folder / "sagad.toml", {})
    async with AsyncExitStack() as stack:
        debuggee: Debuggee = Recorded(recorded_session())
        if carried_out:
            given = {"items": ["a"], "amount": 30}
            debuggee = await stack.enter_async_context(local(settings, played.folder / "flow.yaml", given))
        app = screen(debuggee)
        async with app.run_test(size=SIZE) as pilot:
            for line in BAD:
                before = told(app)
                app.query_one("#line", Input).value = line
                app.query_one("#line", Input).focus()
                await press(pilot, "enter")
                assert app.is_running, line
                assert told(app) != before, line
            before = app.sub_title
            await press(pilot, "escape", "n")
            assert app.sub_title != before


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
