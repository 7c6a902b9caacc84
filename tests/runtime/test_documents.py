"""YAML and JSON as JSON values, with their places."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from daemon.runtime.documents import MAX_CHARACTERS, _Loader, _QuickLoader, _Reading, places_of, read_documents


def value_of(text: str, file: str = "x.yaml") -> Any:
    documents, problems = read_documents(text, file)
    assert problems == []
    [document] = documents
    return document.value


def problem_of(text: str, file: str = "x.yaml") -> str:
    """Return place and message of the one problem."""
    documents, problems = read_documents(text, file)
    assert documents == []
    [problem] = problems
    return str(replace(problem, hint=None))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("2031-05-01", "2031-05-01"),
        ("12:30:00", "12:30:00"),
        ("1_000", "1_000"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("010", 10),
        ("0o10", 8),
        ("0xff", 255),
        ("-7", -7),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        (".inf", ".inf"),
        ("'7'", "7"),
        ("!!str 7", "7"),
        ("!!int '7'", 7),
        ('"\\ud83d\\ude00"', "😀"),
        ("|\n    a\n    b\n", "a\nb\n"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    read = value_of(f"v: {text}\n")
    assert read == {"v": value}
    assert type(read["v"]) is type(value)


def test_keys_are_texts() -> None:
    assert value_of("{on: 1, true: 2, 3: 4, ~: 5, 1.5: 6}") == {"on": 1, "true": 2, "3": 4, "~": 5, "1.5": 6}


def test_anchors_aliases_and_merges_work() -> None:
    text = """
