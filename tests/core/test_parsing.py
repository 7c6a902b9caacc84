from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import UNSET

from daemon.core.canonical import canonical
from daemon.core.definition import Definition, SignalRoute
from daemon.core.parsing import Parsed, parse
from daemon.core.retry import RetryPolicy
from daemon.core.values import Json, from_json, to_json
from daemon.nodes import builtin_node_types
from daemon.runtime.json_schema import check
from tests.support.definitions import lines_of, problems_of, told, with_node

if TYPE_CHECKING:
    from collections.abc import Mapping

NODES = {"a": {"transform": 1}}


def parsed(document: object) -> Parsed:
    return parse(document, builtin_node_types(), check=check)


def definition(**more: Any) -> Definition:
    found = parsed({"workflow": "w", "nodes": NODES, **more})
    assert found.problems == ()
    assert found.definition is not None
    return found.definition


def triggers_of(*triggers: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with these triggers, as paths and messages."""
    return [str(problem) for problem in parsed({"workflow": "w", "nodes": NODES, "triggers": list(triggers)}).problems]


def test_what_is_not_said_has_its_default() -> None:
    made = definition()
    assert (made.concurrency, made.on_error, made.snapshot_every) == (64, "stop", None)
    assert (made.timeout, made.input_schema, made.output, made.triggers, made.edges) == (None, None, UNSET, (), ())
    node = made.nodes["a"]
    assert (node.retry, node.timeout, node.on_error, node.default, node.join) == (
        RetryPolicy(),
        None,
        None,
        UNSET,
        None,
    )


def test_what_is_said_is_read() -> None:
    node = {
        "task": "a.b",
        "with": {"x": 1},
        "retry": {"max_attempts": 4, "backoff": "linear", "initial": "2s", "max": "1m", "non_retryable": ["gone"]},
        "timeout": "3s",
        "on_error": "continue",
        "default": {"y": 2},
        "after": "any",
        "description": "does it",
    }
    made = definition(nodes={"n": node}, timeout="1h", on_error="continue", concurrency=2, output="{{ n }}")
    read = made.nodes["n"]
    assert (read.type, read.own) == ("task", {"task": "a.b", "with": {"x": 1}})
    assert read.retry == RetryPolicy(
        max_attempts=4,
        backoff="linear",
        initial=timedelta(seconds=2),
        max=timedelta(minutes=1),
        non_retryable=("gone",),
    )
    assert (read.timeout, read.on_error, read.default) == (timedelta(seconds=3), "continue", {"y": 2})
    assert (read.join, read.description) == ("any", "does it")
    assert (made.timeout, made.on_error, made.concurrency, made.output) == (
        timedelta(hours=1),
        "continue",
        2,
        "{{ n }}",
    )


def test_the_hash_is_of_the_canonical_document() -> None:
    first = parsed({"workflow": "w", "nodes": {"a": {"transform": 1}, "b": {"transform": 2}}}).definition
    second = parsed({"nodes": {"b": {"transform": 2}, "a": {"transform": 1}}, "workflow": "w"}).definition
    assert first is not None
    assert second is not None
    assert first.hash == second.hash
    assert first.document == second.document
    assert first.document == b'{"nodes":{"a":{"transform":1},"b":{"transform":2}},"workflow":"w"}'
    assert list(first.nodes) == list(second.nodes)


@pytest.mark.parametrize(
    "edges",
    [
        ["a -> b", "a.error -> c", "b -> d", "c -> d"],
        ["c -> d", "b -> d", "a -> b", "a.error -> c"],
        ["a.out -> b -> d", "a.error  ->  [c]", "c -> d"],
        ["[b, c] -> d", "a -> b", "a.error -> c"],
    ],
)
def test_how_edges_are_written_does_not_change_what_the_workflow_is(edges: list[str]) -> None:
    """Short forms and order of edges are not part of a definition's identity, in bodies neither."""
    nodes = {name: {"transform": 1} for name in "abcd"}
    inner = {f"{name}{name}": node for name, node in nodes.items()}
    body = {"nodes": inner, "edges": [re.sub(r"\b([abcd])\b", r"\1\1", edge) for edge in edges]}
    loop = {"loop": {"for": 1, "do": body}}
    definition = parsed({"workflow": "w", "nodes": {**nodes, **loop}, "edges": edges}).definition
    assert definition is not None
    document = from_json(Json(definition.document))
    assert document["edges"] == ["a -> b", "a.error -> c", "b -> d", "c -> d"]
    assert document["nodes"]["loop"]["do"]["edges"] == ["aa -> bb", "aa.error -> cc", "bb -> dd", "cc -> dd"]
    assert [edge.source for edge in definition.edges] == ["a", "a", "aa", "aa", "b", "bb", "c", "cc"]


def test_edges_that_cannot_be_read_stay_as_they_are() -> None:
    """They are reported elsewhere; the document is stored as it is."""
    written = {"edges": ["b -> c", 7, "a b", "a -> b"], "nodes": {"a": 1, "b": {"do": {"edges": 1}}}}
    assert canonical(to_json(written)) == (
        b'{"edges":["a -> b","b -> c",7,"a b"],"nodes":{"a":1,"b":{"do":{"edges":1}}}}'
    )
    assert canonical(to_json({"nodes": []})) == b'{"nodes":[]}'


@pytest.mark.parametrize("document", [None, 1, "x", []])
def test_a_document_is_a_mapping(document: object) -> None:
    found = parsed(document)
    assert found.definition is None
    assert [problem.message for problem in found.problems] == [
        "a workflow is a mapping with `workflow`, `nodes` and `edges`"
    ]


def test_without_nodes_there_is_nothing_to_go_on_with() -> None:
    found = parsed({"workflow": "w", "nodes": {}})
    assert found.definition is None
    assert [str(problem) for problem in found.problems] == ["nodes: `nodes` must not be empty"]


def test_every_mistake_is_reported_at_once() -> None:
    found = parsed({"nodes": {"a": 1, "b": {"task": 3}}, "triggers": [1], "edges": [2, "x"], "timeout": 5})
    assert found.opaque == {"a", "b"}
    assert {problem.path for problem in found.problems} == {
        (),
        ("edges", 0),
        ("edges", 1),
        ("timeout",),
        ("nodes", "a"),
        ("nodes", "b", "task"),
        ("triggers", 0),
    }


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("3", "a node is a mapping"),
        ("{tusk: a.b}", "the node has no type"),
        ("{task: a.b, wait: 1s}", "the node has several types: `task` and `wait`"),
        ("{^task: 3}", "expected a handler's name such as inventory.reserve, not the number 3"),
        ("{^task: a b}", "'a b' is not a handler's name such as inventory.reserve"),
        ("{task: a.b, ^wiht: 1}", "there is no key `wiht` here"),
        ("{task: a.b, ^timeout: 0s}", "the timeout is zero"),
        ("{task: a.b, ^timeout: 10}", "the duration 10 has no unit"),
        ("{task: a.b, ^timeout: 999999999999d}", "the duration 999999999999d is too long"),
        ("{task: a.b, retry: {max_attempts: 2, ^initial: 999999999999d}}", "the duration 999999999999d is too long"),
        ("{task: a.b, retry: {max_attempts: 2, initial: 1m, ^max: 1s}}", "the longest pause is shorter than the first"),
        ("{wait: 1s, ^retry: {max_attempts: 2}}", "`retry` has no meaning for a `wait`: it does not run anything"),
        ("{signal: x, ^timeout: 3s}", "`timeout` has no meaning for a `signal`: it does not run anything"),
    ],
)
def test_a_wrong_node_is_told_with_its_place(node: str, message: str) -> None:
    text = with_node(node)
    assert told(text if "^" in text else text.replace("  b:", "  ^b:")) == [message]


