"""Workflows: what is loaded, and starting an execution by name."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response
from msgspec import Struct

from daemon.api import models
from daemon.api.bodies import answer, read_json
from daemon.api.debugging import Point, points_of
from daemon.api.describe import ANSWERS, body_of
from daemon.api.parameters import Actor, Api, IdempotencyKey, Wait  # noqa: TC001  FastAPI resolves the annotations
from daemon.api.waiting import answered, finished, read_wait, room
from daemon.core.state import Finished
from daemon.runtime.versions import versions_view
from daemon.runtime.views import definition_view, encode, summary_view

SCHEMA_JSON = "application/schema+json"

Workflow = Annotated[str, Path(max_length=255)]


class StartBody(Struct, forbid_unknown_fields=True):
    """What an execution is started with."""

    input: Any = None
    breakpoints: tuple[Point, ...] = ()
    """Where it is to stop, from its beginning on."""


routes = APIRouter(tags=["workflows"])


@routes.get("/workflows", response_model=models.Workflows)
async def list_workflows(daemon: Api) -> Response:
    """List the loaded workflows."""
    views = [definition_view(daemon.plans.current(name).definition) for name in daemon.plans.workflows()]
    for view in views:
        del view["definition"]
    return answer({"workflows": views})


@routes.get("/workflows/{workflow}", response_model=models.WorkflowDefinition, responses=ANSWERS[404, 422])
async def show_workflow(*, daemon: Api, workflow: Workflow) -> Response:
    """Return a workflow's current definition."""
    return answer(definition_view(daemon.plans.current(workflow).definition))


@routes.get("/workflows/{workflow}/versions", response_model=models.Versions, responses=ANSWERS[422, 503])
async def list_versions(*, daemon: Api, workflow: Workflow) -> Response:
    """List the definitions that the workflow's executions are pinned to, with how many are open.

    A workflow that is not loaded any more has no current one. It reads the rows of all its executions.
    """
    loaded = workflow in daemon.plans.workflows()
    current = daemon.plans.current(workflow).definition.hash if loaded else None
    view = await versions_view(daemon.store.index, daemon.store.definitions, workflow, current=current)
    return answer(view)


@routes.get(
    "/definition-schema",
    response_class=Response,
    responses={200: {"content": {SCHEMA_JSON: {"schema": {"type": "object"}}}}},
)
async def definition_schema(daemon: Api) -> Response:
    """Return the JSON Schema of definitions, for editors."""
    return Response(encode(daemon.definition_schema), media_type=SCHEMA_JSON)


@routes.post(
    "/workflows/{workflow}/executions",
    status_code=202,
    response_model=models.Started,
    responses={
        200: {"model": models.Started, "description": "It has finished."},
        **ANSWERS[400, 404, 409, 413, 422, 500, 503],
    },
    openapi_extra=body_of(StartBody, "The input, as the workflow's schema asks for.", {"input": {"order_id": "1"}}),
)
async def start(
    *,
    request: Request,
    daemon: Api,
    workflow: Workflow,
    wait: Wait = None,
    idempotency_key: IdempotencyKey = None,
    actor: Actor = "api",
    traceparent: Annotated[str | None, Header(max_length=255)] = None,
) -> Response:
    """Start an execution. The answer is 200 when it has finished, 202 when it goes on."""
    wait_s = read_wait(wait)
    body = await read_json(request, daemon.settings.http.max_body_bytes, StartBody, StartBody())
    await room(daemon)
    execution_id, handled = await answered(
        daemon.intake.start(
            workflow,
            body.input,
            key=idempotency_key,
            actor=actor,
            traceparent=traceparent,
            breakpoints=points_of(body.breakpoints),
        )
    )
    state = handled.state
    if wait_s and not isinstance(state, Finished):
        state = await finished(daemon, execution_id, wait_s)
    view = {**summary_view(execution_id, state), "started": bool(handled.events)}
    headers = {"Location": f"/executions/{execution_id}"}
    return answer(view, 200 if isinstance(state, Finished) else 202, headers)
