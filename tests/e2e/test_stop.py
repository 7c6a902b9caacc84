"""How the daemon's process ends and begins: signals, exit codes, what is missing at the start."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from daemon.core import events as e
from daemon.runtime.codec import codec_of
from daemon.settings import Settings
from eventstore.store import open_store
from tests.support.crash_orders import histories
from tests.support.file_handlers import Gates
from tests.support.process import SagadProcess, free_port
from triggers.publishing import Outbound
from triggers.rabbitmq_client import RabbitConnection
from triggers.rabbitmq_publisher import RabbitPublisher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.support.mock_kafka import MockKafka
    from tests.support.services import OwnService

    MakeDaemon = Callable[..., SagadProcess]

WORKFLOW = """
workflow: two-steps
triggers:
  - {name: hook, webhook: {path: begin, verify: {scheme: none}}}
nodes:
  first: {task: gate, with: {name: first, value: 1}}
  second: {task: gate, with: {name: second, value: 2}}
edges: [first -> second]
output: "{{ second }}"
"""


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    return Gates(tmp_path / "gates")


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/sagad.db"


def made(sagad: MakeDaemon, gates: Gates, store_url: str, *, grace_s: float) -> SagadProcess:
    return sagad(
        WORKFLOW,
        handlers="tests.support.file_handlers",
        environ=gates.environ,
        store={"url": store_url},
        limits={"grace_s": grace_s},
    )


async def begun(daemon: SagadProcess, gates: Gates) -> None:
    """Start the daemon and an execution; return when its first step is at work."""
    daemon.start()
    await daemon.ready()
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{daemon.url}/hooks/begin", json={})
    assert answer.status_code == 202, answer.text
    await daemon.until(lambda: gates.reached("first"))


async def events(store_url: str) -> Sequence[Any]:
    """Return the events of the only execution, when no daemon runs."""
    store = await open_store(store_url, codec_of(Settings()))
    try:
        (history,) = (await histories(store)).values()
    finally:
        await store.close()
    return [recorded.event for recorded in history]


def succeeded(found: Sequence[Any]) -> list[str]:
    return [event.address for event in found if isinstance(event, e.StepSucceeded)]


async def completes(daemon: SagadProcess, gates: Gates, store_url: str) -> None:
    """Start the daemon again: what was owed is done, and the execution ends."""
    gates.open("first")
    gates.open("second")
    daemon.start()
    await daemon.until(lambda: _all_completed(daemon))
    assert await daemon.stop() == 0
    found = await events(store_url)
    assert succeeded(found) == ["first", "second"]
    assert isinstance(found[-1], e.ExecutionCompleted)


async def _all_completed(daemon: SagadProcess) -> bool:
    if (await daemon.readiness())[0] == 0:
        return False
    async with httpx.AsyncClient(trust_env=False) as client:
        rows = (await client.get(f"{daemon.url}/executions")).json()["executions"]
    return [row["status"] for row in rows] == ["completed"]


async def says(daemon: SagadProcess, word: str) -> bool:
    return word in daemon.said()


async def test_a_step_at_work_may_finish_within_the_grace(sagad: MakeDaemon, gates: Gates, store_url: str) -> None:
    """SIGTERM: the running step ends and is recorded, what follows it is left for the next start; exit code 0."""
    daemon = made(sagad, gates, store_url, grace_s=20)
    await begun(daemon, gates)
    daemon.tell(signal.SIGTERM)
    await daemon.until(lambda: says(daemon, '"stopping"'))
    gates.open("first")
    assert await daemon.ended() == 0
    assert succeeded(await events(store_url)) == ["first"]
    assert gates.began("second") == 0

    await completes(daemon, gates, store_url)
    assert gates.began("first") == 1


async def test_a_step_that_takes_longer_than_the_grace_stays_owed(
    sagad: MakeDaemon, gates: Gates, store_url: str
) -> None:
    """The step is cancelled, nothing is recorded of it, and it runs again at the next start; exit code 0."""
    daemon = made(sagad, gates, store_url, grace_s=0.2)
    await begun(daemon, gates)
    assert await daemon.stop() == 0
    assert succeeded(await events(store_url)) == []

    await completes(daemon, gates, store_url)
    assert gates.began("first") == 2


async def test_nothing_new_is_taken_while_it_stops(sagad: MakeDaemon, gates: Gates, store_url: str) -> None:
    """A webhook is told to come again, or finds nobody; it is never accepted and forgotten."""
    daemon = made(sagad, gates, store_url, grace_s=20)
    await begun(daemon, gates)
    daemon.tell(signal.SIGTERM)
    await daemon.until(lambda: says(daemon, '"stopping"'))
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            answer = await client.post(f"{daemon.url}/hooks/begin", json={})
        except httpx.TransportError:
            pass
        else:
            assert answer.status_code == 503
    gates.open("first")
    assert await daemon.ended() == 0
    await completes(daemon, gates, store_url)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_second_signal_ends_it_at_once(
    number: signal.Signals, sagad: MakeDaemon, gates: Gates, store_url: str
) -> None:
    """It does not wait for the step; the exit code is 128 and the signal's number; nothing is lost."""
    daemon = made(sagad, gates, store_url, grace_s=60)
    await begun(daemon, gates)
    daemon.tell(number)
    await daemon.until(lambda: says(daemon, '"stopping"'))
    assert daemon.alive
    daemon.tell(number)
    assert await daemon.ended(5) == 128 + number
    assert succeeded(await events(store_url)) == []

    await completes(daemon, gates, store_url)


