"""The result cache over HTTP: listed, and cleared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from daemon.core.caching import hashed
from eventstore.results import Claim, Result
from tests.api.conftest import client_of
from tests.support.daemons import running, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from daemon.assembled import Daemon

QUOTES = 'workflow: quotes\nnodes: {a: {task: pass, cache: {key: "{{ input }}", ttl: 1h}}}'


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with running(settings_for(tmp_path, QUOTES)) as here:
        yield here


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(daemon) as here:
        yield here


async def keep(daemon: Daemon, cache: str, key: Any, *, workflow: str = "quotes") -> None:
    now, by = daemon.clock.now(), uuid4()
    later = now.replace(year=now.year + 1)
    claim = Claim(cache=cache, key=hashed(key), workflow=workflow, by=by, expires_at=later)
    await daemon.cache.backend.claim(claim, now=now)
    made = Result(
        cache=cache,
        key=hashed(key),
        value=b"{}",
        workflow=workflow,
        execution_id=by,
        address="a",
        stored_at=now,
        expires_at=later,
    )
    assert await daemon.cache.backend.put(made, by=by)


async def test_results_are_listed_page_by_page(daemon: Daemon, client: httpx.AsyncClient) -> None:
    for number in range(3):
        await keep(daemon, "quotes/a", number)
    await keep(daemon, "shared", [1], workflow="other")
    first = (await client.get("/cache?name=quotes/a&limit=2")).json()
    rest = (await client.get("/cache", params={"name": "quotes/a", "cursor": first["next"]})).json()
    assert [row["hash"] for row in first["results"] + rest["results"]] == sorted(map(hashed, range(3)))
    assert rest["next"] is None
    [row] = (await client.get("/cache?workflow=other")).json()["results"]
    assert (row["name"], row["address"], row["bytes"]) == ("shared", "a", 2)


@pytest.mark.parametrize(
    ("body", "cleared"),
    [
        ({"name": "quotes/a"}, 2),
        ({"name": "quotes/a", "key": ["VIE", "GRZ"]}, 1),
        ({"key": None}, 1),
        ({"hash": hashed(["VIE", "GRZ"])}, 2),
        ({"workflow": "other"}, 1),
        ({}, 3),
        ({"key": None, "hash": hashed(None)}, 1),
        ({"key": None, "hash": hashed(1)}, 0),
        ({"name": "nobody"}, 0),
    ],
)
async def test_some_are_cleared(daemon: Daemon, client: httpx.AsyncClient, body: dict[str, Any], cleared: int) -> None:
    await keep(daemon, "quotes/a", ["VIE", "GRZ"])
    await keep(daemon, "quotes/a", None)
    await keep(daemon, "shared", ["VIE", "GRZ"], workflow="other")
    answer = await client.post("/cache/clear", json=body)
    assert (answer.status_code, answer.json()) == (200, {"cleared": cleared})
    assert len((await client.get("/cache")).json()["results"]) == 3 - cleared


@pytest.mark.parametrize("body", [{"hash": "short"}, {"nmae": "x"}])
async def test_what_is_unclear_clears_nothing(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await client.post("/cache/clear", json=body)).status_code == 422
