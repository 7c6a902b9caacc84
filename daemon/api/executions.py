"""Executions: list, look at, signal, cancel, resume."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from msgspec import Struct

from daemon.api import models
from daemon.api.bodies import answer, changed, read_json
from daemon.api.describe import ANSWERS, body_of
from daemon.api.errors import BadRequest
from daemon.api.parameters import PRINTABLE, Actor, Api, ExecutionId, IdempotencyKey, Name, Wait
from daemon.api.waiting import answered, finished, read_wait
from daemon.core.commands import CancelExecution, PauseExecution, ResumeExecution
from daemon.core.state import Running
from daemon.runtime.pinning import listed, pin_view
from daemon.runtime.plans import MissingDefinition
from daemon.runtime.standings import standings
from daemon.runtime.views import execution_view, state_view, summary_view
from daemon.runtime.why import parked, why
from eventstore.errors import Undecodable
from eventstore.index import ExecutionFilter


class CancelBody(Struct, forbid_unknown_fields=True):
    """Why it is done, and whether what was done is undone first."""

    reason: str = ""
    undo: bool = True


class ReasonBody(Struct, forbid_unknown_fields=True):
    """Why it is done."""

    reason: str = ""


routes = APIRouter(tags=["executions"])


@routes.get("/executions", response_model=models.Page, responses=ANSWERS[422, 503])
async def list_executions(
    *,
    daemon: Api,
    workflow: Name | None = None,
    status: models.Status | None = None,
    trigger: Name | None = None,
    since: Annotated[datetime | None, Query(description="Started at or after.")] = None,
    until: Annotated[datetime | None, Query(description="Started before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` of the page before.")] = None,
) -> Response:
    """List executions, newest start first."""
    which = ExecutionFilter(
        workflow=workflow,
        status=status,
        trigger=trigger,
        since=utc(since),
        until=utc(until),
        limit=limit + 1,
        after=read_cursor(cursor) if cursor else None,
    )
    rows = await daemon.store.index.executions(which)
    more = len(rows) > limit
    shown = rows[:limit]
    following = cursor_of(shown[-1].started_at, shown[-1].execution_id) if more else None
    return answer({"executions": await listed(daemon.store.pins, shown), "next": following})


@routes.get("/executions/{execution_id}", response_model=models.Execution, responses=ANSWERS[404, 422, 500, 503])
async def show_execution(*, daemon: Api, execution_id: ExecutionId, wait: Wait = None) -> Response:
    """Return an execution with its steps, their attempts, inputs, outputs and errors."""
    if wait_s := read_wait(wait):
        await finished(daemon, execution_id, wait_s)
    history = await daemon.history.timeline(execution_id)
    if not history:
        raise await daemon.history.missing(execution_id)
    state = await daemon.history.load(execution_id, up_to_version=history[-1].version)
    view = await asyncio.to_thread(execution_view, execution_id, state, history)
    pins = await daemon.store.pins.of([execution_id])
    return answer({**view, "pin": pin_view(pins.get(execution_id))})


@routes.get(
    "/executions/{execution_id}/state", response_model=models.ExecutionState, responses=ANSWERS[404, 422, 500, 503]
)
async def show_state(
    *,
    daemon: Api,
    execution_id: ExecutionId,
    version: Annotated[int | None, Query(ge=1, le=2**53, description="After this event.")] = None,
    at: Annotated[datetime | None, Query(description="After the last event at or before this time.")] = None,
) -> Response:
    """Return what the fold of the events knows: now, after an event, or at a time; of both, whichever came first."""
    state = await daemon.history.state_at(execution_id, version=version, at=utc(at))
    return answer(state_view(execution_id, state))


@routes.get("/executions/{execution_id}/why", response_model=models.Why, responses=ANSWERS[404, 422, 500, 503])
async def explain(*, daemon: Api, execution_id: ExecutionId) -> Response:
    """Say what an execution waits for, or how it ended; or that it is parked, because of what is stored of it."""
    try:
        state = await daemon.history.existing(execution_id)
        plan = await daemon.plans.pinned(state.definition) if isinstance(state, Running) else None
    except (Undecodable, MissingDefinition) as error:
        return answer(parked(execution_id, error))
    holder = await daemon.store.leases.holder(execution_id)
    name = None if holder is None else holder.name
    waits = await standings(daemon.store.slots, execution_id, state)
    return answer(why(state, plan, daemon.clock.now(), holder=name, standings=waits))


@routes.post(
    "/executions/{execution_id}/signals/{name}",
    response_model=models.Changed,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(Any, "The signal's data, any JSON value.", {"approved": True}),
)
async def signal(
    *,
    request: Request,
    daemon: Api,
    execution_id: ExecutionId,
    name: Annotated[str, Path(min_length=1, max_length=255, pattern=PRINTABLE)],
    before_start: Annotated[
        bool, Query(description="Keep the signal for an execution that does not exist yet.")
    ] = False,
    idempotency_key: IdempotencyKey = None,
    actor: Actor = "api",
) -> Response:
    """Give an execution a signal. It waits there until a step takes it."""
    data = await read_json(request, daemon.settings.http.max_body_bytes, Any, None)
    if not before_start and await daemon.store.index.execution(execution_id) is None:
        raise await daemon.history.missing(execution_id)
    handled = await answered(daemon.intake.signal(execution_id, name, data, signal_id=idempotency_key, actor=actor))
    return changed(execution_id, handled)


@routes.post(
    "/executions/{execution_id}/cancel",
    response_model=models.Changed,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(CancelBody, "Why, and how.", {"reason": "ordered twice"}),
)
async def cancel(*, request: Request, daemon: Api, execution_id: ExecutionId, actor: Actor = "api") -> Response:
    """End an execution without a result, after what it has done was undone, unless `undo` is false.

    One that has ended stays as it is.
    """
    body = await read_json(request, daemon.settings.http.max_body_bytes, CancelBody, CancelBody())
    command = CancelExecution(reason=body.reason, undo=body.undo, actor=actor, at=daemon.clock.now())
    handled = await answered(daemon.engine.send(execution_id, command))
    return changed(execution_id, handled)


@routes.post(
    "/executions/{execution_id}/pause",
    response_model=models.Changed,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(ReasonBody, "Why.", {"reason": "the bank is down"}),
)
async def pause(*, request: Request, daemon: Api, execution_id: ExecutionId, actor: Actor = "api") -> Response:
    """Begin no more handlers for it until it is resumed. Those at work go on; timers and signals are taken."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, ReasonBody, ReasonBody())
    command = PauseExecution(reason=body.reason, actor=actor, at=daemon.clock.now())
    handled = await answered(daemon.engine.send(execution_id, command))
    return changed(execution_id, handled)


