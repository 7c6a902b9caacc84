"""Limits that executions share: who holds them and who waits."""

from __future__ import annotations

from fastapi import APIRouter, Response

from daemon.api import operating_models
from daemon.api.bodies import answer
from daemon.api.describe import ANSWERS
from daemon.api.parameters import Api  # noqa: TC001  FastAPI resolves the annotations
from daemon.runtime.standings import limits_view

routes = APIRouter(tags=["limits"])


@routes.get("/limits", response_model=operating_models.Limits, responses=ANSWERS[503,])
async def limits(daemon: Api) -> Response:
    """Return the limits that are held or waited for, by key, and those of the settings."""
    return answer(await limits_view(daemon.store.slots, daemon.settings.throttle))


@routes.get("/limits/{name:path}", response_model=operating_models.Limits, responses=ANSWERS[503,])
async def one_limit(daemon: Api, name: str) -> Response:
    """Return one limit, with those that hold it and those that wait, in the order in which they are served."""
    return answer(await limits_view(daemon.store.slots, daemon.settings.throttle, limit=name))
