"""CloudEvents in every mode and on every transport, in and out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.cloudevents import CloudEvent, from_message, to_cloudevent
from triggers.errors import BadCloudEvent

REQUIRED = {"id": "A234-1234", "source": "/shop/7", "type": "order.placed"}
STRUCTURED = "application/cloudevents+json; charset=utf-8"


@pytest.mark.parametrize("prefix", ["ce-", "ce_", "cloudevents:", "cloudevents_"])
def test_binary_mode_on_each_transport(prefix: str) -> None:
    headers = {f"{prefix}specversion": "1.0", "other": "x", **{f"{prefix}{k}": v for k, v in REQUIRED.items()}}
    event = from_message(headers, b'{"total": 5}', "application/json")
    assert event is not None
    assert event.attributes == {"specversion": "1.0", "datacontenttype": "application/json", **REQUIRED}
    assert (event.content.value, event.identity) == ({"total": 5}, "/shop/7 A234-1234")


def test_structured_mode() -> None:
    envelope = {"specversion": "1.0", **REQUIRED, "shard": 3, "data": {"total": 5}}
    event = from_message({}, json.dumps(envelope).encode(), STRUCTURED)
    assert event is not None
    assert (event.content.value, event.attributes["shard"]) == ({"total": 5}, 3)
    assert "data" not in event.attributes


@pytest.mark.parametrize(
    ("more", "value"),
    [
        ({"data_base64": "eyJhIjoxfQ==", "datacontenttype": "application/json"}, {"a": 1}),
        ({"data_base64": "/w=="}, "/w=="),
        ({"data": "plain", "datacontenttype": "text/plain"}, "plain"),
        ({}, None),
    ],
)
def test_structured_data(more: dict[str, str], value: object) -> None:
    event = from_message({}, json.dumps({"specversion": "1.0", **REQUIRED, **more}).encode(), STRUCTURED)
    assert event is not None
    assert event.content.value == value


def test_a_message_that_is_no_cloudevent() -> None:
    assert from_message({"ce-id": "1"}, b"{}", "application/json") is None


@pytest.mark.parametrize(
    ("headers", "body", "content_type"),
    [
        ({"ce-specversion": "1.0", "ce-id": "1"}, b"{}", "application/json"),
        ({"ce-specversion": "0.3", **{f"ce-{k}": v for k, v in REQUIRED.items()}}, b"{}", None),
        ({}, b"[]", STRUCTURED),
        ({}, b'{"specversion": "1.0", "id": 7, "source": "s", "type": "t"}', STRUCTURED),
        ({}, json.dumps({"specversion": "1.0", **REQUIRED, "data_base64": "!"}).encode(), STRUCTURED),
        (
            {},
            json.dumps({"specversion": "1.0", **REQUIRED, "datacontenttype": 5, "data_base64": "YQ=="}).encode(),
            STRUCTURED,
        ),
        ({}, b"[]", "application/cloudevents-batch+json"),
        ({}, b"", STRUCTURED),
    ],
)
def test_a_cloudevent_that_breaks_the_specification(
    headers: dict[str, str], body: bytes, content_type: str | None
) -> None:
    with pytest.raises(BadCloudEvent):
        from_message(headers, body, content_type)


def test_an_event_without_its_required_attributes_is_not_sent() -> None:
    with pytest.raises(BadCloudEvent, match="source, type"):
        to_cloudevent({"id": "1"}, b"{}", "application/json")


def test_data_that_is_not_json_travels_as_base64() -> None:
    sent = to_cloudevent(REQUIRED, b"\xff", "image/png", mode="structured")
    assert json.loads(sent.body)["data_base64"] == "/w=="


text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(
    st.sampled_from(["binary", "structured"]),
    st.sampled_from(["ce-", "ce_", "cloudEvents:", "cloudEvents_"]),
    st.fixed_dictionaries({"id": text, "source": text, "type": text}, optional={"subject": text}),
    st.recursive(st.none() | st.booleans() | st.integers(0, 2**53) | text, lambda x: st.lists(x, max_size=3)),
)
def test_what_goes_out_comes_in(mode: str, prefix: str, attributes: dict[str, str], data: object) -> None:
    sent = to_cloudevent(attributes, json.dumps(data).encode(), "application/json", mode=mode, prefix=prefix)  # type: ignore[arg-type]  # drawn from the literals
    headers = {name.lower(): value for name, value in sent.headers.items()}
    assert all(value.isascii() for value in headers.values()) or prefix != "ce-"
    event = from_message(headers, sent.body, sent.content_type)
    assert isinstance(event, CloudEvent)
    assert event.content.value == data
    assert event.attributes == {"specversion": "1.0", "datacontenttype": "application/json", **attributes}
