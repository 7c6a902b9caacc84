"""Topics and queues of this run alone, in the user's brokers: made before, removed after."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aio_pika
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from deploy.demonstration.stage import Stage


class NotReachable(Exception):
    """A broker does not answer."""


@asynccontextmanager
async def topics(stage: Stage) -> AsyncIterator[None]:
    """Have them for the block. Raises NotReachable."""
    names = [stage.source, f"{stage.source}.dlq", stage.done]
    if stage.services.kafka:
        await _make_topics(stage.services.kafka, names)
    if stage.services.rabbitmq:
        await _make_queue(stage.services.rabbitmq, stage.done)
    try:
        yield
    finally:
        if stage.services.kafka:
            await _delete_topics(stage.services.kafka, names)
        if stage.services.rabbitmq:
            await _delete_queues(stage.services.rabbitmq, names)


async def _make_topics(bootstrap: str, names: list[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        await admin.create_topics([NewTopic(name, num_partitions=3, replication_factor=1) for name in names])
    except (KafkaError, OSError) as error:
        raise NotReachable(f"Kafka at {bootstrap}: {error}") from error
    finally:
        await admin.close()


async def _delete_topics(bootstrap: str, names: list[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        await admin.delete_topics(names)
    finally:
        await admin.close()


async def _make_queue(url: str, name: str) -> None:
    try:
        async with await aio_pika.connect(url) as connection, connection.channel() as channel:
            await channel.declare_queue(name, durable=True)
    except (aio_pika.exceptions.AMQPError, OSError) as error:
        raise NotReachable(f"RabbitMQ: {error}") from error


async def _delete_queues(url: str, names: list[str]) -> None:
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        for name in names:
            await channel.queue_delete(name)
