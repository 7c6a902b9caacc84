"""Subjects: whose data executions hold, and forgetting one of them. A subject is never part of a URL."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request, Response
from msgspec import Meta, Struct

from daemon.api import subject_models
from daemon.api.bodies import answer, read_json
from daemon.api.describe import ANSWERS, body_of
from daemon.api.errors import BadRequest
from daemon.api.parameters import Actor, Api  # noqa: TC001  FastAPI resolves the annotations
from daemon.core.subjects import LONGEST_SUBJECT
from daemon.runtime.forgetting import Forgetting

Subject = Annotated[str, Meta(min_length=1, max_length=LONGEST_SUBJECT)]


class LookBody(Struct, forbid_unknown_fields=True):
    """Whose."""

    subject: Subject


class ForgetBody(Struct, forbid_unknown_fields=True):
    """Whom, and why."""

    subject: Subject
    reason: Annotated[str, Meta(max_length=1000)] = ""
    cancel: bool = False
    """Cancel executions of the subject that have not ended; ask again when they have."""


T = TypeVar("T", LookBody, ForgetBody)
EXAMPLE = {"subject": "customer-1042"}

routes = APIRouter(tags=["subjects"])


@routes.get("/subjects", response_model=subject_models.Subjects, responses=ANSWERS[409, 422, 503])
async def list_subjects(
    *,
    daemon: Api,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str, Query(max_length=32, description="`next` of the page before.")] = "",
) -> Response:
    """List the keys of subjects, those that were destroyed too: of these it is known who has done it, and when."""
    known = await _forgetting(daemon).listed(after=after, limit=limit + 1)
    return answer({"subjects": known[:limit], "next": known[limit - 1].key if len(known) > limit else None})


@routes.post(
    "/subjects/look",
    response_model=subject_models.Held,
    responses=ANSWERS[400, 404, 409, 413, 422, 503],
    openapi_extra=body_of(LookBody, "Whose.", EXAMPLE, required=True),
)
async def look(*, request: Request, daemon: Api) -> Response:
    """Return what the store holds of a subject: what forgetting it would make unreadable."""
    body = _named(await read_json(request, daemon.settings.http.max_body_bytes, LookBody, LookBody("")))
    return answer(await _forgetting(daemon).look(body.subject))


@routes.post(
    "/subjects/forget",
    response_model=subject_models.Held,
    responses=ANSWERS[400, 404, 409, 413, 422, 503],
    openapi_extra=body_of(ForgetBody, "Whom, and why.", {**EXAMPLE, "reason": "art. 17"}, required=True),
)
async def forget(*, request: Request, daemon: Api, actor: Actor = "api") -> Response:
    """Destroy the keys of a subject: nobody can read its values any more. This cannot be undone.

    409 while an execution of the subject has not ended. Returns what was held; one that was forgotten stays so.
    """
    body = _named(await read_json(request, daemon.settings.http.max_body_bytes, ForgetBody, ForgetBody("")))
    forgetting = _forgetting(daemon)
    if body.cancel:
        await forgetting.cancel_open(body.subject, actor=actor)
    return answer(await forgetting.forget(body.subject, reason=body.reason, by=actor))


@routes.post("/subjects/rewrap", response_model=subject_models.Rewrapped, responses=ANSWERS[409, 503])
async def rewrap(daemon: Api) -> Response:
    """Have the first of the `keys` in `[encryption]` wrap all keys of subjects, so that the others can be taken out."""
    return answer({"rewrapped": await _forgetting(daemon).rewrap()})


def _named(body: T) -> T:
    if not body.subject:
        raise BadRequest("the body is missing: it names the subject")
    return body


def _forgetting(daemon: Api) -> Forgetting:
    return Forgetting(daemon.store, daemon.engine, daemon.clock)
