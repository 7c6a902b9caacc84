"""Messages a second from a broker to committed starts: they are all there before the daemon starts.

From the first commit to the last, without the messages of the first: so joining the group does not count. The last
message counts when its start is durable; that the broker has been told of each is checked after an orderly stop.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from daemon.settings import Kafka, RabbitMQ
from tests.bench.brokers import fill_queue, fill_topic, kafka_settled, kafka_topic, rabbit_left, rabbit_queue
from tests.bench.figures import Bench, Benchmark, Figure, WrongOutcomeError
from tests.bench.rig import SHIPPED, clocked, settings_of, until
from tests.bench.workflows import GROUP, waiting

if TYPE_CHECKING:
    from collections.abc import Sequence


async def run_kafka(bench: Bench) -> Sequence[Figure]:
    """Measure with Kafka."""
    bootstrap, count = bench.service("kafka"), bench.sizes.kafka_messages
    async with kafka_topic(bootstrap) as topic:
        await fill_topic(bootstrap, topic, count)
        group = f"{GROUP}-{topic}"
        workflow = waiting(f"kafka: {{topic: {topic}, group: {group}}}")
        figures = await _measure(bench, "Kafka", count, workflow, kafka=Kafka(bootstrap=(bootstrap,)))
        if (settled := await kafka_settled(bootstrap, group)) != count:
            raise WrongOutcomeError(f"the group has committed {settled} of {count} messages")
    return figures


async def run_rabbitmq(bench: Bench) -> Sequence[Figure]:
    """Measure with a quorum queue; its messages are persistent, and confirmed when published."""
    url, count = bench.service("rabbitmq"), bench.sizes.rabbitmq_messages
    async with rabbit_queue(url) as queue:
        began = time.perf_counter()
        await fill_queue(url, queue, count)
        published = Figure("RabbitMQ, published with confirms", count / (time.perf_counter() - began), "/s")
        figures = await _measure(
            bench, "RabbitMQ", count, waiting(f"rabbitmq: {{queue: {queue}}}"), rabbitmq=RabbitMQ(url=url)
        )
        if left := await rabbit_left(url, queue):
            raise WrongOutcomeError(f"{left} of {count} messages were not acknowledged")
    return [*figures, published]


async def _measure(bench: Bench, broker: str, count: int, workflow: str, **brokers: Any) -> list[Figure]:
    commits: list[tuple[float, int]] = []
    with bench.fresh_store() as url:
        settings = settings_of(url, bench.folder, workflow, SHIPPED, **brokers)
        async with clocked(settings, lambda at, batch: commits.append((at, len(batch)))) as rig:
            await until(lambda: sum(starts for _, starts in commits) >= count)
            await rig.check(running=count)
    (first_at, first), (last_at, _) = commits[0], commits[-1]
    return [
        Figure(f"{broker}, messages to committed starts", (count - first) / (last_at - first_at), "/s"),
        Figure(f"{broker}, messages in a commit", count / len(commits), ""),
    ]


TITLE = "Intake of messages that wait in the broker: {kafka_messages:,} in Kafka, {rabbitmq_messages:,} in RabbitMQ"
KAFKA = Benchmark("kafka", TITLE, run_kafka, ("kafka",))
RABBITMQ = Benchmark("rabbitmq", TITLE, run_rabbitmq, ("rabbitmq",))
