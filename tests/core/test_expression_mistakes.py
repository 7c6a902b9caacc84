"""Expressions: what is wrong is named, with its place and what to write instead."""

from __future__ import annotations

import pytest

from daemon.core.expressions import (
    EvaluationError,
    ExpressionError,
    _Code,
    compile_expression,
)
from tests.core.evaluating import refused


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


def test_errors_print_their_hint() -> None:
    """The text of an error is what a user needs to see."""
    assert str(ExpressionError("wrong", "source", 1, "right")) == "wrong (right)"
    assert str(EvaluationError("wrong")) == "wrong"
    assert isinstance(EvaluationError("wrong"), ExpressionError)


def test_code_that_python_does_not_take_is_an_error_of_the_expression() -> None:
    """A second wall behind the check of the tree."""
    with pytest.raises(EvaluationError, match="cannot be run"):
        _Code("a | default(1, boolean=2, boolean=3)")(None)
