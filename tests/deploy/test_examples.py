"""The examples do what they say: each `example.toml` has what goes in and what must come out."""

from __future__ import annotations

import tomllib
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.values import from_json
from daemon.runtime.handler_registry import handlers_of
from daemon.settings import RabbitMQ, Store, load_settings
from tests.support.daemons import finished, running, start, until
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
        started = [await start(daemon, workflow, each) for each in example.get("inputs", [example.get("input")])]
        target = started[-1]
        for update in example.get("updates", ()):
            _, result = await daemon.intake.update(target, update["name"], update["data"], actor="test")
            assert from_json(result) == update.get("result")
        for said in example.get("people", ()):
            await _say(daemon, target, said)
        state = await finished(daemon, target)
    assert (state.error.code if state.error else None) == example.get("error"), state.error
    assert from_json(state.output) == example.get("output")
    assert set(example.get("steps", ())) <= set(state.steps)


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
