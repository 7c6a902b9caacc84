"""`approvals`, `approve`, `reject`, `delegate`, `resume --step`, and `pause` of many, by a daemon of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Sagad

FLOW = """
workflow: people
nodes:
  ask: {approval: {prompt: "Pay {{ input }}?", approvers: [ann, bob], rule: all, comment: on_reject}}
  pick: {task: pick}
edges: [ask.approved -> pick]
output: "{{ pick | default('refused') }}"
"""
HANDLERS = """
from typing import Any
from daemon.handlers import Context, Pause, handler

@handler("pick")
async def pick(context: Context) -> Any:
    return context.resumed or Pause("which account?", {"type": "integer"})

@handler("reserve")
async def reserve(order: dict[str, Any]) -> str:
    return "r"

@handler("charge")
async def charge(amount: float) -> float:
    return amount
"""


@pytest.fixture
def here(folder: Path) -> Path:
    (folder / "flows" / "people.yaml").write_text(FLOW)
    (folder / "handlers.py").write_text(HANDLERS)
    return folder


@pytest.mark.usefixtures("here", "running")
def test_people_are_asked_and_answer(sagad: Sagad) -> None:
    started: Any = sagad("start", "people", "--input", "7", "--json").json
    target = started["execution_id"]
    assert "Pay 7?" in sagad("approvals", "--mine", "--as", "ann").out
    assert "Pay 7?" not in sagad("approvals", "--as", "eve").out
    refused = sagad("approve", target, "--as", "eve")
    assert (refused.code, "eve is not among" in refused.err) == (1, True)
    assert sagad("reject", target, "--as", "ann").code == 1
    assert "handed on to zoe" in sagad("delegate", target, "--to", "zoe", "--as", "ann").out
    assert "approved; running" in sagad("approve", target, "ask", "--as", "zoe", "--comment", "ok").out
    assert "was approved before" in sagad("approve", target, "--as", "zoe").out
    assert sagad("approve", target, "--as", "bob").code == 0
    why = sagad("why", target)
    while "which account?" not in why.out:
        why = sagad("why", target)
    assert sagad("resume", target, "--step", "pick", "--input", '"x"').code == 1
    assert "has the input for pick" in sagad("resume", target, "--step", "pick", "-i", "7", "--key", "k").out
    assert "had this input already" in sagad("resume", target, "--step", "pick", "-i", "7", "--key", "k").out
    none = sagad("approve", target, "--as", "bob")
    assert (none.code, "0 steps" in none.err) == (1, True)


@pytest.mark.usefixtures("here", "running")
def test_many_are_paused_and_resumed(sagad: Sagad) -> None:
    for number in range(3):
        sagad("start", "people", "--input", str(number))
    assert "paused 3 of 3 executions" in sagad("pause", "--workflow", "people", "--reason", "audit").out
    assert sagad("resume", "--all", "--json").json == {"matched": 3, "changed": 3, "refused": 0}
    assert sagad("pause", "--status", "running", "--workflow", "other").out.startswith("paused 0 of 0")


@pytest.mark.parametrize(
    "arguments",
    [
        ("pause",),
        ("resume",),
        ("pause", "abc", "--all"),
        ("resume", "--all", "--step", "x"),
        ("approvals", "--status", "x"),
    ],
)
def test_what_is_meant_must_be_clear(sagad: Sagad, arguments: tuple[str, ...]) -> None:
    assert sagad(*arguments).code == 2
