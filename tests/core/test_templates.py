"""Templates: values with `{{ }}` in them, and secrets that never pass through the core."""

from __future__ import annotations

import copy
import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.expressions import EvaluationError, ExpressionError
from daemon.core.templates import (
    MAX_LEVELS,
    Rendered,
    RenderError,
    SecretName,
    SecretSlot,
    TemplateError,
    TemplateProblem,
    compile_template,
    fill,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SCOPE: dict[str, Any] = {
    "input": {"id": 7, "name": "Ada", "price": 2.5, "vip": True, "tags": ["a", "b"], "none": None, "map": {"k": 1}},
}


def render(value: object, scope: Mapping[str, object] = SCOPE) -> Any:
    return compile_template(value).render(scope).value


def problems_of(value: object, *, allow_secrets: bool = False) -> tuple[TemplateProblem, ...]:
    with pytest.raises(TemplateError) as caught:
        compile_template(value, allow_secrets=allow_secrets)
    return caught.value.problems


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{ input.id }}", 7),
        ("  {{ input.id }}\n", 7),
        ("{{input.tags}}", ["a", "b"]),
        ("{{ input.none }}", None),
        ("{{ {'a': {'b': input.id}} }}", {"a": {"b": 7}}),
        ("{{ {'a': {'b': 1}}}}", {"a": {"b": 1}}),
        ("{{ '}}' ~ \"}}\" }}", "}}}}"),
        ("{{ '\\'}}' }}", "'}}"),
        ("{{ '{{' }}", "{{"),
    ],
)
def test_a_lone_expression_keeps_its_type(source: str, value: object) -> None:
    """A text that is one `{{ }}`, with space around it or not, gives the value itself."""
    assert render(source) == value


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Order {{ input.id }} of {{ input.name }}!", "Order 7 of Ada!"),
        ("{{ input.id }}{{ input.id }}", "77"),
        ("{{ input.id }} {{ input.id }}", "7 7"),
        ("{{ input.price }}, {{ input.vip }}", "2.5, true"),
        ("{{ input.tags }}: {{ input.map }}", '["a","b"]: {"k":1}'),
        ("it's {{ input.name }}'s", "it's Ada's"),
        ("\\{{ input.id }} is {{ input.id }}", "{{ input.id }} is 7"),
        ("{{ '{{' }} x }}", "{{ x }}"),
        ("\\{% if %} \\{# note #}", "{% if %} {# note #}"),
        ("a } b }} c { d", "a } b }} c { d"),
        ("", ""),
    ],
)
def test_text_takes_values_in_as_json_text(source: str, text: str) -> None:
    """In mixed text, text stays as it is and everything else is JSON; braces can be escaped."""
    assert render(source) == text


def test_a_tree_renders_in_its_shape() -> None:
    """Lists and maps are rendered inside; what is no text stays as it is."""
    tree = {"a": ["{{ input.id }}", {"b": "{{ input.name }}"}, 1, None, 1.5, True], "c": "text", "d": {}, "e": ()}
    assert render(tree) == {"a": [7, {"b": "Ada"}, 1, None, 1.5, True], "c": "text", "d": {}, "e": []}


def test_values_are_not_templates() -> None:
    """Data that looks like a template stays data."""
    assert render("{{ input }}", {"input": "{{ secret.KEY }}"}) == "{{ secret.KEY }}"
    assert render("x {{ input }}", {"input": "{{ 1 }}"}) == "x {{ 1 }}"


def test_a_template_tells_what_it_reads() -> None:
    """Names, paths and secrets are unions over the whole tree."""
    template = compile_template(
        {"a": "{{ input.id }}", "b": ["x {{ steps.charge.id }} {{ secret.A }}", "{{ secret.B }}"]}, allow_secrets=True
    )
    assert template.names == {"input", "steps"}
    assert template.paths == {("input", "id"), ("steps", "charge", "id")}
    assert template.secrets == {"A", "B"}
    assert not template.constant


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "text", "\\{{ x }}", [], {}, {"a": [1, {"b": "c"}]}])
def test_a_constant_renders_to_the_same_value_every_time(value: object) -> None:
    """A template without expressions reads nothing and builds nothing."""
    template = compile_template(value)
    assert template.constant
    assert not template.names | template.secrets
    assert not template.paths
    assert template.render({}).value is template.render({}).value
    assert template.render({}) == Rendered(template.render({}).value, ())


def test_a_constant_is_apart_from_its_source() -> None:
    """Changing the parsed definition later does not change the template."""
    source: dict[str, Any] = {"a": [1]}
    template = compile_template(source)
    source["a"].append(2)
    assert template.render({}).value == {"a": [1]}


def test_a_secret_alone_does_not_make_a_constant() -> None:
    """A constant has nothing to fill in."""
    template = compile_template("{{ secret.A }}", allow_secrets=True)
    assert not template.constant
    assert template.render({}) == Rendered("***", (SecretSlot((), (SecretName("A"),)),))


