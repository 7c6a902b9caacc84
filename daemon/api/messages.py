"""Messages that are answered: updates and queries of one execution, and signals that start one if need be."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from msgspec import Meta, Struct

from daemon.api import models
from daemon.api.bodies import answer, read_json
from daemon.api.describe import ANSWERS, body_of
from daemon.api.errors import BadRequest
from daemon.api.parameters import (
    PRINTABLE,
    Actor,
    Api,
    ExecutionId,
    IdempotencyKey,
)
from daemon.api.waiting import answered, room
from daemon.runtime.views import summary_view

MessageName = Annotated[str, Path(min_length=1, max_length=255, pattern=PRINTABLE)]


class SignalWithStartBody(Struct, forbid_unknown_fields=True):
    """The key that names the execution, what it is started with if need be, and the signal's data."""

    key: Annotated[str, Meta(min_length=1, max_length=1000)]
    input: Any = None
    data: Any = None


NO_BODY = SignalWithStartBody("-")
"""Stands for a body that is not there."""

routes = APIRouter(tags=["executions"])


@routes.post(
    "/executions/{execution_id}/updates/{name}",
    response_model=models.Updated,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(Any, "The update's data, any JSON value.", {"item": "lamp"}),
)
async def update(
    *,
    request: Request,
    daemon: Api,
    execution_id: ExecutionId,
    name: MessageName,
    idempotency_key: IdempotencyKey = None,
    actor: Actor = "api",
) -> Response:
    """Give an execution an update and return its result. One that is refused has had no effect."""
    data = await read_json(request, daemon.settings.http.max_body_bytes, Any, None)
    handled, result = await answered(
        daemon.intake.update(execution_id, name, data, update_id=idempotency_key, actor=actor)
    )
    view = {**summary_view(execution_id, handled.state), "changed": bool(handled.events), "result": result}
    return answer(view)


@routes.post(
    "/executions/{execution_id}/queries/{name}",
    response_model=models.Answered,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(Any, "What the query may read as `query.data`.", None),
)
async def query(*, request: Request, daemon: Api, execution_id: ExecutionId, name: MessageName) -> Response:
    """Ask an execution, going on or ended; nothing is recorded."""
    data = await read_json(request, daemon.settings.http.max_body_bytes, Any, None)
    return answer({"result": await answered(daemon.intake.query(execution_id, name, data))})


@routes.post(
    "/workflows/{workflow}/signals/{name}",
    response_model=models.SignalledWithStart,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(
        SignalWithStartBody,
        "The execution's key, its input, the signal's data.",
        {"key": "cart-7", "input": {}, "data": {"item": "lamp"}},
        required=True,
    ),
)
async def signal_with_start(
    *,
    request: Request,
    daemon: Api,
    workflow: Annotated[str, Path(max_length=255)],
    name: MessageName,
    idempotency_key: IdempotencyKey = None,
    actor: Actor = "api",
) -> Response:
    """Give a signal to the execution that was started with this key; if there is none, start it, in the same commit."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, SignalWithStartBody, NO_BODY)
    if body is NO_BODY:
        raise BadRequest("the body is missing; it says which execution is meant: `key`")
    await room(daemon)
    target, started, signalled = await answered(
        daemon.intake.signal_with_start(
            workflow, body.key, body.input, name=name, data=body.data, signal_id=idempotency_key, actor=actor
        )
    )
    view = summary_view(target, signalled.state)
    return answer({**view, "started": bool(started.events), "changed": bool(signalled.events)})
