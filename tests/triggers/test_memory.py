"""What is the in-process broker's own: groups, and what it keeps."""

import asyncio

from tests.triggers.conftest import running
from tests.triggers.sinks import QUICK, RecordingSink, eventually
from triggers import memory_broker
from triggers.memory import MemorySettings, MemoryTrigger
from triggers.memory_broker import MemoryBroker
from triggers.publishing import Outbound


def trigger(
    broker: MemoryBroker, sink: RecordingSink, name: str = "shop/orders", group: str | None = None
) -> MemoryTrigger:
    return MemoryTrigger(name, MemorySettings(topic="orders", group=group), broker=broker, sink=sink, retry=QUICK)


async def publish(broker: MemoryBroker, *bodies: bytes) -> list[str]:
    return [await broker.publish(Outbound(destination="orders", body=body)) for body in bodies]


async def test_each_group_gets_every_message_and_its_members_share_them() -> None:
    broker = MemoryBroker()
    own, one, other = RecordingSink(), RecordingSink(), RecordingSink()
    alone = trigger(broker, own, "billing/orders")
    members = [trigger(broker, one, "a/orders", group="g"), trigger(broker, other, "b/orders", group="g")]
    async with running(alone), running(members[0]), running(members[1]):
        assert await publish(broker, b"1", b"2", b"3") == [f"memory:orders@{n}" for n in range(3)]
        await eventually(lambda: len(own.acked) == 3 and len(one.acked + other.acked) == 3)
    assert sorted(one.acked + other.acked) == [b"1", b"2", b"3"]


async def test_what_was_published_before_anybody_listened_is_there() -> None:
    broker = MemoryBroker()
    await publish(broker, b"1")
    sink = RecordingSink()
    async with running(trigger(broker, sink)):
        await eventually(lambda: sink.acked == [b"1"])


async def test_a_message_is_kept_until_every_group_has_settled_it() -> None:
    broker = MemoryBroker()
    sink = RecordingSink()
    slow = trigger(broker, RecordingSink(), "slow/orders")
    async with running(trigger(broker, sink)):
        await publish(broker, b"1", b"2")
        await eventually(lambda: len(sink.acked) == 2)
        assert len(broker.messages("orders")) == 2
        async with running(slow):
            await eventually(lambda: not broker.messages("orders"))


async def test_a_topic_that_nobody_reads_keeps_the_newest() -> None:
    broker = MemoryBroker()
    await asyncio.gather(*(publish(broker, b"x") for _ in range(memory_broker.RETAINED + 5)))
    kept = broker.messages("orders")
    assert (len(kept), kept[0].offset) == (memory_broker.RETAINED, 5)


async def test_identities_of_two_lives_differ() -> None:
    """Offsets begin at 0 again with the process; the executions on record must not take the new for the old."""
    assert await first_identity(MemoryBroker()) != await first_identity(MemoryBroker())


async def first_identity(broker: MemoryBroker) -> str | None:
    sink = RecordingSink()
    async with running(trigger(broker, sink)):
        await publish(broker, b"1")
        await eventually(lambda: sink.seen)
    return sink.seen[0].identity