async def test_wrong_settings_are_told_all_at_once(sagad: MakeDaemon) -> None:
    """Exit code 2, and each problem with its place."""
    daemon = sagad(
        WORKFLOW,
        http={"port": 80808},
        store={"url": "mysql://localhost"},
        limits={"grace": 1},
        kafka={"bootstrap": ["localhost:9092"], "username": "me"},
    )
    daemon.start()
    assert await daemon.ended() == 2
    said = daemon.said()
    for problem in ("[http] port", "[store] url", "[limits] grace", "[kafka] password"):
        assert problem in said, said
    assert "grace_s" in said, "the hint is missing"
    assert "Traceback" not in said


async def test_wrong_definitions_are_told_all_at_once(sagad: MakeDaemon, tmp_path: Path) -> None:
    """Exit code 2, and each problem with file, line and column."""
    workflow = """
workflow: wrong
triggers:
  - {name: orders, kafka: {topic: orders}}
nodes:
  first: {task: no.such.handler}
  second: {transform: "{{ input.total + }}"}
edges: [first -> secnod]
"""
    daemon = sagad(workflow, handlers="tests.support.file_handlers", store={"url": f"sqlite:///{tmp_path}/wrong.db"})
    daemon.start()
    assert await daemon.ended() == 2
    said = daemon.said()
    for problem in ("no.such.handler", "workflow.yaml:7", "secnod"):
        assert problem in said, said
    assert "Traceback" not in said


async def test_a_trigger_without_its_broker_is_told(sagad: MakeDaemon, tmp_path: Path) -> None:
    """Exit code 2, and which setting is missing."""
    workflow = """
workflow: lonely
triggers:
  - {name: a, kafka: {topic: orders}}
  - {name: b, rabbitmq: {queue: orders}}
nodes: {only: {transform: 1}}
"""
    daemon = sagad(workflow, handlers="tests.support.file_handlers", store={"url": f"sqlite:///{tmp_path}/lonely.db"})
    daemon.start()
    assert await daemon.ended() == 2
    said = daemon.said()
    assert "SAGAD_KAFKA_BOOTSTRAP" in said
    assert "SAGAD_RABBITMQ_URL" in said
    assert "Traceback" not in said


