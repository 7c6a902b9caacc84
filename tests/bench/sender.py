"""Sends orders to Kafka at an even rate: a program of its own, so that its work is not the daemon's.

    python -m tests.bench.sender BOOTSTRAP TOPIC RATE WARM_UP COUNT

It sends WARM_UP messages, waits for a line on stdin, then sends COUNT at RATE a second.
"""

from __future__ import annotations

import asyncio
import sys

from aiokafka import AIOKafkaProducer

from tests.bench.brokers import order
from tests.bench.rig import offer


async def main(bootstrap: str, topic: str, rate: str, warm_up: str, count: str) -> None:
    """Send."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()

    async def send(number: int, due: float) -> None:
        await producer.send_and_wait(topic, order(number, due), key=str(number).encode())

    try:
        for number in range(int(warm_up)):
            await producer.send_and_wait(topic, order(f"warm-up-{number}", 0.0))
        await asyncio.to_thread(sys.stdin.readline)
        await offer(float(rate), int(count), send)
    finally:
        await producer.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
