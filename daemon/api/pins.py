"""Pins: executions that stay, whatever the rules of retention and the quotas say."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from msgspec import Meta, Struct

from daemon.api import retention_models
from daemon.api.bodies import answer, read_json
from daemon.api.describe import ANSWERS, body_of
from daemon.api.parameters import Actor, Api, ExecutionId  # noqa: TC001  FastAPI resolves the annotations
from daemon.runtime.pinning import pin, pin_view, unpin
from eventstore.pins import MAX_REASON_CHARS, Pin


class PinBody(Struct, forbid_unknown_fields=True):
    """Why it is to stay."""

    reason: Annotated[str, Meta(max_length=MAX_REASON_CHARS)] = ""


routes = APIRouter(tags=["retention"])


@routes.put(
    "/executions/{execution_id}/pin",
    response_model=retention_models.Pinned,
    responses=ANSWERS[400, 404, 413, 422, 503],
    openapi_extra=body_of(PinBody, "Why.", {"reason": "the auditors ask for it"}),
)
async def pin_execution(*, request: Request, daemon: Api, execution_id: ExecutionId, actor: Actor = "api") -> Response:
    """Pin an execution: retention does not delete it, and its payloads stay where they are. The latest pin counts."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, PinBody, PinBody())
    wanted = Pin(execution_id=execution_id, at=daemon.clock.now(), by=actor, reason=body.reason)
    if not await pin(daemon.store.pins, wanted):
        raise await daemon.history.missing(execution_id)
    return answer(await _view(daemon, execution_id, changed=True))


@routes.delete(
    "/executions/{execution_id}/pin", response_model=retention_models.Pinned, responses=ANSWERS[404, 422, 503]
)
async def unpin_execution(*, daemon: Api, execution_id: ExecutionId, actor: Actor = "api") -> Response:
    """Unpin an execution: the rules of retention and the quotas count for it again. Harmless when it is not pinned."""
    changed = await unpin(daemon.store.pins, execution_id, actor=actor)
    if not changed and await daemon.store.index.execution(execution_id) is None:
        raise await daemon.history.missing(execution_id)
    return answer(await _view(daemon, execution_id, changed=changed))


async def _view(daemon: Api, execution_id: ExecutionId, *, changed: bool) -> dict[str, Any]:
    found = (await daemon.store.pins.of([execution_id])).get(execution_id)
    return {"execution_id": execution_id, "pin": pin_view(found), "changed": changed}
