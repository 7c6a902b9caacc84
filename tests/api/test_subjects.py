"""Subjects over HTTP: looked at, forgotten, listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from daemon.settings_encryption import Encryption
from tests.api.conftest import client_of
from tests.support.daemons import finished, in_flight, running, settings_for, start, until
from tests.support.gated_handlers import gates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from daemon.assembled import Daemon

KEY = "c2l4dGVlbiBieXRlcyBhbmQgc2l4dGVlbiBtb3JlISE="
OTHER_KEY = "YW5vdGhlciBrZXksIG9mIHRoaXJ0eSB0d28gYnl0ZXM="
VISIT = """
workflow: visit
subject: "{{ input.who }}"
nodes: {held: {task: gate, with: {name: "{{ input.gate }}"}}}
"""


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    gates.clear()
    gates["open"].set()
    async with running(settings_for(tmp_path, VISIT, encryption=Encryption(keys=(KEY,)))) as here:
        yield here


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(daemon) as here:
        yield here


async def test_a_subject_is_looked_at_and_forgotten(daemon: Daemon, client: httpx.AsyncClient) -> None:
    """Who has done it, when and why stays on record; a repeat changes nothing of that."""
    await finished(daemon, await start(daemon, "visit", {"who": "ann", "gate": "open"}))
    looked = (await client.post("/subjects/look", json={"subject": "ann"})).json()
    assert (looked["sealed"]["executions"], looked["open"], looked["forgotten_at"]) == (1, [], None)

    body = {"subject": "ann", "reason": "she asked"}
    done = await client.post("/subjects/forget", json=body, headers={"Sagad-Actor": "bob"})
    assert (done.status_code, done.json()["keys"]) == (200, looked["keys"])
    again = (await client.post("/subjects/forget", json=body)).json()
    assert (again["keys"], again["forgotten_by"]) == ([], "bob")
    [row] = (await client.get("/subjects")).json()["subjects"]
    assert (row["subject"], row["forgotten_by"], row["reason"]) == (None, "bob", "she asked")


async def test_open_executions_are_cancelled_when_asked_for(daemon: Daemon, client: httpx.AsyncClient) -> None:
    """Until they have ended nothing is forgotten."""
    execution_id = await start(daemon, "visit", {"who": "ann", "gate": "later"})
    await until(daemon, execution_id, in_flight("held"))
    refused = await client.post("/subjects/forget", json={"subject": "ann"})
    assert (refused.status_code, str(execution_id) in refused.json()["detail"]) == (409, True)

    await client.post("/subjects/forget", json={"subject": "ann", "cancel": True})
    await finished(daemon, execution_id)
    assert (await client.post("/subjects/forget", json={"subject": "ann"})).status_code == 200


async def test_who_is_not_known_is_not_forgotten(client: httpx.AsyncClient) -> None:
    assert (await client.post("/subjects/forget", json={"subject": "nobody"})).status_code == 404
    assert (await client.post("/subjects/look", json={})).status_code == 422
    assert (await client.post("/subjects/look")).status_code == 422


async def test_subjects_are_listed_page_by_page(daemon: Daemon, client: httpx.AsyncClient) -> None:
    for who in ("ann", "bob", "cid"):
        await finished(daemon, await start(daemon, "visit", {"who": who, "gate": "open"}))
    first = (await client.get("/subjects?limit=2")).json()
    last = (await client.get(f"/subjects?limit=2&after={first['next']}")).json()
    found = [row["subject"] for row in [*first["subjects"], *last["subjects"]]]
    assert (sorted(found), last["next"]) == (["ann", "bob", "cid"], None)


async def test_the_keys_that_wrap_are_changed(tmp_path: Path) -> None:
    """With the new key first; then the old one can go, and a subject is found all the same."""
    url = f"sqlite:///{tmp_path}/log.db"
    gates["open"].set()

    def settings(*keys: str) -> Encryption:
        return Encryption(keys=keys)

    async with running(settings_for(tmp_path, VISIT, store_url=url, encryption=settings(KEY))) as daemon:
        await finished(daemon, await start(daemon, "visit", {"who": "ann", "gate": "open"}))
    both = settings_for(tmp_path, VISIT, store_url=url, encryption=settings(OTHER_KEY, KEY))
    async with running(both) as daemon, client_of(daemon) as client:
        await finished(daemon, await start(daemon, "visit", {"who": "ann", "gate": "open"}))
        assert (await client.post("/subjects/rewrap")).json() == {"rewrapped": 1}
        assert (await client.post("/subjects/rewrap")).json() == {"rewrapped": 0}
    new = settings_for(tmp_path, VISIT, store_url=url, encryption=settings(OTHER_KEY))
    async with running(new) as daemon, client_of(daemon) as client:
        done = (await client.post("/subjects/forget", json={"subject": "ann"})).json()
        assert done["sealed"]["executions"] == 2


async def test_without_keys_there_are_no_subjects(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, "workflow: w\nnodes: {a: {task: pass}}")) as daemon:  # noqa: SIM117  two lines
        async with client_of(daemon) as client:
            refused = await client.post("/subjects/forget", json={"subject": "ann"})
            assert (refused.status_code, "[encryption]" in refused.json()["detail"]) == (409, True)
            assert (await client.get("/subjects")).json() == {"subjects": [], "next": None}
