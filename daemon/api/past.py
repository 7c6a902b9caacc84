"""The past: checkpoints and snapshots of an execution, differences, and many executions as they were at a time."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID  # noqa: TC003  FastAPI resolves the annotations

from fastapi import APIRouter, Query, Request, Response
from msgspec import Meta, Struct
from pydantic import StringConstraints

from daemon.api import past_models
from daemon.api.bodies import answer, read_body, read_json
from daemon.api.describe import ANSWERS, body_of
from daemon.api.executions import cursor_of, read_cursor, utc
from daemon.api.models import Status  # noqa: TC001  as above
from daemon.api.parameters import Api, ExecutionId, Name  # noqa: TC001  FastAPI resolves the annotations
from daemon.runtime.as_of import AsOf, question
from daemon.runtime.checkpoints import CHECKPOINT_NAME
from daemon.runtime.comparing import compared, patch_of
from daemon.runtime.moments import Moment, side_at
from daemon.runtime.snapshot_files import SnapshotDocument
from eventstore.index import ExecutionFilter

MAX_DOCUMENT_BYTES = 256 * 2**20
"""Of a snapshot that is taken in."""
PATCH = "application/json-patch+json"


class CheckpointBody(Struct, forbid_unknown_fields=True):
    """The checkpoint's name."""

    name: Annotated[str, Meta(max_length=255, pattern=CHECKPOINT_NAME)]


Version = Annotated[int | None, Query(ge=1, le=2**53)]
At = Annotated[datetime | None, Query(description="As it was at this time.")]
Shown = Annotated[str, StringConstraints(max_length=200)]

routes = APIRouter(tags=["past"])


@routes.get(
    "/executions/{execution_id}/checkpoints",
    response_model=past_models.Checkpoints,
    responses=ANSWERS[404, 422, 500, 503],
)
async def checkpoints(*, daemon: Api, execution_id: ExecutionId) -> Response:
    """Return the versions of an execution that have a name, oldest first."""
    found = await daemon.checkpoints.named(execution_id)
    return answer({"execution_id": execution_id, "checkpoints": [each._asdict() for each in found]})


@routes.post(
    "/executions/{execution_id}/checkpoints",
    response_model=past_models.Checkpoint,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(
        CheckpointBody, "The name; it stands for one version.", {"name": "before the refund"}, required=True
    ),
)
async def mark(
    *, request: Request, daemon: Api, execution_id: ExecutionId, version: Version = None, at: At = None
) -> Response:
    """Give the newest version, or this one, a name, and keep its snapshot. Repeating it changes nothing."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, CheckpointBody, CheckpointBody(name=""))
    made = await daemon.checkpoints.take(execution_id, label=body.name, version=version, at=utc(at))
    return answer(made._asdict())


@routes.get(
    "/executions/{execution_id}/snapshots", response_model=past_models.Snapshots, responses=ANSWERS[404, 422, 500, 503]
)
async def snapshots(*, daemon: Api, execution_id: ExecutionId) -> Response:
    """Return what is stored of an execution's states, with sizes, oldest first."""
    return answer(await daemon.checkpoints.stored(execution_id))


@routes.delete(
    "/executions/{execution_id}/snapshots", response_model=past_models.Cleared, responses=ANSWERS[404, 422, 503]
)
async def clear(*, daemon: Api, execution_id: ExecutionId, version: Version = None) -> Response:
    """Delete the snapshots of an execution, or that of one version. Nothing is lost but time, and names."""
    return answer({"cleared": await daemon.checkpoints.clear(execution_id, version=version)})


@routes.get(
    "/executions/{execution_id}/snapshots/validation",
    response_model=past_models.Validation,
    responses=ANSWERS[404, 422, 500, 503],
)
async def validate(*, daemon: Api, execution_id: ExecutionId) -> Response:
    """Check each snapshot: it must be what the events say. All events are read."""
    await daemon.history.existing(execution_id)
    found = await daemon.checkpoints.validate(execution_id)
    ok = all(each["outcome"] == "ok" for each in found)
    return answer({"execution_id": execution_id, "ok": ok, "snapshots": found})


