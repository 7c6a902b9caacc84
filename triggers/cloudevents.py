"""CloudEvents 1.0, binary and structured, in and out. Pure.

In binary mode the attributes are headers and the body is the data: `ce-id` over HTTP, `ce_id` in Kafka,
`cloudEvents:id` or `cloudEvents_id` in AMQP; `specversion` among them is what makes a message a CloudEvent. In
structured mode the body is one JSON object. Batches are refused: one message starts one execution.

Comes from: `routing` (in), the `publish` node (out).
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as BadBase64
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote

import msgspec
from msgspec import Struct

from triggers.content import Content, decode, is_json, media_type
from triggers.errors import BadCloudEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

STRUCTURED = "application/cloudevents+json"
_PREFIXES = ("ce-", "ce_", "cloudevents:", "cloudevents_")
_REQUIRED = ("specversion", "id", "source", "type")
_UNQUOTED = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"%')
"""Characters that the HTTP binding leaves as they are in a header."""


class CloudEvent(Struct, frozen=True):
    """A CloudEvent taken apart."""

    attributes: dict[str, Any]
    """`specversion`, `id`, `source`, `type`, and optional and extension attributes, without prefix."""
    content: Content

    @property
    def identity(self) -> str:
        """Source and id, which the specification makes unique together. A source holds no space."""
        return f"{self.attributes['source']} {self.attributes['id']}"


class Encoded(Struct, frozen=True):
    """A CloudEvent ready to be sent."""

    body: bytes
    headers: dict[str, str]
    content_type: str


def from_message(headers: Mapping[str, str], body: bytes, content_type: str | None) -> CloudEvent | None:
    """Return the CloudEvent in a message; None when it is not one. Header names are in lower case.

    Raises `BadCloudEvent` when it claims to be one and breaks the specification, `ValueError` when the data is not
    what its content type says.
    """
    media = media_type(content_type)
    if media == STRUCTURED:
        return _structured(body)
    if media.startswith("application/cloudevents"):
        raise BadCloudEvent(
            f"{media} is not understood; send one event in a message, as {STRUCTURED} or in binary mode"
        )
    for prefix in _PREFIXES:
        if f"{prefix}specversion" in headers:
            attributes = _binary_attributes(headers, prefix)
            if content_type is not None:
                attributes["datacontenttype"] = content_type
            return CloudEvent(_checked(attributes), decode(body, content_type))
    return None


def to_cloudevent(
    attributes: Mapping[str, str],
    data: bytes,
    content_type: str,
    *,
    mode: Literal["binary", "structured"] = "binary",
    prefix: Literal["ce-", "ce_", "cloudEvents:", "cloudEvents_"] = "ce-",
) -> Encoded:
    """Wrap data in a CloudEvent; `attributes` needs `id`, `source` and `type`, and names carry no prefix.

    `prefix` is the transport's, for binary mode: `ce-` HTTP, `ce_` Kafka, `cloudEvents_` RabbitMQ.
    Raises `BadCloudEvent` when a required attribute is missing.
    """
    named = _checked({"specversion": "1.0", **attributes})
    if mode == "binary":
        named.pop("datacontenttype", None)
        encode = _percent_encoded if prefix == "ce-" else str
        return Encoded(data, {f"{prefix}{name}": encode(value) for name, value in named.items()}, content_type)
    envelope: dict[str, Any] = {**named, "datacontenttype": content_type}
    if is_json(media_type(content_type)):
        envelope["data"] = msgspec.Raw(data)
    else:
        envelope["data_base64"] = data
    return Encoded(msgspec.json.encode(envelope), {}, f"{STRUCTURED}; charset=utf-8")


def _binary_attributes(headers: Mapping[str, str], prefix: str) -> dict[str, Any]:
    read = unquote if prefix == "ce-" else str
    return {name.removeprefix(prefix): read(value) for name, value in headers.items() if name.startswith(prefix)}


def _structured(body: bytes) -> CloudEvent:
    envelope = decode(body, "application/json").value
    if not isinstance(envelope, dict):
        raise BadCloudEvent("a structured CloudEvent is a JSON object")
    data, data_base64 = envelope.pop("data", None), envelope.pop("data_base64", None)
    attributes = _checked(envelope)
    if data_base64 is None:
        return CloudEvent(attributes, Content(data, "json" if data is not None else "empty"))
    try:
        raw = b64decode(data_base64, validate=True)
    except (BadBase64, TypeError, ValueError):
        raise BadCloudEvent("data_base64 of the CloudEvent is not Base64") from None
    return CloudEvent(attributes, decode(raw, attributes.get("datacontenttype")))


def _checked(attributes: dict[str, Any]) -> dict[str, Any]:
    missing = [name for name in _REQUIRED if not isinstance(attributes.get(name), str) or not attributes[name]]
    if missing:
        raise BadCloudEvent(f"the CloudEvent has no {', '.join(missing)}")
    if not attributes["specversion"].startswith("1."):
        raise BadCloudEvent(f"CloudEvents {attributes['specversion']} is not understood; 1.0 is")
    if not isinstance(attributes.get("datacontenttype"), str | None):
        raise BadCloudEvent("datacontenttype of the CloudEvent is not text")
    return attributes


def _percent_encoded(value: str) -> str:
    return quote(value, safe=_UNQUOTED)
