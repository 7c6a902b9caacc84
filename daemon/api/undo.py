"""What an execution has done, what would undo it, and the answers of people to what the undo asks."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from msgspec import Meta, Struct

from daemon.api import models
from daemon.api.bodies import answer, changed, read_json
from daemon.api.describe import ANSWERS, body_of
from daemon.api.errors import BadRequest
from daemon.api.parameters import Actor, Api, ExecutionId  # noqa: TC001  fastapi resolves the annotations
from daemon.api.waiting import answered
from daemon.core.commands import AnswerUndo
from daemon.core.errors import Rejected
from daemon.core.state import NotStarted, Running
from daemon.runtime.plans import MissingDefinition
from daemon.runtime.undo import undo_view
from daemon.runtime.views import summary_view


class AnswerBody(Struct, forbid_unknown_fields=True):
    """A decision. `address` is the step's; empty for the plan as a whole."""

    choice: Literal["start", "go", "retry", "skip", "done"]
    """`start` undoes an execution that has completed; the others answer what is asked then."""
    address: str = ""
    question: Annotated[str, Meta(pattern="^[0-9]{1,18}$")] | None = None
    """As in `asking`; a question that was answered meanwhile is left alone. Without it the open one is meant."""
    note: str = ""


NO_ANSWER = AnswerBody("skip")
"""Stands for a body that is not there."""

routes = APIRouter(tags=["executions"])


@routes.get("/executions/{execution_id}/undo", response_model=models.Undo, responses=ANSWERS[404, 422, 500, 503])
async def show_undo(*, daemon: Api, execution_id: ExecutionId) -> Response:
    """Return the undo plan, what is asked of people, and the side-effect log."""
    history = await daemon.history.events(execution_id)
    if not history:
        raise await daemon.history.missing(execution_id)
    state = await daemon.history.load(execution_id, up_to_version=history[-1].version)
    plan = None
    if not isinstance(state, NotStarted):
        try:
            plan = await daemon.plans.pinned(state.definition)
        except MissingDefinition:
            plan = None  # it only adds which nodes have no side effects
    return answer(await asyncio.to_thread(undo_view, execution_id, state, history, plan))


@routes.post(
    "/executions/{execution_id}/undo",
    response_model=models.Changed,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(AnswerBody, "The decision.", {"address": "charge", "choice": "done"}, required=True),
)
async def answer_undo(*, request: Request, daemon: Api, execution_id: ExecutionId, actor: Actor = "api") -> Response:
    """Undo what a completed execution has done; or answer what the undo asks.

    Answers let it go on, retry or skip a compensation, or say that it was done by hand.
    """
    body = await read_json(request, daemon.settings.http.max_body_bytes, AnswerBody, NO_ANSWER)
    if body is NO_ANSWER:
        raise BadRequest("the body is missing; it says what is decided: `choice`, and the step's `address`")
    if body.choice == "start":
        before = await daemon.history.existing(execution_id)
        await answered(daemon.children.undo_completed(execution_id, body.note, actor=actor))
        after = await daemon.history.existing(execution_id)
        return answer({**summary_view(execution_id, after), "changed": after.version > before.version})
    if body.question is not None:
        question = int(body.question)
    else:
        state = await daemon.history.existing(execution_id)
        asking = state.asking if isinstance(state, Running) else {}
        if body.address not in asking:
            known = ", ".join(address or "the plan" for address in sorted(asking)) or "nothing"
            raise Rejected(f"nothing is asked about {body.address or 'the plan'}; what is asked about: {known}")
        question = asking[body.address].version
    command = AnswerUndo(
        address=body.address,
        question=question,
        choice=body.choice,
        note=body.note,
        actor=actor,
        at=daemon.clock.now(),
    )
    handled = await answered(daemon.engine.send(execution_id, command))
    return changed(execution_id, handled)
