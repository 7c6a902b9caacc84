"""`sagad debug ID` and `sagad replay ID` on the terminal."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from daemon.cli.program import app
from daemon.cli.replaying import factor
from daemon.debugger.adapter import CAPABILITIES
from daemon.debugger.playing import play
from tests.debugger.test_session import played as session

if TYPE_CHECKING:
    from datetime import datetime

    from tests.debugger.conftest import Played

ROOT = Path(__file__).parents[2]


async def called(*arguments: str, stdin: str | None = None) -> str:
    """Return what a command prints; it has a loop of its own, so it runs in a thread."""
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments, input=stdin)
    assert result.exit_code == 0, result.output
    return result.output


async def test_an_execution_is_walked_on_the_terminal(played: Played) -> None:
    """Breakpoints, moves both ways, and values: a line for each command."""
    typed = (
        "break pack if loop.item == 'b'\nc\nwhere\nshow vars\neval loop.item ~ '!'\nout\nback\nreverse\nlist\nquit\n"
    )
    lines = (await called("debug", played.done, "-c", played.config, stdin=typed)).splitlines()
    assert lines[0].endswith("version 1: order starts")
    assert lines[1] == "break pack if loop.item == 'b'"
    assert lines[2].endswith("each[1].pack begins")
    assert lines[3:6] == ["each[1].pack", "each: turn 1", "order"]
    assert json.loads("".join(lines[6:9])) == {"seen": 1}
    assert lines[9] == '"b!"'
    assert [line.rpartition(": ")[2] for line in lines[10:12]] == ["charge begins", "each begins"]
    assert lines[12].startswith("1/")
    assert lines[13] == "There is nothing more this way."
    assert [line[3:7].strip() for line in lines[14:]] == [str(number) for number in range(1, 9)]


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("fly", "There is no command 'fly'"),
        ("break nowhere", "There is no node 'nowhere'"),
        ("break", "Write: break NODE"),
        ("break if 1 +", "expression"),
        ("eval nothing", "'nothing' is not defined"),
        ("show nothing", "There is no 'nothing' here"),
        ("goto 99", "Write a number from 1 to"),
        ("breaks", "There are no breakpoints."),
        ("break error\nc", "charge fails: declined"),
        ("goto 2\nshow", '"status": "running"'),
        ("help", "continue, reverse"),
    ],
)
async def test_a_mistyped_command_says_what_to_write(played: Played, typed: str, answer: str) -> None:
    assert answer in await called("debug", played.failed, "-c", played.config, stdin=typed)


async def test_the_store_is_not_changed(played: Played) -> None:
    before = (played.folder / "log.db").read_bytes()
    await called("debug", played.done, "-c", played.config, stdin="c\nreverse\n")
    await called("replay", played.done, "-c", played.config)
    assert (played.folder / "log.db").read_bytes() == before


async def test_a_replay_shows_every_event_once(played: Played) -> None:
    shown = [
        json.loads(line) for line in (await called("replay", played.done, "-c", played.config, "--json")).splitlines()
    ]
    assert [each["version"] for each in shown] == list(range(1, len(shown) + 1))
    assert (shown[0]["type"], shown[-1]["type"]) == ("ExecutionStarted", "ExecutionCompleted")
    lines = (await called("replay", played.done, "-c", played.config)).splitlines()
    assert len(lines) == len(shown)
    assert "StepStarted charge" in "".join(lines)


class Slept:
    """A clock that only counts."""

    def __init__(self) -> None:
        self.total = 0.0
        self.longest = 0.0

    def now(self) -> datetime:
        raise AssertionError

    async def sleep(self, seconds: float) -> None:
        self.total += seconds
        self.longest = max(self.longest, seconds)


@pytest.mark.parametrize(
    ("speed", "longest", "total"), [(1.0, None, 300.0), (10.0, None, 30.0), (None, None, 0.0), (1.0, 60.0, 60.0)]
)
async def test_a_replay_pauses_as_long_as_it_was_or_shorter(
    speed: float | None, longest: float | None, total: float
) -> None:
    """The recorded execution waited five minutes for its second attempt."""
    clock = Slept()
    most = None if longest is None else timedelta(seconds=longest)
    shown = [each async for each in play(session().events, clock, speed=speed, longest=most)]
    assert (clock.total, clock.longest) == (total, total)
    assert shown[-1].since_start == timedelta(minutes=5)


@pytest.mark.parametrize(("text", "found"), [("1", 1.0), ("×10", 10.0), ("10x", 10.0), ("max", None)])
def test_speeds_are_read(text: str, found: float | None) -> None:
    assert factor(text) == found


@pytest.mark.parametrize("text", ["0", "-1", "fast", "inf", "nan"])
def test_what_is_no_speed_is_refused(text: str) -> None:
    result = CliRunner().invoke(app, ["replay", "1", f"--speed={text}"])
    assert (result.exit_code, "is no speed" in result.stderr) == (2, True)


def test_the_editor_extension_fits_the_adapter() -> None:
    """Its manifest names what the adapter reads; its program calls the command that there is."""
    folder = ROOT / "deploy" / "vscode"
    (debugger,) = json.loads((folder / "package.json").read_text())["contributes"]["debuggers"]
    attributes = debugger["configurationAttributes"]["launch"]["properties"]
    assert {"program", "execution", "inputs", "workflow", "config", "stopOnEntry"} <= set(attributes)
    assert "'debug', '--dap'" in (folder / "extension.js").read_text()
    assert CAPABILITIES["supportsStepBack"]
