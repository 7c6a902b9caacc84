"""What the node types ask for when a step begins: the pure half of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.core.events import StepError
from daemon.core.node import AwaitSignal, Done, Fail, NodeType, Run, WaitUntil
from daemon.core.templates import SecretName, SecretSlot, TemplateError
from daemon.core.values import to_json
from daemon.nodes import all_node_types, builtin_node_types
from tests.support.nodes import NOON, begun, ports_of, refusals, type_and_config


def failed(ask: object) -> tuple[str, str]:
    assert isinstance(ask, Fail)
    return ask.error.code, ask.error.message


# task


def test_a_task_runs_its_handler_with_what_it_is_given() -> None:
    text = "{task: inventory.reserve, with: {order: '{{ input }}', key: '{{ secret.KEY }}'}}"
    slot = SecretSlot(("key",), (SecretName("KEY"),))
    assert begun(text, input={"id": 7}) == Run({"order": {"id": 7}, "key": "***"}, (slot,))
    node_type, config = type_and_config(text)
    assert node_type.handler(config) == "inventory.reserve"


def test_a_task_without_with_gets_an_empty_mapping() -> None:
    assert begun("{task: a.b}", input=7) == Run({})


def test_a_task_has_the_ports_that_it_declares_beside_its_own() -> None:
    assert ports_of("{task: a.b}") == ("out",)
    assert ports_of("{task: a.b, ports: [declined, too_late]}") == ("out", "declined", "too_late")


def test_the_ports_of_a_task_are_checked() -> None:
    assert refusals("{task: a.b, ports: [a, a, error, out, 'x y']}") == [
        (("ports", 1), "the port 'a' is there twice"),
        (("ports", 2), "every task has a port 'error' already"),
        (("ports", 3), "every task has a port 'out' already"),
        (("ports", 4), "'x y' cannot be the name of a port"),
    ]


# transform


def test_a_transform_is_done_with_its_value() -> None:
    assert begun("{transform: {x: ['{{ a.n + 1 }}', y]}}", a={"n": 2}) == Done({"x": [3, "y"]})
    assert begun("{transform: null}") == Done(None)


def test_a_transform_of_what_is_not_there_is_an_error() -> None:
    with pytest.raises(TemplateError):
        begun("{transform: '{{ a.n }}'}", a={})


# branch


def test_a_condition_has_two_ports() -> None:
    text = "{branch: '{{ input.total > 1000 }}'}"
    assert ports_of(text) == ("true", "false")
    assert begun(text, input={"total": 2000}) == Done(output=True, port="true")
    assert begun(text, input={"total": 20}) == Done(output=False, port="false")


def test_a_condition_gives_true_or_false() -> None:
    assert failed(begun("{branch: '{{ input }}'}", input="yes")) == (
        "branch",
        'the condition must give true or false, and gave "yes"',
    )


@pytest.mark.parametrize(
    ("value", "port"),
    [("de", "de"), (1, "1"), (1.0, "1"), ("1", "default"), (True, "true"), (None, "default"), ([1], "default")],
)
def test_a_switch_takes_the_port_of_the_value(value: Any, port: str) -> None:
    text = "{branch: {switch: '{{ input }}', cases: [de, 1, true]}}"
    assert ports_of(text) == ("de", "1", "true", "default")
    assert begun(text, input=value) == Done(value, port)


@pytest.mark.parametrize(("value", "port"), [(200, "ok"), (204, "ok"), (410, "gone"), (500, "default")])
def test_a_port_of_a_switch_may_stand_for_several_values(value: int, port: str) -> None:
    text = "{branch: {switch: '{{ input }}', cases: {ok: [200, 204], gone: 410}}}"
    assert ports_of(text) == ("ok", "gone", "default")
    assert begun(text, input=value) == Done(value, port)


def test_the_first_true_case_is_taken_and_the_rest_not_evaluated() -> None:
    text = "{branch: {cases: [{large: '{{ input.total > 9 }}'}, {rush: '{{ input.rush }}'}]}}"
    assert ports_of(text) == ("large", "rush", "default")
    assert begun(text, input={"total": 10}) == Done("large", "large")
    assert begun(text, input={"total": 1, "rush": True}) == Done("rush", "rush")
    assert begun(text, input={"total": 1, "rush": False}) == Done("default", "default")
    assert failed(begun(text, input={"total": 1, "rush": 1})) == (
        "branch",
        "case 'rush' must give true or false, and gave 1",
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{branch: input.x}", [(("branch",), "there is no expression in the text")]),
        ("{branch: '{{ a'}", [(("branch",), "`{{` has no `}}`")]),
        ("{branch: {switch: x, cases: [a]}}", [(("branch", "switch"), "there is no expression in the text")]),
        (
            "{branch: {switch: '{{ x }}', cases: [a, a, b c, default, error]}}",
            [
                (("branch", "cases", 1), 'the case "a" is there twice'),
                (("branch", "cases", 2), "'b c' cannot be the name of a port"),
                (("branch", "cases", 3), "every branch has a port 'default' already"),
                (("branch", "cases", 4), "every branch has a port 'error' already"),
            ],
        ),
        (
            "{branch: {switch: '{{ x }}', cases: {a: [1, 2], b: 2}}}",
            [(("branch", "cases", "b"), "the case 2 is there twice")],
        ),
        (
            "{branch: {cases: [{a: '{{ x }}'}, {a: 'y'}]}}",
            [
                (("branch", "cases", 1, "a"), "the case 'a' is there twice"),
                (("branch", "cases", 1, "a"), "there is no expression in the text"),
            ],
        ),
    ],
)
def test_branches_that_cannot_work_are_refused(text: str, found: list[Any]) -> None:
    assert refusals(text) == found


# wait


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("{wait: 10s}", NOON + timedelta(seconds=10)),
        ("{wait: {for: 1h30m}}", NOON + timedelta(minutes=90)),
        ("{wait: '{{ input.delay }}'}", NOON + timedelta(days=7)),
        ("{wait: {until: '2026-03-01T14:00:00+01:00'}}", NOON + timedelta(hours=1)),
        ("{wait: {until: '{{ input.at }}'}}", datetime(2020, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_wait_has_a_due_time(text: str, due: datetime) -> None:
    assert begun(text, input={"delay": "7d", "at": "2020-01-01T00:00:00Z"}) == WaitUntil(due)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{wait: '{{ input }}'}", "the duration 3 has no unit (write 3s for seconds, 3ms for milliseconds)"),
        ("{wait: '{{ 999999999 ~ \"d\" }}'}", "the duration 999999999d is too long (at most 365000d)"),
        ("{wait: {until: '{{ input }}'}}", "'3' is not a time"),
        ("{wait: {until: '{{ \"soon\" }}'}}", "'soon' is not a time"),
        ("{wait: {until: '{{ \"2026-03-01\" }}'}}", "the time 2026-03-01 has no offset from UTC"),
        (
            "{wait: {until: '{{ \"9999-12-31T23:59:59-10:00\" }}'}}",
            "the time 9999-12-31T23:59:59-10:00 is too far away",
        ),
    ],
)
def test_a_wait_for_what_is_no_time_fails(text: str, message: str) -> None:
    assert failed(begun(text, input=3)) == ("wait", message)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{wait: 10}", (("wait",), "the duration 10 has no unit")),
        ("{wait: {for: soon}}", (("wait", "for"), "'soon' is not a duration")),
        ("{wait: {until: tomorrow}}", (("wait", "until"), "'tomorrow' is not a time")),
        ("{wait: {until: '{{'}}", (("wait", "until"), "`{{` has no `}}`")),
    ],
)
def test_fixed_times_are_checked_before_anything_runs(text: str, found: Any) -> None:
    assert refusals(text) == [found]


# signal


def test_a_signal_is_awaited_by_name() -> None:
    assert begun("{signal: reviewed}") == AwaitSignal("reviewed")
    text = "{signal: {name: 'paid-{{ input.id }}', timeout: '{{ input.limit }}'}}"
    assert begun(text, input={"id": 7, "limit": "24h"}) == AwaitSignal("paid-7", timedelta(hours=24))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{signal: '{{ input }}'}", "the name of a signal is text, not '3'"),
        ("{signal: '{{ \"\" }}'}", "the name of a signal is text, not ''"),
        (
            "{signal: {name: x, timeout: '{{ input ~ \"000000d\" }}'}}",
            "timeout: the duration 3000000d is too long (at most 365000d)",
        ),
        (
            "{signal: {name: x, timeout: '{{ input }}'}}",
            "timeout: the duration 3 has no unit (write 3s for seconds, 3ms for milliseconds)",
        ),
    ],
)
def test_a_signal_that_cannot_come_fails(text: str, message: str) -> None:
    assert failed(begun(text, input=3)) == ("signal", message)


def test_the_timeout_of_a_signal_is_checked_before_anything_runs() -> None:
    assert refusals("{signal: {name: x, timeout: 3}}") == [(("signal", "timeout"), "the duration 3 has no unit")]


# fail


def test_a_fail_fails() -> None:
    assert begun("{fail: 'no {{ input }} left'}", input="shoes") == Fail(StepError("no shoes left", "fail"))
    text = "{fail: {message: '{{ input }}', code: gone, details: {left: '{{ input.left }}'}}}"
    assert begun(text, input={"left": 0}) == Fail(StepError('{"left":0}', "gone", details=to_json({"left": 0})))


def test_the_texts_of_a_fail_are_checked() -> None:
    found = refusals("{fail: {message: '{{ a', details: '{{ b'}}")
    assert [path for path, _ in found] == [("fail", "details"), ("fail", "message")]


# join


def test_a_join_collects_what_has_arrived() -> None:
    scope = {"a": 1, "b": {"error": {"code": "x"}}, "c": 3}
    assert begun("{join: all}", fired=("a", "b"), **scope) == Done({"a": 1, "b": {"error": {"code": "x"}}})
    node_type, config = type_and_config("{join: any}")
    assert node_type.join(config) == "any"


# http and publish


def test_a_request_is_rendered_with_its_secrets_masked() -> None:
    text = """
