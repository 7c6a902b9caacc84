"""From when a message is due to be published until its first step begins, at 500 messages a second.

In-process messages come from the daemon's own loop; those to Kafka from a process of their own (`sender`).
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.settings import Kafka
from tests.bench.brokers import kafka_topic, order
from tests.bench.figures import Bench, Benchmark, Figure, milliseconds
from tests.bench.handlers import DELAYS_S
from tests.bench.rig import SHIPPED, Rig, offer, settings_of, started, until
from tests.bench.workflows import GROUP, first_step
from triggers.publishing import Outbound

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE = 500
ROOT = Path(__file__).parents[2]


async def run_memory(bench: Bench) -> Sequence[Figure]:
    """Measure with the in-process broker."""
    with bench.fresh_store() as url:
        async with started(settings_of(url, bench.folder, first_step("memory: {topic: orders}"), SHIPPED)) as rig:

            async def publish(number: object, due: float) -> None:
                message = Outbound(destination="orders", body=order(f"{number}", due))
                await rig.daemon.brokers.memory.publish(message)

            DELAYS_S.clear()
            for number in range(bench.sizes.warm_up):
                await publish(f"warm-up-{number}", 0.0)
            await _arrived(bench.sizes.warm_up)
            await offer(RATE, bench.sizes.rate_count, publish)
            return await _figures(rig, bench, "in-process broker")


async def run_kafka(bench: Bench) -> Sequence[Figure]:
    """Measure with Kafka. The first messages of the sender see to it that the group has been joined."""
    bootstrap, sizes = bench.service("kafka"), bench.sizes
    async with kafka_topic(bootstrap) as topic:
        workflow = first_step(f"kafka: {{topic: {topic}, group: {GROUP}-{topic}}}")
        kafka = Kafka(bootstrap=(bootstrap,))
        with bench.fresh_store() as url:
            async with started(settings_of(url, bench.folder, workflow, SHIPPED, kafka=kafka)) as rig:
                DELAYS_S.clear()
                arguments = [bootstrap, topic, RATE, sizes.warm_up, sizes.rate_count]
                sender = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.bench.sender", *map(str, arguments),
                    cwd=ROOT, stdin=asyncio.subprocess.PIPE,
                )  # fmt: skip
                await _arrived(sizes.warm_up)
                await sender.communicate(b"go\n")
                return await _figures(rig, bench, "Kafka")


async def _arrived(count: int) -> None:
    """Wait for so many messages, then forget them."""
    await until(lambda: len(DELAYS_S) >= count)
    DELAYS_S.clear()


async def _figures(rig: Rig, bench: Bench, broker: str) -> list[Figure]:
    await until(lambda: len(DELAYS_S) >= bench.sizes.rate_count)
    await rig.idle()
    await rig.check(completed=bench.sizes.warm_up + bench.sizes.rate_count)
    return milliseconds(broker, DELAYS_S, 50, 95, 99)


TITLE = f"Message to first step, {RATE} messages/s"
IN_PROCESS = Benchmark("first-step", TITLE, run_memory)
KAFKA = Benchmark("first-step-kafka", TITLE, run_kafka, ("kafka",))
