"""The shapes of answers about dead letters."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  pydantic resolves the annotations at run time
from typing import Any, Literal
from uuid import UUID  # noqa: TC003  pydantic resolves the annotations at run time

from daemon.api.models import Model


class Letter(Model):
    """One message that could not be processed; `value` is its body, read as its content type says, else null."""

    id: UUID
    trigger: str
    state: Literal["waiting", "redriven", "discarded"]
    code: str
    reason: str
    times: int
    source: str
    place: str
    first_at: datetime
    last_at: datetime
    settled_at: datetime | None
    settled_by: str | None
    outcome: str | None
    execution_id: UUID | None
    key: str | None
    identity: str | None
    headers: dict[str, str]
    traceparent: str | None
    received_at: datetime
    bytes: int
    value: Any
    text: str
    edited: str | None


class LetterPage(Model):
    """Some of them; `next` is the `cursor` of the next page."""

    letters: list[Letter]
    next: str | None


class Redriven(Model):
    """What came of one: the intake's word, or why it goes on waiting."""

    id: UUID
    outcome: str
    execution_id: UUID | None
    reason: str


class Redrive(Model):
    """What came of each."""

    letters: list[Redriven]
