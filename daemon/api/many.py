"""Pausing and resuming many executions at once: a page of them in each call, so that no call takes for ever."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter, Request, Response
from msgspec import Struct

from daemon.api import operating_models
from daemon.api.bodies import answer, read_json
from daemon.api.describe import ANSWERS, body_of
from daemon.api.executions import cursor_of, read_cursor, utc
from daemon.api.parameters import Actor, Api  # noqa: TC001  fastapi resolves the annotations
from daemon.api.waiting import answered
from daemon.core.commands import PauseExecution, ResumeExecution
from daemon.core.errors import Rejected
from eventstore.index import ExecutionFilter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from daemon.api.ports import Daemon
    from daemon.core.commands import Command

AT_ONCE = 50
"""So many executions are worked on side by side."""


class Filter(Struct, forbid_unknown_fields=True):
    """Which executions; what is absent does not restrict."""

    workflow: str | None = None
    status: Literal["running", "paused", "compensating", "pending"] | None = None
    """`running` if not given; for a resume, `paused`."""
    trigger: str | None = None
    since: datetime | None = None
    """Started at or after."""
    until: datetime | None = None
    """Started before."""


class ManyBody(Struct, forbid_unknown_fields=True):
    """Which executions, and why."""

    filter: Filter
    reason: str = ""
    limit: int = 500
    """How many in this call, 1000 at most; `next` of the answer is the `cursor` of the next call."""
    cursor: str | None = None


NOBODY = ManyBody(Filter())
"""Stands for a body that is not there: all of them."""
_MOST = 1000
_EXAMPLE = {"filter": {"workflow": "orders"}, "reason": "the bank is down"}

routes = APIRouter(tags=["executions"])


@routes.post(
    "/executions/pause",
    response_model=operating_models.Many,
    responses=ANSWERS[400, 413, 422, 503],
    openapi_extra=body_of(ManyBody, "Which ones, and why.", _EXAMPLE),
)
async def pause_many(*, request: Request, daemon: Api, actor: Actor = "api") -> Response:
    """Pause the executions that match, newest first, a page in each call."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, ManyBody, NOBODY)
    command = PauseExecution(reason=body.reason, actor=actor, at=daemon.clock.now())
    return await _each(daemon, body, "running", command)


@routes.post(
    "/executions/resume",
    response_model=operating_models.Many,
    responses=ANSWERS[400, 413, 422, 503],
    openapi_extra=body_of(ManyBody, "Which ones.", {"filter": {"workflow": "orders"}}),
)
async def resume_many(*, request: Request, daemon: Api, actor: Actor = "api") -> Response:
    """End the pause of the executions that match, newest first, a page in each call."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, ManyBody, NOBODY)
    return await _each(daemon, body, "paused", ResumeExecution(actor=actor, at=daemon.clock.now()))


async def _each(daemon: Daemon, body: ManyBody, status: str, command: Command) -> Response:
    limit, asked = max(1, min(body.limit, _MOST)), body.filter
    which = ExecutionFilter(
        workflow=asked.workflow,
        status=asked.status or status,
        trigger=asked.trigger,
        since=utc(asked.since),
        until=utc(asked.until),
        limit=limit + 1,
        after=read_cursor(body.cursor) if body.cursor else None,
    )
    rows = await daemon.store.index.executions(which)
    more, rows = len(rows) > limit, rows[:limit]
    changed = refused = 0
    for start in range(0, len(rows), AT_ONCE):
        ids = [row.execution_id for row in rows[start : start + AT_ONCE]]
        outcomes = await _send(daemon, ids, command)
        changed += outcomes.count(True)
        refused += outcomes.count(None)
    following = cursor_of(rows[-1].started_at, rows[-1].execution_id) if more else None
    return answer({"matched": len(rows), "changed": changed, "refused": refused, "next": following})


async def _send(daemon: Daemon, ids: Sequence[UUID], command: Command) -> list[bool | None]:
    """Return for each whether the command has changed it; None for one that it is not allowed for now."""

    async def one(execution_id: UUID) -> bool | None:
        try:
            return bool((await answered(daemon.engine.send(execution_id, command))).events)
        except Rejected:
            return None

    return await asyncio.gather(*map(one, ids))
