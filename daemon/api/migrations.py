"""Migrations: executions under way go on under another definition of their workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from msgspec import Struct

from daemon.api import branch_models as models
from daemon.api.bodies import answer, read_json
from daemon.api.describe import ANSWERS, body_of
from daemon.api.parameters import Actor, Api, ExecutionId  # noqa: TC001  fastapi resolves the annotations
from daemon.api.waiting import answered
from daemon.runtime.migrations import Migration, MigrationWish

routes = APIRouter(tags=["executions"])


class MigrationBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Where to, and how much may be another there."""

    version: str = "current"
    """Hash of the definition, or how it begins; `current` for what starts executions now."""
    names: Mapping[str, str] = {}
    """Old id -> new id of the nodes that have another."""
    accept: Literal["none", "minor", "major"] = "minor"
    """The worst that may be another until now."""
    dry_run: bool = False
    """Only tell what would be."""
    reason: str = ""


@routes.post(
    "/executions/{execution_id}/migrate",
    response_model=models.Migrated,
    responses=ANSWERS[400, 404, 409, 413, 422, 500, 503],
    openapi_extra=body_of(
        MigrationBody, "Where to, and how much may be another there.", {"names": {"charge": "pay"}, "accept": "minor"}
    ),
)
async def migrate(*, request: Request, daemon: Api, execution_id: ExecutionId, actor: Actor = "api") -> Response:
    """Let the execution go on under another definition. What was done stays done; what is open goes on."""
    body = await read_json(request, daemon.settings.http.max_body_bytes, MigrationBody, MigrationBody())
    wish = MigrationWish(version=body.version, names=body.names, accept=body.accept, reason=body.reason, actor=actor)
    work = daemon.migrations.look if body.dry_run else daemon.migrations.migrate
    return answer(_view(await answered(work(execution_id, wish)), migrated=not body.dry_run))


def _view(found: Migration, *, migrated: bool) -> dict[str, Any]:
    told = found.told
    return {
        "execution_id": told.execution_id,
        "workflow": told.workflow,
        "source": found.source,
        "target": found.target,
        "migrated": migrated and found.source != found.target,
        "severity": told.severity,
        "version": told.version,
        "step": told.step,
        "reason": told.reason,
        "refused": found.refused,
    }
