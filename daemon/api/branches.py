"""Forks and rewinds: what there is at a place in an execution's past, and going on from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from msgspec import UNSET, Meta, Struct

from daemon.api import branch_models as models
from daemon.api.bodies import answer, read_json
from daemon.api.describe import ANSWERS, body_of
from daemon.api.errors import BadRequest
from daemon.api.parameters import Actor, Api, ExecutionId, IdempotencyKey, Where  # noqa: TC001  fastapi resolves the annotations
from daemon.api.waiting import answered
from daemon.core.branch_events import Edits, InputEdit, StepEdit
from daemon.core.values import to_json
from daemon.runtime.branch_views import lineage_view, past_view
from daemon.runtime.branches import ForkWish, Past
from daemon.runtime.views import summary_view

Place = Annotated[str, Meta(min_length=1, max_length=1024)]


class StepBody(Struct, forbid_unknown_fields=True):
    """The result that a step is given."""

    output: Any = None
    port: str = "out"


class ForkBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A fork. `at` is a version, a time, `before:STEP`, `after:STEP` or `checkpoint:NAME`."""

    at: Place
    input: Any = UNSET
    """Another input; without it that of the source stays."""
    variables: Mapping[str, Any] = {}
    steps: Mapping[str, StepBody] = {}
    """Results by address."""
    version: str | None = None
    """Hash of another definition of the workflow, or how it begins; `current` for the newest."""
    accept_undone: bool = False
    """Go on also from a past of which something was undone since."""
    key: str | None = None
    """The same key gives the same fork."""
    reason: str = ""
    dry_run: bool = False
    """Only tell what it would go on from, as `GET …/past` does, or why it is refused."""


class RewindBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A rewind. `to` is a version, a time, `before:STEP`, `after:STEP` or `checkpoint:NAME`."""

    to: Place
    undo: Literal["automatic", "manual", "confirm_each", "none"] = "automatic"
    """How what was done since is undone first."""
    keep_signals: bool = True
    """Whether signals and inputs that came since are kept for whoever takes them."""
    reason: str = ""
    dry_run: bool = False
    """Only tell what it would go on from, as `GET …/past` does, or why it is refused."""


PLACES = "a version, a time, before:STEP, after:STEP or checkpoint:NAME"
NO_FORK, NO_REWIND = ForkBody(at=""), RewindBody(to="")
"""Stand for a body that is not there."""

DRY_RUN: dict[int | str, dict[str, Any]] = {
    200: {"model": models.Past, "description": "A dry run: what it would go on from."}
}

routes = APIRouter(tags=["executions"])


@routes.get("/executions/{execution_id}/past", response_model=models.Past, responses=ANSWERS[404, 409, 422, 500, 503])
async def show_past(*, daemon: Api, execution_id: ExecutionId, at: Where) -> Response:
    """Return what a fork at this place would go on from, and what a rewind to it would undo. Changes nothing."""
    return await _looked(daemon, await daemon.branches.past(execution_id, at))


async def _looked(daemon: Api, past: Past) -> Response:
    return answer(past_view(past, await daemon.history.load(past.cut.execution_id)))


@routes.post(
    "/executions/{execution_id}/fork",
    status_code=201,
    response_model=models.Forked,
    responses={**DRY_RUN, **ANSWERS[400, 404, 409, 413, 422, 500, 503]},
    openapi_extra=body_of(
        ForkBody, "Where, and what is different.", {"at": "before:charge", "variables": {"rate": 2}}, required=True
    ),
)
async def fork(*, request: Request, daemon: Api, execution_id: ExecutionId, actor: Actor = "api") -> Response:
    """Begin an execution that goes on from a place in the past of this one, which stays as it is."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, ForkBody, NO_FORK)
    if not body.at:
        raise BadRequest(f"the body says where, as `at`: {PLACES}")
    wish = ForkWish(
        where=body.at,
        edits=Edits(
            input=None if body.input is UNSET else InputEdit(to_json(body.input)),
            variables={name: to_json(value) for name, value in body.variables.items()},
            steps={name: StepEdit(to_json(step.output), step.port) for name, step in body.steps.items()},
        ),
        version=body.version,
        accept_undone=body.accept_undone,
        key=body.key,
        reason=body.reason,
        actor=actor,
    )
    if body.dry_run:
        return await _looked(daemon, await daemon.branches.look_at_fork(execution_id, wish))
    fork_id, past = await answered(daemon.branches.fork(execution_id, wish))
    state = await daemon.history.existing(fork_id)
    view = {**summary_view(fork_id, state), "source": past.cut.execution_id, "at_version": past.cut.version}
    return answer(view, status=201)


@routes.post(
    "/executions/{execution_id}/rewind",
    response_model=models.Rewound | models.Past,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(
        RewindBody, "Where to, and how what was done since is undone.", {"to": "before:charge"}, required=True
    ),
)
async def rewind(
    *,
    request: Request,
    daemon: Api,
    execution_id: ExecutionId,
    idempotency_key: IdempotencyKey = None,
    actor: Actor = "api",
) -> Response:
    """Let the execution go on from a place in its past; what it has done since is undone first."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, RewindBody, NO_REWIND)
    if not body.to:
        raise BadRequest(f"the body says where to, as `to`: {PLACES}")
    if body.dry_run:
        seen = await daemon.branches.look_at_rewind(execution_id, body.to, mode=body.undo, actor=actor)
        return await _looked(daemon, seen)
    past = await answered(
        daemon.branches.rewind(
            execution_id,
            body.to,
            mode=body.undo,
            keep_signals=body.keep_signals,
            rewind_id=idempotency_key or "",
            reason=body.reason,
            actor=actor,
        )
    )
    state = await daemon.history.existing(execution_id)
    return answer({**summary_view(execution_id, state), "to_version": past.cut.version})


@routes.post(
    "/executions/{execution_id}/restore",
    response_model=models.Rewound,
    responses=ANSWERS[404, 409, 422, 500, 503],
)
async def restore(
    *,
    daemon: Api,
    execution_id: ExecutionId,
    checkpoint: Annotated[str, Query(min_length=1, max_length=255, description="Its name.")],
    idempotency_key: IdempotencyKey = None,
    actor: Actor = "api",
) -> Response:
    """Let the execution go on from a checkpoint: a rewind to it."""
    rewind_id, where = idempotency_key or "", f"checkpoint:{checkpoint}"
    past = await answered(daemon.branches.rewind(execution_id, where, rewind_id=rewind_id, actor=actor))
    state = await daemon.history.existing(execution_id)
    return answer({**summary_view(execution_id, state), "to_version": past.cut.version})


@routes.get("/executions/{execution_id}/lineage", response_model=models.Lineage, responses=ANSWERS[404, 422, 500, 503])
async def lineage(*, daemon: Api, execution_id: ExecutionId) -> Response:
    """Return what the execution goes on from, and which executions go on from it."""
    index = daemon.store.index
    if await index.execution(execution_id) is None:
        raise await daemon.history.missing(execution_id)
    return answer(lineage_view(execution_id, await index.fork(execution_id), await index.forks(execution_id)))
