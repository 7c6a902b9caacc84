"""What is written in Python is the same definition as in YAML: equal documents, equal hashes."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.core.values import Json, from_json
from daemon.nodes import builtin_node_types
from daemon.runtime.definitions import Compiler

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy" / "examples"
FLOWS = [ROOT / "tests" / "support" / "flows" / f"{name}.py" for name in ("of_examples", "of_shared_examples")]
COMPILER = Compiler(node_types=builtin_node_types(), handlers=None, env={})

PAIRS = [
    ("hello", "hello"),
    ("loops", "loops"),
    ("fan_out", "fan-out"),
    ("travel_booking", "travel-booking"),
    ("saga_group", "saga-group"),
    ("handler_answers", "handler-answers"),
    ("order_fulfilment", "order-fulfilment"),
    ("subflows", "parcels-order"),
    ("subflows", "parcel"),
    ("updates", "cart"),
    ("approval", "payment-approval"),
    ("sql", "stock"),
    ("limits", "imports"),
    ("result_cache", "result-cache"),
    ("durable_function", "durable-function"),
    ("pages", "pages"),
]


@pytest.fixture(scope="module")
def in_python() -> dict[str, tuple[str, object]]:
    plans = COMPILER.load_files(FLOWS).plans
    return {each.definition.workflow: (each.hash, from_json(Json(each.definition.document))) for each in plans}


@pytest.mark.parametrize(("example", "name"), PAIRS)
def test_an_example_in_python_is_the_example_in_yaml(
    example: str, name: str, in_python: dict[str, tuple[str, object]]
) -> None:
    plans = COMPILER.load_files([EXAMPLES / example / "workflow.yaml"]).plans
    plan = next(plan for plan in plans if plan.definition.workflow == name)
    assert in_python[name] == (plan.hash, from_json(Json(plan.definition.document)))
