"""What is done with a value that is not there yet becomes an expression that means the same."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from daemon.core.expressions import compile_expression
from daemon.flow import (
    contains,
    default,
    env,
    execution,
    expr,
    given,
    joined,
    negate,
    pipe,
    size,
    variables,
    when,
)
from daemon.flow.reference import Ref, literal, text_of
from tests.support.flows.building import look, mistake, value

if TYPE_CHECKING:
    from collections.abc import Callable

A: Any = Ref("a")
B: Any = Ref("b")


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (A.total, "a.total"),
        (A["total"], "a.total"),
        (A["order id"], "a['order id']"),
        (A[0].x[-1], "a[0].x[-1]"),
        (A[1:3], "a[1:3]"),
        (A[::2], "a[::2]"),
        (A + B * 2, "a + b * 2"),
        ((A + B) * 2, "(a + b) * 2"),
        (A - (B - 1), "a - (b - 1)"),
        (A - B - 1, "a - b - 1"),
        (100 - A, "100 - a"),
        (2 / A // 3 % B, "2 / a // 3 % b"),
        (A**2, "a ** 2"),
        (-((A + 1) ** 2), "-((a + 1) ** 2)"),
        (2**A, "2 ** a"),
        (-A + 1, "-a + 1"),
        ((A > 1) & (B == "x") | (A != None), "a > 1 and b == 'x' or a != none"),  # noqa: E711  it is no `None` yet
        (((A > 1) | (B < 2)) & (B >= A), "(a > 1 or b < 2) and b >= a"),
        ((A > 1) == (B > 1), "(a > 1) == (b > 1)"),
        (True & A, "true and a"),
        (A | False, "a or false"),
        (negate(A > 1), "not a > 1"),
        (negate(A) & B, "not a and b"),
        (negate(A & B), "not (a and b)"),
        (abs(A - B), "(a - b) | abs"),
        (round(A), "a | round"),
        (round(A * 2, 2), "(a * 2) | round(2)"),
        (size(A.items) + 1, "a.items | length + 1"),
        (default(A.x, "none").upper(), "a.x | default('none') | upper"),
        (given(A.x) & B, "a.x is defined and b"),
        (when(A > 1, "big", B), "'big' if a > 1 else b"),
        (when(A > 1, 1, 2) + 1, "(1 if a > 1 else 2) + 1"),
        (contains(A, B), "a is contains(b)"),
        (joined(A, ", "), "a | join(', ')"),
        (pipe(A, "sort", attribute="price", reverse=True), "a | sort(attribute='price', reverse=true)"),
        (expr(f"{A} | first") == 1, "(a | first) == 1"),
        (expr(f"{A + B} | abs"), "(a + b) | abs"),
        (A.name.lower().strip(), "a.name | lower | trim"),
        (A.get("x", 0), "a.x | default(0)"),
        (A.split(","), "a | split(',')"),
        (A.split(), "a | split"),
        (A.replace("a", "b").startswith("c"), "(a | replace('a', 'b')) is startswith('c')"),
        (A.endswith(B), "a is endswith(b)"),
        (A == [1, {"x": B}], "a == [1, {'x': b}]"),
        (f"{B}-{A + 1}" == A, "a == (b ~ '-' ~ (a + 1))"),
        (A == (), "a == []"),
        (variables.total - env.LIMIT, "vars.total - env.LIMIT"),
        (execution.id, "execution.id"),
    ],
)
def test_operators_become_text(made: Any, text: str) -> None:
    assert text_of(made) == text
    compile_expression(text)


ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod]
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
LEAVES = st.sampled_from("abc") | st.integers(-20, 20)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.tuples(st.sampled_from(ARITHMETIC), inner, inner)
        | st.tuples(st.sampled_from([operator.neg, abs]), inner)
        | st.tuples(st.just(when), st.tuples(st.sampled_from(COMPARISONS), inner, inner), inner, inner)
    ),
    max_leaves=12,
)


def computed(tree: Any, names: dict[str, Any], choose: Callable[[Any, Any, Any], Any]) -> Any:
    match tree:
        case str(name):
            return names[name]
        case int(number):
            return number
        case (function, *inner):
            values = [computed(each, names, choose) for each in inner]
            return choose(*values) if function is when else function(*values)
    raise AssertionError(tree)


@for_all(TREES | st.tuples(st.sampled_from(COMPARISONS), TREES, TREES), st.tuples(*[st.integers(-9, 9)] * 3))
def test_the_expression_computes_what_python_would(tree: Any, numbers: tuple[int, ...]) -> None:
    """Nothing is lost in parentheses, or by how tightly operators bind."""
    scope = dict(zip("abc", numbers, strict=True))
    try:
        expected = computed(tree, scope, lambda test, then, other: then if test else other)
    except ZeroDivisionError:
        return
    made = computed(tree, {name: Ref(name) for name in scope}, when)
    text = literal(made)
    assert compile_expression(text).evaluate(scope) == pytest.approx(expected), text


@for_all(st.text() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
def test_a_constant_in_an_expression_is_itself(constant: Any) -> None:
    """Whatever quotes, escapes and characters are in a text."""
    made: Any = Ref("a") == [constant]
    assert compile_expression(text_of(made)).evaluate({"a": [constant]}) is True


@pytest.mark.parametrize(
    ("use", "message", "hint"),
    [
        (lambda x: 1 if x else 2, "whether it is true", "`branch` takes a way"),
        (lambda x: x and 1, "whether it is true", "`&`"),
        (lambda x: not x, "whether it is true", "negate"),
        (lambda x: 1 < x < 3, "whether it is true", "`&`"),
        (len, "its length is not known", "size(x)"),
        (list, "what is in it is not known", "for_each"),
        (", ".join, "what is in it is not known", "joined"),
        (lambda x: 1 in x, "what is in it is not known", "contains"),
        (int, "its value is not known", "pipe(x, 'int')"),
        (float, "its value is not known", "pipe(x, 'float')"),
        (lambda x: x(), "cannot be called", "upper"),
        (lambda x: x.total.title(), "cannot be called", "pipe"),
        (lambda x: f"{x:.2f}", "the format '.2f' has no meaning", "round"),
        (lambda x: x + object(), "a object cannot stand in an expression", "texts, numbers"),
        (lambda x: expr(x), "an expression is text, not a Ref", None),  # noqa: PLW0108  the name is what is tested
        (lambda x: default("known", x), "there is no doubt about this value", None),
        (lambda x: {x: 1}, "TypeError: unhashable type: 'Ref'", None),
        (lambda x: next(x.__await__()), "there is nothing to wait for", "without `await`"),
    ],
)
def test_what_python_wants_to_know_at_once_is_a_mistake(
    use: Callable[[Any], Any], message: str, hint: str | None
) -> None:
    """The hint says what to write."""

    def flow(order: Any) -> None:
        use(look(order))

    problem = mistake(flow)
    assert message in problem.message
    assert (problem.hint is None) if hint is None else (hint in (problem.hint or ""))
    assert problem.file == __file__


@pytest.mark.parametrize(
    ("make", "written"),
    [
        (lambda x: x, "{{ input }}"),
        (lambda x: f"{x.a} and {x.b + 1}", "{{ input.a }} and {{ input.b + 1 }}"),
        (lambda x: f"{x.a}", "{{ input.a | string }}"),
        (lambda x: str(x.a + 1), "{{ (input.a + 1) | string }}"),
        (lambda x: f" {x.a} ", "{{ (' ' ~ input.a ~ ' ') }}"),
        (lambda _: "{{ no }} {% x %} {# y #} { z }", r"\{{ no }} \{% x %} \{# y #} { z }"),
        (lambda x: f"{{{x.a}}} {{{{", r"{{ '{' }}{{ input.a }}} \{{{ '{' }}"),
        (lambda _: f"{env.A}{env.B}", "{{ env.A }}{{ env.B }}"),
        (lambda x: {"a": [x.b, (1, None)]}, {"a": ["{{ input.b }}", [1, None]]}),
    ],
)
def test_a_value_of_python_becomes_a_template(make: Callable[[Any], Any], written: Any) -> None:
    """A text of the author's own stays what it is; one with values in it is a text, even where it is nothing else."""
    assert value(make) == written
