"""What is RabbitMQ's own: declaring, returning, closed channels, properties."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractQueue
from hypothesis import given
from hypothesis import strategies as st
from pamqp import encode

from tests.triggers.brokers import SOON, TRIGGER
from tests.triggers.conftest import running
from tests.triggers.sinks import QUICK, STARTED, RecordingSink, eventually
from triggers.errors import BrokerUnavailable, Unroutable
from triggers.message import DeadLetter
from triggers.publishing import Outbound
from triggers.rabbitmq import RabbitSettings, RabbitTrigger
from triggers.rabbitmq_client import LOST, RabbitConnection, losses_told, open_channel, tls_context
from triggers.rabbitmq_message import acknowledgements
from triggers.rabbitmq_publisher import RabbitPublisher
from triggers.tls import Tls


class Scene:
    def __init__(self, url: str, name: str, channel: AbstractChannel) -> None:
        self.name = name
        self.channel = channel
        self.connection = RabbitConnection(url=url, reconnect=SOON)
        self.publisher = RabbitPublisher(self.connection)

    def trigger(self, sink: RecordingSink, **settings: object) -> RabbitTrigger:
        return RabbitTrigger(
            TRIGGER,
            RabbitSettings(queue=self.name, **settings),  # type: ignore[arg-type]  # checked by the callers
            self.connection,
            sink=sink,
            retry=QUICK,
            publisher=self.publisher,
        )

    async def publish(self, body: bytes, routing_key: str | None = None, exchange: str = "", **more: object) -> str:
        destination = self.name if routing_key is None else routing_key
        return await self.publisher.publish(
            Outbound(destination=destination, exchange=exchange, body=body, **more)  # type: ignore[arg-type]  # checked by the callers
        )


@pytest.fixture
async def scene(rabbitmq_url: str, unique_name: Callable[[str], str]) -> AsyncIterator[Scene]:
    async with await aio_pika.connect(rabbitmq_url) as connection:
        made = Scene(rabbitmq_url, unique_name("orders"), await connection.channel())
        yield made
        await made.publisher.close()
        cleaner = await connection.channel()
        for queue in (made.name, f"{made.name}.dlq"):
            await cleaner.queue_delete(queue)
        await cleaner.exchange_delete(made.name)


async def test_missing_queues_and_bindings_are_made(scene: Scene) -> None:
    sink = RecordingSink()
    trigger = scene.trigger(sink, exchange=scene.name, routing_keys=("orders.*", "refunds"))
    async with running(trigger):
        await eventually(lambda: trigger.status.connected)
        await scene.publish(b"1", "orders.eu", scene.name)
        await scene.publish(b"2", "refunds", scene.name)
        with pytest.raises(Unroutable):
            await scene.publish(b"3", "invoices", scene.name)
        await eventually(lambda: sorted(sink.acked) == [b"1", b"2"])
        await scene.channel.declare_queue(f"{scene.name}.dlq", passive=True)
    assert sink.seen[0].headers["routing-key"] == "orders.eu"


async def test_what_the_broker_itself_gives_up_is_a_dead_letter_too(scene: Scene) -> None:
    """RabbitMQ 4 gives up what has come back 20 times; here a message expires, so that any version does."""
    trigger = scene.trigger(RecordingSink())
    async with running(trigger):
        await eventually(lambda: trigger.status.connected)
    late = aio_pika.Message(b"late", expiration=0)
    await scene.channel.default_exchange.publish(late, scene.name)
    await eventually_got(await scene.channel.get_queue(f"{scene.name}.dlq"), b"late")


async def test_a_queue_that_exists_is_left_as_it_is(scene: Scene) -> None:
    await scene.channel.declare_queue(
        scene.name, durable=True, arguments={"x-queue-type": "classic", "x-max-length": 9}
    )
    sink = RecordingSink()
    async with running(scene.trigger(sink, queue_type="quorum")):
        await scene.publish(b"1")
        await eventually(lambda: sink.acked == [b"1"])


async def test_a_missing_queue_that_it_may_not_make_is_told(scene: Scene) -> None:
    trigger = scene.trigger(RecordingSink(), declare=False)
    async with running(trigger):
        await eventually(lambda: scene.name in trigger.status.detail)
        assert "NOT_FOUND" in trigger.status.detail


async def test_a_queue_that_is_deleted_meanwhile_is_made_again(scene: Scene) -> None:
    sink = RecordingSink()
    trigger = scene.trigger(sink)
    async with running(trigger):
        await eventually(lambda: trigger.status.connected)
        await scene.channel.queue_delete(scene.name)
        await eventually(lambda: not trigger.status.connected)
        await eventually(lambda: trigger.status.connected)
        await scene.publish(b"2")
        await eventually(lambda: sink.acked == [b"2"])


async def test_the_properties_are_headers_too(scene: Scene) -> None:
    sink = RecordingSink()
    async with running(scene.trigger(sink)):
        await eventually(lambda: sink)
        message = aio_pika.Message(
            b"{}",
            headers={"Retries": 3, "list": [1, {"a": "x"}], "none": None, "type": "mine"},
            content_type="application/json",
            message_id="m1",
            correlation_id="c1",
            type="order",
            timestamp=datetime(2026, 1, 2, tzinfo=UTC),
        )
        await scene.channel.declare_queue(scene.name, durable=True, arguments={"x-queue-type": "quorum"})
        await scene.publisher.send("", scene.name, message)
        await eventually(lambda: sink.seen)
    (seen,) = sink.seen
    assert (seen.identity, seen.content_type) == ("m1", "application/json")
    assert seen.headers["retries"] == "3"
    assert seen.headers["correlation-id"] == "c1"
    assert seen.headers["type"] == "mine"
    assert seen.headers["timestamp"].startswith("2026-01-02T00:00:00")
    assert "none" not in seen.headers


async def test_dead_letters_can_go_to_an_exchange(scene: Scene) -> None:
    await scene.channel.declare_exchange(scene.name, type="topic", durable=True)
    queue = await scene.channel.declare_queue(f"{scene.name}.dlq", durable=True)
    await queue.bind(scene.name, "#")
    sink = RecordingSink(lambda _: DeadLetter("bad", code="invalid"))
    trigger = scene.trigger(sink, dead_letter_exchange=scene.name)
    async with running(trigger):
        await eventually(lambda: trigger.status.connected)
        await scene.publish(b"1", message_id="m1")
        async with asyncio.timeout(20):
            while (letter := await queue.get(fail=False)) is None:
                pass
    assert (letter.body, letter.message_id, letter.headers["sagad-code"]) == (b"1", "m1", "invalid")


async def test_a_dead_letter_with_nowhere_to_go_is_kept_and_told(scene: Scene) -> None:
    sink = RecordingSink(lambda message: DeadLetter("bad", code="invalid"))
    trigger = scene.trigger(sink)
    async with running(trigger):
        await eventually(lambda: trigger.status.connected)
        await scene.channel.queue_delete(f"{scene.name}.dlq")
        await scene.publish(b"1")
        await eventually(lambda: "cannot store dead letters" in trigger.status.detail)
        queue = await scene.channel.declare_queue(f"{scene.name}.dlq", durable=True)
        async with asyncio.timeout(20):
            while await queue.get(fail=False) is None:
                pass
        await eventually(lambda: not trigger.status.detail)
    assert len(sink.seen) == 1


async def test_what_has_no_queue_or_exchange_is_unroutable_and_harms_no_other(scene: Scene) -> None:
    await scene.channel.declare_queue(scene.name, durable=True)
    results = await asyncio.gather(
        *(scene.publish(b"ok") for _ in range(20)),
        scene.publish(b"lost", "nowhere"),
        scene.publish(b"lost", exchange="nowhere"),
        *(scene.publish(b"ok") for _ in range(20)),
        return_exceptions=True,
    )
    assert [type(one) for one in results if not isinstance(one, str)] == [Unroutable, Unroutable]
    assert (await scene.channel.declare_queue(scene.name, passive=True)).declaration_result.message_count == 40


async def test_two_unroutable_messages_with_one_id_are_both_told(scene: Scene) -> None:
    sent = [scene.publish(b"lost", "nowhere", message_id="m1") for _ in range(10)]
    results = await asyncio.gather(*sent, return_exceptions=True)
    assert [type(one) for one in results] == [Unroutable] * 10


async def test_publishing_to_a_broker_that_is_away() -> None:
    publisher = RabbitPublisher(RabbitConnection(url="amqp://guest:hush@127.0.0.1:1/"))
    with pytest.raises(BrokerUnavailable):
        await publisher.publish(Outbound(destination="orders", body=b""))
    assert not publisher.status.connected
    assert "hush" not in publisher.status.detail
    await publisher.close()


async def test_a_channel_on_a_connection_just_lost_is_a_lost_connection(rabbitmq_url: str) -> None:
    connection = await aio_pika.connect(rabbitmq_url)
    assert connection.transport is not None
    await connection.transport.connection.close()
    with pytest.raises(LOST):
        await open_channel(connection)
    await connection.close()


def test_what_the_driver_says_without_a_word_is_a_lost_connection() -> None:
    """What is under way on a connection that breaks ends with a bare Exception; a bug of ours stays what it is."""
    with pytest.raises(LOST), losses_told():
        raise Exception  # noqa: TRY002  as aiormq does
    with pytest.raises(KeyError), losses_told():
        raise KeyError


async def test_a_wrong_password_is_told_in_words(scene: Scene) -> None:
    url = scene.connection.url.replace("guest:guest", "guest:wrong")
    trigger = RabbitTrigger(
        TRIGGER,
        RabbitSettings(queue=scene.name),
        RabbitConnection(url=url, reconnect=SOON),
        sink=RecordingSink(),
        retry=QUICK,
        publisher=scene.publisher,
    )
    async with running(trigger):
        await eventually(lambda: "ACCESS_REFUSED" in trigger.status.detail)
        assert "wrong" not in trigger.status.detail


def test_tls_needs_amqps() -> None:
    with pytest.raises(ValueError, match="amqps"):
        tls_context(RabbitConnection(url="amqp://localhost/", tls=Tls()))
    assert tls_context(RabbitConnection(url="amqp://localhost/")) is None
    context = tls_context(RabbitConnection(url="amqps://localhost/"))
    assert context is not None
    assert context.check_hostname


@given(st.lists(st.integers(1, 50), unique=True, max_size=20), st.randoms(use_true_random=False))
def test_exactly_the_settled_are_acknowledged(tags: list[int], random: "object") -> None:
    unacknowledged = sorted(tags)
    settled = {tag for tag in unacknowledged if random.random() < 0.7}  # type: ignore[attr-defined]  # a random.Random
    acknowledged: set[int] = set()
    for tag, multiple in acknowledgements(unacknowledged, settled):
        covered = {t for t in unacknowledged if t <= tag and t not in acknowledged} if multiple else {tag}
        assert not covered & acknowledged
        acknowledged |= covered
    assert acknowledged == settled


LATIN = b"caf\xe9"


async def _send_raw(scene: Scene, monkeypatch: pytest.MonkeyPatch, table: str, kind: str, encoded: bytes) -> None:
    """Publish a message in which the word `raw` is encoded so, as drivers in other languages may."""
    with monkeypatch.context() as patched:
        if table == "header":
            plain = encode.encode_table_value
            patched.setattr(encode, "encode_table_value", lambda value: encoded if value == "raw" else plain(value))
            message = aio_pika.Message(b"odd", headers={"name": "raw"})
        else:
            plain = encode.METHODS[kind]
            patched.setitem(encode.METHODS, kind, lambda value: encoded if value in ("raw", AT) else plain(value))
            more = {"content_type": "raw"} if kind == "shortstr" else {"timestamp": AT}
            message = aio_pika.Message(b"odd", **more)
        await scene.channel.default_exchange.publish(message, scene.name)


AT = datetime(2026, 1, 1, tzinfo=UTC)
ODD_VALUES = [
    ("property", "timestamp", (1_767_225_600_000_000).to_bytes(8, "big")),
    ("property", "timestamp", (2**63 - 1).to_bytes(8, "big")),
    ("property", "shortstr", bytes([len(LATIN)]) + LATIN),
    ("header", "", b"T" + (1_767_225_600_000_000).to_bytes(8, "big")),
    ("header", "", b"S" + len(LATIN).to_bytes(4, "big") + LATIN),
    ("header", "", b"d" + struct.pack(">d", 1e300)),
    ("header", "", b"A" + (9).to_bytes(4, "big") + b"S" + len(LATIN).to_bytes(4, "big") + LATIN),
]


@pytest.mark.parametrize(("table", "kind", "encoded"), ODD_VALUES)
async def test_a_message_with_a_value_that_the_driver_does_not_take_stops_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, table: str, kind: str, encoded: bytes
) -> None:
    """It is read as far as it can be, may be set aside, and those behind it are received."""
    sink = RecordingSink(lambda message: DeadLetter("no", code="invalid") if message.body == b"odd" else STARTED)
    trigger = scene.trigger(sink)
    async with running(trigger):
        await eventually(lambda: trigger.status.connected)
        await _send_raw(scene, monkeypatch, table, kind, encoded)
        await scene.publish(b"next")
        await eventually(lambda: sink.acked == [b"next"])
        dead = await scene.channel.get_queue(f"{scene.name}.dlq")
        await eventually_got(dead, b"odd")


async def test_the_reason_of_a_dead_letter_may_be_as_long_as_the_message(scene: Scene) -> None:
    """The broker bounds the headers of a message."""
    sink = RecordingSink(lambda _: DeadLetter("x" * 1_000_000, code="invalid"))
    trigger = scene.trigger(sink)
    async with running(trigger):
        await eventually(lambda: trigger.status.connected)
        await scene.publish(b"odd")
        await eventually_got(await scene.channel.get_queue(f"{scene.name}.dlq"), b"odd")


async def eventually_got(queue: AbstractQueue, body: bytes) -> None:
    """Return when the queue has given a message, which must have this body."""
    async with asyncio.timeout(30):
        while (message := await queue.get(fail=False, no_ack=True)) is None:  # noqa: ASYNC110  the broker tells no event
            await asyncio.sleep(0.01)
    assert message.body == body
