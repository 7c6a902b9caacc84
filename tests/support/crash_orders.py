"""500 orders for the crash tests: their workflow, the brokers they come through, and what must be true in the end."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aio_pika
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from msgspec import Struct

from daemon.core import events as e
from daemon.core.values import from_json
from triggers.kafka_client import KafkaConnection
from triggers.kafka_publisher import KafkaPublisher
from triggers.publishing import Outbound
from triggers.rabbitmq_client import RabbitConnection
from triggers.rabbitmq_publisher import RabbitPublisher

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self
    from uuid import UUID

    from eventstore.log import Recorded
    from eventstore.store import Store
    from triggers.publishing import Publisher

HANDLERS = Path(__file__).parents[2] / "deploy" / "examples" / "order_fulfilment" / "handlers.py"
PARTITIONS = 3

WORKFLOW = """
workflow: order
triggers:
  - {name: kafka, kafka: {topic: NAME, group: NAME}, dedupe: "{{ message.value.order_id }}"}
  - {name: rabbitmq, rabbitmq: {queue: NAME}, dedupe: "{{ message.value.order_id }}"}
nodes:
  reserve: {task: inventory.reserve, with: {order: "{{ input }}"}, retry: {max_attempts: 3, initial: 100ms}}
  pause: {wait: 100ms}
  charge: {task: payments.charge, with: {amount: "{{ input.total }}", reservation: "{{ reserve.id }}"}}
  sorry: {task: mail.apologise, with: {error: "{{ charge.error }}"}}
edges: [reserve -> pause, pause -> charge, charge.error -> sorry]
output: "{{ charge }}"
"""


class Order(Struct, frozen=True):
    order_id: str
    broker: str
    total: float

    @property
    def declined(self) -> bool:
        return round(self.total * 100) % 100 == 13


def make_orders(count: int) -> list[Order]:
    """Half of them by each broker; some are declined, some need a second attempt."""
    cents = {3: 0.13, 4: 0.13, 5: 0.50, 6: 0.50}
    return [
        Order(f"{number:04}", "kafka" if number % 2 else "rabbitmq", number + cents.get(number % 10, 0.99))
        for number in range(count)
    ]


class Brokers:
    """A topic and a queue of one test alone. Use as `async with`."""

    def __init__(self, name: str, kafka: str, rabbitmq: str, *, mocked: bool) -> None:
        self.name = name
        self._kafka_url, self._rabbitmq_url, self._mocked = kafka, rabbitmq, mocked
        self._publishers: dict[str, Publisher] = {
            "kafka": KafkaPublisher(KafkaConnection(bootstrap_servers=kafka)),
            "rabbitmq": RabbitPublisher(RabbitConnection(url=rabbitmq)),
        }

    async def __aenter__(self) -> Self:
        if not self._mocked:  # the mock makes topics by itself
            admin = AIOKafkaAdminClient(bootstrap_servers=self._kafka_url)
            await admin.start()
            await admin.create_topics([NewTopic(self.name, PARTITIONS, 1), NewTopic(f"{self.name}.dlq", 1, 1)])
            await admin.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        for publisher in self._publishers.values():
            await publisher.close()
        async with await aio_pika.connect(self._rabbitmq_url) as connection, connection.channel() as channel:
            await channel.queue_delete(self.name)
            await channel.queue_delete(f"{self.name}.dlq")

    async def send(self, orders: Sequence[Order]) -> None:
        """Publish them; return when the brokers have confirmed them all."""
        await asyncio.gather(*(self._send(order) for order in orders))

    async def _send(self, order: Order) -> None:
        message = Outbound(
            destination=self.name,
            body=json.dumps({"order_id": order.order_id, "total": order.total}).encode(),
            key=order.order_id,
            content_type="application/json",
        )
        await self._publishers[order.broker].publish(message)

    async def left_in_queues(self) -> tuple[int, int]:
        """Return how many messages the queue and its dead letters hold."""
        async with await aio_pika.connect(self._rabbitmq_url) as connection, connection.channel() as channel:
            queues = [await channel.get_queue(name) for name in (self.name, f"{self.name}.dlq")]
            counts = [queue.declaration_result.message_count or 0 for queue in queues]
        return counts[0], counts[1]

    async def uncommitted(self) -> int:
        """Return how many messages of the topic the group has not committed."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self._kafka_url, group_id=self.name, enable_auto_commit=False)
        await consumer.start()
        try:
            ends = await self._ends(consumer, self.name)
            return sum([end - (await consumer.committed(place) or 0) for place, end in ends.items()])
        finally:
            await consumer.stop()

    async def dead_letters_in_kafka(self) -> int:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._kafka_url)
        await consumer.start()
        try:
            return sum((await self._ends(consumer, f"{self.name}.dlq")).values())
        finally:
            await consumer.stop()

    async def _ends(self, consumer: AIOKafkaConsumer, topic: str) -> dict[TopicPartition, int]:
        await consumer.topics()  # fetches what it knows of partitions
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        ends: dict[TopicPartition, int] = await consumer.end_offsets(places)
        return ends


async def histories(store: Store) -> dict[UUID, list[Recorded]]:
    """Read the whole log."""
    found: defaultdict[UUID, list[Recorded]] = defaultdict(list)
    position = 0
    while page := await store.log.read_all(after_position=position):
        position = page[-1].position
        for recorded in page:
            found[recorded.execution_id].append(recorded)
    return dict(found)


def check_histories(orders: Sequence[Order], found: dict[UUID, list[Recorded]]) -> None:
    """Each order has one execution, which has ended once and as it should, without a gap."""
    by_order = {order.order_id: order for order in orders}
    started = [history[0].event.dedupe_key for history in found.values()]
    assert sorted(started) == sorted(by_order)
    for history in found.values():
        order = by_order[history[0].event.dedupe_key]
        assert [recorded.version for recorded in history] == list(range(1, len(history) + 1))
        ends = [r for r in history if isinstance(r.event, e.ExecutionCompleted | e.ExecutionFailed)]
        assert ends == history[-1:]
        output = from_json(history[-1].event.output)
        if order.declined:
            assert output["error"]["code"] == "card_declined", order
        else:
            assert output["charged"] == order.total, order


def check_runs(journal: Path, found: dict[UUID, list[Recorded]]) -> Counter[tuple[str, int]]:
    """No handler ran for a recorded step, nor twice in one process. Return how often each attempt was begun."""
    succeeded = {
        f"{execution_id}/{recorded.event.address}": recorded.event.at.timestamp()
        for execution_id, history in found.items()
        for recorded in history
        if isinstance(recorded.event, e.StepSucceeded | e.StepFailed)
        and getattr(recorded.event, "retry_at", None) is None
    }
    lines: list[dict[str, Any]] = [json.loads(line) for line in journal.read_text().splitlines()]
    began = [line for line in lines if line["what"] == "began"]
    assert [line for line in began if line["at"] > succeeded.get(line["key"], line["at"])] == []
    in_one_process = Counter((line["key"], line["attempt"], line["pid"]) for line in began)
    assert [run for run, count in in_one_process.items() if count > 1] == []
    return Counter((line["key"], line["attempt"]) for line in began)
