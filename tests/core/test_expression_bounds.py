"""Expressions: nothing gets out, nothing takes long, and only JSON comes out, whatever is written."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import nodes

from daemon.core import expressions
from daemon.core.expressions import (
    EvaluationError,
    ExpressionError,
    compile_expression,
)
from tests.core.evaluating import evaluate, refused

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.mark.parametrize(
    "source",
    [
        "(" * 40 + "1" + ")" * 40,
        "[" * 300 + "]" * 300,
        "a" + " + 1" * 200,
        "a" + ".b" * 200,
        "a" + "[0]" * 200,
        "a" + " | upper" * 200,
        "not " * 900 + "a",
        "-" * 2_000 + "1",
        "1 if a else " * 300 + "2",
        "1" * 5_000,
        "1" * 4_096,
        "a" * 5_000,
        "a | default(1, boolean=2, boolean=3)",
    ],
)
def test_a_source_is_bounded(source: str) -> None:
    """Length and depth have limits; whatever is beyond is a mistake, not a crash."""
    with pytest.raises(ExpressionError):
        evaluate(source)


@pytest.mark.parametrize(
    "source",
    [
        "''.__class__",
        "''.__class__.__mro__[1].__subclasses__",
        "input.__init__",
        "input['__class__']",
        "input.name.format",
        "input.order.items.append",
        "[].__class__",
        "(1).__class__",
        "none.__class__",
        "input | map(attribute='__class__') | list",
        "[input] | map(attribute='__class__.__mro__')",
        "[input] | map('attr', '__class__')",
        "[input] | map(input)",
        "[1] | select('callable')",
        "'%s' % input",
        "'%1000000000d' % 1",
        "'{0.__class__}' % 1",
        "'a' * 10 ** 9",
        "[1] * 10 ** 9",
        "2 ** 10000000",
        "10 ** 64",
        "(10 ** 18) ** 64",
        "9223372036854775807 * 4",
        "99999999999999999999",
        "10.0 ** 308 * 10",
        "10.0 ** 400",
        "(-8) ** 0.5",
        "1 / 0",
        "1 // 0",
        "1 % 0",
        "0 ** -1",
        "true + 1",
        "'a' - 'b'",
        "{} + {}",
        "-'a'",
        "+[]",
        "1 < 'a'",
        "none < 1",
        "1 in 5",
        "input.numbers['a':]",
        "input.numbers[::0]",
        "input[[]]",
        "{[]: 1}",
        "{1: 2}",
        "[1, 'a'] | sort",
        "[{}, {}] | sort",
        "1 | sort",
        "true | abs",
        "[true] | sum",
        "'a' | round",
        "5 | round(-1000000000)",
        "1.5 | round(1000000000)",
        "'abc' | int",
        "'1' | int('x') | upper + 1",
        "none | float",
        "'nan' | float",
        "'inf' | float",
        "'1e999' | float | int",
        "'/w' | b64decode",
        "'_' | b64decode",
        "'/w==' | b64decode",
        "'{' | fromjson",
        "'1' | fromjson | fromjson",
        "none | string",
        "none ~ 'a'",
        "'a' | split('')",
        "1 | length",
        "[1] | items",
        "'\\ud800'",
        "['\\udfff']",
        "{'\\ud800': 1}",
        "[1] | map('replace')",
        "cycler",
        "namespace",
        "super",
        "range",
        "dict",
    ],
)
def test_escapes_and_wrong_operations_are_refused_soon(source: str) -> None:
    """Known ways out of a sandbox, and operations without a value, end with our error, at once."""
    message = refused(source)
    assert "lambda" not in message
    assert "NoneType" not in message


@pytest.mark.parametrize(
    "source",
    [
        "input.big | select('in', input.big)",
        "input.big" + " | sort" * 60,
        "[" + "input.big, " * 300 + "]",
        "[" + "input.big, " * 300 + "] | map('string')",
        "[" + "input.big, " * 300 + "] | unique",
        "[" + "input.big, " * 300 + "] | join",
        "[" + "input.big | string, " * 100 + "] | length",
        "[" + "input.big + input.big, " * 100 + "] | length",
        "input.big | string | replace('1', input.big | string)",
        "input.big | string | replace('', 'abcdefghi')",
        "[" + "(input.big | string)[1:], " * 100 + "]",
        "input.big | map(attribute='x')",
    ],
)
def test_work_and_size_are_bounded(source: str) -> None:
    """What would build or read too much is refused before it has."""
    assert refused(source)


def test_a_text_can_be_too_long() -> None:
    """Joining texts stops at the limit and not after it."""
    scope = {"text": "x" * 600_000}
    for source in ("text ~ text", "text + text", "[text, text] | join"):
        assert "longer than 1000000 characters" in refused(source, scope)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, 2**64, -(2**63) - 1, Decimal(1), {1}, b"x", object(), {1: 2}, iter([1]), "\ud800"],
)
def test_only_json_comes_out(value: object) -> None:
    """What is not JSON is refused, also inside of lists and maps, however it got in."""
    for scope in ({"x": value}, {"x": [value]}, {"x": {"y": value}}):
        assert refused("x", scope)


def test_a_value_can_be_nested_too_deeply() -> None:
    """Depth is bounded in results and survived in operations."""
    deep: list[Any] = []
    other: list[Any] = []
    for _ in range(100_000):
        deep, other = [deep], [other]
    assert "nested too deeply" in refused("x", {"x": deep})
    assert "nested too deeply" in refused("x == y", {"x": deep, "y": other})


def test_calls_meet_a_second_wall() -> None:
    """If a call got past the check of the tree, the environment would refuse it."""
    environment = expressions._ENVIRONMENT
    with pytest.raises(EvaluationError, match="nothing can be called"):
        environment.from_string("{{ f() }}").render(f=print)
    assert environment.globals == {}
    with pytest.raises(ExpressionError, match="TemplateData is not allowed"):
        expressions._check(nodes.TemplateData("x", lineno=0))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda values: st.lists(values) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values),
    max_leaves=20,
)
SIGNS = ("+", "-", "*", "/", "//", "%", "**", "~", "<", "==", "in", "and", "or")


@given(JSON)
def test_every_json_value_passes_unchanged(value: object) -> None:
    """A bare path gives back exactly what is there."""
    assert json.dumps(evaluate("input", {"input": value})) == json.dumps(value)


def gives_json_or_is_refused(source: str, scope: Mapping[str, object]) -> None:
    """Evaluate; any exception but ours fails the test."""
    with suppress(ExpressionError):
        json.dumps(evaluate(source, scope), allow_nan=False)


@given(JSON, JSON, st.sampled_from(SIGNS))
def test_operators_give_json_or_refuse(left: object, right: object, sign: str) -> None:
    """No pair of values gets a Python exception out of an operator."""
    gives_json_or_is_refused(f"a {sign} b", {"a": left, "b": right})


@given(JSON, st.lists(JSON, max_size=2), st.sampled_from(sorted(expressions.FILTERS)))
def test_filters_give_json_or_refuse(value: object, arguments: list[object], name: str) -> None:
    """No arguments get a Python exception out of a filter."""
    names = ", ".join(f"args[{index}]" for index in range(len(arguments)))
    gives_json_or_is_refused(f"value | {name}({names})", {"value": value, "args": arguments})


@given(JSON, st.lists(JSON, max_size=1), st.sampled_from(sorted(expressions.TESTS)))
def test_tests_give_json_or_refuse(value: object, arguments: list[object], name: str) -> None:
    """No arguments get a Python exception out of a test."""
    names = ", ".join([f"'{name}'", *(f"args[{index}]" for index in range(len(arguments)))])
    gives_json_or_is_refused(f"[value] | select({names})", {"value": value, "args": arguments})


@given(st.text(alphabet="ab.[]()'|~+-*/% 01{}<>=!&,:#\"\\", max_size=40))
def test_any_source_compiles_or_is_refused(source: str) -> None:
    """Compiling raises `ExpressionError` or nothing, and its offset lies in the source."""
    try:
        expression = compile_expression(source)
    except ExpressionError as error:
        assert error.offset is None or 0 <= error.offset <= len(source)  # noqa: PT017 - it may also compile
    else:
        with suppress(EvaluationError):
            expression.evaluate({"a": [1, {"b": 2}], "b": "x"})
