"""Dead letters: a query, and giving them in again, edited or not."""

from __future__ import annotations

import asyncio
from datetime import datetime  # noqa: TC003  fastapi resolves the annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from msgspec import UNSET, Meta, Struct, UnsetType

from daemon.api import dead_letter_models as models
from daemon.api.bodies import answer, read_json
from daemon.api.describe import ANSWERS, body_of
from daemon.api.errors import BadRequest
from daemon.api.executions import cursor_of, read_cursor, utc
from daemon.api.parameters import Actor, Api, Name  # noqa: TC001  fastapi resolves the annotations
from daemon.core.errors import Rejected
from daemon.runtime.dead_letters import Edit, Redriven, holds, letter_view, where_of
from eventstore.dead_letters import LetterFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.runtime.dead_letters import Letters
    from eventstore.dead_letters import Letter

MOST = 1000
"""Letters of one call."""
AT_ONCE = 50
"""So many are given in side by side."""
LetterId = Annotated[UUID, Path(description="The letter's id.")]
State = Literal["waiting", "redriven", "discarded"]


class Operation(Struct, forbid_unknown_fields=True, rename={"source": "from"}):
    """One of a JSON Patch (RFC 6902)."""

    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: str
    value: Any = UNSET
    source: str | UnsetType = UNSET


class RedriveBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which letters that wait: these, or those for which `where` is true; and what is edited."""

    ids: Annotated[list[UUID], Meta(max_length=MOST)] = []
    where: str | None = None
    """An expression; it reads id, trigger, source, code, reason, times, key, headers, and value (the body)."""
    trigger: str | None = None
    """With `where`: only of this trigger."""
    body: Any = UNSET
    """Another body, as JSON; a text is taken as it is. For one letter only."""
    patch: list[Operation] = []
    """A JSON Patch of the body that came."""
    dry_run: bool = False
    limit: Annotated[int, Meta(ge=1, le=MOST)] = MOST
    """With `where`: at most so many, the oldest of those looked at last."""


NO_BODY = RedriveBody()
"""Stands for a body that is not there."""
EXAMPLE = {"where": "code == 'invalid' and value.total == 'many'", "patch": [{"op": "remove", "path": "/note"}]}

routes = APIRouter(tags=["dead letters"])


@routes.get("/dead-letters", response_model=models.LetterPage, responses=ANSWERS[422, 500, 503])
async def list_letters(
    *,
    daemon: Api,
    trigger: Name | None = None,
    state: State | None = None,
    since: Annotated[datetime | None, Query(description="Set aside last at or after.")] = None,
    reason: Annotated[str | None, Query(max_length=200, description="Part of the reason, or of its code.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` of the page before.")] = None,
) -> Response:
    """List messages that could not be processed, those set aside last first."""
    which = LetterFilter(
        trigger=trigger,
        state=state,
        since=utc(since),
        reason=reason,
        limit=limit + 1,
        after=read_cursor(cursor) if cursor else None,
    )
    found = await daemon.letters.store.find(which)
    shown = found[:limit]
    following = cursor_of(shown[-1].last_at, shown[-1].id) if len(found) > limit else None
    return answer({"letters": [letter_view(each) for each in shown], "next": following})


@routes.get("/dead-letters/{letter_id}", response_model=models.Letter, responses=ANSWERS[404, 422, 500, 503])
async def show(*, daemon: Api, letter_id: LetterId) -> Response:
    """Return a message that could not be processed: what it holds, why, when, and from where it came."""
    return answer(letter_view(await daemon.letters.get(letter_id)))


@routes.post(
    "/dead-letters/redrive",
    response_model=models.Redrive,
    responses=ANSWERS[400, 404, 413, 422, 500, 503],
    openapi_extra=body_of(RedriveBody, "Which ones, and what is edited.", EXAMPLE, required=True),
)
async def redrive(*, request: Request, daemon: Api, actor: Actor = "api") -> Response:
    """Give messages in again, as fresh ones. What is given in again twice starts one execution.

    What is refused again goes on waiting; it is told why.
    """
    body = await read_json(request, daemon.settings.http.max_body_bytes, RedriveBody, NO_BODY)
    if bool(body.ids) == (body.where is not None):
        raise BadRequest("the body says which: `ids`, or `where`")
    if body.body is not UNSET and (len(body.ids) != 1 or body.patch):
        raise BadRequest("another `body` is for one of `ids`, without a `patch`")
    ids = body.ids if body.where is None else [each.id for each in await _meant(daemon.letters, body)]
    edit = _edit(body)

    async def one(letter_id: UUID) -> Redriven:
        try:
            return await daemon.letters.redrive(letter_id, by=actor, edit=edit, dry_run=body.dry_run)
        except Rejected as error:
            return Redriven(letter_id, "refused", reason=str(error))

    told: list[Redriven] = []
    for start in range(0, len(ids), AT_ONCE):
        told += await asyncio.gather(*map(one, ids[start : start + AT_ONCE]))
    return answer({"letters": [each._asdict() for each in told]})


@routes.post("/dead-letters/{letter_id}/discard", response_model=models.Letter, responses=ANSWERS[404, 409, 422, 503])
async def discard(*, daemon: Api, letter_id: LetterId, actor: Actor = "api") -> Response:
    """Let a message wait no longer. It stays to be looked at."""
    return answer(letter_view(await daemon.letters.discard(letter_id, by=actor)))


async def _meant(letters: Letters, body: RedriveBody) -> Sequence[Letter]:
    """Return the waiting letters for which `where` is true, oldest first."""
    where, found, after = where_of(body.where or ""), [], None
    while True:
        which = LetterFilter(trigger=body.trigger, state="waiting", limit=MOST, after=after)
        page = await letters.store.find(which)
        found += [each for each in page if holds(where, each)]
        if len(page) < MOST:
            return found[::-1][: body.limit]
        after = page[-1].last_at, page[-1].id


def _edit(body: RedriveBody) -> Edit | None:
    if body.patch:
        return Edit(patch=[msgspec.to_builtins(each) for each in body.patch])
    if body.body is UNSET:
        return None
    return Edit(body=body.body.encode() if isinstance(body.body, str) else msgspec.json.encode(body.body))
