"""Expressions: what they give, and what they read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from daemon.core.expressions import (
    Expression,
    as_text,
    compile_expression,
)
from tests.core.evaluating import INPUT, evaluate

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("input.order.total > 100 and input.order.items[0].sku == 'x'", True),
        ("input['order']['total'] * 1.1", 275.0),
        ("input.order.items[-1].sku", "y"),
        ("input.order.items.1.n", 3),
        ("input.order", INPUT["order"]),
        ("input.name[0] ~ input.name[1:]", "Ada"),
        ("input.numbers[::-1]", [2, 1, 3]),
        ("'a' ~ 1 ~ true ~ 1.5 ~ [1, {'b': none}]", 'a1true1.5[1,{"b":null}]'),
        ("'a' + 'b'", "ab"),
        ("[1] + [2]", [1, 2]),
        ("-input.order.id", -7),
        ("+1", 1),
        ("7 // 2 + 7 % 4 - 2 ** 3", -2),
        ("'yes' if input.name else 'no'", "yes"),
        ("not input.name", False),
        ("none", None),
        ("(1, 2)", [1, 2]),
        ("{'a': {'b': 1}}.a", {"b": 1}),
        ("'d' in input.name and 'order' in input and 2 not in [1]", True),
        ("result.a + loop.index", 8),
        ("'{{ && }}'", "{{ && }}"),
        ("'é\\n'", "é\n"),
    ],
)
def test_an_expression_gives_a_json_value(source: str, value: object) -> None:
    """Operators keep JSON's types: a number stays a number, a map a map."""
    assert evaluate(source) == value
    assert type(evaluate(source)) is type(value)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("-5 | abs", 5),
        ("'aGk=' | b64decode", "hi"),
        ("'hi' | b64encode", "aGk="),
        ("input.order.items | count + input.name | length + {'a': 1} | length", 6),
        ("{'b': 1, 'a': 2} | dictsort", [["a", 2], ["b", 1]]),
        ("{'b': 1} | items", [["b", 1]]),
        ("{'b': 1} | keys + {'b': 1} | values", ["b", 1]),
        ("input.numbers | first + input.numbers | last", 5),
        ("'abc' | last", "c"),
        ("'1.5' | float + 1 | float", 2.5),
        ("'12' | int + 2.9 | int", 14),
        ("'twelve' | int(0)", 0),
        ("'[1, 2]' | fromjson", [1, 2]),
        ("input.numbers | join('-')", "3-1-2"),
        ("input.order.items | join(', ', attribute='sku')", "x, y"),
        ("'ab' | list + {'k': 1} | list", ["a", "b", "k"]),
        ("'Ab' | lower ~ 'Ab' | upper ~ ' x ' | trim", "abABx"),
        ("input.numbers | max - input.numbers | min", 2),
        ("(input.order.items | max('n')).sku", "y"),
        ("'aaa' | replace('a', 'b', 2)", "bba"),
        ("2.567 | round(2)", 2.57),
        ("2.6 | round", 3),
        ("'x' | sha256", "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"),
        ("input.numbers | slice(1)", [1, 2]),
        ("input.numbers | sort(reverse=true)", [3, 2, 1]),
        ("(input.order.items | sort(attribute='n', reverse=true))[0].sku", "y"),
        ("'a b' | split + 'c,d' | split(',')", ["a", "b", "c", "d"]),
        ("1.5 | string ~ {'a': [1]} | tojson", '1.5{"a":[1]}'),
        ("'x' | tojson", '"x"'),
        ("input.order.items | sum(attribute='n') + [0.5] | sum", 5.5),
        ("[1, 2, 1, {'a': 1}, {'a': 1}] | unique", [1, 2, {"a": 1}]),
        ("input.order.items | unique('sku') | length", 2),
        ("'a b/é' | urlencode", "a%20b%2F%C3%A9"),
        ("input.order.items | map(attribute='sku')", ["x", "y"]),
        ("[{'a': [1]}] | map(attribute='a.0')", [1]),
        ("['a', 'b'] | map('upper')", ["A", "B"]),
        ("[1.25, 2.55] | map('round', 1)", [1.2, 2.5]),
        ("[1] | map", [1]),
        ("[{}, {'a': 1}] | map(attribute='a') | map('default', 0)", [0, 1]),
        ("input.numbers | select('odd')", [3, 1]),
        ("input.numbers | reject('odd')", [2]),
        ("[0, 1, ''] | select", [1]),
        ("input.order.items | selectattr('n', '>', 2) | map(attribute='sku')", ["y"]),
        ("input.order.items | rejectattr('sku', 'in', ['x']) | map(attribute='sku')", ["y"]),
        ("[{}, {'a': 1}] | selectattr('a', 'defined')", [{"a": 1}]),
        ("[{'a': 0}, {'a': 1}] | selectattr('a')", [{"a": 1}]),
    ],
)
def test_filters(source: str, value: object) -> None:
    """The filters of the table, as the README shows them."""
    assert evaluate(source) == value


