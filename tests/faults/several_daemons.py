"""Several daemons on one Postgres under random faults, for as long as you like: the long `test_several_daemons`.

    python -m tests.faults.several_daemons [--daemons 4] [--seconds 120] [--rate 20] [--ttl 2] [--seed 1]

Orders come by Kafka, RabbitMQ and HTTP, some of them twice. Meanwhile one daemon after the other is killed, paused for
longer or shorter than its lease, or stopped in order, and started again. In the end every order must have exactly one
execution, which ended once and as it should; no lease and no timer may be left, and no client may have met an error
other than 503. An hour: `--seconds 3600`. Services are found as tests find them (`deploy/services env`).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from daemon.core.events import StepSucceeded
from daemon.runtime.codec import codec_of
from daemon.settings import load_settings
from daemon.testing.databases import make_unique_name, new_database
from eventstore.store import Store, open_store
from tests.support.crash_orders import HANDLERS, WORKFLOW, Brokers, Order, check_histories, histories, make_orders
from tests.support.fleet import Client, Fleet
from tests.support.process import SagadProcess
from tests.support.services import required

SETTLE_S = 120.0
"""How long everything may take to end after the last fault: Kafka lets a dead consumer's partitions go late."""


class Run:
    """One run of the command."""

    def __init__(self, fleet: Fleet, brokers: Brokers, store: Store, arguments: argparse.Namespace) -> None:
        self.fleet, self.brokers, self.store = fleet, brokers, store
        self.arguments = arguments
        self.callers = random.Random(f"{arguments.seed} callers")  # noqa: S311  the same in each run of a seed
        self.harm = random.Random(f"{arguments.seed} faults")  # noqa: S311  the same in each run of a seed
        self.client = Client(fleet, seed=arguments.seed)
        self.sent: list[Order] = []
        self.faults: Counter[str] = Counter()
        self.over = asyncio.Event()

    async def go(self) -> None:
        """Send orders and make faults for the time; then let everything end, and check."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send())
            tasks.create_task(self._make_faults())
            await asyncio.sleep(self.arguments.seconds)
            self.over.set()
        await self.fleet.until(self._all_ended, patience_s=SETTLE_S)
        await self._check()
        await self.client.close()

    async def _send(self) -> None:
        orders = make_orders(int(self.arguments.rate * self.arguments.seconds))
        for order in orders:
            if self.over.is_set():
                return
            self.sent.append(order)
            if self.callers.random() < 1 / 3:
                await self._start(order)
            else:
                await self.brokers.send([order, *([order] if self.callers.random() < 1 / 10 else [])])
            await asyncio.sleep(self.callers.expovariate(self.arguments.rate))

    async def _start(self, order: Order) -> None:
        body = {"input": {"order_id": order.order_id, "total": order.total}}
        headers = {"Idempotency-Key": order.order_id}
        await self.client.call("POST", "/workflows/order/executions", json=body, headers=headers)

    async def _make_faults(self) -> None:
        """At most half of the daemons are down or paused at a time, never all."""
        healthy = list(self.fleet.daemons)

        async def one(daemon: SagadProcess) -> None:
            await self._hurt(daemon)
            healthy.append(daemon)

        async with asyncio.TaskGroup() as tasks:
            while not self.over.is_set():
                if 2 * len(healthy) > len(self.fleet.daemons):
                    tasks.create_task(one(healthy.pop(self.harm.randrange(len(healthy)))))
                await asyncio.sleep(self.harm.uniform(0.5, 2))

    async def _hurt(self, daemon: SagadProcess) -> None:
        fault = self.harm.choice(["kill", "pause long", "pause short", "stop"])
        self.faults[fault] += 1
        match fault:
            case "kill":
                daemon.kill()
                daemon.start()
            case "stop":
                if await daemon.stop():
                    raise AssertionError(f"a daemon that was told to stop ended with {daemon.process.returncode}")
                daemon.start()
            case _:
                longer = 3.0 if fault == "pause long" else 0.5
                daemon.tell(signal.SIGSTOP)
                await asyncio.sleep(self.arguments.ttl * longer)
                daemon.tell(signal.SIGCONT)
        await daemon.ready()
        await asyncio.sleep(self.harm.uniform(0, 2))

    async def _all_ended(self) -> bool:
        counts = await self.store.index.counts()
        ended = sum(count for (_, status), count in counts.items() if status in ("completed", "failed"))
        return ended >= len(self.sent) and await self.store.leases.counts() == {}

    async def _check(self) -> None:
        found = await histories(self.store)
        check_histories(self.sent, found)
        results = Counter(
            (execution_id, recorded.event.address)
            for execution_id, history in found.items()
            for recorded in history
            if isinstance(recorded.event, StepSucceeded)
        )
        assert set(results.values()) <= {1}, "a result was recorded twice"
        assert await self.store.index.without_cause() == []
        assert await self.store.index.next_due() is None
        assert self.client.errors == []


async def run(arguments: argparse.Namespace) -> Run:
    """Run once; raise for whatever is not as it must be."""
    name = make_unique_name("several")
    kafka, rabbitmq = required("SAGAD_TEST_KAFKA_BOOTSTRAP"), required("SAGAD_TEST_RABBITMQ_URL")
    with (
        new_database(required("SAGAD_TEST_POSTGRES_URL")) as url,
        tempfile.TemporaryDirectory(prefix="sagad-several-") as folder,
    ):
        fleet = Fleet([_daemon(Path(folder), number, name, url, arguments) for number in range(arguments.daemons)])
        try:
            async with Brokers(name, kafka, rabbitmq, mocked=False) as brokers:
                await fleet.start()
                settings = load_settings(fleet.daemons[0].config, {})
                store = await open_store(url, codec_of(settings), auto_migrate=False)
                try:
                    work = Run(fleet, brokers, store, arguments)
                    await work.go()
                    await fleet.stop()
                finally:
                    await store.close()
        finally:
            for daemon in fleet:
                daemon.clean_up()
    return work


def _daemon(folder: Path, number: int, name: str, url: str, arguments: argparse.Namespace) -> SagadProcess:
    folder = folder / str(number)
    folder.mkdir()
    (folder / "workflow.yaml").write_text(WORKFLOW.replace("NAME", name))
    parts: dict[str, dict[str, Any]] = {
        "workflows": {"paths": ["workflow.yaml"], "handlers": [str(HANDLERS)]},
        "store": {"url": url},
        "daemon": {"name": f"d{number}", "lease_ttl_s": arguments.ttl},
        "kafka": {"bootstrap": [required("SAGAD_TEST_KAFKA_BOOTSTRAP")]},
        "rabbitmq": {"url": required("SAGAD_TEST_RABBITMQ_URL")},
        "log": {"level": "warning"},
    }
    return SagadProcess(folder, parts, {})


def main() -> None:
    """Run and print what was done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--daemons", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rate", type=float, default=20, help="orders a second")
    parser.add_argument("--ttl", type=float, default=2, help="seconds that a lease lasts")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    began = time.monotonic()
    work = asyncio.run(run(arguments))
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(work.faults.items()))
    took = time.monotonic() - began
    print(  # noqa: T201  its output
        f"{len(work.sent)} orders, each ended once; faults: {faults}; client retries: {work.client.retries};"
        f" seed {arguments.seed}, {took:.0f} s",
        file=sys.stdout,
    )


if __name__ == "__main__":
    main()
