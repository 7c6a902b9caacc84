"""Inputs of executions against the workflow's schema."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.core.errors import InvalidInput
from daemon.runtime.definitions import InputSchemas
from daemon.runtime.json_schema import BadSchema, InputSchema
from tests.support.definitions import plan_of

ORDER = {
    "type": "object",
    "required": ["order_id", "total"],
    "properties": {
        "order_id": {"type": "string", "pattern": "^[0-9]+$"},
        "total": {"type": "number", "minimum": 0, "title": "Grand Total"},
        "kind": {"enum": ["web", "shop"]},
        "lines": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"$ref": "#/$defs/line"}},
        "address": {"oneOf": [{"type": "string"}, {"type": "object", "required": ["street"]}]},
        "even": {"multipleOf": 2},
        "none": False,
    },
    "additionalProperties": False,
    "$defs": {"line": {"type": "object", "required": ["sku"]}},
}
GOOD = {"order_id": "7", "total": 1}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "expected a mapping, not the number 3"),
        ({}, "`order_id` is missing; `total` is missing"),
        ({**GOOD, "total": "x"}, "total: expected a number, not text"),
        ({**GOOD, "total": True}, "total: expected a number, not true"),
        ({**GOOD, "total": -1}, "total: `total` must be at least 0"),
        ({**GOOD, "order_id": "a7"}, "order_id: 'a7' is not text like ^[0-9]+$"),
        ({**GOOD, "order_id": None}, "order_id: expected text like ^[0-9]+$, not nothing"),
        ({**GOOD, "odrer_id": 1}, "odrer_id: there is no key `odrer_id` here (did you mean 'order_id'?)"),
        ({**GOOD, "kind": "wep"}, "kind: 'wep' is not known here (did you mean 'web'?)"),
        ({**GOOD, "kind": 3}, "kind: the number 3 is not known here (there are: web, shop)"),
        ({**GOOD, "lines": []}, "lines: `lines` must not be empty"),
        ({**GOOD, "lines": [{}]}, "lines.0: `sku` is missing"),
        ({**GOOD, "lines": [{"sku": 1}] * 3}, "lines: `lines` must have this many items or fewer: 2"),
        ({**GOOD, "address": {}}, "address: `street` is missing"),
        ({**GOOD, "address": [1]}, "address: expected text or a mapping, not a list"),
        ({**GOOD, "even": 3}, "even: 3 is not a multiple of 2"),
        ({**GOOD, "none": 3}, "none: False schema does not allow 3"),
    ],
)
def test_each_wrong_place_is_named(value: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        InputSchema(ORDER).check(value)
    assert str(refused.value) == message


def test_what_matches_passes() -> None:
    InputSchema(ORDER).check({**GOOD, "kind": "web", "lines": [{"sku": 1}], "address": "x", "even": 4})


def test_of_many_mistakes_the_first_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"9: expected text, not the number 9; and 40 more$"):
        InputSchema({"items": {"type": "string"}}).check(list(range(50)))


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "objekt"}, ("type",)),
        ({"properties": {"a": {"minimum": "x"}}}, ("properties", "a", "minimum")),
        ({"pattern": "(("}, ("pattern",)),
        ({"$ref": "#/$defs/none"}, ()),
        ({"$ref": "http://169.254.169.254/schema"}, ()),
        ({"$ref": "file:///etc/passwd"}, ()),
        ({"$schema": "http://example.com/mine"}, ()),
    ],
)
def test_what_is_no_schema_is_refused_and_nothing_is_fetched(schema: dict[str, Any], path: tuple[str, ...]) -> None:
    with pytest.raises(BadSchema) as refused:
        InputSchema(schema)
    assert refused.value.path == path


def test_a_dialect_may_be_named() -> None:
    InputSchema({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}).check({})


def test_each_workflow_has_its_own_schema() -> None:
    schemas = InputSchemas()
    strict = plan_of("workflow: strict\ninput: {type: object}\nnodes: {a: {transform: 1}}")
    for _ in range(2):
        schemas.check(strict, {})
        with pytest.raises(InvalidInput):
            schemas.check(strict, 3)
    schemas.check(plan_of("workflow: free\nnodes: {a: {transform: 1}}"), 3)
