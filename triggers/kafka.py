"""Messages from Kafka: fetched in batches, handed on as one append each, committed after their verdicts.

It uses aiokafka itself. FastStream, which sits on it, acknowledges after errors as well, swallows what a handler
raises, commits the consumer's whole position, cannot remove a subscriber, and is two to three times slower in batches.

A message's identity is `topic/partition/offset`. A topic that is deleted and made again begins at offset 0 again, and
its messages look like those already seen: give such triggers a `dedupe`.

Comes from: Kafka. Goes to: `kafka_session`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import UnknownTopicOrPartitionError
from msgspec import Struct

from triggers.kafka_client import LOST, KafkaConnection, client_arguments, close_consumer
from triggers.kafka_session import KafkaSession
from triggers.link import Link

if TYPE_CHECKING:
    from collections.abc import Callable

    from triggers.kafka_publisher import KafkaPublisher
    from triggers.message import Aside, ConnectionStatus, RetryPolicy, Sink


class KafkaSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a definition says under `kafka:`."""

    topic: str
    group: str | None = None
    """Consumer group; None is `sagad.<workflow>.<trigger>`. Two triggers on one topic must not share a group."""
    batch: int = 500
    """The most messages in one append."""
    start_from: Literal["earliest", "latest"] = "earliest"
    """Where a group without committed offsets begins."""
    max_unresolved: int = 5000
    """The most messages of a partition above its committed offset."""


class KafkaTrigger:
    """One topic, consumed as a member of a group."""

    def __init__(
        self,
        name: str,
        settings: KafkaSettings,
        connection: KafkaConnection,
        *,
        sink: Sink,
        retry: RetryPolicy,
        publisher: KafkaPublisher,
        dead_letter: str | None = None,
        aside: Aside | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`dead_letter` is a topic, None is `<topic>.dlq`; `aside` keeps dead letters too.

        Raises `OSError` or `ssl.SSLError` for bad TLS files.
        """
        self.name = name
        self._settings = settings
        self._connection = connection
        self._arguments = client_arguments(connection)
        self._sink = sink
        self._retry = retry
        self._publisher = publisher
        self._dead_letters = dead_letter or f"{settings.topic}.dlq"
        self._aside = aside
        self._now = now
        self._link = Link(name, connection.reconnect)

    @property
    def status(self) -> ConnectionStatus:
        """How the connection is."""
        return self._link.status

    async def run(self) -> None:
        """Receive until stopped, reconnecting."""
        await self._link.run(self._session, LOST)

    async def stop(self) -> None:
        """Take no more, settle what is with the sink, commit, leave the group."""
        await self._link.stop()

    async def _session(self) -> None:
        # The answer to a request to join comes when all members have joined, up to a session timeout later.
        longest_s = self._connection.request_timeout_s + self._connection.session_timeout_s
        consumer = AIOKafkaConsumer(
            **{**self._arguments, "request_timeout_ms": round(longest_s * 1000)},
            group_id=self._settings.group or f"sagad.{self.name.replace('/', '.')}",
            enable_auto_commit=False,
            auto_offset_reset=self._settings.start_from,
            session_timeout_ms=round(self._connection.session_timeout_s * 1000),
            heartbeat_interval_ms=round(self._connection.session_timeout_s * 300),
            max_poll_interval_ms=round(self._connection.max_poll_interval_s * 1000),
        )
        session = KafkaSession(
            self.name,
            consumer,
            self._link,
            self._connection,
            sink=self._sink,
            retry=self._retry,
            publisher=self._publisher,
            dead_letters=self._dead_letters,
            aside=self._aside,
            batch=self._settings.batch,
            max_unresolved=self._settings.max_unresolved,
            now=self._now,
        )
        consumer.subscribe([self._settings.topic], listener=session)
        try:
            await self._link.unless_stopped(consumer.start())
            if not self._link.stopping.is_set():
                await session.consume()
        except UnknownTopicOrPartitionError:
            raise UnknownTopicOrPartitionError(f"Kafka has no topic {self._settings.topic}") from None
        finally:
            await close_consumer(consumer)
