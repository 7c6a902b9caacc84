"""Debugging: breakpoints of executions that go on, and the moments of what was recorded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from msgspec import UNSET, Struct, UnsetType

from daemon.api import debugging_models, models
from daemon.api.bodies import answer, changed, read_json
from daemon.api.describe import ANSWERS, body_of
from daemon.api.errors import BadRequest
from daemon.api.parameters import Actor, Api, ExecutionId, MomentPages  # noqa: TC001  FastAPI resolves the annotations
from daemon.api.waiting import answered
from daemon.core.break_events import Breakpoint
from daemon.core.commands import EditAtBreakpoint, LeaveBreakpoint, SetBreakpoints
from daemon.core.errors import ExecutionFinished, Rejected
from daemon.core.evaluation import EvaluationError
from daemon.core.events import InputEdit
from daemon.core.state import Finished, Running
from daemon.core.values import bounded_json
from daemon.debugger.lines import recorded_lines
from daemon.debugger.looking import evaluate
from daemon.debugger.viewing import moment_view, moment_views, stop_view
from daemon.nodes import all_node_types

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from daemon.api.ports import Daemon
    from daemon.core.state import State
    from daemon.core.values import Json


class Point(Struct, forbid_unknown_fields=True):
    """One breakpoint; see `events.Breakpoint`."""

    node: str = ""
    condition: str = ""
    errors: bool = False


class BreakpointsBody(Struct, forbid_unknown_fields=True):
    """All breakpoints there are to be; `next` stops before the next step, too, whichever that is."""

    breakpoints: tuple[Point, ...] = ()
    next: bool = False


class LeaveBody(Struct, forbid_unknown_fields=True):
    """Which stop is left, else where it stands; of a step that is skipped, what it gives."""

    stop: int | None = None
    output: Any = None
    port: str = "out"


class EditBody(Struct, forbid_unknown_fields=True):
    """What the execution goes on with."""

    stop: int | None = None
    variables: dict[str, Any] = {}
    input: Any | UnsetType = UNSET
    """Of the step that it stands at."""


class EvaluateBody(Struct, forbid_unknown_fields=True):
    """What is asked, and when: at this moment, else at the newest."""

    expression: str
    moment: int | None = None
    turn: str | None = None
    """The turn of a loop or fan-out to look from; empty for the outermost scope; else the moment's own."""


NO_BREAKPOINTS = BreakpointsBody()
"""Stands for a body that is not there."""
NO_EXPRESSION = EvaluateBody("")
EXAMPLE = {"breakpoints": [{"node": "charge", "condition": "input.total > 100"}, {"errors": True}]}
How = Literal["continue", "over", "into", "out", "skip", "retry"]
Number = Annotated[int, Path(ge=1, le=2**53, description="The moment's, from 1.")]

routes = APIRouter(tags=["debugging"])


@routes.get(
    "/executions/{execution_id}/breakpoints",
    response_model=debugging_models.Breakpoints,
    responses=ANSWERS[404, 422, 500, 503],
)
async def show_breakpoints(*, daemon: Api, execution_id: ExecutionId) -> Response:
    """Return the breakpoints of an execution, and where it stands."""
    return answer(stop_view(execution_id, await daemon.history.existing(execution_id)))


@routes.put(
    "/executions/{execution_id}/breakpoints",
    response_model=debugging_models.Breakpoints,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(BreakpointsBody, "All breakpoints; none takes them away.", EXAMPLE, required=True),
)
async def set_breakpoints(
    *, request: Request, daemon: Api, execution_id: ExecutionId, actor: Actor = "api"
) -> Response:
    """Have the execution stop at these places and no others; the other executions go on."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, BreakpointsBody, NO_BREAKPOINTS)
    if body is NO_BREAKPOINTS:
        raise BadRequest("the body is missing; it lists all `breakpoints`")
    _refuse_ended(await daemon.history.existing(execution_id))
    command = SetBreakpoints(
        breakpoints=points_of(body.breakpoints), next=body.next, actor=actor, at=daemon.clock.now()
    )
    handled = await answered(daemon.engine.send(execution_id, command))
    return answer(stop_view(execution_id, handled.state))


@routes.post(
    "/executions/{execution_id}/debug/edit",
    response_model=models.Changed,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(EditBody, "Variables, and the input of the step.", {"variables": {"rate": 3}}),
)
async def edit(*, request: Request, daemon: Api, execution_id: ExecutionId, actor: Actor = "api") -> Response:
    """Change variables, or what the step is sent that the execution stands at. It stays there."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, EditBody, EditBody())
    command = EditAtBreakpoint(
        stop=await _stop(daemon, execution_id, body.stop),
        variables={name: _json(value) for name, value in body.variables.items()},
        input=None if body.input is UNSET else InputEdit(_json(body.input)),
        actor=actor,
        at=daemon.clock.now(),
    )
    return changed(execution_id, await answered(daemon.engine.send(execution_id, command)))


