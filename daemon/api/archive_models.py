"""The shapes of answers about files and verification, for the OpenAPI document; see `models`."""

from __future__ import annotations

from uuid import UUID  # noqa: TC003  pydantic resolves the annotations at run time

from daemon.api.models import Model


class Imported(Model):
    """What an import has done; `left` were there already."""

    execution_id: UUID
    imported: list[UUID]
    left: list[UUID]
    events: int


class Found(Model):
    """Something that is not as it was written; `version` is of the event at fault, where it is one."""

    message: str
    version: int | None


class Verified(Model):
    """What was found of an execution; without a head its events are not sound.

    `deleted` counts references to payloads that retention has deleted.
    """

    execution_id: UUID
    sound: bool
    events: int
    head: str | None
    deleted: int
    findings: list[Found]
