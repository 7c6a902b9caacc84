"""The events of one execution: as a list, or live as Server-Sent Events or NDJSON.

A stream loses nothing: each event's id is its version, and a reader that comes back names the last one it has seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import structlog
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from daemon.api import models
from daemon.api.bodies import answer
from daemon.api.describe import ANSWERS
from daemon.api.errors import BadRequest
from daemon.api.parameters import Api, ExecutionId  # noqa: TC001  FastAPI resolves the annotations
from daemon.api.waiting import ENDINGS, follow
from daemon.runtime.views import encode, event_view
from eventstore.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from uuid import UUID

    from daemon.api.ports import Daemon
    from eventstore.log import Recorded

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
LONGEST_ID = 15
"""Digits of a version; more is none of ours."""

_logger = structlog.get_logger(__name__)


routes = APIRouter(tags=["executions"])


@routes.get(
    "/executions/{execution_id}/events",
    response_model=models.Events,
    responses={
        200: {"content": {SSE: {"schema": {"type": "string"}}, NDJSON: {"schema": {"type": "string"}}}},
        204: {"description": "There will be no more events."},
        **ANSWERS[404, 422, 500, 503],
    },
)
async def events(
    *,
    request: Request,
    daemon: Api,
    execution_id: ExecutionId,
    after: Annotated[int, Query(ge=0, le=2**53, description="Only events after this version.")] = 0,
    limit: Annotated[int, Query(ge=1, le=100_000, description="Not for streams.")] = 1000,
    last_event_id: Annotated[str | None, Header(description="Only events after this version.")] = None,
) -> Response:
    """Return events; with `Accept: text/event-stream` or `application/x-ndjson`, live until the last."""
    accepted = request.headers.get("accept", "")
    if SSE in accepted or NDJSON in accepted:
        return await _stream(daemon, execution_id, max(after, _version(last_event_id)), sse=SSE in accepted)
    there = await daemon.history.events(execution_id, after_version=after)
    page = there[:limit]
    row = await daemon.store.index.execution(execution_id)
    if row is None:
        raise await daemon.history.missing(execution_id)
    ended = bool(there) and len(page) == len(there) and isinstance(there[-1].event, ENDINGS)
    return answer(
        {
            "events": [event_view(recorded) for recorded in page],
            "finished": ended or (not page and row.finished_at is not None),
        }
    )


def sse(page: Sequence[Recorded]) -> bytes:
    """Return events as Server-Sent Events; a comment when there are none."""
    return b"".join(map(_sse_event, page)) or b": waiting\n\n"


def ndjson(page: Sequence[Recorded]) -> bytes:
    """Return events as lines of JSON; an empty line when there are none."""
    return b"".join(encode(event_view(recorded)).replace(b"\n", b" ") + b"\n" for recorded in page) or b"\n"


async def _stream(daemon: Daemon, execution_id: UUID, after: int, *, sse: bool) -> Response:
    pages = follow(daemon, execution_id, after)
    first = await anext(pages, None)  # errors of the first read are still answered with their own status
    if first is None:
        return Response(status_code=204)
    write = _WRITERS[sse]
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_written(first, pages, write), media_type=SSE if sse else NDJSON, headers=headers)


async def _written(
    first: Sequence[Recorded], pages: AsyncIterator[Sequence[Recorded]], write: Callable[[Sequence[Recorded]], bytes]
) -> AsyncIterator[bytes]:
    yield write(first)
    try:
        async for page in pages:
            yield write(page)
    except StoreError as error:
        _logger.warning("stream_ended", error=str(error))  # the reader comes back with the last id it has


def _sse_event(recorded: Recorded) -> bytes:
    data = encode(event_view(recorded)).replace(b"\n", b"\ndata: ")
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (recorded.version, recorded.event.NAME.encode(), data)


def _version(last_event_id: str | None) -> int:
    if not last_event_id:
        return 0
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= LONGEST_ID):
        raise BadRequest("Last-Event-ID is not the id of one of our events")
    return int(last_event_id)


_WRITERS = {True: sse, False: ndjson}
