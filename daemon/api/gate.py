"""What another definition would have decided, about one execution and about many. Changes nothing."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Request, Response
from msgspec import Meta, Struct
from msgspec.structs import asdict

from daemon.api import branch_models as models
from daemon.api.bodies import answer, read_json
from daemon.api.definitions import plans_in
from daemon.api.describe import ANSWERS, body_of
from daemon.api.errors import BadRequest
from daemon.api.executions import cursor_of, read_cursor, utc
from daemon.api.models import Status
from daemon.api.parameters import Api, ExecutionId  # noqa: TC001  fastapi resolves the annotations
from daemon.core.errors import SagadError
from daemon.core.subjects import SubjectForgotten
from daemon.runtime.deciding_again import Gate
from daemon.runtime.what_if import report
from eventstore.errors import StoreError
from eventstore.index import ExecutionFilter

if TYPE_CHECKING:
    from daemon.runtime.what_if import Verdict

MOST = 500
"""Executions of one call."""


class WhatIfBody(Struct, forbid_unknown_fields=True):
    """Another definition."""

    definition: str
    """In YAML; of several the one of the execution's workflow counts."""


class CheckBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Another definition, and which executions are held against it; what is absent does not restrict."""

    definition: str
    """In YAML."""
    workflow: str | None = None
    """Needed where the text has several."""
    status: Status | None = None
    since: datetime | None = None
    """Started at or after."""
    until: datetime | None = None
    """Started before."""
    limit: Annotated[int, Meta(ge=1, le=MOST)] = 100
    """How many in this call; `next` of the answer is the `cursor` of the next call."""
    cursor: str | None = None


_EXAMPLE = {"definition": "workflow: order\n…"}

routes = APIRouter(tags=["past"])


@routes.post(
    "/executions/{execution_id}/what-if",
    response_model=models.Verdict,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(WhatIfBody, "Another definition.", _EXAMPLE, required=True),
)
async def what_if(*, request: Request, daemon: Api, execution_id: ExecutionId) -> Response:
    """Decide the execution again under another definition, and return where the two part. Changes nothing."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, WhatIfBody, WhatIfBody(""))
    gate = Gate(daemon.history, daemon.plans, plans_in(daemon.compiler, body.definition))
    return answer(await gate.verdict(execution_id))


@routes.post(
    "/check",
    response_model=models.GateReport,
    responses=ANSWERS[400, 413, 422, 503],
    openapi_extra=body_of(CheckBody, "Another definition, and which executions.", _EXAMPLE, required=True),
)
async def check(*, request: Request, daemon: Api) -> Response:
    """Decide executions again under another definition, newest start first, a page in each call. Changes nothing."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, CheckBody, CheckBody(definition=""))
    plans = plans_in(daemon.compiler, body.definition)
    workflow = body.workflow or next(iter(plans))
    if workflow not in plans or (body.workflow is None and len(plans) > 1):
        raise BadRequest(f"`workflow` says which one is meant: {', '.join(sorted(plans))}")
    which = ExecutionFilter(
        workflow=workflow,
        status=body.status,
        since=utc(body.since),
        until=utc(body.until),
        limit=body.limit + 1,
        after=read_cursor(body.cursor) if body.cursor else None,
    )
    rows = await daemon.store.index.executions(which)
    page, more = rows[: body.limit], len(rows) > body.limit
    gate = Gate(daemon.history, daemon.plans, plans)
    found: list[Verdict] = []
    failed: dict[str, str] = {}
    for row in page:
        try:
            found.append(await gate.verdict(row.execution_id))
        except SubjectForgotten:
            continue  # it has ended, and has no values to decide on
        except (SagadError, StoreError) as error:
            failed[str(row.execution_id)] = str(error)
    following = cursor_of(page[-1].started_at, page[-1].execution_id) if more else None
    return answer({**asdict(report(found, failed)), "next": following})
