"""SIGKILL at random moments while 500 orders come through Kafka and RabbitMQ: nothing is lost, nothing done twice."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from daemon.runtime.codec import codec_of
from daemon.settings import load_settings
from eventstore.index import ExecutionFilter
from eventstore.store import open_store
from tests.support.crash_orders import (
    HANDLERS,
    WORKFLOW,
    Brokers,
    Order,
    check_histories,
    check_runs,
    histories,
    make_orders,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eventstore.store import Store
    from tests.support.process import SagadProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ORDERS = 500
KILLS = 5
EVENTS_OF_ONE = 9
"""About so many events does an order leave in the log."""
ALL_ENDED_S = 90.0
SEED = 20260329


@pytest.mark.parametrize("store_kind", ["sqlite", "postgres"])
async def test_sigkill_at_random_moments(  # noqa: PLR0917  fixtures
    store_kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    sagad: Callable[..., SagadProcess],
    kafka_bootstrap: str,
    kafka_kind: str,
    rabbitmq_url: str,
    unique_name: Callable[[str], str],
) -> None:
    """Each message gives exactly one finished execution; no recorded step runs again; nothing waits for nothing."""
    url = f"sqlite:///{tmp_path}/sagad.db"
    if store_kind == "postgres":
        url = request.getfixturevalue("fresh_postgres_url")
    name, journal = unique_name("kill"), tmp_path / "journal.jsonl"
    daemon = sagad(
        WORKFLOW.replace("NAME", name),
        handlers=str(HANDLERS),
        environ={"ORDER_JOURNAL": str(journal)},
        store={"url": url},
        kafka={"bootstrap": [kafka_bootstrap]},
        rabbitmq={"url": rabbitmq_url},
        log={"level": "warning"},
    )
    orders = make_orders(ORDERS)

    async with Brokers(name, kafka_bootstrap, rabbitmq_url, mocked=kafka_kind == "mock") as brokers:
        daemon.start()
        await daemon.ready()
        store = await open_store(url, codec_of(load_settings(daemon.config, {})), auto_migrate=False)
        try:
            await _kill_again_and_again(daemon, store, brokers, orders)
            await daemon.until(lambda: _all_ended(store), patience_s=ALL_ENDED_S)
            await daemon.until(lambda: _all_settled(brokers))
            assert await daemon.stop() == 0

            found = await histories(store)
            check_histories(orders, found)
            runs = check_runs(journal, found)
            assert await store.index.without_cause() == []
            assert await brokers.left_in_queues() == (0, 0)
            assert await brokers.dead_letters_in_kafka() == 0
            await _check_index(daemon, store)
        finally:
            await store.close()
    assert len(runs) >= 2 * ORDERS
    assert max(runs.values()) > 1, "no kill has hit a handler at work"


async def _kill_again_and_again(daemon: SagadProcess, store: Store, brokers: Brokers, orders: list[Order]) -> None:
    """Send a part of the orders in each life, some twice, some that had been sent before; then kill at some moment."""
    dice = random.Random(SEED)  # noqa: S311  the same moments in each run, as far as a crash allows
    part = len(orders) // KILLS
    for life in range(KILLS):
        if life:
            daemon.start()
        fresh = orders[life * part : (life + 1) * part]
        repeated = dice.sample(orders[: (life + 1) * part], part // 5)
        enough = await store.log.head() + dice.randrange(1, part * EVENTS_OF_ONE)
        await brokers.send([*fresh, *repeated])
        await daemon.until(partial(_has_grown, store, enough), patience_s=60)
        await asyncio.sleep(dice.random() / 20)
        daemon.kill()
    daemon.start()


async def _has_grown(store: Store, to_position: int) -> bool:
    return await store.log.head() >= to_position


async def _all_ended(store: Store) -> bool:
    counts = await store.index.counts()
    return sum(count for (_, status), count in counts.items() if status != "running") >= ORDERS


async def _all_settled(brokers: Brokers) -> bool:
    return await brokers.uncommitted() == 0 and (await brokers.left_in_queues())[0] == 0


async def _check_index(daemon: SagadProcess, store: Store) -> None:
    """Compare the index with what a rebuild makes of the log."""
    everything = ExecutionFilter(limit=2 * ORDERS)
    rows = await store.index.executions(everything)
    command = [sys.executable, "-m", "daemon.cli", "index", "rebuild", "--config", str(daemon.config)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert await store.index.executions(everything) == rows
    assert await store.index.next_due() is None