@routes.get(
    "/executions/{execution_id}/snapshots/document",
    response_model=past_models.SnapshotDocument,
    responses=ANSWERS[404, 422, 500, 503],
)
async def export(*, daemon: Api, execution_id: ExecutionId, version: Version = None) -> Response:
    """Return a snapshot as a document: of this version, or the newest."""
    return answer(await daemon.checkpoints.export(execution_id, version))


@routes.post(
    "/executions/{execution_id}/snapshots",
    response_model=past_models.Checkpoint,
    responses=ANSWERS[404, 413, 422, 500, 503],
    openapi_extra=body_of(SnapshotDocument, "A document as it was given out.", {}, required=True),
)
async def take_in(*, request: Request, daemon: Api, execution_id: ExecutionId) -> Response:
    """Store the snapshot of a document, if it is of this execution and what its events say."""
    await daemon.history.existing(execution_id)
    text = await read_body(request, MAX_DOCUMENT_BYTES)
    return answer((await daemon.checkpoints.take_in(text, execution_id))._asdict())


@routes.get(
    "/executions/{execution_id}/diff",
    response_model=past_models.Diff | list[past_models.Operation],
    responses=ANSWERS[404, 422, 500, 503],
)
async def diff(
    *,
    daemon: Api,
    execution_id: ExecutionId,
    version: Version = None,
    at: At = None,
    checkpoint: Name | None = None,
    other: Annotated[UUID | None, Query(description="The execution to compare with; this one if not given.")] = None,
    to_version: Version = None,
    to_at: At = None,
    to_checkpoint: Name | None = None,
    patch: Annotated[bool, Query(description="As a JSON Patch of what `/state` gives.")] = False,
) -> Response:
    """Return what differs between two versions of an execution, or between two executions.

    Where several of version, time and checkpoint are given, whichever came first counts.
    """
    before = await side_at(
        daemon.history, daemon.checkpoints, execution_id, Moment(version, utc(at), checkpoint), events=not patch
    )
    after = await side_at(
        daemon.history,
        daemon.checkpoints,
        other or execution_id,
        Moment(to_version, utc(to_at), to_checkpoint),
        events=not patch,
    )
    if patch:
        operations: Any = await asyncio.to_thread(patch_of, before, after)
        return Response(answer(operations).body, media_type=PATCH)
    return answer(await asyncio.to_thread(compared, before, after))


@routes.get("/as-of", response_model=past_models.AsOf, responses=ANSWERS[422, 503])
async def as_of(
    *,
    daemon: Api,
    at: datetime,
    workflow: Name | None = None,
    status: Status | None = None,
    trigger: Name | None = None,
    where: Annotated[str | None, Query(max_length=1000, examples=["'approval' in waiting.types"])] = None,
    show: Annotated[list[Shown] | None, Query(max_length=5, description="What else is to be told of each.")] = None,
    since: Annotated[datetime | None, Query(description="Started at or after.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many are looked at in this call.")] = 200,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` of the page before.")] = None,
) -> Response:
    """Return the executions that matched at a time, as they were then: a page of those that had started."""
    asked = question(utc(at) or at, status, where, show or ())
    which = ExecutionFilter(
        workflow=workflow,
        trigger=trigger,
        since=utc(since),
        limit=limit,
        after=read_cursor(cursor) if cursor else None,
    )
    page = await AsOf(daemon.store.index, daemon.history, daemon.plans).page(asked, which)
    following = None if page.last is None else cursor_of(page.last.started_at, page.last.execution_id)
    return answer(
        {
            "executions": page.found,
            "looked_at": page.looked_at,
            "unclear": page.unclear,
            "why_unclear": page.why_unclear,
            "next": following,
        }
    )
