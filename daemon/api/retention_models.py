"""The shapes of answers about retention and its archive, for the OpenAPI document; see `models`."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  pydantic resolves the annotations at run time
from typing import Literal
from uuid import UUID  # noqa: TC003  pydantic resolves the annotations at run time

from daemon.api.models import Model, Pin, Row


class Rule(Model):
    """A rule, and how many executions it would let go now."""

    workflow: str
    status: list[str]
    keep: str
    archive: bool
    said_by: Literal["settings", "definition"]
    going: int


class Kept(Model):
    """Why executions stay that a rule would let go, and how many."""

    why: str
    executions: int


class Staying(Row):
    """One that stays."""

    why: str


class RetentionPlan(Model):
    """What would go now. `more`: there are others that were not looked at."""

    archive: str | None
    rules: list[Rule]
    going: int
    kept: list[Kept]
    staying: list[Staying]
    open: int
    ended: int
    more: bool


class Expired(Model):
    """What was deleted, and how many of those are in the archive."""

    deleted: int
    archived: int
    kept: list[Kept]


class DeletedExecution(Model):
    """What remains of an execution that was deleted. `head` is the hash of its last event."""

    execution_id: UUID
    workflow: str
    definition: str
    status: str
    trigger: str | None
    dedupe_key: str | None
    started_at: datetime
    finished_at: datetime
    events: int
    head: str
    deleted_at: datetime
    archived_as: str | None


class DeletedPage(Model):
    """Executions that were deleted, latest first. `next` is the cursor of the page that follows, null on the last."""

    executions: list[DeletedExecution]
    next: str | None


class Pinned(Model):
    """An execution's pin, null for none, and whether this call has changed it."""

    execution_id: UUID
    pin: Pin | None
    changed: bool


class Stored(Model):
    """What a workflow's payloads take. `outside` is how many were moved out of the database.

    `nearly_used`: at least 80 % of the quota.
    """

    workflow: str
    payloads: int
    bytes: int
    outside: int
    quota: int | None
    policy: str | None
    nearly_used: bool


class StoragePage(Model):
    """What the payloads of each workflow take, of those that have any."""

    workflows: list[Stored]