SECRETIVE = {
    "url": "https://example.org/{{ input.id }}",
    "headers": {"authorization": "Bearer {{ secret.TOKEN }} for {{ input.name }}", "x": ["{{secret.TOKEN}}"]},
    "note": "{{ input.name }}",
}


def test_secrets_render_masked_with_slots_beside_them() -> None:
    """The value holds `***`; slots tell where what secret belongs."""
    rendered = compile_template(SECRETIVE, allow_secrets=True).render(SCOPE)
    assert rendered.value == {
        "url": "https://example.org/7",
        "headers": {"authorization": "Bearer *** for Ada", "x": ["***"]},
        "note": "Ada",
    }
    assert rendered.secrets == (
        SecretSlot(("headers", "authorization"), ("Bearer ", SecretName("TOKEN"), " for ", "Ada")),
        SecretSlot(("headers", "x", 0), (SecretName("TOKEN"),)),
    )


def test_slots_are_json_and_back() -> None:
    """Slots are stored in events."""
    slots = compile_template(SECRETIVE, allow_secrets=True).render(SCOPE).secrets
    text = msgspec.json.encode(slots)
    assert b'{"pointer":["headers","x",0],"parts":[{"secret":"TOKEN"}]}' in text
    assert msgspec.json.decode(text, type=tuple[SecretSlot, ...]) == slots


def test_fill_puts_secrets_in_a_copy() -> None:
    """What is sent holds the secrets; what was rendered does not, before and after."""
    rendered = compile_template(SECRETIVE, allow_secrets=True).render(SCOPE)
    before = copy.deepcopy(rendered.value)
    filled = fill(rendered.value, rendered.secrets, {"TOKEN": "t0p"}.__getitem__)
    assert filled["headers"] == {"authorization": "Bearer t0p for Ada", "x": ["t0p"]}
    assert filled["url"] == "https://example.org/7"
    assert rendered.value == before


def test_fill_without_slots_gives_the_value() -> None:
    """Most values hold no secret."""
    value = {"a": 1}
    assert fill(value, (), str) is value


@pytest.mark.parametrize("name", ["***", "{{ secret.TOKEN }}", '{"secret":"TOKEN"}', "TOKEN"])
def test_data_never_pulls_a_secret_in(name: str) -> None:
    """Whatever data looks like, only places of the template are filled."""
    rendered = compile_template(SECRETIVE, allow_secrets=True).render({"input": {"id": name, "name": name}})
    filled = fill(rendered.value, rendered.secrets, {"TOKEN": "t0p"}.__getitem__)
    assert filled["note"] == name
    assert filled["headers"]["authorization"] == f"Bearer t0p for {name}"
    assert filled["url"] == f"https://example.org/{name}"


@pytest.mark.parametrize(
    "edited",
    [
        {"headers": {"authorization": "none", "x": ["***"]}},
        {"headers": {"authorization": "Bearer *** for Ada", "x": []}},
        {"headers": {"authorization": "Bearer *** for Ada", "x": "***"}},
        {"headers": {"x": ["***"]}},
        {"headers": None},
        [],
    ],
)
def test_fill_refuses_an_edited_value(edited: Any) -> None:
    """A value that is no longer what the slots were made for gets no secret at all."""
    rendered = compile_template(SECRETIVE, allow_secrets=True).render(SCOPE)
    with pytest.raises(ValueError, match="secret"):
        fill(edited, rendered.secrets, str)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ secret.KEY | upper }}", "alone in its braces"),
        ("{{ 'x' ~ secret.KEY }}", "alone in its braces"),
        ("{{ secret }}", "alone in its braces"),
        ("{{ secret['KEY'] }}", "alone in its braces"),
        ("{{ secret.A.b }}", "alone in its braces"),
        ("{{ {'a': secret.KEY} }}", "alone in its braces"),
    ],
)
def test_a_secret_is_never_part_of_an_expression(source: str, message: str) -> None:
    """Nothing can be computed from a secret."""
    (problem,) = problems_of(source, allow_secrets=True)
    assert message in str(problem)


def test_secrets_are_refused_where_they_are_not_allowed() -> None:
    """Only values that are used at call time may hold secrets."""
    (problem,) = problems_of({"when": "{{ secret.KEY }}"})
    assert str(problem) == "when: a secret cannot be used here"
    assert problem.offset == 3


