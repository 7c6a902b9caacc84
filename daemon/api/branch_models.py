"""The shapes of answers about forks and rewinds, for the OpenAPI document; see `models`."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  pydantic resolves the annotations at run time
from typing import Any
from uuid import UUID  # noqa: TC003  pydantic resolves the annotations at run time

from daemon.api.models import Model, Severity, Status, Summary


class UnderWay(Model):
    """A step that had begun and not ended; `key` is the idempotency key that it keeps."""

    address: str
    key: str


class Undoable(Model):
    """What a rewind would undo, newest first."""

    address: str
    kind: str
    unknown: bool
    input: Any


class Past(Model):
    """The end of a decision, in the log of `execution_id`: that of the source where a fork was asked about its past.

    `again` is what was decided next, where that is to be decided again; `undone` is what was done before and undone
    since; `left` is what was done since and has no compensation.
    """

    execution_id: UUID
    version: int
    at: datetime
    status: str
    again: str | None
    under_way: list[UnderWay]
    undone: list[str]
    to_undo: list[Undoable]
    left: list[str]


class Forked(Summary):
    """A fork, and where it goes on from."""

    source: UUID
    at_version: int


class Rewound(Summary):
    """An execution that goes on from its past as soon as all is undone since."""

    to_version: int


class Source(Model):
    """What a fork goes on from."""

    execution_id: UUID
    at_version: int


class Fork(Source):
    """An execution that goes on from another."""

    forked_at: datetime


class Lineage(Model):
    """Who goes on from whom."""

    execution_id: UUID
    source: Source | None
    forks: list[Fork]


class Migrated(Model):
    """What a migration from definition `source` to `target` is, or would be.

    `severity`, and `version`, `step` and `reason` of the first difference, tell what the other definition would have
    decided until now; `refused` tells why it is not done. Nothing is to be done where `source` is `target`.
    """

    execution_id: UUID
    workflow: str
    source: str
    target: str
    migrated: bool
    severity: str
    version: int | None
    step: str
    reason: str
    refused: str


class Verdict(Model):
    """What another definition would have decided about an execution.

    `version` of the first event that would be another, or null; `recorded` and `found` are both sides of it.
    """

    execution_id: UUID
    workflow: str
    status: Status
    severity: Severity
    action: str
    events: int
    version: int | None
    at: datetime | None
    step: str
    recorded: Any
    found: Any
    reason: str


class GateReport(Model):
    """How many would have gone another way, at which node, how badly; the worst first. `next` is the next cursor."""

    checked: int
    by_severity: dict[str, int]
    by_node: dict[str, int]
    parted: list[Verdict]
    failed: dict[str, str]
    next: str | None
