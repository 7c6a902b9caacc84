"""What starts or signals executions: `kafka`, `rabbitmq`, `webhook`, `schedule`, `memory`.

    kafka("orders", filter=message.value.total > 0, dedupe=message.value.order_id)

The first argument is the trigger's name, and the topic, queue or path too if that is not given.

Comes from: the author. Goes to: `workflows`.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from daemon.flow.mistakes import Place, mistake, place_of_call
from daemon.flow.options import Retry, retry_keys
from daemon.flow.values import duration, marked, template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from daemon.flow.options import Duration


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """A trigger as a definition has it."""

    document: Mapping[str, Any]
    place: Place


@dataclass(frozen=True)
class SignalTo:
    """That a message signals: which signal, and which execution, by its id or by the dedupe key it was started with."""

    name: str
    _: KW_ONLY
    execution: object = None
    key: object = None
    scope: str | None = None
    """Whose dedupe key: `workflow/trigger`, or a shared scope."""


class TriggerOptions(TypedDict, total=False):
    """What every trigger may say."""

    filter: bool
    """A condition on `message`; where it is false, nothing starts."""
    dedupe: object
    """What identifies the message: two with one key start one execution."""
    scope: str
    """Triggers of one scope share their dedupe keys."""
    input: object
    """The execution's input, made of `message`; its value if not given."""
    signal: SignalTo


class BrokerOptions(TriggerOptions, total=False):
    """What a trigger on a broker may say besides."""

    dead_letter: str
    retry: Retry


def kafka(
    name: str,
    *,
    topic: str | None = None,
    group: str | None = None,
    batch: int | None = None,
    start_from: Literal["earliest", "latest"] | None = None,
    max_unresolved: int | None = None,
    **options: Unpack[BrokerOptions],
) -> Trigger:
    """Take the messages of a Kafka topic."""
    settings = {"topic": topic or name, "group": group, "batch": batch, "start_from": start_from}
    return on("kafka", name, {**settings, "max_unresolved": max_unresolved}, **options)


def rabbitmq(
    name: str,
    *,
    queue: str | None = None,
    prefetch: int | None = None,
    declare: bool | None = None,
    queue_type: Literal["quorum", "classic"] | None = None,
    exchange: str | None = None,
    exchange_type: Literal["direct", "topic", "fanout", "headers"] | None = None,
    routing_keys: Sequence[str] | None = None,
    dead_letter_exchange: str | None = None,
    **options: Unpack[BrokerOptions],
) -> Trigger:
    """Take the messages of a RabbitMQ queue."""
    settings = {
        "queue": queue or name,
        "prefetch": prefetch,
        "declare": declare,
        "queue_type": queue_type,
        "exchange": exchange,
        "exchange_type": exchange_type,
        "routing_keys": routing_keys,
        "dead_letter_exchange": dead_letter_exchange,
    }
    return on("rabbitmq", name, settings, **options)


def memory(
    name: str,
    *,
    topic: str | None = None,
    group: str | None = None,
    batch: int | None = None,
    max_unresolved: int | None = None,
    **options: Unpack[BrokerOptions],
) -> Trigger:
    """Take the messages of a topic of the in-process broker, for development."""
    settings = {"topic": topic or name, "group": group, "batch": batch, "max_unresolved": max_unresolved}
    return on("memory", name, settings, **options)


def webhook(
    name: str,
    *,
    verify: Mapping[str, object],
    path: str | None = None,
    identity: str | None = None,
    max_body_bytes: int | None = None,
    **options: Unpack[TriggerOptions],
) -> Trigger:
    """Take deliveries at `/hooks/{path}`; `verify` is `{"scheme": "github", "secret": secret.HOOK}` or the like."""
    settings = {"path": path or name, "verify": verify, "identity": identity, "max_body_bytes": max_body_bytes}
    return on("webhook", name, settings, **options)


def schedule(
    name: str,
    cron: str | None = None,
    *,
    every: Duration | None = None,
    timezone: str | None = None,
    catch_up: Literal["none", "last", "all"] | None = None,
    max_catch_up: int | None = None,
    **options: Unpack[TriggerOptions],
) -> Trigger:
    """Start at times: `cron` or `every`."""
    settings = {"cron": cron, "every": duration(every), "timezone": timezone, "catch_up": catch_up}
    return on("schedule", name, {**settings, "max_catch_up": max_catch_up}, **options)


def on(kind: str, name: str, settings: Mapping[str, Any], **options: Unpack[BrokerOptions]) -> Trigger:
    """Make a trigger of any kind; settings that are None are left out."""
    given: dict[str, Any] = {**options}
    if (retry := options.get("retry")) is not None:
        given["retry"] = retry_keys(retry)
    if (signal := options.get("signal")) is not None:
        words = {"name": signal.name, "execution": signal.execution, "key": signal.key, "scope": signal.scope}
        given["signal"] = {word: value for word, value in words.items() if value is not None}
    written = marked({"name": name, kind: {key: each for key, each in settings.items() if each is not None}, **given})
    return Trigger(document=template(written, _no_turn), place=place_of_call())


def _no_turn(node_id: str) -> str:
    raise mistake("a trigger reads its message, and no turn", f"that of `{node_id}` is not there yet")
