"""The Debug Adapter Protocol over the wire: an editor that moves in a recorded execution."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from typing import Any

import pytest

from tests.debugger.conftest import LINES, ROOT, Played, editor
from tests.debugger.dap_client import DapClient


async def launched(client: DapClient, played: Played, *, lines: tuple[int, ...] = (), **more: Any) -> tuple[Any, ...]:
    """Do what an editor does until the execution has stopped for the first time; return where."""
    assert (await client.request("initialize", adapterID="sagad"))["supportsStepBack"]
    launch = {"program": played.flow, "execution": played.done, "config": played.config, **more}
    await client.request("launch", **launch)
    await client.event("initialized")
    breakpoints = [{"line": line} for line in lines]
    answer = await client.request("setBreakpoints", source={"path": played.flow}, breakpoints=breakpoints)
    assert all(each["verified"] for each in answer["breakpoints"])
    await client.request("setExceptionBreakpoints", filters=["failed"])
    await client.request("configurationDone")
    return await client.stopped()


async def test_an_editor_steps_both_ways_and_stops_at_lines(played: Played) -> None:
    """The line of a node in the file is the breakpoint, also when only one of its lines is clicked."""
    async with editor() as client:
        assert (await launched(client, played, lines=(LINES["charge"] + 1,)))[0] == "entry"
        assert await client.move("next") == ("step", LINES["each"], "each")
        assert await client.move("stepIn") == ("step", LINES["pack"], "each[0].pack")
        assert await client.move("stepIn") == ("step", LINES["note"], "each[0].note")
        assert await client.move("stepBack") == ("step", LINES["pack"], "each[0].pack")
        assert await client.move("stepOut") == ("step", LINES["charge"], "charge")
        assert await client.move("reverseContinue") == ("step", 1, "order")
        assert await client.move("continue") == ("breakpoint", LINES["charge"], "charge")
        assert (await client.move("continue"))[2] == "order"
        await client.request("disconnect")


async def test_an_editor_sees_frames_values_and_what_expressions_give(played: Played) -> None:
    async with editor() as client:
        await launched(client, played, lines=(LINES["pack"],), stopOnEntry=False)
        await client.move("continue")
        stack = (await client.request("stackTrace", threadId=1))["stackFrames"]
        assert [(each["name"], each["line"]) for each in stack] == [
            ("each[1].pack", LINES["pack"]),
            ("each: turn 1", LINES["each"]),
            ("order", 1),
        ]
        assert stack[0]["source"]["path"] == played.flow
        assert (await client.scope("step"))["input"] == '{"item": "b"}'
        assert (await client.scope("vars")) == {"seen": "1"}
        assert (await client.scope("loop", frame=2))["item"] == '"b"'
        assert (await client.request("evaluate", expression="loop.item ~ vars.seen", frameId=1))["result"] == '"b1"'
        refused = await client.answer("evaluate", expression="loop.item", frameId=3)
        assert (refused["success"], "'loop' is not defined" in refused["message"]) == (False, True)
        assert (await client.request("threads"))["threads"][0]["name"].startswith("order ")
        await client.request("disconnect")


async def test_conditions_hold_at_lines_and_a_failure_stops(played: Played) -> None:
    async with editor() as client:
        await launched(client, played, execution=played.failed)
        conditional = [{"line": LINES["pack"], "condition": "loop.item == 'b'"}, {"line": 9, "condition": "1 +"}]
        source = {"path": played.flow}
        answer = (await client.request("setBreakpoints", source=source, breakpoints=conditional))["breakpoints"]
        assert [each["verified"] for each in answer] == [True, False]
        assert await client.move("continue") == ("breakpoint", LINES["pack"], "each[1].pack")
        assert await client.move("continue") == ("exception", LINES["charge"], "charge")
        assert (await client.request("exceptionInfo", threadId=1))["description"] == "declined"
        await client.request("setFunctionBreakpoints", breakpoints=[{"name": "each[0].note"}])
        assert (await client.move("reverseContinue"))[2] == "each[1].pack"
        assert (await client.move("reverseContinue"))[2] == "each[0].note"
        await client.request("disconnect")


async def test_without_the_file_the_recorded_definition_is_shown(played: Played) -> None:
    async with editor("--config", played.config) as client:
        await client.request("initialize")
        await client.request("attach", execution=played.done[:13])
        await client.event("initialized")
        await client.request("configurationDone")
        await client.stopped()
        assert (await client.move("next"))[2] == "each"
        frame = (await client.request("stackTrace", threadId=1))["stackFrames"][0]
        text = (await client.request("source", sourceReference=frame["source"]["sourceReference"]))["content"]
        assert text.splitlines()[frame["line"] - 1].strip().startswith("each:")
        await client.request("disconnect")


async def test_what_cannot_be_debugged_says_why(played: Played) -> None:
    async with editor("--config", played.config) as client:
        for arguments, message in (
            ({"execution": "00000000-0000-0000-0000-000000000001"}, "00000000-0000-0000-0000-000000000001"),
            ({"execution": "xyz"}, "is not an execution's id"),
            ({}, "`execution` is missing"),
        ):
            answer = await client.answer("launch", **arguments)
            assert (answer["success"], message in answer["message"]) == (False, True)
        assert "launch or attach first" in (await client.answer("next"))["message"]
        assert "no request" not in (await client.answer("threads"))["message"]
        await client.request("disconnect")


async def test_an_editor_connects_to_a_port(played: Played) -> None:
    """One after the other, and what is no message of the protocol ends only its own connection."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "daemon.cli", "debug", "--dap", "--port", "0", "--config", played.config,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = (await asyncio.wait_for(process.stderr.readline(), 20)).decode()
        found = re.search(r":(\d+)$", line.strip())
        assert found is not None
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", None):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(found[1]))
            if garbage is not None:
                writer.write(garbage)
                assert await asyncio.wait_for(reader.read(), 20) == b""
            else:
                assert (await launched(DapClient(reader, writer), played))[2] == "order"
            writer.close()
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize("command", ["initialize", "disconnect"])
async def test_an_editor_that_goes_away_ends_the_debugger(command: str) -> None:
    async with editor() as client:
        await client.request(command)