@pytest.mark.parametrize(
    ("node", "hint"),
    [
        ("3", "write it like {task: module.handler, with: {…}}"),
        ("{tusk: a.b}", "did you mean 'task'?"),
        ("{task: a.b, wiht: 1}", "did you mean 'with'?"),
        ("{task: 3}", "write it like inventory.reserve"),
        ("{task: a.b, timeout: 10}", "write 10s for seconds, 10ms for milliseconds"),
        ("{signal: x, timeout: 3s}", "write signal: {name: …, timeout: …}"),
    ],
)
def test_a_wrong_node_is_told_with_what_to_write(node: str, hint: str) -> None:
    assert [problem.hint for problem in problems_of(with_node(node))] == [hint]


def test_a_node_without_a_type_is_told_the_types() -> None:
    [line] = lines_of(with_node("{x: 1}"))
    assert (
        "add one of: approval, branch, doWhile, fail, for, forEach, function, http, join, parallel, publish, saga, set,"
        in line
    )


@pytest.mark.parametrize("node_id", ["n-1", "1n", "a b", "x" * 65, "steps", "input", "loop", "and", "None", "error"])
def test_a_node_has_an_id_that_expressions_can_read(node_id: str) -> None:
    found = parsed({"workflow": "w", "nodes": {node_id: {"transform": 1}}})
    assert [problem.message for problem in found.problems] == [f"{node_id!r} cannot be the id of a node"]


def test_one_attempt_is_doubted() -> None:
    [doubt] = parsed({"workflow": "w", "nodes": {"a": {"task": "a.b", "retry": {"initial": "1s"}}}}).problems
    assert (doubt.severity, doubt.message) == ("warning", "one attempt is no retry")


def test_triggers_are_read() -> None:
    [orders] = definition(
        triggers=[
            {
                "name": "orders",
                "kafka": {"topic": "orders"},
                "filter": "{{ message.value.total > 0 }}",
                "dedupe": "{{ message.value.id }}",
                "scope": "orders",
                "input": {"order": "{{ message.value }}", "region": "{{ env.REGION }}"},
                "dead_letter": "orders.dlq",
                "retry": {"initial": "2s"},
            }
        ]
    ).triggers
    assert (orders.name, orders.index, orders.kind, orders.settings) == ("orders", 0, "kafka", {"topic": "orders"})
    assert (orders.scope, orders.dead_letter) == ("orders", "orders.dlq")
    assert orders.retry == RetryPolicy(max_attempts=3, initial=timedelta(seconds=2))


