"""`sagad debug --live` and editors that attach: an execution of a running daemon, by its HTTP API."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from daemon.core.state import Running
from daemon.core.state_breaks import Breaking
from daemon.runtime.branches import ForkWish
from tests.debugger.conftest import LIVE_LINES, editor
from tests.debugger.test_terminal import called
from tests.support import gated_handlers
from tests.support.daemons import finished, until

if TYPE_CHECKING:
    from tests.debugger.conftest import Going


async def typed(going: Going, *lines: str) -> list[str]:
    """Return what the terminal shows; a line for each stop, without its time."""
    arguments = ("debug", "--live", str(going.target), "--url", going.url, "-c", str(going.folder / "sagad.toml"))
    shown = await called(*arguments, stdin="".join(f"{line}\n" for line in lines))
    own = [line for line in shown.splitlines() if "[debug" not in line]  # those are the daemon's
    return [line.partition(": ")[2] if "version" in line else line for line in own]


async def test_breakpoints_are_set_and_the_execution_is_gone_through(going: Going) -> None:
    """Forwards it is the execution that goes on; backwards what was recorded is looked at."""
    gated_handlers.failures[going.name] = 1
    shown = await typed(going, "break x if loop.index == 1", "break error", "quit")
    assert shown == ["a begins", "break x if loop.index == 1", "break x if loop.index == 1", "break error"]
    going.open_gate()
    shown = await typed(
        going, "wait", "eval loop.item", "back", "back", "continue", "set rate 5", "next", "continue", "retry", "c"
    )
    assert shown[:3] == ["each[1].x is held", "each[1].x is held", "2"]
    assert shown[3:5] == ["each[0].x begins", "each begins"]
    assert shown[5] == "each[1].x is held"
    assert shown[6] == "each[1].x is edited"
    assert shown[7] == "c is held"
    assert shown[8] == "c is held: not yet (flaky)"
    assert shown[9:] == ["live completes", "the execution has ended: completed"] * 2
    assert await going.output() == [[1, 10], 2]


async def test_who_goes_away_leaves_it_where_it_stands(going: Going) -> None:
    await typed(going, "break c", "break x")
    going.open_gate()
    shown = await typed(going, "wait", "q")
    assert shown[-1] == "It stays where it stands; `sagad debug --live` comes back to it."
    state = await going.daemon.history.existing(going.target)
    assert isinstance(state, Running)
    assert state.stop is not None
    shown = await typed(going, 'skip "by hand"', 'input {"value": 9}', "detach")
    assert shown[1:] == ["each[1].x is held", "each[1].x is edited"]
    assert await going.output() == [["by hand", 9], 1]


async def test_what_cannot_be_done_is_told_and_the_debugger_goes_on(going: Going) -> None:
    shown = await typed(going, "break nowhere", "retry", "set rat 1", "set rate {", "skip", "help")
    text = "\n".join(shown)
    going.open_gate()
    for message in ("no node 'nowhere'", "does not stand", "That is not JSON", "detach"):
        assert message in text, text


@pytest.mark.parametrize("move", ["pause", "next"])
async def test_it_is_paused_before_its_next_step(going: Going, move: str) -> None:
    typing = asyncio.create_task(typed(going, move, "eval a", "detach"))
    await until(going.daemon, going.target, lambda state: isinstance(state, Running) and state.breaking is not None)
    going.open_gate()
    assert (await typing)[-2:] == ["each is held", "1"]
    assert await going.output() == [[1, 2], 1]


async def test_an_editor_attaches_and_lets_it_go_on_when_it_leaves(going: Going) -> None:
    """Breakpoints in lines are those of the execution; another client sees it stand."""
    file = going.folder / "workflows.yaml"
    arguments = {"execution": str(going.target), "live": True, "url": going.url, "program": str(file)}
    async with editor("--config", str(going.folder / "sagad.toml")) as client:
        await client.request("initialize")
        await client.request("attach", **arguments)
        await client.event("initialized")
        lines = [{"line": LIVE_LINES["x"]}, {"line": LIVE_LINES["c"]}]
        answer = await client.request("setBreakpoints", source={"path": str(file)}, breakpoints=lines)
        assert all(each["verified"] for each in answer["breakpoints"])
        await client.request("setExceptionBreakpoints", filters=["failed"])
        await client.request("configurationDone")
        going.open_gate()
        assert await client.stopped() == ("breakpoint", LIVE_LINES["x"], "each[0].x")
        assert (await client.request("evaluate", expression="loop.item + vars.rate", frameId=1))["result"] == "2"
        assert (await client.scope("vars")) == {"rate": "1"}
        state = await until(going.daemon, going.target, lambda state: isinstance(state, Running) and not state.busy)
        assert isinstance(state, Running)
        assert state.stop is not None
        assert await client.move("next") == ("breakpoint", LIVE_LINES["x"], "each[1].x")
        assert (await client.move("stepBack"))[2] == "each[0].x"
        assert (await client.move("continue"))[2] == "each[1].x"
        await client.request("disconnect")
    assert await going.output() == [[1, 2], 1]


async def test_an_editor_pauses_the_execution_before_its_next_step(going: Going) -> None:
    arguments = {"execution": str(going.target), "live": True, "url": going.url}
    async with editor("--config", str(going.folder / "sagad.toml")) as client:
        await client.request("initialize")
        await client.request("attach", **arguments)
        await client.request("configurationDone")
        await client.request("pause", threadId=1)
        going.open_gate()
        assert (await client.stopped())[2] == "each"
        refused = await client.answer("setFunctionBreakpoints", breakpoints=[{"name": "nowhere"}])
        assert "no node 'nowhere'" in refused["message"]
        await client.request("disconnect")
    assert await going.output() == [[1, 2], 1]


async def test_a_recorded_execution_is_looked_at_by_its_daemon(going: Going) -> None:
    """And replayed."""
    going.open_gate()
    await finished(going.daemon, going.target)
    config = str(going.folder / "sagad.toml")
    typed_in = "break c\nc\neval each\n"
    shown = await called("debug", str(going.target)[:13], "--url", going.url, "-c", config, stdin=typed_in)
    assert shown.splitlines()[-4:] == ["[", "  1,", "  2", "]"]
    lines = (await called("replay", str(going.target), "--url", going.url, "-c", config, "--json")).splitlines()
    recorded = await going.daemon.history.events(going.target)
    assert [json.loads(line)["type"] for line in lines] == [each.event.NAME for each in recorded]


async def test_an_execution_is_started_with_breakpoints(going: Going) -> None:
    config = str(going.folder / "sagad.toml")
    given = ("--input", json.dumps({"name": going.name}), "--url", going.url, "-c", config)
    started = await called("start", "live", *given, "--break-at", "x if loop.index == 1", "--break-at-errors", "--json")
    going.open_gate()
    shown = "".join(line for line in started.splitlines() if "[debug" not in line)
    target = json.loads(shown)["execution_id"]
    state = await until(going.daemon, UUID(target), lambda state: isinstance(state, Running) and not state.busy)
    assert isinstance(state, Running)
    assert state.stop is not None
    assert state.stop.address == "each[1].x"
    assert [each.errors for each in (state.breaking or Breaking()).breakpoints] == [True, False]


async def test_a_fork_is_looked_at_with_what_its_source_has_decided(going: Going) -> None:
    going.open_gate()
    await finished(going.daemon, going.target)
    fork, _ = await going.daemon.branches.fork(going.target, ForkWish(where="before:c", actor="test"))
    await finished(going.daemon, fork)
    config = str(going.folder / "sagad.toml")
    shown = await called("debug", str(fork), "--url", going.url, "-c", config, stdin="list\n")
    assert "live starts" in shown
    assert "live is forked" in shown


async def test_a_step_is_skipped_by_another_port(going: Going) -> None:
    """One that it does not have is refused, with those that it has."""
    shown = await typed(going, "break c", "skip 1 by far", "quit")
    assert "does not stand" in shown[-1]
    going.open_gate()
    shown = await typed(going, "wait", "skip 1 by far", 'skip "stand by me"')
    assert "no port 'far' to be left by; it has: out" in "\n".join(shown)
    assert await going.output() == [[1, 2], "stand by me"]
