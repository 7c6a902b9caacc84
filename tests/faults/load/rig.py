"""One daemon under a measured load: what it can take, and how it bears more, or as much for long.

The daemon is `sagad run` in a process of its own on a fresh Postgres database. Messages come by Kafka, RabbitMQ or the
API; each carries when it was sent, in its dedupe key, so that the index tells how long each execution took. Figures
depend on the machine and what else it does: they are compared with each other within one run only.

Comes from: `soak`, `overload`. Goes to: tests/faults/chaos/fleet.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import psutil
import psycopg
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from daemon.testing.databases import make_unique_name, new_database
from tests.faults.chaos.fleet import Member
from triggers.errors import BrokerUnavailable
from triggers.publishing import Outbound
from triggers.rabbitmq_client import RabbitConnection
from triggers.rabbitmq_publisher import RabbitPublisher

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

PARTITIONS = 4
READY_S = 60.0
LOOK_S = 0.05
ASK_S = 0.5
"""So often the database is asked for what it must count."""
CALIBRATION_S = 8.0
AHEAD_S, LEAST_AHEAD = 3.0, 50
"""A topic is full that has so many seconds of work for the daemon, and so many messages."""

WORKFLOW = """
workflow: load
triggers:
  - {name: kafka, kafka: {topic: NAME, group: NAME}, dedupe: "{{ message.value.key }}"}
  - {name: rabbitmq, rabbitmq: {queue: NAME}, dedupe: "{{ message.value.key }}"}
nodes:
  first: {task: load.work, with: {s: "{{ input.s }}"}}
  second: {task: load.work, with: {s: "{{ input.s }}"}}
  third: {task: load.work, with: {s: "{{ input.s }}"}}
edges: [first -> second, second -> third]
"""
HANDLERS = """
import asyncio
from daemon.handlers import handler

@handler("load.work")
async def work(s: float) -> None:
    await asyncio.sleep(s)
"""
LATENCIES = """
SELECT coalesce(
    percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY took), ARRAY['Infinity', 'Infinity']::float8[]
), count(*)
FROM (SELECT extract(epoch FROM finished_at)::float - FROM_WHEN AS took
      FROM executions WHERE finished_at > to_timestamp(%s) AND finished_at <= to_timestamp(%s)) AS ended
