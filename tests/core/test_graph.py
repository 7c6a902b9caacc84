from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from daemon.core.definition import EdgeDefinition, NodeDefinition
from daemon.core.graph import Paths, find_paths
from daemon.core.problems import Findings


def edges(*pairs: str) -> list[EdgeDefinition]:
    return [EdgeDefinition(pair[0], "out", pair[1], pair, ("edges", index)) for index, pair in enumerate(pairs)]


def found(nodes: str, *pairs: str) -> tuple[Paths, Findings]:
    findings = Findings()
    known = {node_id: NodeDefinition(id=node_id, type="t", path=("nodes", node_id), own={}) for node_id in nodes}
    return find_paths(known, edges(*pairs), findings), findings


def test_a_node_precedes_all_that_its_edges_lead_to() -> None:
    paths, findings = found("abcd", "ab", "bc", "ad")
    assert paths.starts == ("a",)
    assert [other for other in "abcd" if paths.precedes("a", other)] == ["b", "c", "d"]
    assert [other for other in "abcd" if paths.precedes("d", other)] == []
    assert findings.errors == findings.warnings == ()


def test_a_cycle_is_reported_whole_and_at_its_last_edge() -> None:
    _, findings = found("abcde", "ab", "bc", "cd", "db", "de")
    [problem] = findings.errors
    assert problem.message == "the edges form a cycle: b -> c -> d -> b"
    assert problem.path == ("edges", 3)


def test_every_knot_is_reported() -> None:
    _, findings = found("abcdef", "aa", "ab", "bc", "cb", "cd", "ef", "fe")
    assert [problem.message.partition(": ")[2] for problem in findings.errors] == [
        "a -> a",
        "b -> c -> b",
        "e -> f -> e",
    ]


def test_order_is_left_open_behind_a_cycle() -> None:
    paths, _ = found("abc", "ab", "ba", "bc")
    assert paths.precedes("c", "a")
    assert not paths.precedes("c", "c")


def test_a_node_without_edges_is_doubted_where_there_are_edges() -> None:
    _, findings = found("abc", "ab")
    assert [problem.node for problem in findings.warnings] == ["c"]
    assert found("abc")[1].warnings == ()


def test_edges_to_unknown_nodes_are_left_out() -> None:
    paths, findings = found("ab", "ab", "ax", "xb")
    assert paths.starts == ("a",)
    assert findings.errors == ()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=25))
def test_either_all_nodes_are_ordered_or_a_cycle_is_reported(pairs: list[tuple[int, int]]) -> None:
    """Each reported cycle is one; without any, `precedes` is reachability."""
    paths, findings = found("0123456789", *(f"{first}{second}" for first, second in pairs))
    arrows = {(str(first), str(second)) for first, second in pairs}
    for problem in findings.errors:
        cycle = problem.message.partition(": ")[2].split(" -> ")
        assert cycle[0] == cycle[-1]
        assert all(arrow in arrows for arrow in pairwise(cycle))
    if not findings.errors:
        reach = set(arrows)
        while more := {(a, d) for a, b in reach for c, d in reach if b == c} - reach:
            reach |= more
        assert all(paths.precedes(a, b) == ((a, b) in reach) for a in "0123456789" for b in "0123456789")
        assert len(paths.numbers) == 10
    else:
        assert len(paths.numbers) < 10
