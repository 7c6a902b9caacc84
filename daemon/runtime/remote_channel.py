"""The places at a broker by which daemons and remote workers reach each other.

| place | who reads | RabbitMQ, in-process | Kafka |
|---|---|---|---|
| `PREFIX.requests.QUEUE` | the workers of the queue, each message one | a queue | a topic, one group |
| `PREFIX.results` | the daemons, each message one | a queue | a topic, one group |
| `PREFIX.signs` | the daemon it is for | a queue of its own | a topic that all read, by key |
| `PREFIX.control` | the worker it is for | a queue of its own | a topic that all read, by key |

Comes from: `remote_calls`, `worker`. Goes to: triggers, `brokers`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import structlog
from msgspec import Struct

from daemon.core.errors import Misconfigured
from daemon.core.problems import Problem
from daemon.runtime.remote_messages import encode
from triggers.kafka import KafkaSettings, KafkaTrigger
from triggers.memory import MemorySettings, MemoryTrigger
from triggers.message import Ack, RetryPolicy
from triggers.publishing import Outbound
from triggers.rabbitmq import RabbitSettings, RabbitTrigger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from daemon.runtime.brokers import Brokers
    from daemon.runtime.remote_messages import Message
    from daemon.settings_outside import Workers
    from triggers.message import Inbound, Sink, Trigger, Verdict
    from triggers.publishing import Publisher

AGAIN = timedelta(milliseconds=20)
"""How soon a message is looked at again whose work is under way."""
UNUSED_S = 3600
"""A queue of one daemon or worker that nobody has read for so long is deleted."""
AT_ONCE = 500
"""Signs, orders and outcomes taken at a time."""

_RETRY = RetryPolicy(max_attempts=1_000_000, backoff="fixed", initial=AGAIN)

_logger = structlog.get_logger(__name__)


class Place(Struct, frozen=True):
    """Where messages go."""

    name: str
    owner: str | None = None
    """The one daemon or worker that reads here; None for a place whose readers share the messages."""


RESULTS = Place("results")


def requests(queue: str) -> Place:
    """Return where requests of this queue go."""
    return Place(f"requests.{queue}")


def signs(daemon: str) -> Place:
    """Return where signs for this daemon go."""
    return Place("signs", daemon)


def control(worker: str) -> Place:
    """Return where orders for this worker go."""
    return Place("control", worker)


class Channel:
    """Sends and receives by the broker that `[workers]` names."""

    def __init__(self, brokers: Brokers, settings: Workers, *, now: Callable[[], datetime]) -> None:
        """Raise Misconfigured when the settings do not say where that broker is."""
        self._brokers = brokers
        self._broker = settings.broker or "memory"
        self._prefix = settings.prefix
        self._now = now
        publisher = brokers.publishers.get(self._broker)
        if publisher is None:
            key = "[kafka] bootstrap" if self._broker == "kafka" else "[rabbitmq] url"
            raise Misconfigured([Problem(message=f"[workers] needs {self._broker}", hint=f"set {key}")])
        self._publisher: Publisher = publisher

    async def send(self, place: Place, message: Message, *, key: str, traceparent: str | None = None) -> None:
        """Return when the broker has the message. Raises `BrokerUnavailable`, `Unroutable`, or `TooLarge`."""
        await self._publisher.publish(
            Outbound(
                destination=self._destination(place),
                body=encode(message),
                key=place.owner or key,
                headers={} if traceparent is None else {"traceparent": traceparent},
                content_type="application/json",
            )
        )

    def receive(self, place: Place, sink: Sink, *, at_most: int = AT_ONCE) -> Trigger:
        """Return what hands messages of this place to the sink; `at_most` are taken and not settled at a time."""
        name, dead_letters = f"{self._prefix}/{place.name}", f"{self._prefix}.{place.name}.dead-letters"
        how: dict[str, Any] = {"retry": _RETRY, "dead_letter": dead_letters, "now": self._now}
        brokers, destination = self._brokers, self._destination(place)
        if brokers.kafka is not None and brokers.kafka_publisher is not None and self._broker == "kafka":
            settings = KafkaSettings(
                topic=destination,
                group=destination if place.owner is None else f"{destination}.{place.owner}",
                start_from="earliest" if place.owner is None else "latest",
                batch=at_most,
                max_unresolved=at_most,
            )
            own = sink if place.owner is None else _Own(place.owner, sink)
            return KafkaTrigger(name, settings, brokers.kafka, sink=own, publisher=brokers.kafka_publisher, **how)
        if brokers.rabbitmq is not None and brokers.rabbit_publisher is not None and self._broker == "rabbitmq":
            lasting = place.owner is None
            kind: Literal["quorum", "classic"] = "quorum" if lasting else "classic"
            queue = RabbitSettings(queue=destination, prefetch=at_most, queue_type=kind)
            how |= {"publisher": brokers.rabbit_publisher, "expires_s": None if lasting else UNUSED_S}
            return RabbitTrigger(name, queue, brokers.rabbitmq, sink=sink, **how)
        topic = MemorySettings(topic=destination, group=destination, batch=at_most, max_unresolved=at_most)
        return MemoryTrigger(name, topic, broker=brokers.memory, sink=sink, **how)

    def _destination(self, place: Place) -> str:
        shared = place.owner is None or self._broker == "kafka"
        return f"{self._prefix}.{place.name}" if shared else f"{self._prefix}.{place.name}.{place.owner}"


class _Own:
    """Passes on what is for one reader of a topic that all read."""

    def __init__(self, owner: str, sink: Sink) -> None:
        self._owner = owner
        self._sink = sink

    async def __call__(self, batch: Sequence[Inbound]) -> Sequence[Verdict]:
        own = [message for message in batch if message.key == self._owner]
        verdicts = iter(await self._sink(own) if own else ())
        return [next(verdicts) if message.key == self._owner else Ack("filtered") for message in batch]
