"""Expressions: what they give, what they refuse, and that nothing gets out or takes long."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
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
    Expression,
    ExpressionError,
    _Code,
    as_text,
    compile_expression,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("input.order.sku", "input.order.sku: 'order' has no 'sku'; it has: id, total, items, note"),
        ("input.order.sku.deeper > 1", "input.order.sku: 'order' has no 'sku'"),
        ("input.order.totl", "did you mean 'total'?"),
        ("inputs.order", "'inputs' is not defined; there is: input, loop, result (did you mean 'input'?)"),
        ("input.order.items[5].sku", "input.order.items.5: 'items' is a list of 2, it has no '5'"),
        ("input.order.items.sku", "input.order.items.sku: 'items' is a list of 2, it has no 'sku'"),
        ("input.order.note.x", "input.order.note.x: 'note' is null, it has no 'x'"),
        ("input.name.format", "input.name.format: 'name' is text, it has no 'format'"),
        ("input[input.name]", "the value has no 'Ada'; it has: order"),
        ("{}.x", "the value has no 'x'; it has: nothing"),
        ("input.order.items | map(attribute='m') | sort", "the value has no 'm'; it has: sku, n"),
        ("[input.a]", "input.a: 'input' has no 'a'"),
        ("{'k': input.a}", "input.a: 'input' has no 'a'"),
        ("input.a ~ 'x'", "input.a: 'input' has no 'a'"),
        ("input.a == 1", "input.a: 'input' has no 'a'"),
        ("1 + input.a", "input.a: 'input' has no 'a'"),
        ("-input.a", "input.a: 'input' has no 'a'"),
        ("input.a or 1", "input.a: 'input' has no 'a'"),
        ("input.a | upper", "input.a: 'input' has no 'a'"),
        ("'x' | replace('x', input.a)", "input.a: 'input' has no 'a'"),
        ("input[input.a]", "input.a: 'input' has no 'a'"),
        ("[{}] | sum('n')", "the value has no 'n'"),
        ("[] | first", "nothing is in the list"),
        ("lipsum", "'lipsum' is not defined"),
    ],
)
def test_what_is_missing_is_named(source: str, message: str) -> None:
    """The message says which part of the path is missing and what there is instead."""
    assert message in refused(source)


def test_a_message_lists_no_more_than_a_reader_reads() -> None:
    """Data never makes a message long."""
    wide = {f"key-{number}": number for number in range(10_000)}
    assert len(refused("input.x", {"input": wide})) < 500
    assert len(refused("input[key]", {"input": {}, "key": "k" * 100_000})) < 500
    assert len(refused("text | float", {"text": "k" * 100_000})) < 500


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("a && b", "`and`"),
        ("a || b", "`or`"),
        ("!a", "`not x`"),
        ("a === b", "`==`"),
        ("a !== b", "`==` or `!=`"),
        ("a ? 1 : 2", "`a if test else b`"),
        ("a ?? 1", "`a.b | default(c)`"),
        ("a?.b", "`a.b | default(c)`"),
        ("a = 1", "`==` to compare"),
        ("null", "`none`"),
        ("undefined", "`x is undefined`"),
        ("{% if a %}", "no statements"),
        ("{# note #}", "no comments"),
        ("{{ a }}", "without the braces"),
        ("${a}", "without the braces"),
        ("1 if a", "add `else none`"),
        ("a.items()", "write `x | items`"),
        ("upper(a)", "write `x | upper`"),
        ("range(9)", "write `x | filter`"),
        ("a | uper", "did you mean 'upper'?"),
        ("a | attr('b')", "there are: abs, b64decode"),
        ("a is odder", "did you mean 'odd'?"),
        ("a is callable", "there are: !=, <, "),
        ("secret.KEY", "alone in its braces"),
        ("self", "name the root"),
    ],
)
def test_a_mistake_is_answered_with_what_to_write(source: str, hint: str) -> None:
    """What users of other languages write is refused with the way it is written here."""
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source)
    assert hint in str(caught.value.hint)
    assert caught.value.source == source


@pytest.mark.parametrize(
    ("source", "offset", "message"),
    [
        ("a and\n  b $ c", 10, "unexpected char '$'"),
        ("a b", 2, "unexpected 'b'"),
        ("1 +", 2, "unexpected 'end of the expression'"),
        ("a.b.c | nope", 8, "there is no filter 'nope'"),
        ("a is nope", 2, "there is no test 'nope'"),
        ("a | upper(1)", 4, "filter 'upper': too many positional arguments"),
        ("a | replace('x')", 4, "filter 'replace': missing a required argument: 'new'"),
        ("a | map(x='y')", 4, "filter 'map': got an unexpected keyword argument 'x'"),
        ("a | selectattr", 4, "filter 'selectattr': missing a required argument"),
        ("a | default(*b)", 4, "takes no `*` arguments"),
        ("a | default(**b)", 4, "takes no `*` arguments"),
        ("[1, 1e999]", 4, "the number is too large"),
        ("'abc", 0, "unexpected char"),
        ("(1", 1, "end of the expression"),
        ("1)", 1, "unexpected ')'"),
        ("", 0, "unexpected"),
    ],
)
def test_a_mistake_has_its_place(source: str, offset: int, message: str) -> None:
    """Offsets count characters of the source, so that an editor can underline them."""
    with pytest.raises(ExpressionError, match=r".*") as caught:
        compile_expression(source)
    assert message in caught.value.message
    assert caught.value.offset == offset


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


def test_calls_meet_a_second_wall() -> None:
    """If a call got past the check of the tree, the environment would refuse it."""
    environment = expressions._ENVIRONMENT
    with pytest.raises(EvaluationError, match="nothing can be called"):
        environment.from_string("{{ f() }}").render(f=print)
    assert environment.globals == {}
    with pytest.raises(ExpressionError, match="TemplateData is not allowed"):
        expressions._check(nodes.TemplateData("x", lineno=0))


def test_errors_print_their_hint() -> None:
    """The text of an error is what a user needs to see."""
    assert str(ExpressionError("wrong", "source", 1, "right")) == "wrong (right)"
    assert str(EvaluationError("wrong")) == "wrong"
    assert isinstance(EvaluationError("wrong"), ExpressionError)


def test_as_text_is_json_but_for_text() -> None:
    """Equal values give equal text: keys are sorted."""
    assert as_text({"b": 1, "a": [True, None]}) == '{"a":[true,null],"b":1}'
    assert as_text("a") == "a"


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


def test_code_that_python_does_not_take_is_an_error_of_the_expression() -> None:
    """A second wall behind the check of the tree."""
    with pytest.raises(EvaluationError, match="cannot be run"):
        _Code("a | default(1, boolean=2, boolean=3)")(None)