http:
  method: POST
  url: "https://x.example/orders/{{ input.id }}?key={{ secret.KEY }}"
  headers: {authorization: "Bearer {{ secret.TOKEN }}"}
  json: {total: "{{ input.total }}"}
  expect: [201, 409]
"""
    run = begun(text, input={"id": 7, "total": 2.5})
    assert isinstance(run, Run)
    assert run.input == {
        "method": "POST",
        "url": "https://x.example/orders/7?key=***",
        "headers": {"authorization": "Bearer ***"},
        "json": {"total": 2.5},
    }
    assert {slot.pointer for slot in run.secrets} == {("url",), ("headers", "authorization")}


def test_a_request_has_one_body() -> None:
    found = refusals("{http: {url: 'https://x', json: 1, form: {a: 1}, headers: {x: '{{ a'}}}")
    assert found == [
        (("http", "form"), "a request has one body, not json and form"),
        (("http", "headers", "x"), "`{{` has no `}}`"),
    ]


def test_a_message_is_rendered() -> None:
    text = "{publish: {kafka: {topic: done, key: '{{ input.id }}'}, value: '{{ input }}', content_type: text/plain}}"
    assert begun(text, input={"id": 7}) == Run({"kafka": {"topic": "done", "key": 7}, "value": {"id": 7}})
    assert refusals("{publish: {memory: {topic: x}, value: '{{ secret.X }}'}}") == [
        (("publish", "value"), "a secret cannot be used here")
    ]


# the registry


def test_all_types_are_found() -> None:
    loops = {"for", "forEach", "while", "doWhile", "parallel", "saga"}
    names = {
        "approval",
        "branch",
        "fail",
        "function",
        "http",
        "join",
        "publish",
        "set",
        "signal",
        "sql",
        "subflow",
        "task",
        "transform",
        "wait",
    } | loops
    assert set(builtin_node_types()) == set(all_node_types()) == names


class Offer:
    """An entry point."""

    def __init__(self, offered: object) -> None:
        self.name, self.value, self._offered = "x", "package:X", offered

    def load(self) -> object:
        return self._offered


def test_other_packages_offer_types(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = NodeType(
        name="mine", summary="", schema={}, parse=dict, templates=lambda _: (), begin=lambda _c, _b: Done(None)
    )
    monkeypatch.setattr("daemon.nodes.entry_points", lambda *, group: [Offer(mine)] if group == "sagad.nodes" else [])
    assert all_node_types()["mine"] is mine


@pytest.mark.parametrize(("offered", "error"), [(3, TypeError), (builtin_node_types()["wait"], ValueError)])
def test_an_offer_that_is_none_is_refused(
    offered: Any, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.nodes.entry_points", lambda **_: [Offer(offered)])
    with pytest.raises(error, match="package:X"):
        all_node_types()
