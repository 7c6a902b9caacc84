"""What stands in a trigger: the settings of each kind, and the keys that all have.

The settings are those of the adapters in triggers/, with durations as text. Texts in them may hold `{{ secret.NAME }}`
and `{{ env.NAME }}`, filled in when the trigger is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.schema_parts import Schema, anything, choice, either, list_of, mapping, ref, text, whole_number, yes_no

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"


class TriggerKind(Struct, frozen=True, kw_only=True):
    """One kind of trigger."""

    summary: str
    schema: Schema
    """Of the settings."""
    broker: bool
    """Whether messages come from a broker: only then can one be tried again and set aside (`retry`, `dead_letter`)."""
    exclusive: tuple[str, ...] = ()
    """Settings that no two triggers of a daemon may share, taken together: what one gets, the other would miss."""


_KAFKA = mapping(
    "A Kafka topic.",
    {
        "topic": text("The topic.", minLength=1),
        "group": text("Consumer group; `sagad.<workflow>.<trigger>` if not given.", minLength=1),
        "batch": whole_number("The most messages in one append.", minimum=1, maximum=100_000, default=500),
        "start_from": choice(
            "Where a group without committed offsets begins.", "earliest", "latest", default="earliest"
        ),
        "max_unresolved": whole_number(
            "The most messages of a partition above its committed offset.", minimum=1, default=5000
        ),
    },
    "topic",
)
_RABBITMQ = mapping(
    "A RabbitMQ queue.",
    {
        "queue": text("The queue.", minLength=1),
        "prefetch": whole_number(
            "The most messages taken and not settled, and so the most in one append.",
            minimum=1,
            maximum=65_535,
            default=500,
        ),
        "declare": yes_no(
            "Make the queues (and the exchange) when they are missing; what exists is never changed.", default=True
        ),
        "queue_type": choice("Which kind of queue is made.", "quorum", "classic", default="quorum"),
        "exchange": text("Bind the queue to this exchange, with each of `routing_keys`.", default=""),
        "exchange_type": choice(
            "Which kind of exchange is made.", "direct", "topic", "fanout", "headers", default="topic"
        ),
        "routing_keys": list_of("What the queue is bound with; `#` if not given.", text("A routing key."), minItems=1),
        "dead_letter_exchange": text(
            "Where dead letters are published; the default exchange, with their queue's name as routing key, if none.",
            default="",
        ),
    },
    "queue",
)
_MEMORY = mapping(
    "A topic of the in-process broker, for development and tests.",
    {
        "topic": text("The topic.", minLength=1),
        "group": text(
            "Groups each get every message, members of one share them; a group of its own if not given.", minLength=1
        ),
        "batch": whole_number("The most messages in one append.", minimum=1, maximum=100_000, default=500),
        "max_unresolved": whole_number("The most messages taken and not settled.", minimum=1, default=1000),
    },
    "topic",
)
_SECRET = either(
    "The secret, as `{{ secret.NAME }}`; several while it is being changed.",
    text("The secret.", minLength=1, examples=["{{ secret.ORDER_HOOK }}"]),
    list_of("The secrets.", text("A secret.", minLength=1), minItems=1),
)
_TOLERANCE = {
    "type": "number",
    "x-expected": "a number of seconds",
    "exclusiveMinimum": 0,
    "default": 300,
    "description": "How old, in seconds, a signed time may be.",
}


def _scheme(name: str, description: str, more: Mapping[str, Schema], *required: str) -> Schema:
    scheme = {"const": name, "description": description}
    return mapping(description, {"scheme": scheme, **more}, "scheme", *required)


_VERIFY = either(
    "How a delivery is known to be genuine.",
    _scheme("standard-webhooks", "standardwebhooks.com.", {"secret": _SECRET, "tolerance_s": _TOLERANCE}, "secret"),
    _scheme("github", "GitHub: `X-Hub-Signature-256`.", {"secret": _SECRET}, "secret"),
    _scheme("stripe", "Stripe: `Stripe-Signature`.", {"secret": _SECRET, "tolerance_s": _TOLERANCE}, "secret"),
    _scheme("slack", "Slack: `X-Slack-Signature`.", {"secret": _SECRET, "tolerance_s": _TOLERANCE}, "secret"),
    _scheme(
        "hmac",
        "An HMAC of the body in a header.",
        {
            "secret": _SECRET,
            "header": text("The header's name.", minLength=1),
            "algorithm": choice("The hash.", "sha256", "sha384", "sha512", "sha1", default="sha256"),
            "encoding": choice("How the signature is written.", "hex", "base64", default="hex"),
            "prefix": text("What stands before the signature in the header: `sha256=`, say.", default=""),
        },
        "secret",
        "header",
    ),
    _scheme("none", "Anybody who can reach the address may start executions.", {}),
)
_WEBHOOK = mapping(
    "An HTTP address that others call.",
    {
        "path": text(
            "The last part of the address: `/hooks/{path}`.", pattern=r"^[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*$"
        ),
        "verify": _VERIFY,
        "identity": text("The header that identifies a delivery, where it is not the scheme's own.", minLength=1),
        "max_body_bytes": whole_number("A larger body is refused.", minimum=1, default=1024 * 1024),
    },
    "path",
    "verify",
)
_SCHEDULE = mapping(
    "Times; either `cron` or `every`.",
    {
        "cron": text(
            "A cron expression with five fields, or six with seconds first.", minLength=1, examples=["0 3 * * *"]
        ),
        "every": ref("duration", "An interval, at least 1s, aligned to 1970-01-01 00:00 UTC."),
        "timezone": text("Whose clock `cron` follows.", minLength=1, default="UTC", examples=["Europe/Berlin"]),
        "catch_up": choice(
            "Which of the times that fell while no daemon ran are made up for.", "none", "last", "all", default="last"
        ),
        "max_catch_up": whole_number("At most so many are made up for, the newest.", minimum=1, default=100),
    },
)

KINDS: Mapping[str, TriggerKind] = {
    "kafka": TriggerKind(
        summary="Messages of a Kafka topic.", schema=_KAFKA, broker=True, exclusive=("topic", "group")
    ),
    "rabbitmq": TriggerKind(
        summary="Messages of a RabbitMQ queue.", schema=_RABBITMQ, broker=True, exclusive=("queue",)
    ),
    "memory": TriggerKind(
        summary="Messages of the in-process broker.", schema=_MEMORY, broker=True, exclusive=("topic", "group")
    ),
    "webhook": TriggerKind(summary="Deliveries to a webhook.", schema=_WEBHOOK, broker=False, exclusive=("path",)),
    "schedule": TriggerKind(summary="Times.", schema=_SCHEDULE, broker=False),
}

_SIGNAL = mapping(
    "Signals an execution instead of starting one: the one with the id that `execution` gives, or the one that was or"
    " will be started with the dedupe key that `key` gives.",
    {
        "name": text("The signal's name.", minLength=1),
        "execution": ref("template", "An expression that gives the execution's id."),
        "key": ref("template", "An expression that gives the dedupe key that the execution is started with."),
        "scope": text(
            "Where that key counts: the starting trigger as `workflow/trigger`, or its `scope`. May be left out where"
            " the workflow has one starting trigger.",
            minLength=1,
        ),
    },
    "name",
)
_COMMON: Mapping[str, Schema] = {
    "filter": ref(
        "template", "A condition on `message`; where it is false, the message is acknowledged and nothing starts."
    ),
    "dedupe": ref(
        "template",
        "An expression that gives what identifies the message: two messages with one key start one execution. Without"
        " it the broker's own id of the message is taken.",
    ),
    "scope": text(
        "Triggers with the same scope share their dedupe keys; without it a trigger has its own.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,254}$",
    ),
    "input": anything("The input of the execution, or the signal's data; the message's value if not given."),
    "signal": _SIGNAL,
}
_BROKER_ONLY: Mapping[str, Schema] = {
    "dead_letter": text(
        "The topic or queue for messages that cannot be handled; the name of the source and `.dlq` if not given.",
        minLength=1,
    ),
    "retry": ref("retry", "How often a message whose handling failed is tried before it is set aside; 3 times."),
}


def trigger_schema(kind: str) -> Schema:
    """Return the schema of a whole trigger of this kind."""
    known = KINDS[kind]
    name = text("The trigger's name, once in a workflow.", pattern=NAME_PATTERN) | {"x-expected": "a name"}
    properties: dict[str, Any] = {"name": name, kind: known.schema, **_COMMON, **(_BROKER_ONLY if known.broker else {})}
    return mapping(known.summary, properties, "name", kind)


BROKER_ONLY = frozenset(_BROKER_ONLY)
