"""Events of approvals: who was asked, what they said, and who had no say.

The end of an approval is its step's own event: `StepSucceeded` with the port `approved` or `rejected`.

Comes from: `approving`. Goes to: `events`, which has the rules for all of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from msgspec import Struct

from daemon.core.people import Escalation
from daemon.core.values import NULL, Json


class ApprovalRequested(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """People are asked. The version of this event is the question's identity. See `people.Deciding`."""

    NAME: ClassVar = "ApprovalRequested"
    VERSION: ClassVar = 1

    address: str
    prompt: str
    approvers: tuple[str, ...]
    need: int
    comment: str = "optional"
    form: Json = NULL
    due: datetime | None = None
    on_timeout: str = "fail"
    escalation: Escalation | None = None
    reminder: timedelta | None = None
    notices: int = 0
    """How many notices follow, each a step of its own."""
    at: datetime


class ApprovalGiven(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Somebody who was asked has decided."""

    NAME: ClassVar = "ApprovalGiven"
    VERSION: ClassVar = 1

    address: str
    approver: str
    """Whose decision it was to make: the actor, or a group that the actor is in."""
    decision: str
    """`approved` | `rejected`."""
    comment: str = ""
    data: Json = NULL
    actor: str
    at: datetime


class ApprovalDelegated(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Somebody who was asked lets another decide instead."""

    NAME: ClassVar = "ApprovalDelegated"
    VERSION: ClassVar = 1

    address: str
    approver: str
    to: str
    comment: str = ""
    notices: int = 0
    actor: str
    at: datetime


class ApprovalRefused(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Somebody wanted to decide, or to hand on a decision, who may not. Nothing else has changed."""

    NAME: ClassVar = "ApprovalRefused"
    VERSION: ClassVar = 1

    address: str
    decision: str
    """`approved` | `rejected` | `delegated`."""
    reason: str
    actor: str
    at: datetime


class ApprovalReminded(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Those who have not decided are told again."""

    NAME: ClassVar = "ApprovalReminded"
    VERSION: ClassVar = 1

    address: str
    notices: int = 0
    at: datetime


class ApprovalEscalated(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Nobody has decided in time: others are asked instead. This event's version identifies the question from now."""

    NAME: ClassVar = "ApprovalEscalated"
    VERSION: ClassVar = 1

    address: str
    approvers: tuple[str, ...]
    need: int
    due: datetime | None = None
    on_timeout: str = "fail"
    notices: int = 0
    at: datetime
