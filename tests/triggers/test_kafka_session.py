"""What a rebalance does to messages that were fetched before it and taken after it. Timing that no broker gives us."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

from tests.triggers.sinks import QUICK, STARTED, RecordingSink
from triggers.errors import TooLarge
from triggers.kafka_client import KafkaConnection
from triggers.kafka_session import KafkaSession
from triggers.link import Link, Reconnect
from triggers.message import DeadLetter, Retry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from triggers.message import Inbound, Verdict

ONE, OTHER = TopicPartition("orders", 0), TopicPartition("orders", 1)


class Consumer:
    """Refuses commits as aiokafka does: all of one, for one partition that is not ours."""

    def __init__(self) -> None:
        self.ours = {ONE, OTHER}
        self.committed: dict[TopicPartition, int] = {}

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if not self.ours.issuperset(offsets):
            raise IllegalStateError("not assigned")
        self.committed.update(offsets)


class SmallPublisher:
    """Takes messages of 200 bytes, headers included, as a broker takes a megabyte."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes | None, dict[str, bytes]]] = []

    async def send(
        self, _topic: str, value: bytes | None, _key: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> str:
        if len(value or b"") + sum(len(name) + len(text) for name, text in headers) > 200:
            raise TooLarge("too large")
        self.sent.append((value, dict(headers)))
        return "dead"


def session(consumer: Consumer, sink: RecordingSink, publisher: Any = None) -> Any:
    return KafkaSession(
        "shop/orders",
        consumer,
        Link("shop/orders", Reconnect()),
        KafkaConnection(bootstrap_servers="nowhere"),
        sink=sink,
        retry=QUICK,
        publisher=publisher,
        dead_letters="dead",
        batch=10,
        max_unresolved=10,
        now=lambda: datetime.now(UTC),
    )


def record(partition: TopicPartition, offset: int, value: bytes = b"{}") -> Any:
    return SimpleNamespace(
        topic=partition.topic, partition=partition.partition, offset=offset, value=value, key=None, headers=[]
    )


async def settle(member: Any, *records: Any) -> None:
    for each in records:
        member._take({TopicPartition(each.topic, each.partition): [each]})
    await member._turn()
    await member._commit(1)


async def test_a_message_of_a_partition_that_is_gone_holds_no_commit_up() -> None:
    consumer = Consumer()
    member = session(consumer, RecordingSink())
    await member.on_partitions_revoked([ONE, OTHER])
    await settle(member, record(ONE, 5))
    consumer.ours = {OTHER}
    await member.on_partitions_assigned([OTHER])
    await settle(member, record(OTHER, 7))
    assert consumer.committed == {OTHER: 8}


async def test_a_message_taken_after_the_revocation_commits_nothing_before_it() -> None:
    """Offsets 3 and 4 had no verdict yet: their next owner must begin with them, though 5 would be settled at once."""
    consumer = Consumer()

    def decide(message: Inbound) -> Verdict:
        return STARTED if message.source.endswith("@5") else Retry("busy", timedelta(hours=1), counted=False)

    member = session(consumer, RecordingSink(decide))
    await settle(member, record(ONE, 3), record(ONE, 4))
    assert consumer.committed == {ONE: 3}
    await member.on_partitions_revoked([ONE])
    await settle(member, record(ONE, 5))
    assert consumer.committed == {ONE: 3}


async def test_a_dead_letter_that_its_reasons_make_too_large_leaves_its_value_behind() -> None:
    """Where the whole message is stands in the headers; the partition goes on."""
    consumer, publisher = Consumer(), SmallPublisher()
    sink = RecordingSink(lambda _: DeadLetter("bad", code="invalid"))
    member = session(consumer, sink, publisher)
    await settle(member, record(ONE, 3, b"x" * 190))
    await member._turn()
    await member._commit(1)
    ((value, headers),) = publisher.sent
    assert (value, headers["sagad-cut"], headers["sagad-source"]) == (b"", b"too large", b"kafka:orders/0@3")
    assert consumer.committed == {ONE: 4}
