"""Approvals, and handlers that have paused: who waits for what, and the decisions and inputs of people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Path, Query, Request, Response
from msgspec import Meta, Struct
from msgspec.structs import asdict

from daemon.api import models, people_models
from daemon.api.bodies import answer, changed, read_json
from daemon.api.describe import ANSWERS, body_of
from daemon.api.errors import BadRequest
from daemon.api.parameters import PRINTABLE, Actor, Api, ExecutionId, IdempotencyKey, Name
from daemon.api.waiting import answered
from daemon.core.people import Deciding
from daemon.core.state import Running
from daemon.runtime.views import approval_view
from eventstore.index import ApprovalFilter, ApprovalRow

Address = Annotated[
    str, Path(min_length=1, max_length=2000, pattern=PRINTABLE, description="The step's: `ask`, `each[3].ask`.")
]
Question = Annotated[str, Meta(pattern="^[0-9]{1,18}$")]

CURSOR = r"^[0-9]{1,16}\.[0-9a-f]{32}\.[!-~]{1,2000}$"
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)

routes = APIRouter(tags=["people"])


class DecisionBody(Struct, forbid_unknown_fields=True):
    """A decision, or to whom it is handed on."""

    decision: Literal["approve", "reject", "delegate"]
    comment: str = ""
    data: Any = None
    """What the approval's form asks for."""
    to: str = ""
    """With `delegate`: who decides instead."""
    question: Question | None = None
    """As in the listing: what was asked anew or decided meanwhile is left alone. Without it the open one is meant."""


NO_DECISION = DecisionBody("reject")
"""Stands for a body that is not there."""
_DECISIONS = {"approve": "approved", "reject": "rejected"}


@routes.get("/approvals", response_model=people_models.Approvals, responses=ANSWERS[422, 503])
async def list_approvals(
    *,
    daemon: Api,
    approver: Annotated[Name | None, Query(description="Asked by this name, or as one of a group.")] = None,
    workflow: Name | None = None,
    status: people_models.ApprovalStatus = "open",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(pattern=CURSOR, description="`next` of the page before.")] = None,
) -> Response:
    """List approvals of all executions, oldest first. With `approver`, open ones that he may still decide."""
    which = ApprovalFilter(
        approvers=() if approver is None else daemon.people.names_of(approver),
        status=status,
        workflow=workflow,
        limit=limit + 1,
        after=read_cursor(cursor) if cursor else None,
    )
    rows = await daemon.store.index.approvals(which)
    shown, more = rows[:limit], len(rows) > limit
    following = cursor_of(shown[-1]) if more else None
    return answer({"approvals": [{**asdict(row), "question": str(row.question)} for row in shown], "next": following})


@routes.get(
    "/executions/{execution_id}/approvals",
    response_model=people_models.OpenApprovals,
    responses=ANSWERS[404, 422, 500, 503],
)
async def show_approvals(*, daemon: Api, execution_id: ExecutionId) -> Response:
    """Return the approvals that the execution waits for, with what was decided so far."""
    state = await daemon.history.existing(execution_id)
    steps = state.steps if isinstance(state, Running) else {}
    asked = [
        {"address": address, "since": step.since, "due": step.due, **approval_view(step)}
        for address, step in sorted(steps.items())
        if isinstance(step, Deciding)
    ]
    return answer({"approvals": asked})


@routes.post(
    "/executions/{execution_id}/approvals/{address}",
    response_model=models.Changed,
    responses=ANSWERS[400, 403, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(DecisionBody, "The decision.", {"decision": "approve", "comment": "fine"}, required=True),
)
async def decide(
    *, request: Request, daemon: Api, execution_id: ExecutionId, address: Address, actor: Actor = "api"
) -> Response:
    """Approve, reject, or let another decide, as `Sagad-Actor`. Who may not is refused with 403, on record."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, DecisionBody, NO_DECISION)
    if body is NO_DECISION:
        raise BadRequest("the body is missing; it says what is decided: `decision`")
    question = None if body.question is None else int(body.question)
    if body.decision == "delegate":
        if not body.to.strip():
            raise BadRequest("`to` is missing: who decides instead?")
        work = daemon.people.delegate(
            execution_id, address, body.to.strip(), actor=actor, comment=body.comment, question=question
        )
    else:
        work = daemon.people.decide(
            execution_id,
            address,
            _DECISIONS[body.decision],
            actor=actor,
            comment=body.comment,
            data=body.data,
            question=question,
        )
    return changed(execution_id, await answered(work))


@routes.post(
    "/executions/{execution_id}/steps/{address}/resume",
    response_model=models.Changed,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(Any, "The input, any JSON value.", {"account": 7}),
)
async def resume_step(
    *,
    request: Request,
    daemon: Api,
    execution_id: ExecutionId,
    address: Address,
    idempotency_key: IdempotencyKey = None,
    actor: Actor = "api",
) -> Response:
    """Give a step that has paused the input it waits for. One that has not paused yet is given it when it does."""
    given = await read_json(request, daemon.settings.http.max_body_bytes, Any, None)
    resume_id = idempotency_key or str(uuid4())
    work = daemon.people.resume_step(execution_id, address, given, resume_id=resume_id, actor=actor)
    return changed(execution_id, await answered(work))


def cursor_of(row: ApprovalRow) -> str:
    """Return the cursor of the page after this row."""
    return f"{(row.requested_at - _EPOCH) // _MICROSECOND}.{row.execution_id.hex}.{row.address}"


def read_cursor(cursor: str) -> tuple[datetime, UUID, str]:
    """Return the row that a cursor of the documented form stands for."""
    requested, execution_id, address = cursor.split(".", 2)
    return _EPOCH + int(requested) * _MICROSECOND, UUID(execution_id), address
