"""The shapes of answers about people who decide, for the OpenAPI document; see `models`."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  pydantic resolves the annotations at run time
from typing import Any, Literal
from uuid import UUID  # noqa: TC003  pydantic resolves the annotations at run time

from daemon.api.models import Model

ApprovalStatus = Literal["open", "approved", "rejected", "failed", "withdrawn"]


class Approval(Model):
    """A question to people. `question` names it: who decides says which one is meant."""

    execution_id: UUID
    address: str
    question: str
    workflow: str
    status: ApprovalStatus
    prompt: str
    requested_at: datetime
    due_at: datetime | None
    decided_at: datetime | None


class Approvals(Model):
    """Approvals, oldest first. `next` is the cursor of the page that follows, null on the last."""

    approvals: list[Approval]
    next: str | None


class Voice(Model):
    """One of those who are asked, and what was decided; `via` is who has handed it on."""

    approver: str
    via: str
    decision: Literal["approved", "rejected"] | None
    actor: str | None
    comment: str
    data: Any
    at: datetime | None


class OpenApproval(Model):
    """A question that an execution waits for. `form` is the JSON Schema of `data`; `needed` approvals are enough."""

    address: str
    since: datetime
    due: datetime | None
    question: str
    prompt: str
    needed: int
    comment: str
    form: Any
    on_timeout: str | None
    escalated: bool
    approvers: list[Voice]


class OpenApprovals(Model):
    """What an execution waits for people to decide."""

    approvals: list[OpenApproval]
