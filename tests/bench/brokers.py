"""Topics and queues for one run each, and the messages in them."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aio_pika
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from daemon.testing.databases import make_unique_name
from tests.bench.workflows import GROUP
from triggers.publishing import Outbound
from triggers.rabbitmq_client import RabbitConnection
from triggers.rabbitmq_publisher import RabbitPublisher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PARTITIONS = 4
UNCONFIRMED = 500
"""How many messages to RabbitMQ wait for their confirms at a time."""


def order(number: int | str, sent: float = 0.0) -> bytes:
    """Return a message's body, of about 250 bytes."""
    customer = {"id": f"C-{number}", "name": "Ada Lovelace", "email": "ada@example.com", "city": "London"}
    items = [{"sku": "A-100", "count": 2, "price": 9.5}, {"sku": "B-205", "count": 1, "price": 1.0}]
    return json.dumps(
        {"order_id": f"order-{number}", "total": 20.0, "sent": sent, "customer": customer, "items": items}
    ).encode()


@asynccontextmanager
async def kafka_topic(bootstrap: str) -> AsyncIterator[str]:
    """Give an empty topic. librdkafka's mock cluster makes topics by itself, and keeps them."""
    name = make_unique_name(GROUP)
    if os.environ.get("SAGAD_TEST_KAFKA_KIND") == "mock":
        yield name
        return
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
        yield name
        await admin.delete_topics([name])
    finally:
        await admin.close()


async def fill_topic(bootstrap: str, topic: str, count: int) -> None:
    """Put so many messages into the topic."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, max_batch_size=256 * 1024)
    await producer.start()
    try:
        for number in range(count):
            await producer.send(topic, order(number), key=str(number).encode())
        await producer.flush()
    finally:
        await producer.stop()


async def kafka_settled(bootstrap: str, group: str) -> int:
    """Return how many messages lie below the group's committed offsets, in topics that began empty."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group)
        return sum(found.offset for found in offsets.values())
    finally:
        await admin.close()


@asynccontextmanager
async def rabbit_queue(url: str) -> AsyncIterator[str]:
    """Give an empty quorum queue, the type that a trigger makes."""
    name = make_unique_name(GROUP)
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})
        yield name
        await channel.queue_delete(name)
        await channel.queue_delete(f"{name}.dlq")


async def fill_queue(url: str, queue: str, count: int) -> None:
    """Put so many persistent messages into the queue, each confirmed, by sagad's own publisher."""
    publisher = RabbitPublisher(RabbitConnection(url=url))
    try:
        for first in range(0, count, UNCONFIRMED):
            numbers = range(first, min(first + UNCONFIRMED, count))
            await asyncio.gather(
                *(publisher.publish(Outbound(destination=queue, body=order(number))) for number in numbers)
            )
    finally:
        await publisher.close()


async def rabbit_left(url: str, queue: str) -> int:
    """Return how many messages the queue has, those that nobody acknowledged included once their consumer is gone."""
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        found = await channel.declare_queue(queue, passive=True)
        return found.declaration_result.message_count or 0
