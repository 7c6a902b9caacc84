"""Definitions in tests: from YAML text to a plan, or to the problems as text."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from daemon.core.errors import Misconfigured
from daemon.nodes import builtin_node_types
from daemon.runtime.definitions import Compiler, Loaded

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from daemon.core.plan import Plan
    from daemon.core.problems import Problem

HANDLERS = ("a.b", "inventory.reserve", "payments.charge", "mail.apologise")


def compiler(handlers: Collection[str] | None = HANDLERS, env: Mapping[str, str] | None = None) -> Compiler:
    """Return a compiler with the built-in node types."""
    types, connections = builtin_node_types(), None if handlers is None else ("orders",)
    return Compiler(node_types=types, handlers=handlers, env=env or {"REGION": "eu"}, connections=connections)


def load(text: str, file: str = "flow.yaml") -> Loaded:
    """Load a text, indented as it may be."""
    return compiler().load_text(dedent(text).lstrip("\n"), file)


def plan_of(text: str) -> Plan:
    """Return the one plan of a text."""
    [plan] = load(text).plans
    return plan


def problems_of(text: str, file: str = "flow.yaml") -> tuple[Problem, ...]:
    """Return what is wrong with a text; empty when nothing is."""
    try:
        load(text, file)
    except Misconfigured as error:
        return error.problems
    return ()


def lines_of(text: str) -> list[str]:
    """Return what is wrong with a text, as it is printed."""
    return [str(problem) for problem in problems_of(text)]


def unmarked(text: str, mark: str = "^") -> tuple[str, list[tuple[int, int]]]:
    """Return the text without its marks, and line and column of what stood behind each."""
    places: list[tuple[int, int]] = []
    clean = ""
    for index, part in enumerate(text.split(mark)):
        if index:
            places.append((clean.count("\n") + 1, len(clean) - (clean.rfind("\n") + 1) + 1))
        clean += part
    return clean, places


def told(text: str) -> list[str]:
    """Return the messages for a text that has a `^` before each mistake, having compared the places."""
    clean, places = unmarked(text)
    problems = problems_of(clean)
    assert [(problem.line, problem.column) for problem in problems] == places
    return [problem.message for problem in problems]


def with_node(node: str, more: str = "") -> str:
    """Return a workflow with the node `a`, which is whole, and then `b`, which is `node`."""
    return f"workflow: w\nnodes:\n  a: {{transform: 1}}\n  b: {node}\nedges: [a -> b]\n{more}"


WHOLE = {
    "workflow": "w",
    "input": {"type": "object"},
    "triggers": [{"name": "t", "kafka": {"topic": "x"}, "filter": "{{ message.value }}", "retry": {"initial": "1s"}}],
    "nodes": {
        "a": {"task": "a.b", "with": {"x": "{{ input.x }}"}, "retry": {"max_attempts": 2}, "timeout": "1s"},
        "b": {"branch": {"switch": "{{ a }}", "cases": ["x", 1]}},
        "c": {"http": {"url": "https://x/{{ a }}", "headers": {"k": "{{ secret.K }}"}, "expect": ["2xx", 404]}},
        "d": {"publish": {"kafka": {"topic": "x", "partition": 1}, "value": "{{ c }}"}},
        "e": {"wait": {"for": "1s"}, "description": "x"},
        "f": {"signal": {"name": "x", "timeout": "1h"}},
        "g": {"fail": {"message": "x", "code": "y"}},
        "h": {"join": "all"},
    },
    "edges": ["a -> b", "b.x -> [c, e]", "b.default -> g", "c -> d -> h", "e -> f -> h"],
    "output": {"x": "{{ h }}"},
    "timeout": "1h",
}
_ODD = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1.5,
        "",
        "x",
        "{{ a }}",
        "{{",
        "1s",
        [],
        [1],
        ["a -> b"],
        {},
        {"x": 1},
        {"task": "a.b"},
        "a -> b",
    ]
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(inner for key, each in items for inner in _paths(each, (*path, key)))]


def _changed(value: Any, path: tuple[Any, ...], new: Any, key: str | None) -> Any:
    if not path:
        return new
    copy = value.copy()
    if len(path) == 1 and key is not None and isinstance(copy, dict):
        copy[key] = copy.pop(path[0])
    else:
        copy[path[0]] = _changed(copy[path[0]], path[1:], new, key)
    return copy


@st.composite
def changed_documents(draw: st.DrawFn) -> Any:
    """Draw the whole definition with some values replaced by odd ones, and some keys by others."""
    document: Any = WHOLE
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(_paths(document)))
        document = _changed(document, path, draw(_ODD), draw(st.none() | st.sampled_from(["x", "a", "wait"])))
    return document
