"""SIGKILL while executions go to the archive, and payloads out of the database: nothing is lost, all goes on."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from daemon.foundations import restoring_of
from daemon.runtime.clock import SystemClock
from daemon.runtime.codec import codec_of
from daemon.runtime.opening import store_of
from daemon.runtime.verification import Verifier
from daemon.settings import Limits, load_settings
from tests.runtime.test_archive_s3 import client_at, endpoint
from tests.support.daemons import finished, running, settings_for, start
from tests.support.held_service import way_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    from eventstore.store import Store
    from tests.support.held_service import Way
    from tests.support.process import SagadProcess

__all__ = ("endpoint",)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TEXT = """
workflow: w
nodes: {a: {transform: "{{ input }}"}}
output: "{{ a }}"
---
workflow: other
nodes: {a: {transform: 1}}
"""
LETTERS = "abcd"
S3 = 's3_endpoint = "%s"\ns3_region = "eu-central-1"\n'
EXTERNAL = '[storage]\ninterval_s = 1\nexternal = "s3://kept/out"\n' + S3
QUOTA = '[[storage.quotas]]\nworkflow = "w"\nbytes = 1\npolicy = "external"\n'
RETENTION = '[retention]\ninterval_s = 1\npause_s = 0\narchive = "s3://kept/archive"\n' + S3
RULE = '[[retention.rules]]\nworkflow = "w"\nkeep = "1ms"\n'
MOMENTS = [("PUT", "before"), ("PUT", "after"), ("GET", "before"), ("GET", "after")]


@pytest.fixture
def way(endpoint: str) -> Iterator[Way]:
    with way_to(endpoint) as way:
        yield way


@pytest.fixture(params=["sqlite", "postgres"])
async def lived(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, list[UUID]]:
    """Give a store, and executions in it that have ended, each with a payload of its own."""
    url = f"sqlite:///{tmp_path}/sagad.db"
    if request.param == "postgres":
        url = request.getfixturevalue("fresh_postgres_url")
    limits = Limits(grace_s=0.1, payload_threshold_bytes=1024)
    async with running(settings_for(tmp_path, TEXT, store_url=url, limits=limits)) as daemon:
        ids = [(await finished(daemon, await start(daemon, "w", each * 3000))).execution_id for each in LETTERS]
        await finished(daemon, await start(daemon, "other"))
    return url, ids


def made(sagad: Callable[..., SagadProcess], url: str, more: str) -> SagadProcess:
    limits = {"payload_threshold_bytes": 1024, "grace_s": 0.1}
    daemon = sagad(TEXT, store={"url": url}, limits=limits, daemon={"lease_ttl_s": 2})
    with daemon.config.open("a") as file:
        file.write(more)
    return daemon


async def killed(daemon: SagadProcess, way: Way, method: str, when: Any) -> None:
    """Let the daemon live until such a request of its is held, and kill it there."""
    way.hold(method, when)
    daemon.start()
    assert await asyncio.to_thread(way.held.wait, 30), f"no {method}"
    daemon.kill()
    way.let_go()


@asynccontextmanager
async def opened(daemon: SagadProcess) -> AsyncIterator[Store]:
    store = await store_of(load_settings(daemon.config, {}), auto_migrate=False)
    try:
        yield store
    finally:
        await store.close()


async def check(daemon: SagadProcess, store: Store, ids: list[UUID]) -> None:
    """Look whether all executions are sound, and have their values."""
    verifier = Verifier(store, codec_of(load_settings(daemon.config, {})))
    for execution_id, letter in zip(ids, LETTERS, strict=True):
        assert (await verifier.verify(execution_id)).findings == ()
        [first, *_] = await store.log.read(execution_id)
        assert bytes(first.event.input) == f'"{letter * 3000}"'.encode()


def names(way: Way) -> list[str]:
    return [each["Key"] for each in client_at(f"http://{way.to}").list_objects_v2(Bucket="kept").get("Contents", ())]


async def test_payloads_on_their_way_out(
    lived: tuple[str, list[UUID]], sagad: Callable[..., SagadProcess], way: Way
) -> None:
    """At any moment each value can be read; in the end each is outside once, and there is no file too many."""
    url, ids = lived
    daemon = made(sagad, url, EXTERNAL % way.url + QUOTA)
    for moment in MOMENTS:
        await killed(daemon, way, *moment)
        async with opened(daemon) as store:
            await check(daemon, store, ids)
    daemon.start()
    async with opened(daemon) as store:
        await daemon.until(lambda: _all_outside(store))
        await check(daemon, store, ids)
        assert len(names(way)) == len(ids)
        assert await store.objects.unwanted(noted_before=SystemClock().now(), limit=9) == []
    assert await daemon.stop() == 0


async def _all_outside(store: Store) -> bool:
    return [(each.payloads, each.outside) for each in await store.usage.used()] == [(0, len(LETTERS))]


async def test_executions_on_their_way_to_the_archive(
    lived: tuple[str, list[UUID]], sagad: Callable[..., SagadProcess], way: Way
) -> None:
    """Each is in the store or in the archive, whole; in the end all are in the archive, and come back from there."""
    url, ids = lived
    daemon = made(sagad, url, RETENTION % way.url + RULE)
    for moment in MOMENTS:
        await killed(daemon, way, *moment)
        async with opened(daemon) as store:
            for execution_id in ids:
                known = await store.deletions.deleted(execution_id)
                there = await store.index.execution(execution_id)
                assert (known is None) == (there is not None)
                assert known is None or (known.archived_as or "").removeprefix("s3://kept/") in names(way)
    daemon.start()
    async with opened(daemon) as store:
        await daemon.until(lambda: _all_deleted(store, ids))
        assert await daemon.stop() == 0
        assert len(names(way)) == len(ids)
        restoring = restoring_of(load_settings(daemon.config, {}), store, SystemClock())
        for execution_id in ids:
            await restoring.restore(execution_id)
        await check(daemon, store, ids)


async def test_files_of_payloads_that_nobody_has(
    lived: tuple[str, list[UUID]], sagad: Callable[..., SagadProcess], way: Way
) -> None:
    """They are removed after their executions, by whichever daemon comes to it."""
    url, ids = lived
    daemon = made(sagad, url, EXTERNAL % way.url + QUOTA)
    daemon.start()
    async with opened(daemon) as store:
        await daemon.until(lambda: _all_outside(store))
    daemon.kill()
    with daemon.config.open("a") as file:
        file.write("[retention]\ninterval_s = 1\npause_s = 0\n" + RULE + "archive = false\n")
    for when in ("before", "after"):
        await killed(daemon, way, "DELETE", when)
    daemon.start()
    async with opened(daemon) as store:
        await daemon.until(lambda: _all_deleted(store, ids))
        await daemon.until(lambda: _none_unwanted(store))
    assert names(way) == []
    assert await daemon.stop() == 0


async def _all_deleted(store: Store, ids: list[UUID]) -> bool:
    return all([await store.deletions.deleted(each) is not None for each in ids])


async def _none_unwanted(store: Store) -> bool:
    return not await store.objects.unwanted(noted_before=SystemClock().now(), limit=9)
