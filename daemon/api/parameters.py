"""What routes take: the daemon, and parameters that several of them have."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Query, Request

from daemon.api.ports import Daemon
from daemon.debugger.paging import Pages

PRINTABLE = r"^[^\x00-\x1f\x7f]*$"


def _daemon(request: Request) -> Daemon:
    found: Daemon = request.app.state.daemon
    return found


def _pages(request: Request) -> Pages:
    found: Pages = request.app.state.pages
    return found


Api = Annotated[Daemon, Depends(_daemon)]
MomentPages = Annotated[Pages, Depends(_pages)]
Name = Annotated[str, Query(max_length=255, pattern=PRINTABLE)]
ExecutionId = Annotated[UUID, Path(description="The execution's id.")]
Actor = Annotated[
    str, Header(alias="Sagad-Actor", max_length=255, description="Who does this; recorded in the events.")
]
IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=255, description="Calls with the same key act once."),
]
Where = Annotated[
    str, Query(max_length=1024, description="A version, a time, `before:STEP`, `after:STEP` or `checkpoint:NAME`.")
]
Wait = Annotated[
    str | None,
    Query(
        pattern=r"^[0-9]{1,6}(ms|s|m|h)$",
        description="Answer when it has finished, or after this time: `10s`. At most `10m`.",
    ),
]
