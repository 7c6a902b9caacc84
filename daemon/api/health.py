"""Whether the process lives, whether it can do its work, and its numbers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from daemon.api import models
from daemon.api.bodies import answer
from daemon.api.parameters import Api  # noqa: TC001  FastAPI resolves the annotations
from eventstore.errors import StoreError
from triggers.message import ConnectionStatus

if TYPE_CHECKING:
    from daemon.api.ports import Daemon

STORE_WAIT_S = 3.0


routes = APIRouter(tags=["health"])


@routes.get("/healthz", response_model=models.Health)
async def alive() -> Response:
    """Tell that the process lives; nothing else is asked."""
    return answer({"alive": True})


@routes.get(
    "/readyz",
    response_model=models.Readiness,
    responses={503: {"model": models.Readiness, "description": "A connection is down."}},
)
async def ready(daemon: Api) -> Response:
    """Tell whether store and brokers answer, and which does not."""
    connections = [await store_status(daemon), *daemon.statuses()]
    good = daemon.receiving and not daemon.stopping and all(connection.connected for connection in connections)
    return answer({"ready": good, "connections": connections}, 200 if good else 503)


@routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(daemon: Api) -> Response:
    """Return the metrics in Prometheus' text form."""
    return Response(await daemon.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


async def store_status(daemon: Daemon) -> ConnectionStatus:
    """Ask the store something small."""
    try:
        async with asyncio.timeout(STORE_WAIT_S):
            await daemon.store.log.head()
    except StoreError as error:
        return ConnectionStatus("store", connected=False, detail=str(error))
    except TimeoutError:
        return ConnectionStatus("store", connected=False, detail=f"no answer within {STORE_WAIT_S:g}s")
    return ConnectionStatus("store", connected=True)
