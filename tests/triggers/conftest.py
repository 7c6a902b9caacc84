"""The brokers that the contract suite runs on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.support.mock_kafka import MockKafka
from tests.triggers.brokers import Broker, Kafka, Memory, Rabbit
from triggers.message import Trigger

MEMORY, MOCK_KAFKA, KAFKA, RABBIT_QUORUM, RABBIT_CLASSIC = (
    "memory",
    "mock-kafka",
    "kafka",
    "rabbitmq-quorum",
    "rabbitmq-classic",
)


@pytest.fixture(params=[MEMORY, MOCK_KAFKA, KAFKA, RABBIT_QUORUM, RABBIT_CLASSIC])
async def broker(request: pytest.FixtureRequest, unique_name: Callable[[str], str]) -> AsyncIterator[Broker]:
    async with _broker(request, unique_name("orders")) as made:
        yield made


@pytest.fixture(params=[MOCK_KAFKA, RABBIT_QUORUM])
async def fallible_broker(request: pytest.FixtureRequest, unique_name: Callable[[str], str]) -> AsyncIterator[Broker]:
    """Give brokers that can go down and come back."""
    async with _broker(request, unique_name("orders")) as made:
        yield made


@asynccontextmanager
async def _broker(request: pytest.FixtureRequest, name: str) -> AsyncIterator[Broker]:
    made: Memory | Kafka | Rabbit
    kind = request.param
    if kind == MEMORY:
        made = Memory(name)
    elif kind in (MOCK_KAFKA, KAFKA):
        mock = request.getfixturevalue("mock_kafka") if kind == MOCK_KAFKA else None
        made = await make_kafka(request, name, mock)
    else:
        made = Rabbit(request.getfixturevalue("rabbitmq_url"), name, kind.removeprefix("rabbitmq-"))
        await made.create()
    try:
        yield made
    finally:
        await made.close()


async def make_kafka(
    request: pytest.FixtureRequest, name: str, mock: MockKafka | None, *, partitions: int = 1
) -> Kafka:
    """Make topics too; the mock that stands in for a missing real broker makes them by itself, with 4 partitions."""
    if mock is not None:
        made = Kafka(mock.bootstrap, name, mock=mock, mocked=True)
        await made.create(partitions)
        return made
    stand_in = request.getfixturevalue("kafka_kind") == "mock"
    made = Kafka(request.getfixturevalue("kafka_bootstrap"), name, mocked=stand_in)
    if not stand_in:
        await made.create(partitions)
    return made


@asynccontextmanager
async def running(trigger: Trigger) -> AsyncIterator[asyncio.Task[None]]:
    """Run a trigger; at the end it is stopped in good order."""
    task = asyncio.create_task(trigger.run())
    try:
        yield task
    finally:
        await trigger.stop()
        await task


async def crash(task: asyncio.Task[None]) -> None:
    """End a trigger as abruptly as a process can without dying."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
