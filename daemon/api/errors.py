"""Errors as answers: one table from the error's class to the HTTP status, in the form of RFC 9457."""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from daemon.core.errors import (
    ExecutionDeleted,
    ExecutionFinished,
    ExecutionNotFound,
    InvalidInput,
    Misconfigured,
    NotAllowed,
    Rejected,
    StorageFull,
    UnknownName,
    UnknownTrigger,
    UnknownWorkflow,
)
from daemon.core.subjects import UnknownSubject
from daemon.runtime.dead_letters import UnknownLetter
from eventstore.errors import Conflict, Fenced, Unavailable, Undecodable, Unusable
from triggers.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request

PROBLEM = "application/problem+json"

STATUSES: Mapping[type[Exception], int] = {
    ExecutionNotFound: 404,
    UnknownSubject: 404,
    ExecutionDeleted: 410,
    UnknownName: 404,
    UnknownWorkflow: 404,
    UnknownTrigger: 404,
    UnknownLetter: 404,
    ExecutionFinished: 409,
    InvalidInput: 422,
    NotAllowed: 403,
    StorageFull: 507,
    Rejected: 409,
    Misconfigured: 422,
    Conflict: 409,
    Unavailable: 503,
    Fenced: 503,
    Undecodable: 500,
    Unusable: 500,
    ClientDisconnect: 400,
}
"""The nearest class in the error's own order of inheritance counts."""

RETRY_AFTER_S = 1.0

_logger = structlog.get_logger(__name__)


class BadRequest(Exception):
    """The request itself is wrong: 400 for what is not JSON, 413 for too much, 422 for JSON of another shape."""

    def __init__(self, detail: str, status: int = 422, *, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(detail)
        self.detail, self.status, self.errors = detail, status, errors


class Busy(Exception):
    """Not now; the sender is asked to come again after `after_s`."""

    def __init__(self, detail: str, after_s: float = RETRY_AFTER_S) -> None:
        super().__init__(detail)
        self.detail, self.after_s = detail, after_s


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """Return an answer in the form of RFC 9457; `code` is a stable word for programs."""
    body = {
        "type": f"urn:sagad:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }
    return Response(msgspec.json.encode(body), status, dict(headers or {}), media_type=PROBLEM)


def busy(detail: str, after_s: float = RETRY_AFTER_S) -> Response:
    """Return a 503 that says when to come again."""
    return problem(503, "unavailable", detail, headers={"Retry-After": str(max(1, math.ceil(after_s)))})


def install(app: FastAPI) -> None:
    """Answer every error in the form of RFC 9457."""
    for known in STATUSES:
        app.add_exception_handler(known, _known)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(BadRequest, _bad_request)
    app.add_exception_handler(Busy, _busy)
    app.add_exception_handler(RequestValidationError, _invalid_parameters)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _surprise)


def _code(error: Exception) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(error).__name__).lower()


async def _known(_request: Request, error: Exception) -> Response:
    status = next(STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)
    if isinstance(error, Unavailable | Fenced):
        return busy(str(error))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _logger.error("request_failed", error=str(error), kind=type(error).__name__)
    return problem(status, _code(error), str(error))


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101  registered for this class
    codes = {401: "bad-signature", 413: "too-large"}
    return problem(error.status, codes.get(error.status, "refused"), error.reason)


async def _bad_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, BadRequest)  # noqa: S101  registered for this class
    codes = {400: "malformed", 413: "too-large", 422: "invalid"}
    return problem(error.status, codes[error.status], error.detail, errors=error.errors or [])


async def _busy(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Busy)  # noqa: S101  registered for this class
    return busy(error.detail, error.after_s)


async def _invalid_parameters(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for this class
    errors = [{"in": one["loc"][0], "name": one["loc"][-1], "message": one["msg"]} for one in error.errors()]
    detail = "; ".join(f"{one['in']} {one['name']}: {one['message']}" for one in errors)
    return problem(422, "invalid", detail, errors=errors)


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for this class
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return problem(error.status_code, code, str(error.detail), headers=error.headers)


async def _surprise(_request: Request, error: Exception) -> Response:
    _logger.error("request_crashed", exc_info=error)
    return problem(500, "internal", "a fault of sagad; the log has it")
