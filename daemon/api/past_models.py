"""The shapes of answers about the past: checkpoints, snapshots, differences, the state of many at a time."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  pydantic resolves the annotations at run time
from typing import Any, Literal
from uuid import UUID  # noqa: TC003  pydantic resolves the annotations at run time

from pydantic import BaseModel, ConfigDict, Field

from daemon.api.models import Model, Status, Step, Summary


class Checkpoint(Model):
    """A version with a name. `stored` says whether there is a snapshot of it."""

    name: str
    version: int
    stored: bool


class Checkpoints(Model):
    """Those of an execution, oldest first."""

    execution_id: UUID
    checkpoints: list[Checkpoint]


class Snapshot(Model):
    """A stored snapshot. `covers_to` is the latest time of the events in it, null where that is not known."""

    version: int
    format: str
    stored_bytes: int
    taken_at: datetime
    label: str | None
    covers_to: datetime | None


class Snapshots(Model):
    """Those of an execution, oldest first, and what they take in all."""

    execution_id: UUID
    snapshots: list[Snapshot]
    bytes: int


class Cleared(Model):
    """How many snapshots were deleted."""

    cleared: int


class Validated(Model):
    """What became of one: `ok`, or `differs` from what the events say, `unreadable`, `ignored` for its format."""

    version: int
    label: str | None
    outcome: Literal["ok", "differs", "unreadable", "ignored"]
    problem: str | None
    differences: list[str]


class Validation(Model):
    """What became of each; `ok` when all are."""

    execution_id: UUID
    ok: bool
    snapshots: list[Validated]


class SnapshotDocument(Model):
    """A snapshot as a file."""

    format: str
    execution_id: UUID
    workflow: str | None
    definition: str | None
    version: int
    label: str | None
    taken_at: datetime
    state_format: str
    state: dict[str, Any]


class Side(Model):
    """One of the two that are compared. `at` is the time of the last event."""

    execution_id: UUID
    workflow: str | None
    definition: str | None
    version: int
    status: Status
    at: datetime | None


class Change(BaseModel):
    """One place that differs: `from` is absent for what was added, `to` for what was removed."""

    model_config = ConfigDict(extra="forbid")

    field: str
    change: Literal["add", "remove", "replace"]
    before: Any = Field(default=None, alias="from")
    to: Any = None


class ChangedStep(Model):
    """A step that both have."""

    address: str
    changes: list[Change]


class Steps(Model):
    """Steps that one of the two has alone, and those that differ."""

    added: list[Step]
    removed: list[Step]
    changed: list[ChangedStep]


class Took(BaseModel):
    """How long a step took in each; with an empty address, the whole execution."""

    model_config = ConfigDict(extra="forbid")

    address: str
    from_ms: float
    to_ms: float


class Diff(BaseModel):
    """What differs. `same`: nothing but times and identities."""

    model_config = ConfigDict(extra="forbid")

    before: Side = Field(alias="from")
    to: Side
    same: bool
    execution: list[Change]
    variables: list[Change]
    steps: Steps
    waiting: list[Change]
    timing: list[Took]


class Operation(BaseModel):
    """One operation of a JSON Patch (RFC 6902)."""

    model_config = ConfigDict(extra="forbid")

    op: Literal["add", "remove", "replace"]
    path: str
    value: Any = None


class Then(Summary):
    """An execution as it was: what its open steps were, and what the expressions gave that were to be shown."""

    variables: dict[str, Any]
    waiting: list[dict[str, Any]]
    shown: dict[str, Any]


class AsOf(Model):
    """Those that matched, newest first. For `unclear` ones `where` gave no answer; `why_unclear` says why, of one.

    `next` is the cursor of the page that follows, null on the last; a page without executions may have one.
    """

    executions: list[Then]
    looked_at: int
    unclear: int
    why_unclear: str | None
    next: str | None
