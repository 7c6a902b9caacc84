"""The shapes of answers about executions that were lived again in shadow."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  pydantic resolves the annotations at run time
from typing import Any, Literal
from uuid import UUID  # noqa: TC003  pydantic resolves the annotations at run time

from daemon.api.models import Model, Severity, Status


class Change(Model):
    """One place where the outcomes differ; of the two values, one that is not there is left out."""

    field: str
    change: Literal["add", "remove", "replace"]
    recorded: Any = None
    shadow: Any = None


class Shadowed(Model):
    """One execution beside its shadow. `shadow` is empty when it could not begin."""

    execution_id: UUID
    workflow: str
    trigger: str | None
    started_at: datetime
    recorded: Status
    shadow: Status | Literal[""]
    severity: Severity
    reason: str
    differences: list[Change]
    differs_in: int
    ran: list[str]
    not_run: list[str]
    not_recorded: list[str]
    assumed: list[str]
    refused: list[str]


class ShadowReport(Model):
    """What would have been different, in how many; the worst first."""

    checked: int
    by_severity: dict[str, int]
    by_node: dict[str, int]
    not_recorded: dict[str, int]
    differing: list[Shadowed]
    failed: dict[str, str]
