"""The schema of a workflow's input is made of its function's annotations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pytest
from msgspec import Meta, Struct
from pydantic import BaseModel, Field

from daemon.core.errors import InvalidInput
from daemon.flow import transform, workflow
from daemon.runtime.definitions import InputSchemas
from tests.support.definitions import compiler

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Line:
    price: float


class Order(Struct):
    id: Annotated[str, Meta(min_length=1)]
    lines: list[Line] = []


class Model(BaseModel):
    total: float = Field(ge=0)


class Dictionary(TypedDict, total=False):
    name: str


def made(function: Callable[..., Any]) -> Any:
    return workflow("w")(function).document.get("input")


def accepts(function: Callable[..., Any], value: object) -> bool:
    """Tell whether an execution may start with this input."""
    import json  # noqa: PLC0415

    [plan] = compiler().load_text(json.dumps(workflow("w")(function).document), "flow.json").plans
    try:
        InputSchemas().check(plan, value)
    except InvalidInput:
        return False
    return True


def struct(order: Order) -> Any:
    transform("a", order.lines)


def model(order: Model) -> Any:
    transform("a", order.total)


def dictionary(order: Dictionary) -> Any:
    transform("a", order["name"])


def several(order_id: str, line: Line, total: float = 3, rest: Any = None) -> Any:
    transform("a", [order_id, line, total, rest])


def untyped(order: Any) -> Any:
    transform("a", order)


def nothing() -> Any:
    transform("a", 1)


@pytest.mark.parametrize(
    ("function", "good", "bad"),
    [
        (struct, {"id": "x", "lines": [{"price": 1}]}, {"id": "", "lines": []}),
        (struct, {"id": "x"}, {"id": "x", "lines": [{}]}),
        (model, {"total": 1}, {"total": -1}),
        (dictionary, {}, {"name": 7}),
        (several, {"order_id": "x", "line": {"price": 1}}, {"order_id": "x"}),
        (several, {"order_id": "x", "line": {"price": 1}, "total": 7, "rest": []}, {"order_id": "x", "line": {}}),
    ],
)
def test_an_input_is_what_the_annotation_says(function: Callable[..., Any], good: object, bad: object) -> None:
    """Structs, dataclasses, pydantic models and TypedDicts; several parameters are the fields of a mapping."""
    assert accepts(function, good)
    assert not accepts(function, bad)


def test_several_parameters_read_their_fields() -> None:
    nodes = workflow("w")(several).document["nodes"]
    assert nodes["a"] == {
        "transform": ["{{ input.order_id }}", "{{ input.line }}", "{{ input.total }}", "{{ input.rest }}"]
    }


def test_what_is_not_said_is_not_checked() -> None:
    assert made(untyped) is None
    assert made(nothing) is None


def test_a_schema_that_is_given_is_taken() -> None:
    given = {"type": "object", "required": ["id"]}
    assert workflow("w", input=given)(struct).document["input"] == given
    assert "input" not in workflow("w", input=None)(struct).document
