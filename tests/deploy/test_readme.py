"""The README is true where a machine can tell: its examples work, and what it points at is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.cli.program import COMMANDS
from daemon.nodes import all_node_types
from daemon.runtime.definitions import Compiler
from daemon.settings import settings_from

if TYPE_CHECKING:
    import pytest

    from daemon.testing import Sagad

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(language: str, holds: str = "") -> str:
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if holds in text]
    return str(found[0])


def test_the_workflow_compiles_without_a_doubt() -> None:
    handlers = ["inventory.reserve", "payments.charge", "mail.apologise"]
    loaded = Compiler(node_types=all_node_types(), handlers=handlers, env={}).load_text(block("yaml"))
    assert [plan.definition.workflow for plan in loaded.plans] == ["order"]
    assert loaded.warnings == ()


async def test_the_test_of_a_workflow_passes(sagad: Sagad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "order.yaml").write_text(block("yaml"))
    monkeypatch.chdir(tmp_path)
    [source] = [found for found in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "(sagad)" in found]
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102  our own text
    [test] = [value for name, value in names.items() if name.startswith("test_")]
    await test(sagad)


def test_the_workflow_in_python_is_the_one_in_yaml(tmp_path: Path) -> None:
    names = "Retry, branch, signal, step, workflow"
    classes = {"Payment": "total: float; payment: str", "Request": "order: str"}
    types = "from dataclasses import dataclass\n"
    types += "".join(f"@dataclass\nclass {name}: {fields}\n" for name, fields in classes.items())
    file = tmp_path / "refunds.py"
    file.write_text(f"from daemon.flow import {names}\n{types}\n{block('python', '@workflow')}")
    compiler = Compiler(node_types=all_node_types(), handlers=None, env={})
    [in_python] = compiler.load_files([file]).plans
    [in_yaml] = compiler.load_text(block("yaml", "workflow: refunds")).plans
    assert in_python.definition.document == in_yaml.definition.document


async def test_the_durable_function_does_what_the_yaml_says(sagad: Sagad) -> None:
    names: dict[str, Any] = {}
    exec(f"from daemon.durable import DurableContext, durable\n{block('python', '@durable')}", names)  # noqa: S102  our own text
    in_yaml = sagad.workflow(block("yaml", "workflow: refunds"))
    text = 'workflow: refunds\nnodes: {run: {function: refunds.run, with: "{{ input }}"}}\noutput: "{{ run }}"'
    in_code = sagad.workflow(text, handlers=[names["run"]])
    for flow in (in_yaml, in_code):
        flow.fake("shop.find", returns={"total": 150, "payment": "p1"})
        flow.fake("shop.repay", returns="repaid")
        execution = await flow.start({"order": "A7"})
        await execution.until(lambda now: "agreed" in now.waits_for)
        await execution.signal("agreed")
        assert await execution.result() == "repaid"


def test_the_settings_are_settings() -> None:
    assert settings_from(tomllib.loads(block("toml")), {}).kafka.bootstrap == ("kafka:9092",)


def test_what_it_points_at_is_there() -> None:
    named = set(re.findall(r"`((?:tests|deploy|daemon|triggers|eventstore)/[\w/.]+)`", README))
    missing = {name for name in named if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()}
    assert len(named) > 20
    assert missing == set()


def test_every_command_is_in_it() -> None:
    assert [name for name in COMMANDS if f"`{name}" not in README and f", `{name}" not in README] == []
