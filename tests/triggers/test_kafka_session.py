"""What a rebalance does to messages that were fetched before it and taken after it. Timing that no broker gives us."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

from tests.triggers.sinks import QUICK, STARTED, RecordingSink
from triggers.kafka_client import KafkaConnection
from triggers.kafka_session import KafkaSession
from triggers.link import Link, Reconnect
from triggers.message import Retry

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def session(consumer: Consumer, sink: RecordingSink) -> Any:
    return KafkaSession(
        "shop/orders",
        consumer,
        Link("shop/orders", Reconnect()),
        KafkaConnection(bootstrap_servers="nowhere"),
        sink=sink,
        retry=QUICK,
        publisher=None,  # type: ignore[arg-type]  # nothing is set aside here
        dead_letters="dead",
        batch=10,
        max_unresolved=10,
        now=lambda: datetime.now(UTC),
    )


def record(partition: TopicPartition, offset: int) -> Any:
    return SimpleNamespace(
        topic=partition.topic, partition=partition.partition, offset=offset, value=b"{}", key=None, headers=[]
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
