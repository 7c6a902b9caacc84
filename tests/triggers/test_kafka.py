"""What is Kafka's own: offsets, rebalances, raw bytes, and a broker that misbehaves."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance
from msgspec.structs import replace

from tests.support.mock_kafka import Api, MockKafka
from tests.triggers.brokers import TRIGGER, Kafka
from tests.triggers.conftest import crash, make_kafka, running
from tests.triggers.sinks import QUICK, STARTED, RecordingSink, eventually
from triggers.errors import BrokerUnavailable, TooLarge, Unroutable
from triggers.kafka import KafkaSettings, KafkaTrigger
from triggers.kafka_client import KafkaConnection, Sasl, client_arguments
from triggers.kafka_publisher import KafkaPublisher
from triggers.message import DeadLetter, Retry
from triggers.publishing import Outbound
from triggers.tls import Tls

COORDINATOR_NOT_AVAILABLE, NOT_LEADER, REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER = 15, 6, 27, 25


@pytest.fixture
async def kafka(request: pytest.FixtureRequest, unique_name: Callable[[str], str]) -> AsyncIterator[Kafka]:
    made = await make_kafka(request, unique_name("orders"), None)
    yield made
    await made.close()


@pytest.fixture
async def mocked(
    request: pytest.FixtureRequest, mock_kafka: MockKafka, unique_name: Callable[[str], str]
) -> AsyncIterator[Kafka]:
    made = await make_kafka(request, unique_name("orders"), mock_kafka)
    yield made
    await made.close()


async def committed(kafka: Kafka, partition: int = 0) -> int | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.connection.bootstrap_servers, group_id=kafka.name)
    await consumer.start()
    offset: int | None = await consumer.committed(TopicPartition(kafka.name, partition))
    await consumer.stop()
    return offset


async def send(kafka: Kafka, *bodies: bytes, partition: int | None = None) -> None:
    for body in bodies:
        await kafka.kafka_publisher.send(kafka.name, body, None, [], partition=partition)


async def test_the_commit_never_passes_a_message_without_a_verdict(kafka: Kafka) -> None:
    sink = RecordingSink()
    later = Retry("later", after=timedelta(hours=1), counted=True)
    sink.decide = lambda message: later if message.body == b"2" else STARTED
    await send(kafka, b"0", b"1", b"2", b"3", b"4", partition=0)
    async with running(kafka.trigger(sink)):
        await eventually(lambda: len(sink.acked) == 4)
    assert await committed(kafka) == 2
    second = RecordingSink()
    async with running(kafka.trigger(second)):
        await eventually(lambda: len(second.acked) == 3)
    assert second.bodies == [b"2", b"3", b"4"]
    assert await committed(kafka) == 5


async def test_dead_letters_keep_the_very_bytes(kafka: Kafka) -> None:
    raw = [("h", b"\xff\x00"), ("h", b"twice"), ("n", b"")]
    sink = RecordingSink(lambda _: DeadLetter("bad", code="invalid"))
    await kafka.kafka_publisher.send(kafka.name, b"\xfe", b"\xfd", raw)
    consumer = AIOKafkaConsumer(
        f"{kafka.name}.dlq", bootstrap_servers=kafka.connection.bootstrap_servers, auto_offset_reset="earliest"
    )
    await consumer.start()
    async with running(kafka.trigger(sink)), asyncio.timeout(20):
        record = await consumer.getone()
    await consumer.stop()
    assert (record.value, record.key) == (b"\xfe", b"\xfd")
    assert list(record.headers[:3]) == raw
    assert dict(record.headers)["sagad-code"] == b"invalid"


async def test_a_tombstone_is_a_message_without_a_value(kafka: Kafka) -> None:
    sink = RecordingSink()
    await kafka.kafka_publisher.send(kafka.name, None, b"k", [])
    async with running(kafka.trigger(sink)):
        await eventually(lambda: sink.seen)
    assert (sink.seen[0].body, sink.seen[0].key) == (b"", "k")


async def test_a_message_is_known_by_its_place(kafka: Kafka) -> None:
    sink = RecordingSink()
    await send(kafka, b"1", partition=0)
    async with running(kafka.trigger(sink)):
        await eventually(lambda: sink.seen)
    assert sink.seen[0].identity == f"{kafka.name}/0/0"
    assert sink.seen[0].source == f"kafka:{kafka.name}/0@0"


async def test_a_new_group_can_begin_with_what_comes(kafka: Kafka) -> None:
    await send(kafka, b"old")
    sink = RecordingSink()
    settings = KafkaSettings(topic=kafka.name, group=kafka.name, start_from="latest")
    trigger = KafkaTrigger(TRIGGER, settings, kafka.connection, sink=sink, retry=QUICK, publisher=kafka.kafka_publisher)
    async with running(trigger):
        await eventually(lambda: trigger.status.connected)
        while not sink.seen:
            await send(kafka, b"new")
            await asyncio.wait({asyncio.create_task(eventually(lambda: sink.seen))}, timeout=0.2)
    assert set(sink.bodies) == {b"new"}


join_as_leader = CoordinatorGroupRebalance._on_join_leader


async def _after_the_followers(self: CoordinatorGroupRebalance, response: object) -> object:
    """Wait a moment: the mock cluster turns down followers that come after their leader."""
    await asyncio.sleep(0.2)
    return await join_as_leader(self, response)


async def test_two_members_share_the_partitions_and_nothing_is_lost(
    request: pytest.FixtureRequest,
    kafka_kind: str,
    unique_name: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One joins while the other works, then one dies: every message is settled, repeats only of what was in flight."""
    if kafka_kind == "mock":
        monkeypatch.setattr(CoordinatorGroupRebalance, "_on_join_leader", _after_the_followers)
    kafka = await make_kafka(request, unique_name("orders"), None, partitions=4)
    first, second = RecordingSink(), RecordingSink()
    sent: list[bytes] = []
    enough = asyncio.Event()

    async def feed() -> None:
        while not enough.is_set():
            body = str(len(sent)).encode()
            await send(kafka, body, partition=len(sent) % 4)
            sent.append(body)

    feeding = asyncio.create_task(feed())
    async with running(kafka.trigger(first, at_most=20)):
        await eventually(lambda: len(first.seen) > 20)
        task = asyncio.create_task(kafka.trigger(second, at_most=20).run())
        await eventually(lambda: len(second.seen) > 20)
        await crash(task)
        before = len(first.seen)
        await eventually(lambda: len(first.seen) > before + 20)
        enough.set()
        await feeding
        await eventually(lambda: set(first.acked) | set(second.acked) == set(sent))
    repeated = (Counter(first.acked + second.acked) - Counter(sent)).total()
    assert repeated <= 4 * 20 * 2
    parts = [len(sent[partition::4]) for partition in range(4)]
    assert [await committed(kafka, partition) for partition in range(4)] == parts
    for sink in (first, second):
        for partition in range(4):
            numbers = [int(m.body) for m in sink.seen if m.source.startswith(f"kafka:{kafka.name}/{partition}@")]
            fresh = [n for i, n in enumerate(numbers) if n not in numbers[:i]]
            assert fresh == sorted(fresh)
    await kafka.close()


