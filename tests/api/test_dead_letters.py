"""Dead letters by HTTP: found, shown, edited, given in again, discarded."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.support.daemons import PATIENCE_S
from triggers.publishing import Outbound

if TYPE_CHECKING:
    import httpx

    from daemon.assembled import Daemon


@pytest.fixture
async def letters(client: httpx.AsyncClient, daemon: Daemon) -> list[dict[str, Any]]:
    """Have three messages that cannot be processed."""
    for number in range(3):
        body = json.dumps({"order_id": f"o{number}", "total": -number - 1}).encode()
        await daemon.brokers.memory.publish(Outbound(destination="orders", body=body))
    async with asyncio.timeout(PATIENCE_S):
        while len(found := (await client.get("/dead-letters")).json()["letters"]) < 3:  # noqa: ASYNC110  rows have no event
            await asyncio.sleep(0)
    return list(found)


async def redrive(client: httpx.AsyncClient, **body: Any) -> list[dict[str, Any]]:
    answer = await client.post("/dead-letters/redrive", json=body, headers={"Sagad-Actor": "ann"})
    assert answer.status_code == 200, answer.text
    told: list[dict[str, Any]] = answer.json()["letters"]
    return told


async def test_letters_are_listed_page_by_page_and_shown(
    client: httpx.AsyncClient, letters: list[dict[str, Any]]
) -> None:
    first = (await client.get("/dead-letters", params={"limit": 2})).json()
    second = (await client.get("/dead-letters", params={"limit": 2, "cursor": first["next"]})).json()
    assert [*first["letters"], *second["letters"]] == letters
    assert second["next"] is None
    shown = (await client.get(f"/dead-letters/{letters[0]['id']}")).json()
    assert shown == letters[0]
    assert (shown["code"], shown["value"]["order_id"], shown["state"]) == ("invalid", "o2", "waiting")
    assert (await client.get("/dead-letters", params={"reason": "nothing like it"})).json()["letters"] == []
    assert len((await client.get("/dead-letters", params={"trigger": "order/queue"})).json()["letters"]) == 3
    assert (await client.get(f"/dead-letters/{uuid4()}")).status_code == 404
    assert (await client.get("/dead-letters", params={"cursor": "x"})).status_code == 422


async def test_letters_are_edited_and_given_in_again(client: httpx.AsyncClient, letters: list[dict[str, Any]]) -> None:
    """All for which an expression is true, by a patch; or one, with another body."""
    patch = [{"op": "replace", "path": "/total", "value": 5}]
    where = "value.total < -1"
    assert {each["outcome"] for each in await redrive(client, where=where, patch=patch, dry_run=True)} == {
        "would be redriven"
    }
    done = await redrive(client, where=where, patch=patch)
    assert [each["outcome"] for each in done] == ["started", "started"]
    last = letters[2]["id"]
    [refused] = await redrive(client, ids=[last])
    assert (refused["outcome"], "total" in refused["reason"]) == ("refused", True)
    [other] = await redrive(client, ids=[last], body={"order_id": "o0", "total": 1})
    assert other["outcome"] == "started"
    shown = (await client.get(f"/dead-letters/{last}")).json()
    assert (shown["state"], shown["settled_by"], shown["execution_id"]) == ("redriven", "ann", other["execution_id"])
    assert (shown["value"]["total"], json.loads(shown["edited"])["total"]) == (-1, 1)
    waiting = await client.get("/dead-letters", params={"state": "waiting"})
    assert waiting.json()["letters"] == []
    [again] = await redrive(client, ids=[last])
    assert "does not wait" in again["reason"]


async def test_a_letter_is_discarded(client: httpx.AsyncClient, letters: list[dict[str, Any]]) -> None:
    path = f"/dead-letters/{letters[0]['id']}/discard"
    assert (await client.post(path)).json()["state"] == "discarded"
    await redrive(client, ids=[letters[1]["id"]], body={"order_id": "x", "total": 1})
    assert (await client.post(f"/dead-letters/{letters[1]['id']}/discard")).status_code == 409
    assert (await client.post(f"/dead-letters/{uuid4()}/discard")).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ids": [str(uuid4())], "where": "true"},
        {"where": "true", "body": 1},
        {"ids": [str(uuid4())], "body": 1, "patch": [{"op": "remove", "path": "/x"}]},
        {"where": "total =="},
        {"ids": ["x"]},
    ],
)
async def test_what_cannot_be_asked_is_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await client.post("/dead-letters/redrive", json=body)).status_code == 422
