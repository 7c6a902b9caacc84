"""Executions as files, out of the store and into it, and whether they are what was once written."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from daemon.api import archive_models as models
from daemon.api.bodies import answer
from daemon.api.describe import ANSWERS
from daemon.api.errors import BadRequest
from daemon.api.events_stream import NDJSON
from daemon.api.parameters import Api, ExecutionId  # noqa: TC001  fastapi resolves the annotations
from daemon.core.errors import Rejected
from daemon.runtime.archive_file import BadFile
from daemon.runtime.codec import codec_of
from daemon.runtime.exports import Export
from daemon.runtime.heads import head_keys, parse_head, signed
from daemon.runtime.imports import Conflicts, Import, Wish
from daemon.runtime.verification import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEAD = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:[1-9][0-9]{0,17}:[0-9a-f]{64}(:[0-9a-f]{64})?$"
FILE = {"schema": {"type": "string"}}
SENT = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}

routes = APIRouter(tags=["executions"])


@routes.get(
    "/executions/{execution_id}/export",
    response_class=Response,
    responses={200: {"content": {NDJSON: FILE}}, **ANSWERS[404, 422, 500, 503]},
)
async def export_execution(
    *,
    daemon: Api,
    execution_id: ExecutionId,
    with_children: Annotated[bool, Query(description="Also the executions that it has started as subflows.")] = False,
) -> Response:
    """Return the execution as one file: events, payloads, definitions, and what it was forked from.

    The last line is a trailer; a file without it is not whole.
    """
    export = Export(daemon.store, codec_of(daemon.settings), execution_id, with_children=with_children)
    lines = export.lines()
    first = [await anext(lines), await anext(lines)]  # errors of the beginning are answered with their own status
    headers = {"Content-Disposition": f'attachment; filename="{execution_id}.jsonl"', "Cache-Control": "no-store"}
    return StreamingResponse(_written(first, lines), media_type=NDJSON, headers=headers)


@routes.post(
    "/executions/import",
    response_model=models.Imported,
    responses=ANSWERS[409, 413, 422, 500, 503],
    openapi_extra={"requestBody": {"description": "A file, packed or not.", "required": True, "content": SENT}},
)
async def import_execution(
    *,
    request: Request,
    daemon: Api,
    on_conflict: Annotated[
        Conflicts, Query(description="What to do about an execution that is there already.")
    ] = "refuse",
    go_on: Annotated[bool, Query(description="Let executions go on here that have not ended.")] = False,
) -> Response:
    """Bring the executions of a file into the store: all of them, or nothing. The file is verified first."""
    wish = Wish(conflicts=on_conflict, go_on=go_on)
    with tempfile.TemporaryDirectory(prefix="sagad-import-") as folder:
        path = Path(folder) / "file"
        await _received(request, path, daemon.settings.archive.max_import_bytes)
        try:
            done = await Import(daemon.store, codec_of(daemon.settings), daemon.clock, path, wish).run()
        except BadFile as error:
            raise Rejected(f"line {error.line}: {error.message}") from error
    return answer(done)


@routes.get(
    "/executions/{execution_id}/verify", response_model=models.Verified, responses=ANSWERS[404, 409, 422, 500, 503]
)
async def verify(
    *,
    daemon: Api,
    execution_id: ExecutionId,
    expect: Annotated[str | None, Query(pattern=HEAD, description="A head of it that was kept.")] = None,
) -> Response:
    """Say whether the execution is what was once written, and where it is not."""
    keys = head_keys(daemon.settings.archive)
    head = None if expect is None else parse_head(expect, keys)
    if head is not None and head.execution_id != execution_id:
        raise Rejected(f"the head is of execution {head.execution_id}")
    proof = await Verifier(daemon.store, codec_of(daemon.settings)).verify(execution_id, head)
    view: dict[str, Any] = {
        "execution_id": execution_id,
        "sound": not proof.findings,
        "events": proof.events,
        "head": None if proof.head is None else signed(proof.head, keys),
        "deleted": proof.deleted,
        "findings": proof.findings,
    }
    return answer(view)


async def _received(request: Request, path: Path, max_bytes: int) -> None:
    size = 0
    with await asyncio.to_thread(path.open, "wb") as file:
        async for part in request.stream():
            size += len(part)
            if size > max_bytes:
                raise BadRequest(f"the file is larger than {max_bytes} bytes", 413)
            file.write(part)


async def _written(first: list[bytes], lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield b"".join(first)
    async for line in lines:
        yield line