async def test_a_sink_that_waits_longer_than_the_poll_interval_keeps_its_partitions(kafka: Kafka) -> None:
    kafka.connection = replace(kafka.connection, max_poll_interval_s=1.0)
    sink = RecordingSink()
    sink.gate.clear()
    await send(kafka, b"1", partition=0)
    async with running(kafka.trigger(sink)):
        await eventually(lambda: sink.seen)
        await asyncio.wait({asyncio.create_task(sink.gate.wait())}, timeout=3.0)
        sink.gate.set()
        await send(kafka, b"2", partition=0)
        await eventually(lambda: sink.acked == [b"1", b"2"])
    assert await committed(kafka) == 2


@pytest.mark.parametrize("code", [COORDINATOR_NOT_AVAILABLE, REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER])
async def test_a_commit_that_fails_is_made_up_for(mocked: Kafka, code: int) -> None:
    assert mocked.mock is not None
    sink = RecordingSink()
    async with running(mocked.trigger(sink)):
        await send(mocked, b"1")
        await eventually(lambda: sink.acked == [b"1"])
        mocked.mock.fail_next(Api.OFFSET_COMMIT, code)
        await send(mocked, b"2")
        await eventually(lambda: b"2" in sink.acked)
        await send(mocked, b"3")
        await eventually(lambda: b"3" in sink.acked)
    assert await committed(mocked) == 3


