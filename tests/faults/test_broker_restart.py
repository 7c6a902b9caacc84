"""A broker that is killed and comes back while messages flow: nothing is lost, and nobody has to be restarted."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.services import OwnService
from tests.triggers.brokers import Broker, Kafka, Rabbit
from tests.triggers.conftest import running
from tests.triggers.sinks import RecordingSink, eventually
from triggers.errors import BrokerUnavailable

Restart = Callable[[], None]


@pytest.fixture(params=["rabbitmq", "kafka"])
async def mortal(
    request: pytest.FixtureRequest, own_service: Callable[[str], OwnService]
) -> AsyncIterator[tuple[Broker, Restart, Restart]]:
    """Give a broker, a way to kill it and a way to start it again."""
    if request.param == "kafka" and request.getfixturevalue("kafka_kind") != "real":
        mock = request.getfixturevalue("mock_kafka")
        kafka = Kafka(mock.bootstrap, "orders", mock=mock, mocked=True)
        await kafka.create()
        yield kafka, mock.down, mock.up
        await kafka.close()
        return
    service = await asyncio.to_thread(own_service, request.param)
    broker: Kafka | Rabbit
    if request.param == "kafka":
        broker = Kafka(service.url, "orders", mocked=False)
    else:
        broker = Rabbit(service.url, "orders", "quorum")
    await broker.create()
    yield broker, service.kill, service.restart
    await broker.close()


@pytest.mark.slow
async def test_a_killed_broker_loses_no_confirmed_message(mortal: tuple[Broker, Restart, Restart]) -> None:
    broker, kill, start = mortal
    sink = RecordingSink()
    trigger = broker.trigger(sink)
    confirmed: list[bytes] = []
    enough = asyncio.Event()

    async def feed() -> None:
        number = 0
        while not enough.is_set():
            body = f"{number}".encode()
            try:
                await broker.publisher.publish(broker.outbound(body, message_id=body.decode()))
            except BrokerUnavailable:
                continue
            confirmed.append(body)
            number += 1

    feeding = asyncio.create_task(feed())
    async with running(trigger):
        await eventually(lambda: len(sink.acked) > 50)
        await asyncio.to_thread(kill)
        await eventually(lambda: not trigger.status.connected)
        await asyncio.to_thread(start)
        before = len(confirmed)
        await eventually(lambda: len(confirmed) > before + 50, within_s=60)
        enough.set()
        await feeding
        await eventually(lambda: set(confirmed) <= set(sink.acked), within_s=60)
        assert trigger.status.connected
