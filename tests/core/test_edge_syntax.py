from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.edge_syntax import EdgeSyntaxError, parse_edge


@pytest.mark.parametrize(
    ("text", "edges"),
    [
        ("a -> b", [("a", "out", "b")]),
        ("a->b", [("a", "out", "b")]),
        (" a  ->\tb ", [("a", "out", "b")]),
        ("a.error -> b", [("a", "error", "b")]),
        ("large.two-words -> b", [("large", "two-words", "b")]),
        ("a -> b -> c", [("a", "out", "b"), ("b", "out", "c")]),
        ("a -> b.true -> c", [("a", "out", "b"), ("b", "true", "c")]),
        ("a -> [b, c]", [("a", "out", "b"), ("a", "out", "c")]),
        ("[a.error, b] -> c", [("a", "error", "c"), ("b", "out", "c")]),
        ("a -> [b, c] -> d", [("a", "out", "b"), ("a", "out", "c"), ("b", "out", "d"), ("c", "out", "d")]),
    ],
)
def test_an_arrow_connects(text: str, edges: list[tuple[str, str, str]]) -> None:
    parsed = parse_edge(text, ("edges", 7), "each")
    assert [(edge.source, edge.port, edge.target) for edge in parsed] == edges
    assert {(edge.text, edge.path, edge.scope) for edge in parsed} == {(text, ("edges", 7), "each")}


@pytest.mark.parametrize(
    ("text", "message", "offset"),
    [
        ("a", "'a' has no arrow", 0),
        ("a -> ", "a node is missing", 5),
        ("-> b", "a node is missing", 0),
        ("a -> b c", "'b c' is not a node, or a node and its port", 5),
        ("a -> b -> 1c", "'1c' is not a node, or a node and its port", 10),
        ("a -> [b, ]", "a node is missing", 9),
        ("a -> [b, c-d]", "'c-d' is not a node, or a node and its port", 9),
        ("a -> [b", "'[b' is not a node, or a node and its port", 5),
        ("a.b.c -> d", "'a.b.c' is not a node, or a node and its port", 0),
        ("a -> b.in", "an edge cannot enter by the port 'in'", 2),
    ],
)
def test_what_is_no_edge_is_refused_at_its_place(text: str, message: str, offset: int) -> None:
    with pytest.raises(EdgeSyntaxError) as refused:
        parse_edge(text, ("edges", 0))
    assert (refused.value.message, refused.value.offset) == (message, offset)
    assert refused.value.hint


@given(st.text(alphabet="ab.->[], \n", max_size=30))
def test_any_text_is_edges_or_a_clear_error(text: str) -> None:
    try:
        parse_edge(text, ("edges", 0))
    except EdgeSyntaxError as error:
        offset = error.offset
    else:
        offset = text.index("->")
    assert 0 <= offset <= len(text)
