"""Pins over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from tests.api.test_retention import client, daemon
from tests.support.daemons import finished, start

if TYPE_CHECKING:
    import httpx

    from daemon.assembled import Daemon

__all__ = ("client", "daemon")


async def test_what_is_pinned_says_so_and_stays(client: httpx.AsyncClient, daemon: Daemon) -> None:
    """Until it is unpinned; both are harmless when repeated."""
    execution_id = (await finished(daemon, await start(daemon, "w", 1))).execution_id
    path = f"/executions/{execution_id}"
    assert (await client.get(path)).json()["pin"] is None
    for reason in ("first", "court"):
        done = await client.put(f"{path}/pin", json={"reason": reason}, headers={"Sagad-Actor": "ana"})
        assert (done.status_code, done.json()["changed"]) == (200, True)
    pin = (await client.get(path)).json()["pin"]
    assert (pin["by"], pin["reason"]) == ("ana", "court")
    [row] = (await client.get("/executions")).json()["executions"]
    assert row["pin"] == pin
    plan = (await client.get("/retention")).json()
    assert (plan["going"], plan["kept"], plan["staying"][0]["why"]) == (
        0,
        [{"why": "it is pinned", "executions": 1}],
        "it is pinned",
    )
    assert (await client.post("/retention/run")).json()["deleted"] == 0
    for changed in (True, False):
        assert (await client.delete(f"{path}/pin")).json() == {
            "execution_id": str(execution_id),
            "pin": None,
            "changed": changed,
        }
    assert (await client.post("/retention/run")).json()["deleted"] == 1
    assert (await client.put(f"{path}/pin")).status_code == 410


async def test_what_is_not_there_is_not_pinned(client: httpx.AsyncClient) -> None:
    for call in (client.put, client.delete):
        assert (await call(f"/executions/{uuid4()}/pin")).status_code == 404
    assert (await client.put(f"/executions/{uuid4()}/pin", json={"why": "x"})).status_code == 422
    assert (await client.put(f"/executions/{uuid4()}/pin", json={"reason": "x" * 1001})).status_code == 422
