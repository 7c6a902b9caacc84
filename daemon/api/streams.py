"""The stream of one step: its chunks, live and after the end, as Server-Sent Events or NDJSON.

A reader loses nothing and gets nothing twice: the id of each event is its place, and who comes back names the last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import structlog
from fastapi import APIRouter, Header, HTTPException, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from daemon.api.describe import ANSWERS
from daemon.api.events_stream import NDJSON, SSE
from daemon.api.parameters import PRINTABLE, Api, ExecutionId
from daemon.core.address import node_of
from daemon.runtime.plans import MissingDefinition
from daemon.runtime.stream_readers import PLACE, StreamReader, read_place
from daemon.runtime.views import encode
from eventstore.errors import StoreError
from eventstore.streams import StreamId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from daemon.api.ports import Daemon
    from daemon.runtime.stream_readers import Entry

_logger = structlog.get_logger(__name__)

routes = APIRouter(tags=["executions"])


@routes.get(
    "/executions/{execution_id}/steps/{address}/stream",
    response_class=Response,
    responses={
        200: {"content": {SSE: {"schema": {"type": "string"}}, NDJSON: {"schema": {"type": "string"}}}},
        204: {"description": "The reader has all of it."},
        **ANSWERS[404, 422, 500, 503],
    },
)
async def stream(
    *,
    request: Request,
    daemon: Api,
    execution_id: ExecutionId,
    address: Annotated[str, Path(max_length=1000, pattern=PRINTABLE, description="The step's address.")],
    after: Annotated[
        str, Query(pattern=PLACE, description="Only chunks after this one: `17`, or `2-17` with its run.")
    ] = "0",
    last_event_id: Annotated[str, Header(pattern=PLACE, description="The same; it goes before `after`.")] = "0",
) -> Response:
    """Return the chunks as they come, then the `end` with the step's output; NDJSON when it is asked for, else SSE.

    A `restart` says that another attempt has begun, and that the chunks before it are void.
    """
    place = read_place(after if last_event_id == "0" else last_event_id)
    if place is None:
        return Response(status_code=204)
    reader = StreamReader(
        StreamId(execution_id, address),
        place,
        hub=daemon.streams,
        history=daemon.history,
        changes=daemon.changes,
        local=lambda: daemon.engine.holds(execution_id),
    )
    await reader.step.look()
    await _check(daemon, reader.step.definition, address)
    pages = reader.pages(stopping=lambda: daemon.stopping)
    first = await anext(pages)  # errors of the first read are still answered with their own status
    write, kind = (ndjson, NDJSON) if NDJSON in request.headers.get("accept", "") else (sse, SSE)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_written(first, pages, write), media_type=kind, headers=headers)


def sse(page: Sequence[Entry]) -> bytes:
    """Return entries as Server-Sent Events; a comment when there are none."""
    return b"".join(_sse_event(entry) for entry in page) or b": waiting\n\n"


def ndjson(page: Sequence[Entry]) -> bytes:
    """Return entries as lines of JSON; an empty line when there are none."""
    lines = (encode({"type": entry.kind, "id": entry.id, "data": entry.data}) for entry in page)
    return b"".join(line.replace(b"\n", b" ") + b"\n" for line in lines) or b"\n"


def _sse_event(entry: Entry) -> bytes:
    data = encode(entry.data).replace(b"\n", b"\ndata: ")
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (entry.id.encode(), entry.kind.encode(), data)


async def _check(daemon: Daemon, definition: str, address: str) -> None:
    """Answer 404 for an address that no step of the workflow can have; one that is not known yet is waited for."""
    if not definition:
        return
    try:
        plan = await daemon.plans.pinned(definition)
    except MissingDefinition:
        return
    if node_of(address) not in plan.nodes:
        raise HTTPException(404, f"the workflow has no node for a step at {address!r}")


async def _written(
    first: Sequence[Entry], pages: AsyncIterator[Sequence[Entry]], write: Callable[[Sequence[Entry]], bytes]
) -> AsyncIterator[bytes]:
    yield write(first)
    try:
        async for page in pages:
            yield write(page)
    except StoreError as error:
        _logger.warning("stream_ended", error=str(error))  # the reader comes back with the last id it has
