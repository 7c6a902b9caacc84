"""Several daemons, each a process, on one Postgres: they share the work, and lose none when one dies, sleeps or stops.

Longer, with four daemons and random faults: `python -m tests.faults.several_daemons --help`.
"""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest

from daemon.runtime.codec import codec_of
from daemon.runtime.leases import LONGEST_BEAT_S
from daemon.settings import load_settings
from eventstore.store import open_store
from tests.support.crash_orders import (
    HANDLERS,
    WORKFLOW,
    Brokers,
    check_histories,
    check_runs,
    histories,
    make_orders,
)
from tests.support.file_handlers import Gates
from tests.support.fleet import Client, Fleet
from tests.support.limit_rules import exceeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from eventstore.store import Store
    from tests.support.process import SagadProcess

pytestmark = pytest.mark.timeout(120)

ORDERS = 120
TTL_S = 2
LONG_TTL_S = 30
NO_LEASE_S = LONG_TTL_S - LONGEST_BEAT_S
"""Whoever waits for such a lease to end waits longer."""
GATED = """
workflow: gated
nodes:
  a: {task: gate, with: {name: "{{ input }}"}}
  b: {task: process}
edges: [a -> b]
output: "{{ b }}"
"""
QUICK = """
workflow: quick
nodes:
  a: {task: process}
  nap: {wait: 50ms}
  b: {task: process}
edges: [a -> nap, nap -> b]
output: "{{ b }}"
"""


@asynccontextmanager
async def store_of(daemon: SagadProcess) -> AsyncIterator[Store]:
    settings = load_settings(daemon.config, {})
    store = await open_store(settings.store.url, codec_of(settings), auto_migrate=False)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def fleet(sagad: Callable[..., SagadProcess], fresh_postgres_url: str) -> Callable[..., Fleet]:
    """Give `fleet(workflow, …)`: two daemons on one database, not started."""

    def make(workflow: str, *, ttl_s: float = TTL_S, **options: Any) -> Fleet:
        return Fleet(
            [
                sagad(
                    workflow,
                    store={"url": fresh_postgres_url},
                    daemon={"name": name, "lease_ttl_s": ttl_s},
                    **options,
                )
                for name in ("one", "two")
            ]
        )

    return make


async def test_two_share_the_brokers_and_one_finishes_what_the_killed_other_had(  # noqa: PLR0917  fixtures
    fleet: Callable[..., Fleet],
    tmp_path: Path,
    kafka_bootstrap: str,
    kafka_kind: str,
    rabbitmq_url: str,
    unique_name: Callable[[str], str],
) -> None:
    """SIGKILL while both have work in flight: every message gives one execution, each ends once, and soon."""
    name, journal, orders = unique_name("several"), tmp_path / "journal.jsonl", make_orders(ORDERS)
    daemons = fleet(
        WORKFLOW.replace("NAME", name),
        handlers=str(HANDLERS),
        environ={"ORDER_JOURNAL": str(journal)},
        kafka={"bootstrap": [kafka_bootstrap]},
        rabbitmq={"url": rabbitmq_url},
    )
    victim, survivor = daemons
    async with Brokers(name, kafka_bootstrap, rabbitmq_url, mocked=kafka_kind == "mock") as brokers:
        await daemons.start()
        async with store_of(survivor) as store:
            await brokers.send(orders)
            await daemons.until(lambda: _started(store, ORDERS))
            pids = {each.process.pid for each in daemons}
            await daemons.until(lambda: _all_at_work(journal, pids))
            victim.kill()
            await survivor.until(lambda: _ended(store, ORDERS))
            assert await survivor.stop() == 0
            found = await histories(store)
            check_histories(orders, found)
            check_runs(journal, found)
            assert await store.index.without_cause() == []
            assert await store.leases.counts() == {}
            assert (await brokers.left_in_queues())[1] == await brokers.dead_letters_in_kafka() == 0


async def test_a_killed_daemons_work_is_taken_up_long_before_its_lease_ends(
    fleet: Callable[..., Fleet], tmp_path: Path, fresh_postgres_url: str
) -> None:
    """The store sees that its process is gone, once it has been up for longer than a lease lasts."""
    gates = Gates(tmp_path / "gates")
    daemons = fleet(GATED, ttl_s=LONG_TTL_S, handlers="tests.support.file_handlers", environ=gates.environ)
    victim, survivor = daemons
    await daemons.start()
    execution_id = await _start(Fleet([victim]), "gated", "g")
    await daemons.until(lambda: gates.reached("g"))
    await daemons.until(lambda: _up_for(fresh_postgres_url, LONG_TTL_S), patience_s=2 * LONG_TTL_S)
    victim.kill()
    await survivor.until(partial(gates.reached, "g", 2), patience_s=LONG_TTL_S / 2)
    gates.open("g")
    shown = await _ended_at(survivor, execution_id)
    assert shown["output"] == survivor.process.pid


