"""The connections to brokers that one daemon shares: made from the settings, used by triggers and by `publish`.

Comes from: daemon/settings. Goes to: `subscriptions`, `services`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.errors import Misconfigured
from daemon.core.problems import Problem
from triggers.kafka_client import KafkaConnection, Sasl
from triggers.kafka_publisher import KafkaPublisher
from triggers.memory_broker import MemoryBroker
from triggers.rabbitmq_client import RabbitConnection
from triggers.rabbitmq_publisher import RabbitPublisher
from triggers.tls import Tls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from daemon.settings import Kafka, RabbitMQ, Settings
    from triggers.message import ConnectionStatus
    from triggers.publishing import Publisher


class Brokers:
    """Publishers by broker name; `kafka` and `rabbitmq` only where the settings have them, `memory` always."""

    def __init__(self, settings: Settings, *, now: Callable[[], datetime]) -> None:
        """Read the TLS files; raise Misconfigured for what can never work. Nothing is connected yet."""
        self.memory = MemoryBroker(now=now)
        self.kafka = kafka_connection(settings.kafka)
        self.rabbitmq = rabbit_connection(settings.rabbitmq)
        try:
            self.kafka_publisher = KafkaPublisher(self.kafka) if self.kafka else None
            self.rabbit_publisher = RabbitPublisher(self.rabbitmq) if self.rabbitmq else None
        except (OSError, ValueError) as error:
            hint = "see the TLS settings in [kafka] and [rabbitmq]"
            raise Misconfigured([Problem(message=f"a broker cannot be used: {error}", hint=hint)]) from error

    @property
    def publishers(self) -> Mapping[str, Publisher]:
        """By the name that `publish` nodes use."""
        known: dict[str, Publisher | None] = {
            "kafka": self.kafka_publisher,
            "rabbitmq": self.rabbit_publisher,
            "memory": self.memory,
        }
        return {name: publisher for name, publisher in known.items() if publisher is not None}

    def statuses(self) -> Sequence[ConnectionStatus]:
        """How the publishing connections are."""
        return [publisher.status for publisher in self.publishers.values()]

    async def close(self) -> None:
        """Send what is under way and disconnect."""
        for publisher in self.publishers.values():
            await publisher.close()


def kafka_connection(settings: Kafka) -> KafkaConnection | None:
    """Return the connection that the settings describe; None where there is no Kafka."""
    if not settings.bootstrap:
        return None
    sasl = None
    if settings.username is not None:
        sasl = Sasl(username=settings.username, password=settings.password or "", mechanism=settings.sasl_mechanism)
    return KafkaConnection(
        bootstrap_servers=list(settings.bootstrap),
        client_id=settings.client_id,
        tls=_tls(settings) if settings.tls else None,
        sasl=sasl,
    )


def rabbit_connection(settings: RabbitMQ) -> RabbitConnection | None:
    """Return the connection that the settings describe; None where there is no RabbitMQ."""
    if settings.url is None:
        return None
    return RabbitConnection(url=settings.url, tls=_tls(settings) if settings.url.startswith("amqps") else None)


def _tls(settings: Kafka | RabbitMQ) -> Tls:
    def path(value: object) -> str | None:
        return None if value is None else str(value)

    return Tls(
        ca_file=path(settings.ca_file),
        cert_file=path(settings.cert_file),
        key_file=path(settings.key_file),
        key_password=settings.key_password,
        verify_hostname=settings.verify_hostname,
    )