@routes.post(
    "/executions/{execution_id}/resume", response_model=models.Summary, responses=ANSWERS[404, 409, 422, 500, 503]
)
async def resume(*, daemon: Api, execution_id: ExecutionId, actor: Actor = "api") -> Response:
    """End its pause, and carry out what is owed to it. Harmless for one that is at work or has ended.

    Where another daemon works on it, that one is asked to.
    """
    if isinstance(before := await daemon.history.existing(execution_id), Running) and before.paused is not None:
        command = ResumeExecution(actor=actor, at=daemon.clock.now())
        await answered(daemon.engine.send(execution_id, command))
    state = await answered(daemon.recovery.resume(execution_id))
    return answer(summary_view(execution_id, state or await daemon.history.existing(execution_id)))


def utc(moment: datetime | None) -> datetime | None:
    """Return the moment in UTC; one without a time zone is meant in UTC."""
    if moment is None:
        return None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise BadRequest(f"the time {moment} is out of range") from None


def cursor_of(started_at: datetime, execution_id: UUID) -> str:
    """Return the cursor of the page after this row."""
    return urlsafe_b64encode(f"{started_at.isoformat()}|{execution_id}".encode()).decode()


def read_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Return the row that a cursor stands for. Raises `BadRequest` for one that was not given out."""
    try:
        started_at, _, execution_id = urlsafe_b64decode(cursor.encode()).decode().partition("|")
        return datetime.fromisoformat(started_at).astimezone(UTC), UUID(execution_id)
    except (ValueError, OverflowError):
        raise BadRequest("the cursor is not one of ours; take `next` of the page before as it is") from None
