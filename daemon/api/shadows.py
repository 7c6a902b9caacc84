"""A part of the log, lived again under other definitions, in shadow. Changes nothing."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Request, Response
from msgspec import Meta, Struct

from daemon.api import shadow_models as models
from daemon.api.bodies import answer, read_json
from daemon.api.definitions import plans_in
from daemon.api.describe import ANSWERS, body_of
from daemon.api.executions import utc
from daemon.api.parameters import Api  # noqa: TC001  fastapi resolves the annotations
from daemon.core.errors import SagadError, UnknownWorkflow
from daemon.core.subjects import SubjectForgotten
from daemon.runtime.definitions import InputSchemas
from daemon.runtime.shadow_check import Shadowed, report
from daemon.runtime.shadow_range import Range, Shadows, executions_in
from eventstore.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.plan import Plan
    from daemon.runtime.shadow_range import Bound

MOST = 200
"""Executions of one call."""

Position = Annotated[int, Meta(ge=0, le=2**53)]


class ShadowBody(Struct, forbid_unknown_fields=True, kw_only=True, rename={"first": "from", "last": "to"}):
    """What is to be lived again, and how."""

    definition: str
    """The other definitions, in YAML."""
    first: Position | datetime | None = None
    """From this position or time on."""
    last: Position | datetime | None = None
    """Up to this position, or before this time."""
    workflow: str | None = None
    trigger: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST)] = 50
    """The newest so many."""
    missing: Literal["stop", "fail", "null"] = "stop"
    """What a step does whose result is not recorded."""


NO_BODY = ShadowBody(definition="")
"""Stands for a body that is not there."""
EXAMPLE = {"definition": "workflow: order\n…", "from": "2026-01-31T14:00:00Z", "limit": 100}

routes = APIRouter(tags=["past"])


@routes.post(
    "/replay/shadow",
    response_model=models.ShadowReport,
    responses=ANSWERS[400, 404, 413, 422, 500, 503],
    openapi_extra=body_of(ShadowBody, "Other definitions, and a part of the log.", EXAMPLE, required=True),
)
async def shadow(*, request: Request, daemon: Api) -> Response:
    """Live executions again that have started in a part of the log, and return what would have been different.

    Steps are given their recorded results; nothing is sent, nothing is written.
    """
    body = await read_json(request, daemon.settings.http.max_body_bytes, ShadowBody, NO_BODY)
    plans = plans_in(daemon.compiler, body.definition)
    workflows = tuple(sorted(plans)) if body.workflow is None else (body.workflow,)
    plan_for = partial(_plan_for, plans, body.workflow)
    for name in workflows:
        plan_for(name)
    first, last = (_bound(each) for each in (body.first, body.last))
    which = Range(first=first, last=last, workflows=workflows, trigger=body.trigger, limit=body.limit)
    found: list[Shadowed] = []
    failed: dict[str, str] = {}
    check_input = InputSchemas().check
    shadows = Shadows(
        daemon.store, daemon.plans, until=daemon.clock.now(), missing=body.missing, check_input=check_input
    )
    for execution_id in await executions_in(daemon.store, which):
        try:
            found.append(await shadows.of(execution_id, plan_for))
        except SubjectForgotten:
            continue  # it has no values to live on
        except (SagadError, StoreError) as error:
            failed[str(execution_id)] = str(error)
    return answer(report(found, failed))


def _plan_for(plans: Mapping[str, Plan], wanted: str | None, workflow: str) -> Plan:
    """Return the plan of the workflow; the only one there is, in place of the one that is asked for."""
    if workflow not in plans and (wanted != workflow or len(plans) != 1):
        raise UnknownWorkflow(workflow, sorted(plans))
    return plans.get(workflow) or next(iter(plans.values()))


def _bound(given: int | datetime | None) -> Bound:
    return utc(given) if isinstance(given, datetime) else given