base: &base {retry: {max_attempts: 3}, timeout: 1s}
other: &other {timeout: 2s, x: 1}
a: *base
b: {<<: *base, timeout: 5s}
c: {<<: [*base, *other], y: 2}
"""
    read = value_of(text)
    assert read["a"] == {"retry": {"max_attempts": 3}, "timeout": "1s"}
    assert read["b"] == {"retry": {"max_attempts": 3}, "timeout": "5s"}
    assert read["c"] == {"retry": {"max_attempts": 3}, "timeout": "1s", "x": 1, "y": 2}


def test_a_file_has_any_number_of_documents() -> None:
    documents, problems = read_documents("---\na: 1\n---\n---\nb: 2\n...\n# end\n", "x.yaml")
    assert ([document.value for document in documents], problems) == ([{"a": 1}, {"b": 2}], [])
    assert read_documents("", "x.yaml") == ([], [])


def test_values_are_found_in_the_text() -> None:
    [document] = read_documents("nodes:\n  a: {task: 'x y', with: [1, plain text]}\n  b: >-\n    folded\n", "x.yaml")[0]
    assert document.locate(()) == (1, 1)
    assert document.locate(("nodes", "a")) == (2, 3)
    assert document.locate(("nodes", "a", "with")) == (2, 20)
    assert document.locate(("nodes", "a", "with", 1)) == (2, 30)
    assert document.locate(("nodes", "a", "with", 1), 6) == (2, 36)
    assert document.locate(("nodes", "a", "task"), 2) == (2, 16)
    assert document.locate(("nodes", "a", "gone", "x")) == (2, 3)
    assert document.locate(("nodes", "a", "gone"), 5) == (2, 3)
    assert document.locate(("nodes", "b"), 3) == (3, 3)


def test_what_stands_behind_an_alias_is_found_where_it_is_written() -> None:
    [document] = read_documents("a: &x {y: text}\nb: *x\nc: {<<: *x, z: 1}\n", "x.yaml")[0]
    assert document.locate(("b", "y"), 1) == (1, 12)
    assert document.locate(("c", "y")) == (1, 8)
    assert document.locate(("c", "z")) == (3, 13)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\na: 2", "x.yaml:2:1: the key `a` is there twice"),
        ("a: {b: 1, 'b': 2}", "x.yaml:1:11: the key `b` is there twice"),
        ("a: {{ input }}", "x.yaml:1:5: a key must be a text"),
        (
            "a: !!python/object:os.system x",
            "x.yaml:1:4: the tag tag:yaml.org,2002:python/object:os.system is not understood",
        ),
        ("a: !mine {b: 1}", "x.yaml:1:4: the tag !mine is not understood"),
        ("a: &a [*a]", "x.yaml:1:4: the value holds itself, or is nested too deeply"),
        ("<<: 3\nb: 1", "x.yaml:1:5: `<<` takes a mapping, or a list of them"),
        ("a: 1e999", "x.yaml:1:4: the number 1e999 cannot be kept"),
        ("a: " + "9" * 5000, f"x.yaml:1:4: the number {'9' * 40} cannot be kept"),
        ("a: !!int x", "x.yaml:1:4: the number x cannot be kept"),
        ('a: "\\ud83d"', "x.yaml:1:4: the text has half of a surrogate pair in it"),
        ("a: [1", "x.yaml:1:6: not YAML: expected ',' or ']', but got '<stream end>' while parsing a flow sequence"),
        ("a: b: c", "x.yaml:1:5: not YAML: mapping values are not allowed here"),
        (
            "a:\n\tb: 1",
            "x.yaml:2:1: not YAML: found character '\\t' that cannot start any token while scanning for the next token",
        ),
        ("a: *nothing", "x.yaml:1:4: not YAML: found undefined alias 'nothing'"),
        ("a: \x00", "x.yaml: not YAML: unacceptable character #x0000: special characters are not allowed"),
        ("[" * 2000, "x.yaml: not read: it is nested too deeply"),
        ("a: " + "[" * 120 + "]" * 120, "x.yaml:1:104: the value holds itself, or is nested too deeply"),
        ("x" * (MAX_CHARACTERS + 1), f"x.yaml: the file is larger than {MAX_CHARACTERS} characters"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text: str, line: str) -> None:
    assert problem_of(text) == line


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a: {{ input }}", 'quote it: "{{ input.total }}"'),
        ("a:\n\tb: 1", "YAML is indented with spaces"),
        ("a: b: c", "quote the text if it holds `: `, or mend the indentation"),
        ("a: 1\na: 2", "take one of them out"),
    ],
)
def test_usual_mistakes_come_with_what_to_do(text: str, hint: str) -> None:
    [problem] = read_documents(text, "x.yaml")[1]
    assert problem.hint == hint


def test_a_document_is_read_although_another_cannot_be() -> None:
    documents, problems = read_documents("a: 1\n---\nb: 1\nb: 2\n---\nc: 3\n", "x.yaml")
    assert [document.value for document in documents] == [{"a": 1}, {"c": 3}]
    assert [problem.line for problem in problems] == [4]


def test_aliases_cannot_make_a_small_file_huge() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
    assert "the document has more than 200000 values" in problem_of("\n".join(lines))


def test_json_may_be_indented_with_tabs() -> None:
    assert value_of('\ufeff{\n\t"a":1,\n\t"b":\t[true, null, "\\u00e4\\/"]\n}', "x.json") == {
        "a": 1,
        "b": [True, None, "ä/"],
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_json_reads_as_json(value: Any, ascii_only: bool) -> None:  # noqa: FBT001  drawn
    text = json.dumps({"v": value}, ensure_ascii=ascii_only)
    documents, problems = read_documents(text, "x.json")
    assert problems == []
    assert documents[0].value == {"v": value} == msgspec.json.decode(text)


@given(st.text(alphabet="ab:-[]{},&*!|>#'\" \n\t~1.%@`?<", max_size=40))
def test_any_text_is_documents_or_problems(text: str) -> None:
    documents, problems = read_documents(text, "x.yaml")
    for document in documents:
        msgspec.json.encode(document.value, order="sorted")
    assert all(problem.message and problem.file for problem in problems)


YAML = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=12)
    | st.sampled_from(["{{ ü.x }}", "a: b", "# no", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(YAML, st.booleans(), st.booleans())
def test_both_parsers_read_the_same_and_find_it_at_the_same_places(value: Any, flow: bool, plain: bool) -> None:  # noqa: FBT001
    """The quick one is libyaml; messages about mistakes come from the other one."""
    text = yaml.safe_dump({"top": value}, default_flow_style=flow, allow_unicode=plain, width=40)
    quick, slow = (
        [(_Reading("").document(root), places_of(root)) for root in list(yaml.compose_all(text, Loader=loader))]
        for loader in (_QuickLoader, _Loader)
    )
    assert quick == slow
