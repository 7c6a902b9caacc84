"""Reading requests and writing answers: bounded bodies, JSON by msgspec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from fastapi.responses import Response

from daemon.api.errors import BadRequest
from daemon.runtime.views import encode, summary_view

if TYPE_CHECKING:
    from uuid import UUID

    from starlette.requests import Request

    from daemon.runtime.mailbox import Handled

T = TypeVar("T")


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return the body; stop reading, and raise `BadRequest` with 413, as soon as it is longer than allowed."""
    announced = request.headers.get("content-length", "")
    parts: list[bytes] = []
    size = int(announced) if announced.isdecimal() else 0
    if size <= max_bytes:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > max_bytes:
                break
            parts.append(part)
    if size > max_bytes:
        raise BadRequest(f"the body is larger than {max_bytes} bytes", 413)
    return b"".join(parts)


async def read_json(request: Request, max_bytes: int, shape: type[T], empty: T) -> T:
    """Return the body as this type; `empty` for no body. Raises `BadRequest`: 400 malformed, 422 another shape."""
    body = await read_body(request, max_bytes)
    if not body.strip():
        return empty
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise BadRequest(f"the body has another shape: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not JSON: {error}", 400) from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None


def changed(execution_id: UUID, handled: Handled) -> Response:
    """Return the execution as a command has left it, and whether the command has changed it."""
    return answer({**summary_view(execution_id, handled.state), "changed": bool(handled.events)})


def answer(view: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return the view as JSON."""
    return Response(encode(view), status, headers, media_type="application/json")
