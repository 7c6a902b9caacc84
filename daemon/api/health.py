"""Whether the process lives, whether it can do its work, and its numbers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from daemon.api import operating_models
from daemon.api.bodies import answer
from daemon.api.describe import ANSWERS
from daemon.api.parameters import Api  # noqa: TC001  FastAPI resolves the annotations
from daemon.runtime.views import daemons_view
from eventstore.errors import StoreError
from triggers.message import ConnectionStatus

if TYPE_CHECKING:
    from daemon.api.ports import Daemon

STORE_WAIT_S = 3.0


routes = APIRouter(tags=["health"])


@routes.get("/healthz", response_model=operating_models.Health)
async def alive() -> Response:
    """Tell that the process lives; nothing else is asked."""
    return answer({"alive": True})


@routes.get(
    "/readyz",
    response_model=operating_models.Readiness,
    responses={503: {"model": operating_models.Readiness, "description": "A connection is down."}},
)
async def ready(daemon: Api) -> Response:
    """Tell whether store and brokers answer, and which does not; also which services steps cannot call just now."""
    connections = [await store_status(daemon), *daemon.statuses()]
    good = daemon.receiving and not daemon.stopping and all(connection.connected for connection in connections)
    return answer({"ready": good, "connections": connections, "clients": daemon.clients()}, 200 if good else 503)


@routes.get("/daemons", response_model=operating_models.Daemons, responses=ANSWERS[503,])
async def daemons(daemon: Api) -> Response:
    """Return the daemons that work on the store, and how many executions each has."""
    leases = daemon.store.leases
    return answer(daemons_view(await leases.members(), await leases.counts(), this=daemon.membership.id))


@routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(daemon: Api) -> Response:
    """Return the metrics in Prometheus' text form."""
    return Response(await daemon.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


async def store_status(daemon: Daemon) -> ConnectionStatus:
    """Ask the store something small; a commit that gets no answer tells that it can be read but not written."""
    try:
        async with asyncio.timeout(STORE_WAIT_S):
            await daemon.store.log.head()
    except StoreError as error:
        return ConnectionStatus("store", connected=False, detail=str(error))
    except TimeoutError:
        detail = daemon.log.trouble or f"no answer within {STORE_WAIT_S:g}s"
        return ConnectionStatus("store", connected=False, detail=detail)
    return ConnectionStatus("store", connected=not daemon.log.trouble, detail=daemon.log.trouble)
