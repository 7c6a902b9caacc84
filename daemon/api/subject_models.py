"""The shapes of answers about subjects, for the OpenAPI document; see `models`."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  pydantic resolves the annotations at run time
from uuid import UUID  # noqa: TC003  pydantic resolves the annotations at run time

from daemon.api.models import Model


class Subject(Model):
    """A key of a subject; `subject` is null when it was forgotten. `open`: executions that have not ended."""

    key: str
    subject: str | None
    executions: int
    open: int
    created_at: datetime
    forgotten_at: datetime | None
    forgotten_by: str | None
    reason: str | None


class Subjects(Model):
    """Some keys, in the order of their ids."""

    subjects: list[Subject]
    next: str | None


class Sealed(Model):
    """How much keys seal."""

    executions: int
    events: int
    snapshots: int
    results: int


class Held(Model):
    """What the store holds of a subject; no `keys` when it was forgotten, and has not come again."""

    keys: list[str]
    sealed: Sealed
    open: list[UUID]
    forgotten_at: datetime | None
    forgotten_by: str | None


class Rewrapped(Model):
    """How many keys were wrapped anew."""

    rewrapped: int
