"""The examples do what they say: each `example.toml` has what goes in and what must come out."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.core.values import from_json
from daemon.settings import Store, load_settings
from tests.support.daemons import finished, running, start

FOLDER = Path(__file__).parents[2] / "deploy" / "examples"
EXAMPLES = sorted(FOLDER.glob("*/example.toml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
async def test_an_example_gives_what_it_says(file: Path, tmp_path: Path) -> None:
    example = tomllib.loads(file.read_text())  # noqa: ASYNC240  small, and there is nothing else to do
    settings = replace(load_settings(file.with_name("sagad.toml"), {}), store=Store(url="memory://"))
    own = {name: replace(each, url=f"sqlite:///{tmp_path}/{name}.db") for name, each in settings.connections.items()}
    settings = replace(settings, connections=own)
    async with running(settings) as daemon:
        workflow = example.get("workflow") or daemon.plans.workflows()[0]
        target = await start(daemon, workflow, example["input"])
        for update in example.get("updates", ()):
            _, result = await daemon.intake.update(target, update["name"], update["data"], actor="test")
            assert from_json(result) == update.get("result")
        state = await finished(daemon, target)
    assert (state.error.code if state.error else None) == example.get("error"), state.error
    assert from_json(state.output) == example.get("output")
    assert set(example.get("steps", ())) <= set(state.steps)
