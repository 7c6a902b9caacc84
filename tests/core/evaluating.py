"""Expressions in tests: a scope, and what one gives or is refused with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.expressions import (
    EvaluationError,
    compile_expression,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

INPUT: dict[str, Any] = {
    "order": {
        "id": 7,
        "total": 250,
        "items": [{"sku": "x", "n": 2}, {"sku": "y", "n": 3}],
        "note": None,
    },
    "name": "Ada",
    "numbers": [3, 1, 2],
    "big": list(range(100_000)),
}
SCOPE = {"input": INPUT, "loop": {"index": 3}, "result": {"a": 5}}


def evaluate(source: str, scope: Mapping[str, object] = SCOPE) -> Any:
    return compile_expression(source).evaluate(scope)


def refused(source: str, scope: Mapping[str, object] = SCOPE) -> str:
    """Return what the evaluation is refused with; the source must compile."""
    expression = compile_expression(source)
    with pytest.raises(EvaluationError) as caught:
        expression.evaluate(scope)
    assert caught.value.source == source
    return str(caught.value)
