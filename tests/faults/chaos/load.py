"""Sends the messages of a run, each until it is taken, and keeps the ledger of what was sent.

A message whose fate is not known is sent again, so duplicates come by themselves. The ledger says `confirmed` when a
broker or the daemon has answered for it; a webhook's poison is refused, and so is never confirmed.

Comes from: `run`. Goes to: brokers and daemons; tests/faults/checker reads the ledger.
"""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import aio_pika
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.faults.chaos.fleet import now_s
from tests.faults.chaos.orders import Message, Parcel, parcels
from triggers.errors import BrokerUnavailable, Unroutable
from triggers.kafka_client import KafkaConnection
from triggers.kafka_publisher import KafkaPublisher
from triggers.publishing import Outbound
from triggers.rabbitmq_client import RabbitConnection
from triggers.rabbitmq_publisher import RabbitPublisher

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tests.faults.chaos.fleet import Fleet
    from tests.faults.chaos.orders import Way
    from tests.faults.chaos.servers import Server
    from triggers.publishing import Publisher

PARTITIONS = 4
TOPICS = {"orders": PARTITIONS, "reviews": 2, "orders.dlq": 1, "reviews.dlq": 1, "done": 1}
QUEUES = ("orders", "reviews")
PAUSE_S = 0.3
REQUEST_S = 8.0
MOST_REQUESTS = 32
"""At once, by HTTP and to brokers: clients get slow with many that wait for a connection."""


class NotTakenError(Exception):
    """The message was not taken, or nobody knows: send it again."""


class Ledger:
    """A line for each message before it is sent, and one when it is known to be taken."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", buffering=1)
        self.sent = 0
        self.deliveries = 0
        self.wrong: list[str] = []
        """Answers that cannot be."""

    def note(self, message: Message, *, confirmed: bool) -> None:
        """Write a line."""
        self._file.write(f"{json.dumps(message.line(confirmed=confirmed))}\n")

    def close(self) -> None:
        """End it."""
        self._file.close()


class Load:
    """Sends orders at a rate until told to stop; then what has begun is sent to its end."""

    def __init__(self, *, servers: dict[str, Server], fleet: Fleet, ledger: Ledger, seed: int) -> None:
        self._fleet = fleet
        self._ledger = ledger
        self._messages = random.Random(f"{seed} messages")  # noqa: S311  repeatable
        self._choices = random.Random(f"{seed} callers")  # noqa: S311  as many as there are tries
        self._servers = servers
        self._http = httpx.AsyncClient(trust_env=False, timeout=REQUEST_S)
        self._callers = asyncio.Semaphore(MOST_REQUESTS)
        self._senders = asyncio.Semaphore(MOST_REQUESTS)
        self._publishers: dict[str, Publisher] = {}
        self.ways: list[Way] = ["hook", "api"]
        if "kafka" in servers:
            self.ways += ["kafka", "kafka"]
            self._publishers["kafka"] = KafkaPublisher(
                KafkaConnection(bootstrap_servers=servers["kafka"].proxied, request_timeout_s=5.0)
            )
        if "rabbitmq" in servers:
            self.ways += ["rabbitmq", "rabbitmq"]
            self._publishers["rabbitmq"] = RabbitPublisher(RabbitConnection(url=servers["rabbitmq"].url))
        self._known: set[str] = set()
        self._confirmed: set[str] = set()
        self.orders = 0

    async def run(self, rate: float, stop: asyncio.Event) -> None:
        """Send so many orders a second until `stop` is set; return when all that was sent is taken."""
        began = now_s()
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                for parcel in parcels(self.orders, self._messages, self.ways):
                    tasks.create_task(self._deliver(parcel, began + 1.0 + self.orders / rate))
                self.orders += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), max(0.0, began + self.orders / rate - now_s()))

    async def close(self) -> None:
        """Disconnect."""
        await self._http.aclose()
        for publisher in self._publishers.values():
            await publisher.close()

    async def _deliver(self, parcel: Parcel, order_at_s: float) -> None:
        message = parcel.message
        await asyncio.sleep(max(0.0, order_at_s + parcel.after_s - now_s()))
        if message.message_id not in self._known:
            self._known.add(message.message_id)
            self._ledger.sent += 1
            self._ledger.note(message, confirmed=False)
        while True:
            self._ledger.deliveries += 1
            try:
                confirmed = await self._send(message)
            except NotTakenError:
                await asyncio.sleep(PAUSE_S)
                continue
            break
        if confirmed and message.message_id not in self._confirmed:
            self._confirmed.add(message.message_id)
            self._ledger.note(message, confirmed=True)

    async def _send(self, message: Message) -> bool:
        """Send once; tell whether it was taken. Raises NotTakenError."""
        if message.way in self._publishers:
            async with self._senders:
                return await self._publish(self._publishers[message.way], message)
        try:
            async with self._callers:
                daemons = self._fleet.alive()
                if not daemons:
                    raise NotTakenError
                answer = await self._request(self._choices.choice(daemons).url, message)
        except httpx.TransportError as error:
            raise NotTakenError from error
        if answer.status_code in (429, 503) or answer.status_code == 408:
            raise NotTakenError
        if answer.is_success:
            self._check(message, answer.json())
            return True
        too_late = message.kind == "signal" and answer.status_code == httpx.codes.CONFLICT
        if too_late or (message.kind == "poison" and answer.status_code in (400, 422)):
            return False
        self._ledger.wrong.append(f"{message.message_id}: HTTP {answer.status_code} {answer.text[:200]}")
        raise NotTakenError

    async def _publish(self, publisher: Publisher, message: Message) -> bool:
        outbound = Outbound(
            destination=message.topic, body=message.body, key=message.key, content_type="application/json"
        )
        try:
            await publisher.publish(outbound)
        except (BrokerUnavailable, Unroutable) as error:
            raise NotTakenError from error
        return True

    async def _request(self, url: str, message: Message) -> httpx.Response:
        json_type = {"content-type": "application/json"}
        if message.kind == "signal":
            path = f"{url}/executions/{message.execution}/signals/reviewed?before_start=true"
            key = {"idempotency-key": str(message.signal)}
            return await self._http.post(path, content=message.body, headers=json_type | key)
        if message.way == "hook":
            return await self._http.post(f"{url}/hooks/orders", content=message.body, headers=json_type)
        body = b'{"input": ' + message.body + b"}"
        key = {"idempotency-key": message.message_id}
        return await self._http.post(f"{url}/workflows/order/executions", content=body, headers=json_type | key)

    def _check(self, message: Message, answer: dict[str, Any]) -> None:
        told = answer.get("execution_id")
        expected = None if message.kind == "filtered" else str(message.execution)
        if told != expected:
            self._ledger.wrong.append(f"{message.message_id}: the answer tells of {told}, not of {expected}")


async def make_topics(kafka: str) -> None:
    """Make the topics; daemons declare their queues themselves."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1) for name, partitions in TOPICS.items()])
    finally:
        await admin.close()


