"""Replays: an execution shown as it went, as Server-Sent Events at a speed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from daemon.api.describe import ANSWERS
from daemon.api.events_stream import SSE
from daemon.api.parameters import Api, ExecutionId  # noqa: TC001  FastAPI resolves the annotations
from daemon.api.waiting import POLL_S
from daemon.debugger.playing import play
from daemon.debugger.recording import recorded_events
from daemon.debugger.viewing import played_view
from daemon.runtime.views import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    from daemon.api.ports import Daemon
    from daemon.core.events import Event

routes = APIRouter(tags=["debugging"])


@routes.get(
    "/executions/{execution_id}/replay",
    response_class=StreamingResponse,
    responses={
        200: {"content": {SSE: {"schema": {"type": "string"}}}, "description": "Its events, one after the other."},
        **ANSWERS[404, 409, 422, 500, 503],
    },
)
async def replay(
    *,
    daemon: Api,
    execution_id: ExecutionId,
    speed: Annotated[
        float | None,
        Query(gt=0, le=1e9, description="How many times as fast as it went; as fast as can be if not given."),
    ] = None,
    longest_pause: Annotated[float | None, Query(ge=0, le=1e9, description="In seconds: no pause is longer.")] = None,
) -> StreamingResponse:
    """Stream the events of an execution as it went, of a fork those of its source before. Ends with the last one."""
    recorded = await recorded_events(daemon.history, execution_id)
    longest = None if longest_pause is None else timedelta(seconds=longest_pause)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_written(daemon, recorded, speed, longest), media_type=SSE, headers=headers)


class _WhileItRuns:
    """A clock whose sleep ends when the daemon stops."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def now(self) -> datetime:
        return self._daemon.clock.now()

    async def sleep(self, seconds: float) -> None:
        while seconds > 0 and not self._daemon.stopping:
            await self._daemon.clock.sleep(min(seconds, POLL_S))
            seconds -= POLL_S


async def _written(
    daemon: Daemon, recorded: Sequence[tuple[int, Event]], speed: float | None, longest: timedelta | None
) -> AsyncIterator[bytes]:
    number = 0
    async for each in play(recorded, _WhileItRuns(daemon), speed=speed, longest=longest):
        if daemon.stopping:
            return
        number += 1
        data = encode(played_view(each)).replace(b"\n", b"\ndata: ")
        yield b"id: %d\nevent: %s\ndata: %s\n\n" % (number, each.event.NAME.encode(), data)