def test_a_signal_by_key_means_the_one_starting_trigger() -> None:
    starting = {"name": "orders", "memory": {"topic": "orders"}}
    signal = {
        "name": "reviews",
        "memory": {"topic": "reviews"},
        "signal": {"name": "reviewed", "key": "{{ message.key }}"},
    }
    _, trigger = definition(triggers=[starting, signal]).triggers
    assert trigger.signal == SignalRoute(name="reviewed", key="{{ message.key }}", scope="w/orders")
    _, trigger = definition(triggers=[{**starting, "scope": "shared"}, signal]).triggers
    assert trigger.signal is not None
    assert trigger.signal.scope == "shared"


def test_a_signal_by_id_needs_no_scope() -> None:
    signal = {"name": "reviewed", "execution": "{{ message.value.execution }}"}
    [trigger] = definition(triggers=[{"name": "r", "memory": {"topic": "r"}, "signal": signal}]).triggers
    assert trigger.signal == SignalRoute(**signal)


@pytest.mark.parametrize(
    ("trigger", "place", "message"),
    [
        (3, "triggers.0", "a trigger is a mapping"),
        ({"name": "x", "kafca": {}}, "triggers.0", "the trigger has no kind"),
        ({"name": "x"}, "triggers.0", "the trigger has no kind"),
        ({"name": "x", "kafka": {}, "memory": {}}, "triggers.0", "the trigger has several kinds: kafka and memory"),
        ({"name": "x y", "memory": {"topic": "t"}}, "triggers.0.name", "'x y' is not a name"),
        ({"name": "x", "kafka": {"topik": "t"}}, "triggers.0.kafka.topik", "there is no key `topik` here"),
        (
            {"name": "x", "schedule": {"every": "1h"}, "retry": {}},
            "triggers.0.retry",
            "`retry` has no meaning for a schedule trigger: no broker holds its messages",
        ),
        ({"name": "x", "schedule": {}}, "triggers.0.schedule", "a schedule has either `cron` or `every`"),
        (
            {"name": "x", "memory": {"topic": "t"}, "filter": "message.value"},
            "triggers.0.filter",
            "there is no expression in the text",
        ),
        (
            {"name": "x", "memory": {"topic": "t"}, "filter": "{{ mesage.value }}"},
            "triggers.0.filter",
            "there is nothing called `mesage`",
        ),
        (
            {"name": "x", "memory": {"topic": "t"}, "input": "{{ input }}"},
            "triggers.0.input",
            "there is nothing called `input`",
        ),
        (
            {"name": "x", "memory": {"topic": "t"}, "input": "{{ 1 + }}"},
            "triggers.0.input",
            "unexpected 'end of the expression'",
        ),
        (
            {"name": "x", "memory": {"topic": "{{ message.key }}"}},
            "triggers.0.memory.topic",
            "`message` is known to the `filter`, `dedupe`, `input` and `signal` of a trigger only",
        ),
        ({"name": "x", "memory": {"topic": "{{ env. }}"}}, "triggers.0.memory.topic", "expected name or number"),
        (
            {"name": "x", "memory": {"topic": "t"}, "signal": {"name": "s"}},
            "triggers.0.signal",
            "a signal has either `execution` or `key`",
        ),
        (
            {
                "name": "x",
                "memory": {"topic": "t"},
                "signal": {"name": "s", "execution": "{{ message.key }}", "scope": "w/x"},
            },
            "triggers.0.signal.scope",
            "`scope` belongs to `key`",
        ),
        (
            {"name": "x", "memory": {"topic": "t"}, "signal": {"name": "s", "key": "{{ message.key }}"}},
            "triggers.0.signal",
            "it is not clear which trigger's dedupe key is meant: `scope` is missing",
        ),
        (
            {"name": "x", "memory": {"topic": "t"}, "signal": {"name": "s", "key": "{{ message.key }}", "scope": "x"}},
            "triggers.0.signal.scope",
            "the scope 'x' is a trigger without its workflow",
        ),
    ],
)
def test_a_wrong_trigger_is_told_with_its_place(trigger: Any, place: str, message: str) -> None:
    problem = parsed({"workflow": "w", "nodes": NODES, "triggers": [trigger]}).problems[0]
    assert (".".join(map(str, problem.path)), problem.message) == (place, message)


def test_a_signal_by_key_names_its_scope_where_several_can_be_meant() -> None:
    signal = {"name": "s", "key": "{{ message.key }}"}
    triggers = [{"name": name, "memory": {"topic": name}} for name in ("a", "b")]
    [line] = triggers_of(*triggers, {"name": "c", "memory": {"topic": "c"}, "signal": signal})
    assert line.endswith("(one of: w/a, w/b)")
    assert triggers_of(*triggers, {"name": "c", "memory": {"topic": "c"}, "signal": {**signal, "scope": "w/a"}}) == []


def test_a_name_is_given_once() -> None:
    trigger = {"name": "a", "memory": {"topic": "a"}}
    [line] = triggers_of(trigger, trigger)
    assert line == "triggers.1.name: there are two triggers 'a' (the name tells executions apart; choose another)"
