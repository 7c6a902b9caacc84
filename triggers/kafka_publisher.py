"""Messages to Kafka: acknowledged by all in-sync replicas, without duplicates by the producer's own retries.

Comes from: the `publish` node, `kafka` (dead letters), the command line.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from triggers.errors import BrokerUnavailable, TooLarge, Unroutable
from triggers.kafka_client import LOST, KafkaConnection, abandon_producer, client_arguments
from triggers.link import explain
from triggers.message import ConnectionStatus
from triggers.publishing import Outbound, outgoing_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

_REFUSALS = (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    TopicAuthorizationFailedError,
)
_LARGEST_REQUEST_BYTES = 16 * 1024 * 1024
"""Above what any broker takes by default, so that the broker's limit is the one that counts."""


class KafkaPublisher:
    """A shared producer, connected when first used and again after it broke."""

    def __init__(self, connection: KafkaConnection) -> None:
        """Raise `OSError` or `ssl.SSLError` when a TLS file is missing or wrong."""
        self._connection = connection
        self._arguments = client_arguments(connection)
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._abandoned: set[asyncio.Task[None]] = set()
        self._trouble = ""

    @property
    def status(self) -> ConnectionStatus:
        """How it is, as of the last message."""
        return ConnectionStatus("kafka publisher", not self._trouble, self._trouble)

    async def publish(self, message: Outbound) -> str:
        """Send and wait for the replicas; see `Publisher`."""
        headers = [(name, _bytes(value)) for name, value in outgoing_headers(message).items()]
        key = None if message.key is None else _bytes(message.key)
        return await self.send(message.destination, message.body, key, headers, partition=message.partition)

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        *,
        partition: int | None = None,
    ) -> str:
        """Send exactly these bytes; see `Publisher.publish`. A value of None is a tombstone, and needs a key."""
        try:
            async with asyncio.timeout(self._connection.request_timeout_s * 1.5):
                producer = await self._connected()
                if partition is not None and partition not in await producer.partitions_for(topic):
                    raise Unroutable(f"Kafka topic {topic} has no partition {partition}")
                record = await producer.send_and_wait(topic, value, key, partition, headers=headers)
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            raise TooLarge(f"Kafka takes no message of this size to {topic}: {explain(error)}") from error
        except _REFUSALS as error:
            raise Unroutable(f"Kafka refuses messages to {topic}: {explain(error)}") from error
        except UnknownTopicOrPartitionError as error:
            await self._tell_unknown_from_away(topic)
            raise Unroutable(f"Kafka has no topic {topic}") from error
        except LOST as error:
            self._forget()
            self._trouble = f"Kafka did not confirm a message to {topic}: {explain(error)}"
            raise BrokerUnavailable(self._trouble) from error
        self._trouble = ""
        return f"kafka:{topic}/{record.partition}@{record.offset}"

    async def close(self) -> None:
        """Send what is under way, then disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            stopping = asyncio.create_task(producer.stop())
            await asyncio.wait({stopping}, timeout=self._connection.request_timeout_s)
            if not stopping.done():
                stopping.cancel()
                await abandon_producer(producer)
        await asyncio.gather(*self._abandoned)

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._arguments, acks="all", enable_idempotence=True, max_request_size=_LARGEST_REQUEST_BYTES
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def _tell_unknown_from_away(self, topic: str) -> None:
        """Raise `BrokerUnavailable` when nobody answers; aiokafka calls both cases an unknown topic."""
        producer = self._producer
        try:
            if producer is not None:
                await producer.client.fetch_all_metadata()
        except KafkaError as error:
            self._trouble = f"Kafka does not answer; a message to {topic} was not sent: {explain(error)}"
            raise BrokerUnavailable(self._trouble) from error

    def _forget(self) -> None:
        """Give up this producer with all it has not sent; the next message gets a new one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            task = asyncio.create_task(abandon_producer(producer))
            self._abandoned.add(task)
            task.add_done_callback(self._abandoned.discard)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
