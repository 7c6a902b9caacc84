"""Webhooks: a delivery is durable before it is answered, or it is refused, and never half taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec
import pytest

from daemon.api import waiting
from daemon.cli.signing import signed_headers
from daemon.main import open_daemon
from daemon.settings import Secrets
from eventstore.errors import Unavailable
from eventstore.index import ExecutionFilter
from tests.api.conftest import SECRET, WORKFLOWS, client_of, started
from tests.support.daemons import finished, settings_for
from triggers.signatures import Scheme

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from daemon.assembled import Daemon

ALL = ExecutionFilter()
SCHEME = msgspec.convert({"scheme": "standard-webhooks", "secret": SECRET}, Scheme)
BODY = b'{"order_id":"A1","total":5}'


def signed(body: bytes = BODY, delivery: str = "d1", age_s: float = 0) -> dict[str, str]:
    now = datetime.now(UTC) - timedelta(seconds=age_s)
    return {**signed_headers(SCHEME, body, now=now, delivery_id=delivery), "content-type": "application/json"}


async def test_a_genuine_delivery_starts_one_execution_and_a_repeat_none(
    client: httpx.AsyncClient, daemon: Daemon
) -> None:
    first = await client.post("/hooks/orders", content=BODY, headers=signed())
    second = await client.post("/hooks/orders", content=BODY, headers=signed())
    assert (first.status_code, first.json()["outcome"]) == (202, "started")
    assert (second.status_code, second.json()["outcome"]) == (200, "duplicate")
    assert first.json()["execution_id"] == second.json()["execution_id"]
    assert first.headers["location"] == f"/executions/{first.json()['execution_id']}"
    assert (await finished(daemon, UUID(first.json()["execution_id"]))).status == "completed"


async def test_the_start_is_in_the_log_when_the_answer_comes(client: httpx.AsyncClient, daemon: Daemon) -> None:
    answer = await client.post("/hooks/orders", content=BODY, headers=signed())
    events = await daemon.history.events(UUID(answer.json()["execution_id"]))
    assert events[0].event.NAME == "ExecutionStarted"


@pytest.mark.parametrize(
    "headers",
    [{}, {**signed(), "webhook-signature": "v1,AAAA"}, signed(BODY + b" "), signed(age_s=3600)],
    ids=["unsigned", "wrong", "of another body", "too old"],
)
async def test_a_delivery_that_is_not_genuine_is_refused(
    client: httpx.AsyncClient, daemon: Daemon, headers: dict[str, str]
) -> None:
    answer = await client.post("/hooks/orders", content=BODY, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "bad-signature")
    assert not await daemon.store.index.executions(ALL)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("nowhere", BODY, 404, "unknown-webhook"),
        ("open/orders", b'{"order_id": ', 400, "undecodable"),
        ("open/orders", b'{"order_id": "1", "total": "x"}', 422, "expression"),
        ("open/orders", b'{"total": 5}', 422, "expression"),
        ("reviews", b'{"id": "1", "execution": "none", "ok": true}', 422, "expression"),
    ],
)
async def test_a_bad_delivery_says_what_is_wrong_and_starts_nothing(
    client: httpx.AsyncClient, daemon: Daemon, *, path: str, body: bytes, status: int, code: str
) -> None:
    answer = await client.post(f"/hooks/{path}", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert not await daemon.store.index.executions(ALL)


async def test_an_input_that_breaks_the_schema_starts_nothing(client: httpx.AsyncClient, daemon: Daemon) -> None:
    body = b'{"order_id":"A1"}'
    answer = await client.post("/hooks/orders", content=body, headers=signed(body))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert "total" in answer.json()["detail"]
    assert not await daemon.store.index.executions(ALL)


async def test_a_filtered_delivery_is_acknowledged_without_an_execution(client: httpx.AsyncClient) -> None:
    answer = await client.post("/hooks/open/orders", json={"order_id": "1", "total": 0})
    assert (answer.status_code, answer.json()) == (200, {"outcome": "filtered", "execution_id": None})


async def test_too_large_a_body_is_refused_while_it_comes(client: httpx.AsyncClient) -> None:
    """The rest of it is not even asked for."""
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 1000
            yield b" " * 1000

    answer = await client.post("/hooks/orders", content=endless())
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert sent <= 4000
    announced = await client.post("/hooks/orders", content=b" " * 3000)
    assert announced.status_code == 413


async def test_a_delivery_may_signal_an_execution(client: httpx.AsyncClient, daemon: Daemon) -> None:
    view = await started(client, "order", {"order_id": "A2", "total": 5000})
    review = {"id": "r1", "execution": view["execution_id"], "ok": True}
    first = await client.post("/hooks/reviews", json=review)
    assert (first.status_code, first.json()["outcome"]) == (202, "signalled")
    assert (await finished(daemon, UUID(view["execution_id"]))).status == "completed"
    again = await client.post("/hooks/reviews", json=review)
    assert (again.status_code, again.json()["outcome"]) == (200, "duplicate")


async def test_a_signal_to_an_execution_that_has_ended_is_refused(client: httpx.AsyncClient) -> None:
    view = await started(client, "order", {"order_id": "A3", "total": 5}, wait="10s")
    answer = await client.post("/hooks/reviews", json={"id": "r2", "execution": view["execution_id"], "ok": True})
    assert (answer.status_code, answer.json()["code"]) == (409, "refused")


async def test_while_the_store_is_away_the_sender_is_asked_to_come_again(
    client: httpx.AsyncClient, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost or doubled: the repeat finds the delivery taken, once."""

    async def away(_batch: object) -> None:
        raise Unavailable("planned")

    monkeypatch.setattr(waiting, "ANSWER_WAIT_S", 0.01)
    with monkeypatch.context() as patched:
        patched.setattr(daemon.store.log, "insert", away)
        refused = await client.post("/hooks/orders", content=BODY, headers=signed())
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    monkeypatch.setattr(waiting, "ANSWER_WAIT_S", 10)
    again = await client.post("/hooks/orders", content=BODY, headers=signed())
    assert again.status_code in (200, 202)
    assert len(await daemon.store.index.executions(ALL)) == 1


async def test_before_the_start_is_done_the_sender_is_asked_to_come_again(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, WORKFLOWS, secrets=Secrets(dir=tmp_path))
    async with open_daemon(settings, environ={}) as daemon, client_of(daemon) as client:
        answer = await client.post("/hooks/orders", content=BODY, headers=signed())
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


async def test_a_message_for_the_in_process_broker_starts_an_execution(
    client: httpx.AsyncClient, daemon: Daemon
) -> None:
    order = {"order_id": str(uuid4()), "total": 1}
    answer = await client.post("/topics/orders/messages", json=order, headers={"Sagad-Header-X": "1", "Sagad-Key": "k"})
    assert (answer.status_code, answer.json()["published"]) == (202, "memory:orders@0")
    (message,) = daemon.brokers.memory.messages("orders") or [None]
    if message is not None:  # not acknowledged yet
        assert (message.message.key, message.message.headers["x"]) == ("k", "1")
