"""`publish`: send a message to Kafka, RabbitMQ or the in-process broker.

Done when the broker has confirmed. The idempotency key goes along (header `idempotency-key`, RabbitMQ's `message_id`),
the same at each attempt, so that a consumer can tell a repeat from a new message; so does the trace context
(`traceparent`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from daemon.core.node import Beginning, NodeType, Run
from daemon.core.schema_parts import choice, either, mapping, mapping_of, ref, text
from daemon.core.templates import Template
from daemon.nodes.context import Publication, StepFailure
from daemon.nodes.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.nodes.context import NodeContext

BROKERS = ("kafka", "rabbitmq", "memory")
JSON = "application/json"


class Publish(Struct, frozen=True):
    """Which broker, and the message."""

    broker: str
    message: Template
    content_type: str


def parse(own: Mapping[str, Any]) -> Publish:
    """Compile the message as one template."""
    reader, given = Reader(), own["publish"]
    broker = next(name for name in BROKERS if name in given)
    content_type = given.get("content_type", JSON)
    message = {key: value for key, value in given.items() if key != "content_type"}
    return reader.finish(Publish(broker, reader.template(message, "publish"), content_type))


def begin(config: Publish, beginning: Beginning) -> Run:
    """Ask for the message to be sent."""
    rendered = config.message.render(beginning.scope)
    return Run(rendered.value, rendered.secrets)


async def execute(context: NodeContext, value: Any) -> object:
    """Send; return `{sent_to}`."""
    config: Publish = context.config
    where = value[config.broker]
    headers = {name: _text(f"header {name}", each) for name, each in value.get("headers", {}).items()}
    if context.traceparent is not None:
        headers = {"traceparent": context.traceparent} | headers
    publication = Publication(
        broker=config.broker,
        destination=_text("the destination", where["routing_key"] if config.broker == "rabbitmq" else where["topic"]),
        exchange=_text("exchange", where.get("exchange", "")),
        key=_text("key", where["key"]) if where.get("key") is not None else None,
        partition=_partition(where.get("partition")),
        body=_body(value["value"], config.content_type),
        content_type=config.content_type,
        headers=headers,
        message_id=context.idempotency_key,
        cloudevent=_attributes(value.get("cloudevent"), context.idempotency_key),
        cloudevent_mode=(value.get("cloudevent") or {}).get("mode", "binary"),
    )
    return {"sent_to": await context.services.publish(publication)}


def _body(value: object, content_type: str) -> bytes:
    if content_type == JSON or content_type.endswith("+json"):
        return msgspec.json.encode(value)
    return _text(f"value, which is sent as {content_type},", value).encode()


def _attributes(given: Mapping[str, Any] | None, message_id: str) -> dict[str, str] | None:
    if given is None:
        return None
    named = {name: _text(f"cloudevent {name}", each) for name, each in given.items() if name != "mode"}
    return {"id": message_id} | named


def _partition(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise _refused(f"partition must be a whole number from 0, and is {value!r}")


def _text(what: str, value: object) -> str:
    match value:
        case str():
            return value
        case bool() | int() | float():
            return msgspec.json.encode(value).decode()
        case _:
            raise _refused(f"{what} must be text, and is {'nothing' if value is None else 'a list or a mapping'}")


def _refused(message: str) -> StepFailure:
    return StepFailure(message, "publish", retryable=False)


_MESSAGE = {
    "value": ref("value", "The message's body."),
    "headers": mapping_of("Headers by name.", ref("value", "The header's value.")),
    "content_type": text("How the body is sent: JSON, or a text as it is.", default=JSON, examples=["text/plain"]),
    "cloudevent": mapping(
        "Sends the message as a CloudEvent 1.0; its `id` is the step's idempotency key.",
        {
            "type": ref("template", "The kind of event: `com.example.order.done`."),
            "source": ref("template", "Who says so, a URI reference: `/orders`."),
            "subject": ref("template", "What it is about."),
            "time": ref("template", "When it happened, in ISO 8601."),
            "dataschema": ref("template", "URI of the schema of the data."),
            "mode": choice(
                "`binary` has the attributes in headers, `structured` in the body.",
                "binary",
                "structured",
                default="binary",
            ),
        },
        "type",
        "source",
    ),
}
_KAFKA = mapping(
    "A Kafka topic.",
    {
        "topic": ref("template", "The topic."),
        "key": ref("template", "Messages with one key go to one partition, in order."),
        "partition": either(
            "The partition; without it the key decides.",
            {"type": "integer", "x-expected": "a whole number", "minimum": 0, "description": "The partition."},
            ref("template", "An expression that gives it."),
        ),
    },
    "topic",
)
_RABBITMQ = mapping(
    "A RabbitMQ exchange.",
    {
        "exchange": ref("template", "The exchange; the default exchange if not given."),
        "routing_key": ref("template", "The routing key; on the default exchange the queue's name."),
    },
    "routing_key",
)
_MEMORY = mapping(
    "A topic of the in-process broker, for development and tests.", {"topic": ref("template", "The topic.")}, "topic"
)

NODE_TYPE = NodeType(
    name="publish",
    summary="Sends a message to Kafka, RabbitMQ or the in-process broker; its output is `{sent_to}`.",
    schema=either(
        "Where to, under the name of the broker, and the message.",
        *(
            mapping(f"Sends to {broker}.", {broker: where, **_MESSAGE}, broker, "value")
            for broker, where in zip(BROKERS, (_KAFKA, _RABBITMQ, _MEMORY), strict=True)
        ),
    ),
    parse=parse,
    templates=lambda config: (config.message,),
    begin=begin,
    execute=execute,
)
