"""The result cache: what is in it, and clearing it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from msgspec import UNSET, Meta, Struct, UnsetType

from daemon.api import operating_models
from daemon.api.bodies import answer, read_json
from daemon.api.describe import ANSWERS, body_of
from daemon.api.parameters import Api, Name  # noqa: TC001  FastAPI resolves the annotations
from daemon.core.caching import hashed
from eventstore.results import Which

HASH = "^[0-9a-f]{64}$"


class ClearBody(Struct, forbid_unknown_fields=True):
    """Which results: those that all that is given here holds for; with nothing given, all."""

    name: str | None = None
    """Of the cache: `workflow/node`, or the one that nodes share."""
    workflow: str | None = None
    """Whose step has made it."""
    key: Any | UnsetType = UNSET
    """What the key's expression gives."""
    hash: Annotated[str, Meta(pattern=HASH)] | None = None
    """The key's hash, as lists and events have it."""


routes = APIRouter(tags=["cache"])


@routes.get("/cache", response_model=operating_models.CachePage, responses=ANSWERS[422, 503])
async def list_results(
    *,
    daemon: Api,
    name: Name | None = None,
    workflow: Name | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=1000, description="`next` of the page before.")] = None,
) -> Response:
    """List the results that can be used now, by cache and key; the values themselves are in their executions."""
    cache, _, key = (cursor or "").rpartition(" ")
    which = Which(cache=name, workflow=workflow)
    kept = await daemon.cache.backend.kept(
        which, now=daemon.clock.now(), limit=limit + 1, after=(cache, key) if cursor else None
    )
    shown = kept[:limit]
    following = f"{shown[-1].cache} {shown[-1].key}" if len(kept) > limit else None
    rows = [
        {
            "name": each.cache,
            "hash": each.key,
            "workflow": each.workflow,
            "execution_id": each.execution_id,
            "address": each.address,
            "stored_at": each.stored_at,
            "expires_at": each.expires_at,
            "bytes": each.bytes,
        }
        for each in shown
    ]
    return answer({"results": rows, "next": following})


@routes.post(
    "/cache/clear",
    response_model=operating_models.Cleared,
    responses=ANSWERS[400, 413, 422, 503],
    openapi_extra=body_of(ClearBody, "Which results.", {"name": "quotes/fare", "key": ["VIE", "GRZ"]}),
)
async def clear(*, request: Request, daemon: Api) -> Response:
    """Drop results. What is being made now is not kept either; steps that have a result keep it."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, ClearBody, ClearBody())
    key = hashed(body.key) if body.key is not UNSET else body.hash
    if body.hash not in {None, key}:
        return answer({"cleared": 0})
    which = Which(cache=body.name, key=key, workflow=body.workflow)
    return answer({"cleared": await daemon.cache.backend.clear(which)})
