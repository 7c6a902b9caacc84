"""The examples do what they say: each `example.toml` has what goes in and what must come out."""

from __future__ import annotations

import tomllib
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.break_events import Breakpoint
from daemon.core.commands import EditAtBreakpoint, LeaveBreakpoint
from daemon.core.state import Running
from daemon.core.values import from_json, to_json
from daemon.runtime.handler_registry import handlers_of
from daemon.settings import RabbitMQ, Store, load_settings
from tests.support.daemons import finished, running, until
from tests.support.remote import working

if TYPE_CHECKING:
    from uuid import UUID

    from daemon.assembled import Daemon

FOLDER = Path(__file__).parents[2] / "deploy" / "examples"
EXAMPLES = sorted(FOLDER.glob("*/example.toml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
async def test_an_example_gives_what_it_says(file: Path, tmp_path: Path) -> None:
    example = tomllib.loads(file.read_text())  # noqa: ASYNC240  small, and there is nothing else to do
    settings = replace(load_settings(file.with_name("sagad.toml"), {}), store=Store(url="memory://"))
    urls = {name: f"sqlite:///{tmp_path}/{name}.db" for name in settings.connections}
    connections = {name: replace(each, url=urls[name]) for name, each in settings.connections.items()}
    settings = replace(settings, connections=connections)
    settings = replace(settings, workers=replace(settings.workers, broker="memory"), rabbitmq=RabbitMQ())
    async with running(settings) as daemon, AsyncExitStack() as beside:
        if queue := example.get("worker"):
            own = handlers_of(settings)
            await beside.enter_async_context(working(settings, daemon.brokers, queue=queue, handlers=own))
        workflow = example.get("workflow") or daemon.plans.workflows()[0]
        points = tuple(Breakpoint(**each) for each in example.get("breakpoints", ()))
        inputs = example.get("inputs", [example.get("input")])
        started = [await daemon.intake.start(workflow, each, actor="test", breakpoints=points) for each in inputs]
        target = started[-1][0]
        for update in example.get("updates", ()):
            _, result = await daemon.intake.update(target, update["name"], update["data"], actor="test")
            assert from_json(result) == update.get("result")
        for said in example.get("people", ()):
            await _say(daemon, target, said)
        for stop in example.get("stops", ()):
            await _debug(daemon, target, stop)
        state = await finished(daemon, target)
    assert (state.error.code if state.error else None) == example.get("error"), state.error
    assert from_json(state.output) == example.get("output")
    assert set(example.get("steps", ())) <= set(state.steps)


async def _debug(daemon: Daemon, execution_id: UUID, said: dict[str, Any]) -> None:
    """Do what somebody does in the example where the execution stands."""
    stands = await until(daemon, execution_id, lambda state: isinstance(state, Running) and state.stop is not None)
    assert isinstance(stands, Running)
    assert stands.stop is not None
    assert stands.stop.address == said["step"]
    stop, at = stands.stop.version, daemon.clock.now()
    variables = {name: to_json(value) for name, value in said.get("variables", {}).items()}
    await daemon.engine.send(execution_id, EditAtBreakpoint(stop=stop, variables=variables, actor="test", at=at))
    given = to_json(said.get("output"))
    leave = LeaveBreakpoint(stop=stop, how=said["how"], output=given, actor="test", at=at)
    await daemon.engine.send(execution_id, leave)


async def _say(daemon: Daemon, execution_id: UUID, said: dict[str, Any]) -> None:
    """Do what a person does in the example, when the step waits for it."""
    step = said["step"]
    await until(daemon, execution_id, lambda state: step in getattr(state, "people", {}))
    if "input" in said:
        await daemon.people.resume_step(execution_id, step, said["input"], resume_id="example", actor="example")
    else:
        await daemon.people.decide(
            execution_id,
            step,
            said["decision"],
            actor=said["by"],
            comment=said.get("comment", ""),
            data=said.get("data"),
        )