async def kafka_lag(kafka: str) -> int:
    """Return how many messages of the topics their groups have not committed."""
    lag = 0
    for topic in QUEUES:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=topic, enable_auto_commit=False)
        await consumer.start()
        try:
            places = [TopicPartition(topic, number) for number in range(TOPICS[topic])]
            ends = await consumer.end_offsets(places)
            lag += sum([end - (await consumer.committed(place) or 0) for place, end in ends.items()])
        finally:
            await consumer.stop()
    return lag


async def rabbit_backlog(url: str) -> int:
    """Return how many messages wait in the queues."""
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        queues = [await channel.get_queue(name) for name in QUEUES]
        return sum(queue.declaration_result.message_count or 0 for queue in queues)


async def kafka_bodies(kafka: str, *topics: str) -> list[bytes]:
    """Return all that lies in these topics."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    bodies = []
    try:
        for topic in topics:
            places = [TopicPartition(topic, number) for number in range(TOPICS[topic])]
            consumer.assign(places)
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(places)
            while any([await consumer.position(place) < end for place, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    bodies += [(record.key or b"") + b" " + (record.value or b"") for record in records]
    finally:
        await consumer.stop()
    return bodies


async def rabbit_bodies(url: str) -> list[bytes]:
    """Return all dead letters in RabbitMQ, and remove them."""
    bodies = []
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        for name in QUEUES:
            queue = await channel.get_queue(f"{name}.dlq")
            while (message := await queue.get(no_ack=True, fail=False)) is not None:
                bodies.append(message.body)
    return bodies
