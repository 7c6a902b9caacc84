"""`sagad debug flow.yaml --inputs`: an execution that goes on only when it is told to, with real handlers."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from daemon.debugger.local import local
from daemon.debugger.prompt import Prompt
from tests.debugger.conftest import LINES, Played, editor
from tests.debugger.test_terminal import called
from tests.support import gated_handlers
from tests.support.daemons import settings_for

if TYPE_CHECKING:
    from pathlib import Path

INPUTS = '{"items": ["a", "b"], "amount": 30}'
FAILING = '{"items": [], "amount": 13}'


async def typed(played: Played, *lines: str, inputs: str = INPUTS) -> list[str]:
    """Return what the terminal shows; a line for each stop, without its time."""
    arguments = ("debug", played.flow, "--inputs", inputs, "-c", played.config)
    shown = await called(*arguments, stdin="".join(f"{line}\n" for line in lines))
    return [line.partition(": ")[2] if "version" in line else line for line in shown.splitlines()]


async def test_nothing_begins_before_it_is_told_to(played: Played) -> None:
    """A step's answer is shown before it is recorded; going on records it."""
    shown = await typed(played, "next", "step", "step", "step", "step")
    assert shown == [
        "order starts",
        "each begins",
        "each[0].pack begins",
        "each[0].pack begins",
        'each[0].pack has answered "A". It is not recorded yet: go on, edit it, or retry.',
        "each[0].note settles",
        "each[1].pack begins",
    ]


async def test_continue_runs_to_a_breakpoint_and_to_the_end(played: Played) -> None:
    """And from there the way leads back, as in a recorded execution."""
    shown = await typed(played, "break charge", "c", "eval vars.seen", "c", "back", "back", "show vars", "c")
    assert shown[1:4] == ["break charge", "charge begins", "2"]
    assert shown[4:6] == ["order completes", "the execution has ended: completed"]
    assert shown[6:8] == ["charge begins", "each begins"]
    assert json.loads("".join(shown[8:11])) == {"seen": 0}
    assert shown[11] == "charge begins"


async def test_an_answer_is_edited_and_a_step_is_skipped(played: Played) -> None:
    """The execution goes on with what was given; the handler of a skipped step does not run."""
    shown = await typed(
        played,
        "break pack",
        "c",
        "next",
        'edit "Z"',
        "eval pack",
        "clear",
        "break charge",
        "c",
        "skip 99",
        "eval charge",
    )
    assert shown[shown.index("each[0].note settles") + 1] == '"Z"'
    assert shown[-2:] == ["order completes", "99"]


async def test_a_failure_stops_and_is_tried_again_or_given_another_result(played: Played) -> None:
    shown = await typed(played, "break error", "c", "retry", "edit 5", "show steps", inputs=FAILING)
    failed = "charge has failed: declined. It is not recorded yet: go on, edit it, or retry."
    assert shown.count(failed) == 2
    assert "order completes" in shown
    assert json.loads("".join(shown[shown.index("{") :]))["charge"] == 5


async def test_a_failure_that_is_recorded_fails_the_execution(played: Played) -> None:
    shown = await typed(played, "break error", "c", "c", "c", "c", inputs=FAILING)
    ended = "the execution has ended: failed"
    assert shown[-4:] == ["charge fails: declined (error)", *["order fails: declined (error)"] * 2, ended]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("edit 1", "no step has answered that is not recorded yet"),
        ("retry", "no step has answered that is not recorded yet"),
        ("edit {", "That is not JSON"),
        ("help", "run its handler again"),
    ],
)
async def test_what_cannot_be_done_now_says_why(played: Played, line: str, answer: str) -> None:
    assert answer in "\n".join(await typed(played, line))


async def test_a_signal_is_waited_for_and_given(played: Played) -> None:
    (played.folder / "flow.yaml").write_text(
        "workflow: w\nnodes:\n  go: {signal: {name: go}}\n"
        "  pack: {task: pack, with: {item: '{{ go }}'}}\nedges: [go -> pack]\n"
    )
    shown = await typed(played, "c", 'signal go "x"', "c")
    assert shown[1:4] == ["go begins", "the execution waits for a signal", "pack begins"]
    assert shown[-2:] == ["w completes", "the execution has ended: completed"]


async def test_an_editor_debugs_a_file(played: Played) -> None:
    """Handlers may print: that does not get between the messages of the protocol."""
    handlers = played.folder / "handlers.py"
    handlers.write_text(handlers.read_text().replace("    return item", "    print('packing', item)\n    return item"))
    async with editor("--config", played.config) as client:
        await client.request("initialize")
        await client.request("launch", program=played.flow, inputs=json.loads(INPUTS))
        source, lines = {"path": played.flow}, [{"line": LINES["pack"], "condition": "loop.index == 1"}]
        await client.request("setBreakpoints", source=source, breakpoints=lines)
        await client.request("configurationDone")
        await client.stopped()
        assert await client.move("continue") == ("breakpoint", LINES["pack"], "each[1].pack")
        assert await client.move("next") == ("step", LINES["pack"], "each[1].pack")
        assert await client.move("next") == ("step", LINES["note"], "each[1].note")
        assert (await client.move("continue"))[2] == "order"
        assert (await client.move("stepBack"))[2] == "charge"
        await client.request("disconnect")


async def test_the_store_of_the_settings_is_left_alone(played: Played) -> None:
    before = (played.folder / "log.db").read_bytes()
    await typed(played, "c")
    assert (played.folder / "log.db").read_bytes() == before


async def nothing_typed() -> str | None:
    return None


async def test_a_move_that_waits_is_interrupted_and_goes_on_later(tmp_path: Path) -> None:
    """The handler is not: its answer is there when somebody waits for it again."""
    name = str(tmp_path)
    workflow = "workflow: w\nnodes: {a: {task: gate, with: {name: '{{ input }}', value: 7}}}\n"
    settings = settings_for(tmp_path, workflow)
    shown = io.StringIO()
    console = Console(file=shown)
    async with local(settings, settings.workflows.paths[0], name) as debuggee:
        prompt = Prompt(debuggee, nothing_typed, console)
        await prompt.do("next", "")
        waiting = asyncio.ensure_future(prompt.do("next", ""))
        await gated_handlers.entered[name].wait()
        assert prompt.interrupt()
        await waiting
        assert not prompt.interrupt()
        gated_handlers.gates[name].set()
        await prompt.do("continue", "")
        assert debuggee.note == "the execution has ended: completed"
    assert "Interrupted." in shown.getvalue()
