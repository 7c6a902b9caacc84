"""Retention: what would go and why not, doing it now, what was deleted, and bringing it back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from daemon.api import archive_models, retention_models
from daemon.api.bodies import answer
from daemon.api.describe import ANSWERS
from daemon.api.executions import cursor_of, read_cursor
from daemon.api.parameters import Api, ExecutionId  # noqa: TC001  FastAPI resolves the annotations
from daemon.core.errors import Rejected
from daemon.runtime.archive_file import BadFile
from daemon.runtime.codec import codec_of
from daemon.runtime.expiry_views import deleted_view, expired_view, plan_view
from daemon.runtime.restoring import Restoring

routes = APIRouter(tags=["retention"])


@routes.get("/retention", response_model=retention_models.RetentionPlan, responses=ANSWERS[422, 500, 503])
async def show_retention(
    *,
    daemon: Api,
    limit: Annotated[int, Query(ge=1, le=100_000, description="So many that are old enough are looked at.")] = 1000,
) -> Response:
    """Return what the rules would let go now, and what stays, and why. Nothing is changed."""
    return answer(await plan_view(daemon.expiry, daemon.store.index, daemon.settings.retention, most=limit))


@routes.post("/retention/run", response_model=retention_models.Expired, responses=ANSWERS[422, 500, 503])
async def run_retention(
    *,
    daemon: Api,
    limit: Annotated[int, Query(ge=1, le=10_000, description="At most so many are deleted.")] = 1000,
) -> Response:
    """Let go now what the rules let go: each is archived, read back from the archive, and deleted."""
    return answer(expired_view(await daemon.expiry.run(most=limit)))


@routes.get("/archive", response_model=retention_models.DeletedPage, responses=ANSWERS[422, 503])
async def list_deleted(
    *,
    daemon: Api,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` of the page before.")] = None,
) -> Response:
    """List executions that retention has deleted, latest first, and where each was archived."""
    after = read_cursor(cursor) if cursor else None
    found = await daemon.store.deletions.all_deleted(after=after, limit=limit + 1)
    shown = found[:limit]
    following = cursor_of(shown[-1].deleted_at, shown[-1].execution_id) if len(found) > limit else None
    return answer({"executions": [deleted_view(known) for known in shown], "next": following})


@routes.post(
    "/archive/{execution_id}/restore",
    response_model=archive_models.Imported,
    responses=ANSWERS[404, 409, 422, 500, 503],
)
async def restore(*, daemon: Api, execution_id: ExecutionId) -> Response:
    """Bring an execution back that was deleted and archived. The rules let it go anew, that much later."""
    restoring = Restoring(daemon.store, codec_of(daemon.settings), daemon.clock, daemon.expiry.place)
    try:
        return answer(await restoring.restore(execution_id))
    except BadFile as error:
        raise Rejected(f"its file in the archive, line {error.line}: {error.message}") from error
