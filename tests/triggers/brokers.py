"""The brokers of the contract suite, behind one face: each has one source of messages and its dead letters."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol
from urllib.parse import urlsplit

import aio_pika
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from msgspec import Struct

from tests.support.mock_kafka import MockKafka
from tests.triggers.sinks import QUICK, RecordingSink, eventually
from triggers.kafka import KafkaSettings, KafkaTrigger
from triggers.kafka_client import KafkaConnection
from triggers.kafka_publisher import KafkaPublisher
from triggers.link import Reconnect
from triggers.memory import MemorySettings, MemoryTrigger
from triggers.memory_broker import MemoryBroker
from triggers.message import RetryPolicy, Trigger
from triggers.publishing import Outbound, Publisher, outgoing_headers
from triggers.rabbitmq import RabbitSettings, RabbitTrigger
from triggers.rabbitmq_client import RabbitConnection
from triggers.rabbitmq_publisher import RabbitPublisher

TRIGGER = "shop/orders"
SOON = Reconnect(initial_s=0.05, max_s=0.2)


class DeadLettered(Struct, frozen=True):
    body: bytes
    headers: Mapping[str, str]
    key: bytes | None


class Broker(Protocol):
    publisher: Publisher

    def outbound(self, body: bytes, **more: object) -> Outbound: ...

    def trigger(self, sink: RecordingSink, *, retry: RetryPolicy = QUICK, at_most: int = 500) -> Trigger:
        """Make a consumer of the source; those of one broker share what they have acknowledged."""

    async def dead_letters(self, count: int) -> list[DeadLettered]:
        """Return the dead letters when there are so many; each only once."""

    async def down(self) -> None: ...

    async def up(self) -> None: ...

    async def close(self) -> None: ...


class Memory:
    def __init__(self, name: str) -> None:
        self.name = name
        self.broker = MemoryBroker()
        self.publisher: Publisher = self.broker
        self.broker.join(name, TRIGGER)

    def outbound(self, body: bytes, **more: object) -> Outbound:
        return Outbound(destination=self.name, body=body, **more)  # type: ignore[arg-type]  # checked by the callers

    def trigger(self, sink: RecordingSink, *, retry: RetryPolicy = QUICK, at_most: int = 500) -> Trigger:
        settings = MemorySettings(topic=self.name, batch=at_most, max_unresolved=at_most)
        return MemoryTrigger(TRIGGER, settings, broker=self.broker, sink=sink, retry=retry)

    async def dead_letters(self, count: int) -> list[DeadLettered]:
        topic = f"{self.name}.dlq"
        await eventually(lambda: len(self.broker.messages(topic)) == count)
        letters = [stored.message for stored in self.broker.messages(topic)]
        return [DeadLettered(one.body, _texts(outgoing_headers(one)), _bytes(one.key)) for one in letters]

    async def down(self) -> None:
        raise NotImplementedError

    async def up(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        return


class Kafka:
    def __init__(self, bootstrap: str, name: str, *, mocked: bool, mock: MockKafka | None = None) -> None:
        self.name = name
        self.mock = mock
        self.connection = KafkaConnection(
            bootstrap_servers=bootstrap,
            request_timeout_s=5.0,
            session_timeout_s=1.5 if mocked else 6.0,  # the mock makes the next member wait for so long
            probe_interval_s=0.2,
            reconnect=SOON,
        )
        self.kafka_publisher = KafkaPublisher(self.connection)
        self.publisher: Publisher = self.kafka_publisher

    async def create(self, partitions: int = 1) -> None:
        if self.mock is not None:
            self.mock.create_topic(self.name, partitions=partitions)
            self.mock.create_topic(f"{self.name}.dlq", partitions=1)
            return
        admin = AIOKafkaAdminClient(bootstrap_servers=self.connection.bootstrap_servers)
        await admin.start()
        await admin.create_topics([NewTopic(self.name, partitions, 1), NewTopic(f"{self.name}.dlq", 1, 1)])
        await admin.close()

    def outbound(self, body: bytes, **more: object) -> Outbound:
        return Outbound(destination=self.name, body=body, **more)  # type: ignore[arg-type]  # checked by the callers

    def trigger(self, sink: RecordingSink, *, retry: RetryPolicy = QUICK, at_most: int = 500) -> Trigger:
        settings = KafkaSettings(topic=self.name, group=self.name, batch=at_most, max_unresolved=at_most)
        return KafkaTrigger(TRIGGER, settings, self.connection, sink=sink, retry=retry, publisher=self.kafka_publisher)

    async def dead_letters(self, count: int) -> list[DeadLettered]:
        consumer = AIOKafkaConsumer(
            f"{self.name}.dlq",
            bootstrap_servers=self.connection.bootstrap_servers,
            auto_offset_reset="earliest",
            group_id=None,
        )
        await consumer.start()
        found: list[ConsumerRecord[bytes, bytes]] = []
        async with asyncio.timeout(20):
            while len(found) < count:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
        found += [r for records in (await consumer.getmany(timeout_ms=200)).values() for r in records]
        await consumer.stop()
        assert len(found) == count
        return [DeadLettered(r.value, {name: value.decode() for name, value in r.headers}, r.key) for r in found]

    async def down(self) -> None:
        assert self.mock is not None
        self.mock.down()

    async def up(self) -> None:
        assert self.mock is not None
        self.mock.up()

    async def close(self) -> None:
        await self.publisher.close()


class Proxy:
    """A TCP relay in front of a broker, which can be cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        self._writers |= {writer, back}
        await asyncio.gather(_pump(reader, back), _pump(there, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.transport.abort()


class Rabbit:
    def __init__(self, url: str, name: str, queue_type: str) -> None:
        self.name = name
        self.direct_url = url
        self.queue_type = queue_type
        parts = urlsplit(url)
        self._proxy = Proxy(parts.hostname or "127.0.0.1", parts.port or 5672)
        self._parts = parts

    async def create(self) -> None:
        await self._proxy.up()
        user = self._parts.netloc.rpartition("@")[0]
        url = self._parts._replace(netloc=f"{user}@127.0.0.1:{self._proxy.port}").geturl()
        self.connection = RabbitConnection(url=url, reconnect=SOON, confirm_timeout_s=5.0)
        self.rabbit_publisher = RabbitPublisher(RabbitConnection(url=self.direct_url))
        self.publisher: Publisher = self.rabbit_publisher
        self.link = await aio_pika.connect(self.direct_url)
        channel = await self.link.channel()
        for queue in (self.name, f"{self.name}.dlq"):
            await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": self.queue_type})

    def outbound(self, body: bytes, **more: object) -> Outbound:
        return Outbound(destination=self.name, body=body, **more)  # type: ignore[arg-type]  # checked by the callers

    def trigger(self, sink: RecordingSink, *, retry: RetryPolicy = QUICK, at_most: int = 500) -> Trigger:
        settings = RabbitSettings(queue=self.name, prefetch=at_most)
        return RabbitTrigger(
            TRIGGER, settings, self.connection, sink=sink, retry=retry, publisher=self.rabbit_publisher
        )

    async def dead_letters(self, count: int) -> list[DeadLettered]:
        channel = await self.link.channel()
        queue = await channel.get_queue(f"{self.name}.dlq")
        found: list[DeadLettered] = []
        async with asyncio.timeout(20):
            while len(found) < count:
                message = await queue.get(fail=False)
                if message is not None:
                    headers = {name: str(value) for name, value in message.headers.items()}
                    key = headers.get("key")
                    found.append(DeadLettered(message.body, headers, key.encode() if key else None))
        assert await queue.get(fail=False) is None
        await channel.close()
        return found

    async def down(self) -> None:
        await self._proxy.down()

    async def up(self) -> None:
        await self._proxy.up()

    async def close(self) -> None:
        await self._proxy.down()
        await self.publisher.close()
        await self.link.close()
        async with await aio_pika.connect(self.direct_url) as link, link.channel() as channel:
            for queue in (self.name, f"{self.name}.dlq"):
                await channel.queue_delete(queue)


def _bytes(key: str | bytes | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key


def _texts(headers: Mapping[str, str | bytes]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else value.decode() for name, value in headers.items()}
