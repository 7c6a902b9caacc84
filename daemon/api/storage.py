"""How much payloads take, by workflow."""

from __future__ import annotations

from fastapi import APIRouter, Response

from daemon.api import retention_models
from daemon.api.bodies import answer
from daemon.api.describe import ANSWERS
from daemon.api.parameters import Api  # noqa: TC001  FastAPI resolves the annotations
from daemon.runtime.quotas import storage_view

routes = APIRouter(tags=["retention"])


@routes.get("/storage", response_model=retention_models.StoragePage, responses=ANSWERS[503,])
async def show_storage(*, daemon: Api) -> Response:
    """Return how much the payloads of each workflow take, and its quota. Payloads are values too large for the log."""
    return answer(await storage_view(daemon.store.usage, daemon.settings.storage))
