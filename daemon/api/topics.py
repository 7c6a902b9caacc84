"""The in-process broker from outside: the only way for other programs to publish to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from daemon.api import operating_models
from daemon.api.bodies import answer, read_body
from daemon.api.describe import ANSWERS, body_of
from daemon.api.parameters import PRINTABLE, Api, IdempotencyKey
from triggers.publishing import Outbound

if TYPE_CHECKING:
    from collections.abc import Mapping

routes = APIRouter(tags=["topics"])

PASSED_ON = ("traceparent", "tracestate")
PREFIX = "sagad-header-"
"""`Sagad-Header-X: 1` becomes the message's header `x: 1`."""


@routes.post(
    "/topics/{topic}/messages",
    status_code=202,
    response_model=operating_models.Published,
    responses=ANSWERS[401, 413, 422],
    openapi_extra=body_of(Any, "The message, as its content type says.", {"order_id": "1"}),
)
async def publish(
    *,
    request: Request,
    daemon: Api,
    topic: Annotated[str, Path(min_length=1, max_length=255, pattern=PRINTABLE)],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Publish a message to a topic of the in-process broker, which forgets it when the daemon stops."""
    body = await read_body(request, daemon.settings.http.max_body_bytes)
    message = Outbound(
        destination=topic,
        body=body,
        key=request.headers.get("sagad-key"),
        headers=_headers(request.headers),
        content_type=request.headers.get("content-type"),
        message_id=idempotency_key,
    )
    return answer({"published": await daemon.brokers.memory.publish(message)}, 202)


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    passed = {name: value for name, value in given.items() if name in PASSED_ON or name.startswith(("ce-", PREFIX))}
    return {name.removeprefix(PREFIX): value for name, value in passed.items()}
