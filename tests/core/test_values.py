"""Values are JSON text, equal for equal values, and never so deep that somebody cannot read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.values import MAX_NESTING, bounded_json, from_json, to_json

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_a_value_survives_being_text(value: Any) -> None:
    assert from_json(to_json(value)) == value
    assert from_json(bounded_json(value)) == value


def test_equal_values_have_equal_text() -> None:
    assert to_json({"b": 1, "a": 2}) == to_json({"a": 2, "b": 1})


def test_what_has_a_json_form_is_taken_and_the_rest_is_refused() -> None:
    assert bytes(to_json(datetime(2026, 1, 2, tzinfo=UTC))) == b'"2026-01-02T00:00:00Z"'
    with pytest.raises(TypeError):
        to_json(object())


@pytest.mark.parametrize("levels", [MAX_NESTING + 1, 100_000])
def test_what_is_nested_too_deeply_is_refused(levels: int) -> None:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    with pytest.raises(ValueError, match="nested more than 128 levels"):
        bounded_json(value)
    while isinstance(value, list):
        value = value.pop()


def test_as_deep_as_is_allowed_is_taken() -> None:
    value: Any = 0
    for _ in range(MAX_NESTING):
        value = [value]
    assert from_json(bounded_json(value)) == value
    assert from_json(bounded_json([[]] * 500)) == [[]] * 500
