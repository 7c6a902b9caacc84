"""Updates, queries and signals that start an execution, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.api.conftest import client_of, started
from tests.support.daemons import running, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

CART = """
workflow: cart
vars: {items: []}
signals: {paid: {data: {type: object}}, note: {}}
updates:
  add:
    data: {type: string}
    accept: "{{ vars.items | length < 2 }}"
    refusal: the cart is full
    set: {items: "{{ vars.items + [update.data] }}"}
    result: "{{ vars.items | length }}"
queries: {items: {result: "{{ vars.items }}"}}
nodes: {pay: {signal: paid}}
"""


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings_for(tmp_path, CART)) as daemon, client_of(daemon) as here:
        yield here


async def cart(client: httpx.AsyncClient) -> str:
    target: str = (await started(client, "cart", None))["execution_id"]
    return target


async def test_an_update_is_answered_with_its_result_and_again_when_it_is_repeated(client: httpx.AsyncClient) -> None:
    target = await cart(client)
    for changed in (True, False):
        answer = await client.post(
            f"/executions/{target}/updates/add", json="lamp", headers={"Idempotency-Key": "once"}
        )
        assert (answer.status_code, answer.json()["result"], answer.json()["changed"]) == (200, 1, changed)
    asked = await client.post(f"/executions/{target}/queries/items")
    assert asked.json() == {"result": ["lamp"]}


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("updates/add", 7, 422, "expected text"),
        ("updates/sub", 7, 404, "no update 'sub'"),
        ("queries/all", None, 404, "no query 'all'"),
        ("signals/payed", {}, 404, "no signal 'payed'"),
        ("signals/paid", 3, 422, "expected a mapping"),
    ],
)
async def test_what_the_workflow_does_not_take_is_refused(
    client: httpx.AsyncClient, path: str, body: Any, status: int, words: str
) -> None:
    answer = await client.post(f"/executions/{await cart(client)}/{path}", json=body)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


async def test_an_update_that_is_not_accepted_says_why(client: httpx.AsyncClient) -> None:
    target = await cart(client)
    answers = [await client.post(f"/executions/{target}/updates/add", json=item) for item in ("a", "b", "c")]
    assert [each.status_code for each in answers] == [200, 200, 409]
    assert answers[-1].json()["detail"] == "the cart is full"


async def test_an_id_that_a_signal_had_gives_no_result(client: httpx.AsyncClient) -> None:
    target = await cart(client)
    headers = {"Idempotency-Key": "same"}
    await client.post(f"/executions/{target}/signals/note", json=1, headers=headers)
    answer = await client.post(f"/executions/{target}/updates/add", json="lamp", headers=headers)
    assert answer.status_code == 409


async def test_a_signal_starts_the_execution_that_it_is_for_unless_it_is_there(client: httpx.AsyncClient) -> None:
    body = {"key": "cart-7", "input": None, "data": {"n": 1}}
    first = (await client.post("/workflows/cart/signals/note", json=body)).json()
    again = (await client.post("/workflows/cart/signals/paid", json=body)).json()
    assert (first["started"], first["changed"], first["status"]) == (True, True, "running")
    assert (again["started"], again["changed"], again["status"]) == (False, True, "completed")
    assert again["execution_id"] == first["execution_id"]


@pytest.mark.parametrize(
    ("name", "body", "status"), [("payed", {"key": "k"}, 404), ("paid", {"key": "k"}, 422), ("paid", {}, 422)]
)
async def test_a_signal_that_is_refused_starts_nothing(
    client: httpx.AsyncClient, name: str, body: Any, status: int
) -> None:
    assert (await client.post(f"/workflows/cart/signals/{name}", json=body)).status_code == status
    assert (await client.get("/executions")).json()["executions"] == []
