"""Who may call, and what an operator sees."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from daemon.api import errors
from daemon.api.auth import Authentication
from daemon.core.errors import ExecutionFinished, ExecutionNotFound, InvalidInput, Misconfigured, Rejected
from daemon.core.problems import Problem
from daemon.runtime.plans import MissingDefinition
from eventstore.errors import Conflict, Unavailable, Undecodable
from triggers.errors import Refused
from triggers.message import ConnectionStatus

if TYPE_CHECKING:
    from daemon.assembled import Daemon

TOKEN = "0123456789abcdef"
ID = UUID(int=1)


def guarded(token: str | None) -> httpx.AsyncClient:
    app = FastAPI()

    @app.get("/{path:path}")
    def anything(path: str) -> str:
        return path

    app.add_middleware(Authentication, token=token)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("", 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        ("Bearer \u00fc", 401),
    ],
)
async def test_a_token_in_the_settings_must_be_shown(header: str, status: int) -> None:
    async with guarded(TOKEN) as client:
        answer = await client.get("/executions", headers={b"Authorization": header.encode()})
        assert answer.status_code == status
        assert ("www-authenticate" in answer.headers) == (status == 401)
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/hooks/orders")).status_code == 200
        assert (await client.get("/readyz")).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "["}, 403),
        ({"Origin": "http://["}, 403),
        ({"Host": "[::1]:8750"}, 200),
    ],
)
async def test_without_a_token_no_web_page_from_elsewhere_may_call(headers: dict[str, str], status: int) -> None:
    async with guarded(None) as client:
        assert (await client.get("/executions", headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ExecutionNotFound(ID), 404, "execution-not-found"),
        (ExecutionFinished("ended"), 409, "execution-finished"),
        (InvalidInput("no"), 422, "invalid-input"),
        (Rejected("no"), 409, "rejected"),
        (MissingDefinition("gone"), 409, "missing-definition"),
        (Misconfigured([Problem(message="no")]), 422, "misconfigured"),
        (Conflict(ID, 3), 409, "conflict"),
        (Unavailable("away"), 503, "unavailable"),
        (Undecodable("damaged"), 500, "undecodable"),
        (Refused("wrong", 401), 401, "bad-signature"),
        (errors.BadRequest("wrong", 400), 400, "malformed"),
        (errors.Busy("full", 2.5), 503, "unavailable"),
        (ZeroDivisionError("secret detail"), 500, "internal"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
async def test_each_error_has_its_status(error: Exception, status: int, code: str) -> None:
    app = FastAPI()
    errors.install(app)

    @app.get("/")
    async def fail() -> None:
        raise error

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_health_readiness_and_metrics(client: httpx.AsyncClient, daemon: Daemon) -> None:
    assert (await client.get("/healthz")).json() == {"alive": True}
    ready = (await client.get("/readyz")).json()
    assert ready["ready"]
    assert ready["clients"] == []
    assert {"store", "order/queue"} <= {connection["name"] for connection in ready["connections"]}
    assert "sagad_events_total" in (await client.get("/metrics")).text


async def test_readiness_names_what_is_down(
    client: httpx.AsyncClient, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> int:
        raise Unavailable("the disk is gone")

    monkeypatch.setattr(daemon.store.log, "head", away)
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    store = ConnectionStatus(**answer.json()["connections"][0])
    assert store == ConnectionStatus("store", connected=False, detail="the disk is gone")
    assert (await client.get("/healthz")).status_code == 200