"""
SENT = "split_part(dedupe_key, '@', 2)::float"
STARTED = "extract(epoch FROM started_at)::float"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """How the daemon is. Times in seconds."""

    at_s: float
    rss_mib: float
    cpu_s: float
    fds: int
    threads: int
    finished: int
    """Executions ended since the sample before."""
    p50_s: float
    """Infinite when nothing has ended."""
    p99_s: float


class Account(NamedTuple):
    """What became of all that was sent."""

    accepted: int
    """Confirmed by a broker, or answered with success."""
    unsure: int
    """Neither confirmed nor surely refused: a broker that did not answer, or 503."""
    completed: int

    @property
    def balanced(self) -> bool:
        """Whether all that was accepted has completed, and no more than was sent."""
        return self.accepted <= self.completed <= self.accepted + self.unsure

    def __str__(self) -> str:
        return f"{self.completed} completed of {self.accepted} accepted, and of {self.unsure} that may have been"


@dataclass
class Rig:
    """A daemon and the ways to it."""

    member: Member
    name: str
    database: psycopg.AsyncConnection[Any]
    url: str
    """Of the store."""
    kafka: AIOKafkaProducer
    rabbitmq: RabbitPublisher
    http: httpx.AsyncClient
    work_s: float
    """How long each of an execution's three handlers takes."""
    number: int = 0
    accepted: int = 0
    """How many messages and starts have been confirmed."""
    unsure: int = 0
    refused: list[httpx.Response] = field(default_factory=list)
    """Answers of the API that were 503."""
    _sampled: float = 0.0

    @property
    def process(self) -> psutil.Process:
        """The daemon's process."""
        return psutil.Process(self.member.pid)

    def body(self) -> bytes:
        """Make another message."""
        self.number += 1
        return json.dumps({"key": f"{self.number}@{time.time()}", "s": self.work_s}).encode()

    async def by_kafka(self) -> None:
        """Send one; return when the broker has it."""
        await (await self.kafka.send(self.name, self.body()))
        self.accepted += 1

    async def by_rabbitmq(self) -> None:
        """Send one; return when it is confirmed, or nobody knows."""
        try:
            await self.rabbitmq.publish(Outbound(destination=self.name, body=self.body()))
        except BrokerUnavailable:
            self.unsure += 1
        else:
            self.accepted += 1

    async def by_api(self) -> bool:
        """Start one; tell whether it was taken."""
        body = self.body()
        headers = {"idempotency-key": json.loads(body)["key"], "content-type": "application/json"}
        answer = await self.http.post(
            f"{self.member.url}/workflows/load/executions", content=b'{"input": ' + body + b"}", headers=headers
        )
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            self.refused.append(answer)
            self.unsure += 1
            return False
        answer.raise_for_status()
        self.accepted += 1
        return True

    async def offer(self, send: Callable[[], Awaitable[object]], rate: float, seconds: float) -> None:
        """Send at an even rate, whether what was sent before is through or not; return when it all is."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                tasks.create_task(_done(send()))

    async def finished(self) -> int:
        """Return how many executions have ended."""
        return await self._one("SELECT count(*) FROM executions WHERE finished_at IS NOT NULL")

    async def running(self) -> int:
        """Return how many are running."""
        return await self._one("SELECT count(*) FROM executions WHERE finished_at IS NULL")

    async def until_idle(self, patience_s: float) -> float:
        """Return after how many seconds nothing runs any more and nothing more ends."""
        began, before = time.monotonic(), -1
        async with asyncio.timeout(patience_s):
            while True:
                ended, running = await self.finished(), await self.running()
                if not running and ended == before:
                    return time.monotonic() - began
                before = ended
                await asyncio.sleep(ASK_S)

    async def account(self, patience_s: float) -> Account:
        """Return what became of all that was sent, as soon as all of it has completed, or after so many seconds."""
        until = time.monotonic() + patience_s
        while True:
            completed = await self._one("SELECT count(*) FROM executions WHERE status = 'completed'")
            if completed >= self.accepted or time.monotonic() > until:
                return Account(self.accepted, self.unsure, completed)
            await asyncio.sleep(ASK_S)

    async def sample(self, since: str) -> Sample:
        """Look at the daemon and at what has ended since the sample before; `since` is `SENT` or `STARTED`."""
        until = time.time()
        cursor = await self.database.execute(LATENCIES.replace("FROM_WHEN", since).encode(), (self._sampled, until))
        row = await cursor.fetchone()
        assert row is not None
        (p50_s, p99_s), finished = row
        self._sampled = until
        with self.process.oneshot():
            times = self.process.cpu_times()
            return Sample(
                at_s=time.monotonic(),
                rss_mib=self.process.memory_info().rss / 2**20,
                cpu_s=times.user + times.system,
                fds=self.process.num_fds(),
                threads=self.process.num_threads(),
                finished=finished,
                p50_s=p50_s,
                p99_s=p99_s,
            )

    async def top_rate(self, seconds: float = CALIBRATION_S) -> float:
        """Return how many executions a second it takes from a full topic; measured for the second half of the time."""
        before = await self.finished()
        feeding = asyncio.create_task(self._flood(seconds))
        await asyncio.sleep(seconds / 2)
        middle, at = await self.finished(), time.monotonic()
        await asyncio.sleep(seconds / 2)
        rate = (await self.finished() - middle) / (time.monotonic() - at)
        await feeding
        assert middle > before, "nothing has ended"
        await self.until_idle(120)
        return rate

    async def _flood(self, seconds: float) -> None:
        """Keep the topic ahead of the daemon."""
        began, before = time.monotonic(), await self.finished()
        while (elapsed_s := time.monotonic() - began) < seconds:
            ended = await self.finished()
            wanted = max(LEAST_AHEAD, int(AHEAD_S * (ended - before) / max(elapsed_s, LOOK_S)))
            missing = wanted - (self.number - ended)
            await asyncio.gather(*(self.by_kafka() for _ in range(missing)))
            await asyncio.sleep(LOOK_S)

    async def _one(self, query: str) -> int:
        cursor = await self.database.execute(query.encode())
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])


async def _done(work: Awaitable[object]) -> None:
    await work


@asynccontextmanager
async def rig(
    folder: Path, *, services: argparse.Namespace, work_s: float = 0.0, **limits: float
) -> AsyncIterator[Rig]:
    """Run a daemon for the block, on services that are there: see `add_services`."""
    postgres, kafka, rabbitmq = services.postgres, services.kafka, services.rabbitmq
    name = make_unique_name("load")
    workflow, handlers = folder / "workflow.yaml", folder / "handlers.py"
    workflow.write_text(WORKFLOW.replace("NAME", name))
    handlers.write_text(HANDLERS)
    async with AsyncExitStack() as stack:
        url = stack.enter_context(new_database(postgres))
        if not services.mocked:
            await _make_topic(kafka, name)
        parts: dict[str, dict[str, Any]] = {
            "store": {"url": url},
            "kafka": {"bootstrap": [kafka]},
            "rabbitmq": {"url": rabbitmq},
            "workflows": {"paths": [str(workflow)], "handlers": [str(handlers)]},
            "limits": limits,
            "log": {"level": "warning"},
        }
        member = Member("daemon", folder / "daemon", parts, {})
        stack.callback(_end, member)
        member.start()
        http = await stack.enter_async_context(
            httpx.AsyncClient(trust_env=False, timeout=30, limits=httpx.Limits(max_connections=2000))
        )
        await _ready(member, http)
        producer = AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=5)
        await producer.start()
        stack.push_async_callback(producer.stop)
        publisher = RabbitPublisher(RabbitConnection(url=rabbitmq))
        stack.push_async_callback(publisher.close)
        database = await stack.enter_async_context(await psycopg.AsyncConnection.connect(url, autocommit=True))
        yield Rig(member, name, database, url, producer, publisher, http, work_s)
        code = await member.stop()
        assert code == 0, f"the daemon ended with {code}"


async def _make_topic(kafka: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, PARTITIONS, 1), NewTopic(f"{name}.dlq", 1, 1)])
    finally:
        await admin.close()


async def _ready(member: Member, http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            with suppress(httpx.TransportError):
                if (await http.get(f"{member.url}/readyz")).status_code == httpx.codes.OK:
                    return
            assert member.alive, member.log.read_text()[-2000:]
            await asyncio.sleep(LOOK_S)


def add_services(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the services are."""
    for name, variable in (
        ("postgres", "SAGAD_TEST_POSTGRES_URL"),
        ("kafka", "SAGAD_TEST_KAFKA_BOOTSTRAP"),
        ("rabbitmq", "SAGAD_TEST_RABBITMQ_URL"),
    ):
        given = os.environ.get(variable)
        parser.add_argument(f"--{name}", default=given, required=given is None, help=f"by default ${variable}")
    parser.add_argument("--mocked", action="store_true", help="Kafka is a mock, which makes topics by itself")


def _end(member: Member) -> None:
    member.wanted = False
    if member.alive:
        psutil.Process(member.pid).kill()