@pytest.mark.parametrize(
    "source",
    [
        "input is defined and input.q.r is not defined and input.q is undefined",
        "true is boolean and true is true and false is false and 0 is not false",
        "1 is number and 1 is integer and 1.0 is float and true is not number and true is not integer",
        "'a' is string and {} is mapping and [] is sequence and none is none",
        "3 is odd and 2 is even and 9 is divisibleby(3) and 9 is divisibleby 3",
        "'abc' is startswith('a') and 'abc' is endswith('c') and 'abc' is contains('b') and 'b' is in 'abc'",
        "1 is eq(1) and 1 is ne(2) and 1 is lt(2) and 1 is le(1) and 2 is gt(1) and 2 is ge(2)",
        "[1] | select('==', 1) and [1] | select('!=', 2) and [1] | select('<=', 1) and [1] | select('>=', 1)",
    ],
)
def test_tests(source: str) -> None:
    """The tests of the table."""
    assert evaluate(source) is True or evaluate(source) == [1]


@pytest.mark.parametrize("filter_", ["default(1)", "d(1)"])
@pytest.mark.parametrize("path", ["nope", "input.nope", "input.a.b.c", "input.order.note.x", "input.numbers[9].x"])
def test_default_navigates_safely(path: str, filter_: str) -> None:
    """However much of a path is missing, `default` gives the other value."""
    assert evaluate(f"{path} | {filter_}") == 1


def test_default_replaces_what_is_missing_and_on_request_what_is_empty() -> None:
    """Null is a value: only `default(x, true)` replaces it."""
    assert evaluate("input.order.note | default(1)") is None
    assert evaluate("input.order.note | default(1, true)") == 1
    assert evaluate("input.name | default(1, boolean=true)") == "Ada"
    assert evaluate("[] | first | default(3)") == 3
    assert evaluate("[] | max | default(4)") == 4


def test_a_result_is_a_copy() -> None:
    """Nobody can change recorded data through a result."""
    scope = {"input": {"list": [1, {"a": 2}], "tuple": (1, (2,))}}
    result = evaluate("input", scope)
    assert result == {"list": [1, {"a": 2}], "tuple": [1, [2]]}
    result["list"][1]["a"] = 3
    assert scope["input"]["list"] == [1, {"a": 2}]


class Lazy(dict[str, object]):
    """A scope that counts its lookups."""

    def __init__(self, **values: object) -> None:
        super().__init__(values)
        self.asked: list[str] = []

    def __getitem__(self, name: str) -> object:
        self.asked.append(name)
        if name == "broken":
            raise OSError("the store did not answer")
        return super().__getitem__(name)


def test_a_scope_is_asked_for_what_is_read_and_once() -> None:
    """A scope may compute its values: nothing is looked up twice or in vain."""
    scope = Lazy(a={"x": 1}, b=2, c=3)
    assert evaluate("a.x + a.x + b", scope) == 4
    assert sorted(scope.asked) == ["a", "b"]


def test_an_error_of_the_scope_is_not_hidden() -> None:
    """A store that does not answer is no mistake of the expression."""
    with pytest.raises(OSError, match="did not answer"):
        evaluate("broken", Lazy())


class Frozen(Mapping[str, object]):
    """A mapping that is no dict."""

    def __init__(self, **values: object) -> None:
        self._values = values

    def __getitem__(self, key: str) -> object:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def test_other_mappings_and_tuples_read_like_maps_and_lists() -> None:
    """State holds frozen collections; expressions do not see a difference."""
    scope = {"input": Frozen(a=Frozen(b=(1, 2)))}
    assert evaluate("input.a.b[1]", scope) == 2
    assert evaluate("input.a", scope) == {"b": [1, 2]}
    assert evaluate("input | items", scope) == [["a", {"b": [1, 2]}]]
    assert evaluate("input.a.b | sort(reverse=true)", scope) == [2, 1]
    assert evaluate("input.c.d | default(0)", scope) == 0


def test_names_and_paths_tell_what_is_read() -> None:
    """Paths go as far as they are constant."""
    expression = compile_expression(
        "input.total > 1 and steps['charge'].error and rows[0].sku and vars[input.key].x[1:] "
        "and (a.b | default(c)) == loop"
    )
    assert expression.names == {"input", "steps", "rows", "vars", "a", "c", "loop"}
    assert expression.paths == {
        ("input", "total"),
        ("steps", "charge", "error"),
        ("rows", "0", "sku"),
        ("input", "key"),
        ("vars",),
        ("a", "b"),
        ("c",),
        ("loop",),
    }
    assert compile_expression("1 + 1").names == frozenset()
    assert compile_expression("(a if b else c).d").paths == {("a",), ("b",), ("c",)}


def test_expressions_are_values() -> None:
    """Two of one source are equal and compiled once; none can be changed."""
    assert compile_expression("a + 1") is compile_expression("a + 1")
    assert compile_expression("a + 1") != compile_expression("a + 2")
    assert isinstance(compile_expression("a + 1"), Expression)
    with pytest.raises(AttributeError):
        compile_expression("a + 1").source = "b"  # type: ignore[misc]


def test_as_text_is_json_but_for_text() -> None:
    """Equal values give equal text: keys are sorted."""
    assert as_text({"b": 1, "a": [True, None]}) == '{"a":[true,null],"b":1}'
    assert as_text("a") == "a"