def test_all_mistakes_are_reported_at_once() -> None:
    """Each with the place in the tree, the whole text and the offset in it."""
    problems = problems_of(
        {
            "a": "{{ 1 + }} {{ x && y }}",
            "b": ["fine", "x {{ y"],
            "c": {"d": "x {% if %}", "e": "{# note #}"},
            "f": dt.date(2024, 1, 1),
            "g": math.nan,
        }
    )
    assert [(problem.pointer, problem.offset, problem.source) for problem in problems] == [
        (("a",), 5, "{{ 1 + }} {{ x && y }}"),
        (("a",), 15, "{{ 1 + }} {{ x && y }}"),
        (("b", 1), 2, "x {{ y"),
        (("c", "d"), 2, "x {% if %}"),
        (("c", "e"), 0, "{# note #}"),
        (("f",), None, None),
        (("g",), None, None),
    ]
    assert [problem.hint for problem in problems[1:5]] == [
        "write `and`",
        "for text write \\{{",
        "for text write \\{%",
        "for text write \\{#",
    ]
    assert "a date" in problems[5].message
    with pytest.raises(TemplateError, match=r"b\.1: `\{\{` has no `\}\}`"):
        compile_template({"b": [0, "{{ y"]})


@pytest.mark.parametrize(
    "source", ["{{ }}", "{{ } }}", "{{ a } }}", "{{ 'x }}", "{{ { }}", "{{ {{ a }} }}", "{{- a -}}"]
)
def test_broken_braces_are_mistakes(source: str) -> None:
    """No broken text is taken for something else."""
    assert problems_of(source)


def test_keys_are_plain_text() -> None:
    """Keys are never rendered, and YAML's other keys are refused."""
    assert [problem.pointer for problem in problems_of({"{{ a }}": 1, 2: {"x": "{{ 1 +"}, None: 3})] == [
        (),
        (),
        (),
        ("2", "x"),
    ]


def test_the_size_of_a_tree_is_bounded() -> None:
    """YAML aliases can make a small file endless."""
    endless: list[Any] = []
    endless += [endless, "{{ 1 + }}"]
    assert "levels" in problems_of(endless)[-1].message
    wide: list[Any] = []
    for _ in range(MAX_LEVELS - 1):
        wide = [wide, wide]
    assert "values" in problems_of(wide)[-1].message


def test_all_that_is_missing_is_reported_at_once() -> None:
    """Rendering goes on after a problem; the error is an evaluation's, with a place for each problem."""
    template = compile_template(
        {"a": "{{ input.nope }}", "b": [1, "x {{ input.none }}"], "c": "{{ secret.A }} {{ 1 / 0 }}"}, allow_secrets=True
    )
    with pytest.raises(RenderError) as caught:
        template.render(SCOPE)
    problems = caught.value.problems
    assert [(problem.pointer, problem.offset) for problem in problems] == [(("a",), 3), (("b", 1), 5), (("c",), 18)]
    assert "input.nope: 'input' has no 'nope'" in problems[0].message
    assert problems[1].hint == "write `| default('', true)`"
    assert problems[2].message == "division by zero"
    assert isinstance(caught.value, EvaluationError)
    assert isinstance(caught.value, TemplateError)
    assert str(caught.value).splitlines()[2] == "c: division by zero"


def test_the_size_of_what_is_rendered_is_bounded() -> None:
    """A template may not multiply a large input without end."""
    scope = {"input": "x" * 1_000_000}
    with pytest.raises(RenderError, match="too large"):
        compile_template(["{{ input }}"] * 5).render(scope)
    with pytest.raises(RenderError, match="too large"):
        compile_template("-{{ input }}" * 5).render(scope)


def test_templates_are_values() -> None:
    """Templates of one source are equal and cannot be changed."""
    assert compile_template(["{{ a }}", "b {{ c }}"]) == compile_template(["{{ a }}", "b {{ c }}"])
    with pytest.raises(AttributeError):
        compile_template("x").constant = False  # type: ignore[misc]


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXT,
    lambda values: st.lists(values) | st.dictionaries(TEXT, values),
    max_leaves=20,
)


@given(TREES)
def test_any_value_passes_through_an_expression(value: object) -> None:
    """What a lone expression reads is what the rendered tree holds."""
    assert render({"x": ["{{ value }}"]}, {"value": value}) == {"x": [value]}


@given(st.text(alphabet="{}%#\\ ab'\"", max_size=30))
def test_any_text_can_be_read_or_is_refused(source: str) -> None:
    """Reading raises `TemplateError` or nothing, with an offset in the text."""
    try:
        template = compile_template(source)
    except TemplateError as error:
        assert all(0 <= (problem.offset or 0) <= len(source) for problem in error.problems)  # noqa: PT017 - or compiles
    else:
        try:
            template.render({"a": 1, "b": "x"})
        except ExpressionError as error:
            assert str(error)  # noqa: PT017 - or renders


@given(TEXT.filter(lambda text: "\\{" not in text))
def test_any_text_has_a_template(text: str) -> None:
    """Every text can be written as a template that renders to it."""
    marked = "".join("\\" + part if part in {"{{", "{%", "{#"} else part for part in _parts(text))
    assert render(".{{ '' }}" + marked) == "." + text


def _parts(text: str) -> list[str]:
    """Cut a text before and after what a template would read as a mark."""
    parts, at = [], 0
    while at < len(text):
        size = 2 if text[at : at + 2] in {"{{", "{%", "{#"} else 1
        parts.append(text[at : at + size])
        at += size
    return parts