@routes.post(
    "/executions/{execution_id}/debug/{how}",
    response_model=models.Changed,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(LeaveBody, "Of a step that is skipped, what it gives.", {"output": 7}),
)
async def leave(
    *, request: Request, daemon: Api, execution_id: ExecutionId, how: How, actor: Actor = "api"
) -> Response:
    """Let the execution go on from the breakpoint that it stands at.

    `continue` to the next breakpoint; `over` to the next step that is no deeper in loops, `into` to any, `out` to one
    that is less deep; `skip` the step, which gives `output`; `retry` one that has failed.
    """
    body = await read_json(request, daemon.settings.http.max_body_bytes, LeaveBody, LeaveBody())
    command = LeaveBreakpoint(
        stop=await _stop(daemon, execution_id, body.stop),
        how=how,
        output=_json(body.output),
        port=body.port,
        actor=actor,
        at=daemon.clock.now(),
    )
    return changed(execution_id, await answered(daemon.engine.send(execution_id, command)))


@routes.get(
    "/executions/{execution_id}/moments",
    response_model=debugging_models.Moments,
    responses=ANSWERS[404, 409, 422, 500, 503],
)
async def list_moments(
    *,
    pages: MomentPages,
    execution_id: ExecutionId,
    from_: Annotated[int, Query(alias="from", ge=1, le=2**53, description="The first one's number.")] = 1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Return the places where a debugger can stop in what was recorded: steps that begin and fail, starts and ends."""
    found, count = await pages.page(execution_id, from_, limit)
    return answer(await asyncio.to_thread(moment_views, found, from_, count, all_node_types()))


@routes.get(
    "/executions/{execution_id}/moments/{number}",
    response_model=debugging_models.MomentSeen,
    responses=ANSWERS[404, 409, 422, 500, 503],
)
async def show_moment(*, pages: MomentPages, execution_id: ExecutionId, number: Number) -> Response:
    """Return what templates see at a moment, the step, what is around it, and all that the fold of the events knows."""
    found = await pages.one(execution_id, number)
    return answer(await asyncio.to_thread(moment_view, execution_id, found, all_node_types()))


@routes.post(
    "/executions/{execution_id}/evaluate",
    response_model=debugging_models.Evaluated,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(
        EvaluateBody, "An expression, with or without `{{ }}`.", {"expression": "input.total * 2"}, required=True
    ),
)
async def evaluate_at(*, request: Request, daemon: Api, pages: MomentPages, execution_id: ExecutionId) -> Response:
    """Return the value of an expression over what templates see at a moment, the newest if none is named."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, EvaluateBody, NO_EXPRESSION)
    if body is NO_EXPRESSION:
        raise BadRequest("the body is missing; it says what is asked: `expression`")
    found = await pages.one(execution_id, body.moment)
    try:
        value = await asyncio.to_thread(evaluate, body.expression, found.moment, found.outputs, body.turn)
    except EvaluationError as error:
        raise BadRequest(str(error)) from None
    return answer({"value": value, "moment": found.number, "version": found.moment.version})


@routes.get(
    "/executions/{execution_id}/definition",
    response_model=debugging_models.Definition,
    responses=ANSWERS[404, 409, 422, 500, 503],
)
async def definition(
    *,
    daemon: Api,
    execution_id: ExecutionId,
    hash_: Annotated[
        str | None, Query(alias="hash", pattern="^[0-9a-f]{64}$", description="One that it was pinned to before.")
    ] = None,
) -> Response:
    """Return the definition that the execution is pinned to, and its text: moments tell lines of that."""
    state = await daemon.history.existing(execution_id)
    if not isinstance(state, Running | Finished):
        raise Rejected("the execution has not started")
    plan = await daemon.plans.pinned(hash_ or state.definition)
    return answer(
        {
            "workflow": plan.definition.workflow,
            "hash": plan.hash,
            "definition": msgspec.Raw(plan.definition.document),
            "text": await asyncio.to_thread(lambda: recorded_lines(plan, all_node_types()).text),
        }
    )


def points_of(points: Sequence[Point]) -> tuple[Breakpoint, ...]:
    """Return the breakpoints of a body."""
    return tuple(Breakpoint(node=each.node, condition=each.condition, errors=each.errors) for each in points)


async def _stop(daemon: Daemon, execution_id: UUID, named: int | None) -> int:
    """Return which stop is meant. Raises Rejected for an execution that does not stand, when none is named."""
    state = await daemon.history.existing(execution_id)
    _refuse_ended(state)
    stop = state.stop if isinstance(state, Running) else None
    if named is not None:
        return named
    if stop is None:
        raise Rejected("the execution does not stand at a breakpoint")
    return stop.version


def _refuse_ended(state: State) -> None:
    if isinstance(state, Finished):
        raise ExecutionFinished(f"the execution has {state.status}; it stops nowhere any more")


def _json(value: Any) -> Json:
    try:
        return bounded_json(value)
    except ValueError as error:
        raise BadRequest(str(error)) from None
