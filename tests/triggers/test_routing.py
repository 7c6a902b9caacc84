"""What a message starts or signals."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.errors import ExpressionFailed
from triggers.message import Inbound
from triggers.routing import (
    Expression,
    Filtered,
    Route,
    Routed,
    SignalById,
    SignalByKey,
    SignalExecution,
    Start,
    Unusable,
    execution_id,
    route,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ORDER = b'{"order_id": "o-1", "total": 5}'


def inbound(body: bytes = ORDER, **more: Any) -> Inbound:
    fields = {"source": "kafka:orders/3@42", "identity": "orders/3/42", "received_at": AT, **more}
    return Inbound(trigger="shop/orders", body=body, **fields)


def field(*path: str) -> Expression:
    def read(scope: Mapping[str, Any]) -> Any:
        value: Any = scope["message"]
        for name in path:
            if not isinstance(value, dict) or name not in value:
                raise ExpressionFailed(f"message.{'.'.join(path)} is not there")
            value = value[name]
        return value

    return read


def routed(message: Inbound, **parts: Any) -> Routed:
    return route(message, {"shop/orders": Route(trigger="shop/orders", **parts)})


def started(message: Inbound, **parts: Any) -> Start:
    result = routed(message, **parts)
    assert isinstance(result, Start)
    return result


def unusable(message: Inbound, **parts: Any) -> Unusable:
    result = routed(message, **parts)
    assert isinstance(result, Unusable)
    return result


def test_without_expressions_the_value_is_the_input_and_the_broker_identifies_it() -> None:
    start = started(inbound(headers={"a": "b"}, key="k"))
    assert start.input == {"order_id": "o-1", "total": 5}
    assert start.dedupe_key == "orders/3/42"
    assert start.execution_id == execution_id("shop/orders", "orders/3/42")
    assert start.message == {
        "value": start.input,
        "encoding": "json",
        "key": "k",
        "headers": {"a": "b"},
        "source": "kafka:orders/3@42",
        "id": "orders/3/42",
        "received_at": "2026-01-02T03:04:05+00:00",
        "cloudevent": None,
    }


def test_the_same_key_is_the_same_execution_wherever_the_message_was() -> None:
    dedupe = field("value", "order_id")
    first = started(inbound(identity="orders/3/42"), dedupe=dedupe)
    again = started(inbound(identity="orders/0/7"), dedupe=dedupe)
    assert first.execution_id == again.execution_id == execution_id("shop/orders", "o-1")


def test_triggers_that_share_a_scope_share_executions() -> None:
    dedupe = field("value", "order_id")
    assert started(inbound(), dedupe=dedupe, scope="orders").execution_id == execution_id("orders", "o-1")


def test_execution_ids_never_change() -> None:
    """They are on record in every log there is."""
    assert execution_id("shop/orders", "o-1") == UUID("e099796b-2710-5bf4-ba23-88de8626faa2")


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_different_keys_are_different_executions(one: tuple[str, str], other: tuple[str, str]) -> None:
    names = [(scope.replace("\0", ""), key) for scope, key in (one, other)]
    assert (execution_id(*names[0]) == execution_id(*names[1])) == (names[0] == names[1])


@pytest.mark.parametrize(("value", "key"), [(7, "7"), ("7", "7"), (True, "true"), ({"b": 1, "a": 2}, '{"a":2,"b":1}')])
def test_keys_that_are_not_text_become_canonical_json(value: Any, key: str) -> None:
    assert started(inbound(), dedupe=lambda _: value).dedupe_key == key


@pytest.mark.parametrize("value", [None, "", [], {}])
def test_a_key_that_identifies_nothing_is_an_error(value: Any) -> None:
    assert unusable(inbound(), dedupe=lambda _: value).code == "expression"


def test_a_message_without_any_identity_needs_dedupe() -> None:
    result = unusable(inbound(identity=None))
    assert result.code == "unidentified"
    assert "dedupe" in result.reason


def test_a_filter_that_says_no() -> None:
    assert routed(inbound(), filter=lambda _: False, dedupe=field("nowhere")) == Filtered()
    assert isinstance(routed(inbound(), filter=lambda _: True), Start)


@pytest.mark.parametrize("answer", [None, 1, "yes"])
def test_a_filter_must_say_true_or_false(answer: Any) -> None:
    assert unusable(inbound(), filter=lambda _: answer).code == "expression"


def test_the_input_is_what_the_expression_gives() -> None:
    assert started(inbound(), input=field("value", "total")).input == 5


@pytest.mark.parametrize("part", ["filter", "dedupe", "input"])
def test_an_expression_without_a_value(part: str) -> None:
    result = unusable(inbound(), **{part: field("value", "nowhere")})
    assert result == Unusable("expression", "message.value.nowhere is not there")


def test_a_body_that_is_not_what_it_says() -> None:
    assert unusable(inbound(b"{", content_type="application/json")).code == "undecodable"


def test_a_cloudevent_brings_its_identity_and_attributes() -> None:
    headers = {"ce_specversion": "1.0", "ce_id": "7", "ce_source": "/shop", "ce_type": "order.placed"}
    start = started(inbound(headers=headers))
    assert start.dedupe_key == "/shop 7"
    assert start.message["cloudevent"]["type"] == "order.placed"
    assert start.input == {"order_id": "o-1", "total": 5}


def test_a_bad_cloudevent() -> None:
    assert unusable(inbound(headers={"ce_specversion": "1.0"})).code == "invalid"


def test_a_signal_finds_its_execution_by_the_key_that_started_it() -> None:
    signal = SignalByKey(name="paid", scope="shop/orders", key=field("value", "order_id"))
    result = routed(inbound(), signal=signal, scope="payments")
    assert isinstance(result, SignalExecution)
    assert (result.execution_id, result.name) == (execution_id("shop/orders", "o-1"), "paid")
    assert (result.signal_id, result.data) == ("payments:orders/3/42", {"order_id": "o-1", "total": 5})


def test_a_signal_finds_its_execution_by_id() -> None:
    target = execution_id("shop/orders", "o-1")
    result = routed(inbound(), signal=SignalById(name="paid", execution=lambda _: str(target)))
    assert isinstance(result, SignalExecution)
    assert result.execution_id == target


@pytest.mark.parametrize("value", [None, "o-1", 5, ["x"]])
def test_a_signal_to_what_is_no_execution_id(value: Any) -> None:
    assert unusable(inbound(), signal=SignalById(name="paid", execution=lambda _: value)).code == "expression"


@given(st.binary(), st.none() | st.sampled_from(["application/json", "text/plain", "application/cloudevents+json"]))
def test_any_body_is_routed_or_refused_in_words(body: bytes, content_type: str | None) -> None:
    result = routed(inbound(body, content_type=content_type))
    assert isinstance(result, Start) or (isinstance(result, Unusable) and result.reason)