async def test_a_paused_daemon_keeps_nothing_that_it_writes_later_and_goes_on_as_another(
    fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    """SIGSTOP for longer than the lease, then SIGCONT: the other has done its work, and its own result is refused."""
    gates = Gates(tmp_path / "gates")
    daemons = fleet(GATED, ttl_s=1, handlers="tests.support.file_handlers", environ=gates.environ)
    sleeper, other = daemons
    await daemons.start()
    ids = [await _start(Fleet([sleeper]), "gated", name) for name in ("g1", "g2", "g3")]
    for name in ("g1", "g2", "g3"):
        await daemons.until(partial(gates.reached, name))
    sleeper.tell(signal.SIGSTOP)
    for name in ("g1", "g2", "g3"):
        await other.until(partial(gates.reached, name, 2))
        gates.open(name)
    for execution_id in ids:
        assert (await _ended_at(other, execution_id))["output"] == other.process.pid
    async with store_of(other) as store:
        before = {execution_id: await store.log.read(execution_id) for execution_id in ids}
        sleeper.tell(signal.SIGCONT)
        await sleeper.until(lambda: _said(sleeper, "daemon_fenced"))
        again = await _start(Fleet([sleeper]), "gated", "g1")
        assert (await _ended_at(sleeper, again))["status"] == "completed"
        assert {execution_id: await store.log.read(execution_id) for execution_id in ids} == before
        assert len(await store.leases.members()) == 2
    await daemons.stop()


async def test_a_rolling_restart_under_load_loses_nothing_and_refuses_nothing(
    fleet: Callable[..., Fleet],
) -> None:
    """Each is stopped and started in turn. A client that follows 503 sees no error, and nothing waits for a lease."""
    daemons = fleet(QUICK, ttl_s=LONG_TTL_S, handlers="tests.support.file_handlers")
    client, rolled, ids = Client(daemons), asyncio.Event(), list[UUID]()

    async def load() -> None:
        while not rolled.is_set():
            answer = await client.call(
                "POST",
                "/workflows/quick/executions",
                json={"input": len(ids)},
                headers={"Idempotency-Key": f"k{len(ids)}"},
            )
            ids.append(UUID(answer["execution_id"]))

    await daemons.start()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(load())
        for daemon in daemons:
            started = len(ids)
            await daemons.until(partial(_more_than, ids, started + 20))
            assert await daemon.stop() == 0
            daemon.start()
            await daemon.ready()
        rolled.set()
    async with store_of(next(iter(daemons))) as store:
        await daemons.until(lambda: _ended(store, len(set(ids))), patience_s=NO_LEASE_S)
        for history in (await histories(store)).values():
            took = history[-1].event.at - history[0].event.at
            assert took.total_seconds() < NO_LEASE_S, "it has waited for a lease to end"
    assert client.errors == []
    await client.close()
    await daemons.stop()


async def _start(fleet: Fleet, workflow: str, value: object) -> UUID:
    client = Client(fleet)
    answer = await client.call("POST", f"/workflows/{workflow}/executions", json={"input": value})
    await client.close()
    assert client.errors == []
    return UUID(answer["execution_id"])


async def _ended_at(daemon: SagadProcess, execution_id: UUID) -> dict[str, Any]:
    client = Client(Fleet([daemon]))
    shown: dict[str, Any] = await client.call("GET", f"/executions/{execution_id}", params={"wait": "20s"})
    await client.close()
    assert shown["status"] == "completed"
    return shown


async def _started(store: Store, count: int) -> bool:
    return sum((await store.index.counts()).values()) >= count


async def _ended(store: Store, count: int) -> bool:
    counts = await store.index.counts()
    return sum(number for (_, status), number in counts.items() if status in ("completed", "failed")) >= count


async def _all_at_work(journal: Path, pids: set[int]) -> bool:
    return pids <= at_work(journal)


def at_work(journal: Path) -> set[int]:
    """Return the processes that have begun a handler."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    return {json.loads(line)["pid"] for line in lines}


async def _up_for(url: str, seconds: float) -> bool:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        cursor = await connection.execute("SELECT sagad_up_since() + make_interval(secs => %s) < now()", (seconds,))
        return (await cursor.fetchone()) == (True,)


async def _said(daemon: SagadProcess, word: str) -> bool:
    return word in daemon.said()


async def _more_than(ids: list[UUID], count: int) -> bool:
    return len(ids) > count


async def test_the_slot_of_a_killed_daemon_is_used_again_and_never_twice(
    fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    """SIGKILL of the daemon whose step holds the only slot: the survivor ends that step, then lets the next begin."""
    gates, limit = Gates(tmp_path / "gates"), "throttle: {concurrency: 1}}\n  b"
    text = GATED.replace("}\n  b", f", {limit}", 1)
    daemons = fleet(text, handlers="tests.support.file_handlers", environ=gates.environ)
    victim, survivor = daemons
    await daemons.start()
    first = await _start(Fleet([victim]), "gated", "g1")
    await daemons.until(lambda: gates.reached("g1"))
    others = [await _start(Fleet([each]), "gated", name) for each, name in ((victim, "g2"), (survivor, "g3"))]
    async with store_of(survivor) as store:
        await daemons.until(partial(_waiting, store, "gated/a", 2))
        victim.kill()
        await survivor.until(partial(gates.reached, "g1", 2))
        assert (gates.began("g2"), gates.began("g3")) == (0, 0)
        for name in ("g1", "g2", "g3"):
            gates.open(name)
        for execution_id in (first, *others):
            assert (await _ended_at(survivor, execution_id))["status"] == "completed"
        assert not list(exceeded(await store.log.read_all(limit=1000)))
        assert await store.slots.uses(most=9) == []


async def _waiting(store: Store, limit: str, number: int) -> bool:
    return (await store.slots.use(limit, "")).waiting == number