async def test_a_producer_survives_errors_of_the_broker(mocked: Kafka) -> None:
    assert mocked.mock is not None
    mocked.mock.fail_next(Api.PRODUCE, NOT_LEADER, NOT_LEADER)
    await send(mocked, b"1")
    sink = RecordingSink()
    async with running(mocked.trigger(sink)):
        await eventually(lambda: sink.acked == [b"1"])
    assert mocked.kafka_publisher.status.connected


async def test_publishing_while_the_broker_is_away_fails_and_sends_nothing_later(mocked: Kafka) -> None:
    assert mocked.mock is not None
    mocked.connection = replace(mocked.connection, request_timeout_s=0.5)
    publisher = KafkaPublisher(mocked.connection)
    message = Outbound(destination=mocked.name, body=b"first")
    assert (await publisher.publish(message)).startswith(f"kafka:{mocked.name}/")
    mocked.mock.down()
    with pytest.raises(BrokerUnavailable):
        await publisher.publish(replace(message, body=b"lost"))
    assert not publisher.status.connected
    mocked.mock.up()
    await publisher.publish(replace(message, body=b"second"))
    assert publisher.status.connected
    sink = RecordingSink()
    async with running(mocked.trigger(sink)):
        await eventually(lambda: b"second" in sink.acked)
    assert sink.acked == [b"first", b"second"]
    await publisher.close()
    await publisher.close()


async def test_publishing_to_a_broker_that_never_was() -> None:
    publisher = KafkaPublisher(KafkaConnection(bootstrap_servers="127.0.0.1:1", request_timeout_s=0.5))
    with pytest.raises(BrokerUnavailable, match="127"):
        await publisher.publish(Outbound(destination="orders", body=b""))
    await publisher.close()


async def test_what_the_broker_will_not_take_is_unroutable(kafka: Kafka, kafka_kind: str) -> None:
    publish = kafka.publisher.publish
    with pytest.raises(Unroutable, match="no partition 99"):
        await publish(kafka.outbound(b"1", partition=99))
    if kafka_kind != "mock":  # which takes everything
        with pytest.raises(Unroutable, match="orders with spaces"):
            await publish(Outbound(destination="orders with spaces", body=b"1"))
        with pytest.raises(TooLarge, match="no message of this size"):
            await publish(kafka.outbound(b"x" * 2_000_000))


def test_settings_of_the_connection_reach_the_client() -> None:
    sasl = Sasl(username="u", password="hush", mechanism="SCRAM-SHA-512")
    connection = KafkaConnection(bootstrap_servers=["a:1", "b:2"], tls=Tls(verify_hostname=False), sasl=sasl)
    arguments = client_arguments(connection)
    assert arguments["security_protocol"] == "SASL_SSL"
    assert (arguments["sasl_mechanism"], arguments["sasl_plain_password"]) == ("SCRAM-SHA-512", "hush")
    assert not arguments["ssl_context"].check_hostname
    assert "hush" not in repr(connection)
    assert (
        client_arguments(KafkaConnection(bootstrap_servers="a:1", sasl=sasl))["security_protocol"] == "SASL_PLAINTEXT"
    )


def test_tls_files_that_are_missing_are_found_at_once() -> None:
    with pytest.raises(OSError, match="No such file"):
        KafkaPublisher(KafkaConnection(bootstrap_servers="a:1", tls=Tls(ca_file="/nowhere/ca.pem")))
