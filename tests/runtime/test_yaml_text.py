"""YAML that is written reads as what it was, and is laid out for people."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from daemon.runtime.documents import read_documents
from daemon.runtime.yaml_text import WIDTH, to_yaml

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(
        ["yes", "on", "1e3", "0o17", "012", "2031-05-01", "12:30:45", "null", "~", "<<", "=", "- a", "a: b"]
    )
    | st.sampled_from(
        ["{{ a }}", "#", "a #b", "'", '"', "!x", "&a", "*a", "%", "@", "`", "|", ">", " ", "\n", "a\n", "\t"]
    )
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@given(st.dictionaries(st.sampled_from(["workflow", "nodes", "edges", "x", "triggers"]), VALUES, min_size=1))
@example({"nodes": {}})
@example({"nodes": [], "edges": {"a": [[]], "b": {}}})
@example({"x": "\x85\u2028\ud7ff\U0001f600\ufeff"})
def test_what_is_written_is_read_back(document: dict[str, Any]) -> None:
    """Whatever either YAML 1.1 or 1.2 would take a text for, and whatever is in it."""
    [back] = read_documents(to_yaml(document), "flow.yaml")[0]
    assert back.value == document
    assert list(back.value) == list(document)


def test_it_is_laid_out_for_people() -> None:
    """What is short stands on one line; nodes and triggers have lines of their own."""
    long = "x" * WIDTH
    document = {
        "workflow": "w",
        "input": {"type": "object"},
        "nodes": {"a": {"task": "t", "with": {"b": "{{ c }}"}}, "d": {"task": "t", "with": {"e": long, "f": [1]}}},
        "edges": ["a -> d"],
    }
    assert to_yaml(document).splitlines() == [
        "workflow: w",
        "",
        "input: {type: object}",
        "",
        "nodes:",
        '  a: {task: t, with: {b: "{{ c }}"}}',
        "  d:",
        "    task: t",
        "    with:",
        f"      e: {long}",
        "      f: [1]",
        "",
        "edges: [a -> d]",
    ]