async def test_a_port_that_is_taken_is_told(sagad: MakeDaemon, store_url: str) -> None:
    """Exit code 2, which address, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        daemon = sagad(WORKFLOW, store={"url": store_url}, http={"port": server.getsockname()[1]})
        daemon.start()
        assert await daemon.ended() == 2
    said = daemon.said()
    assert f"cannot listen on 127.0.0.1:{daemon.port}" in said
    assert "SAGAD_HTTP_PORT" in said
    assert "Traceback" not in said


async def test_an_unreachable_postgres_is_told(sagad: MakeDaemon) -> None:
    """Exit code 4, where it was looked for, and no password."""
    port = free_port()
    daemon = sagad(WORKFLOW, store={"url": f"postgresql://sagad:s3cret@127.0.0.1:{port}/sagad"})
    daemon.start()
    assert await daemon.ended() == 4
    said = daemon.said()
    assert f"Postgres at 127.0.0.1:{port}" in said
    assert "s3cret" not in said
    assert "Traceback" not in said


QUEUE_WORKFLOW = """
workflow: queued
triggers:
  - {name: queue, BROKER}
  - {name: hook, webhook: {path: begin, verify: {scheme: none}}}
nodes: {only: {transform: "{{ input }}"}}
"""


async def connections(daemon: SagadProcess) -> dict[str, bool]:
    """Return which connections are up, when the daemon answers."""
    await daemon.until(lambda: _answers(daemon))
    _, body = await daemon.readiness()
    return {connection["name"]: connection["connected"] for connection in body["connections"]}


async def _answers(daemon: SagadProcess) -> bool:
    return bool((await daemon.readiness())[1].get("connections", [])[1:])


async def statuses(daemon: SagadProcess) -> list[str]:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{daemon.url}/executions")
    return [row["status"] for row in answer.json()["executions"]]


async def works_by_http(daemon: SagadProcess) -> None:
    """While the broker is away: alive, and webhooks are taken."""
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{daemon.url}/healthz")).status_code == 200
        assert (await client.post(f"{daemon.url}/hooks/begin", json={})).status_code == 202
    await daemon.until(lambda: _are(daemon, ["completed"]))


async def _are(daemon: SagadProcess, expected: list[str]) -> bool:
    return await statuses(daemon) == expected


@pytest.mark.slow
async def test_a_rabbitmq_that_comes_later_is_found(
    sagad: MakeDaemon, own_service: Callable[[str], OwnService], store_url: str
) -> None:
    """HTTP stays up, readiness says which connection is down, and it connects by itself."""
    rabbitmq = own_service("rabbitmq")
    await asyncio.to_thread(rabbitmq.kill)
    daemon = sagad(
        QUEUE_WORKFLOW.replace("BROKER", "rabbitmq: {queue: orders}"),
        handlers="tests.support.file_handlers",
        store={"url": store_url},
        rabbitmq={"url": rabbitmq.url},
    )
    daemon.start()
    assert (await connections(daemon))["queued/queue"] is False
    assert (await daemon.readiness())[0] == 503
    await works_by_http(daemon)

    await asyncio.to_thread(rabbitmq.restart)
    await daemon.ready()
    publisher = RabbitPublisher(RabbitConnection(url=rabbitmq.url))
    await publisher.publish(Outbound(destination="orders", body=b"{}", message_id="m1"))
    await publisher.close()
    await daemon.until(lambda: _are(daemon, ["completed", "completed"]))
    assert await daemon.stop() == 0


async def test_a_kafka_that_comes_later_is_found(sagad: MakeDaemon, mock_kafka: MockKafka, store_url: str) -> None:
    """HTTP stays up, readiness says which connection is down, and it connects by itself."""
    mock_kafka.create_topic("orders")
    mock_kafka.down()
    daemon = sagad(
        QUEUE_WORKFLOW.replace("BROKER", "kafka: {topic: orders}"),
        handlers="tests.support.file_handlers",
        store={"url": store_url},
        kafka={"bootstrap": [mock_kafka.bootstrap]},
    )
    daemon.start()
    assert (await connections(daemon))["queued/queue"] is False
    assert (await daemon.readiness())[0] == 503
    await works_by_http(daemon)

    mock_kafka.up()
    await daemon.ready()
    assert await daemon.stop() == 0
