"""What a step keeps while it waits for people: an approval for decisions, a handler that pauses for input.

Comes from: `evolve_people`. Goes to: `state`, `approving`, `suspending`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from daemon.core.templates import SecretSlot
from daemon.core.values import NULL, Json

GROUP = "group:"
"""What the name of a group begins with among approvers: `group:finance`."""


class Voice(Struct, frozen=True, gc=False, kw_only=True):
    """One of the decisions that an approval asks for."""

    approver: str
    """Who has it: a person, or `group:name`, of whom any one may decide."""
    via: str = ""
    """Who has handed it on; empty for one that was asked."""
    decision: str = ""
    """`approved` | `rejected`; empty while it is open."""
    actor: str = ""
    """Who has decided."""
    comment: str = ""
    data: Json = NULL
    at: datetime | None = None


class Escalation(Struct, frozen=True, gc=False, kw_only=True):
    """Who is asked when nobody has decided in time."""

    to: tuple[str, ...]
    need: int
    timeout: timedelta | None = None
    then: str = "fail"
    """What follows when they do not decide in time either: `approve` | `reject` | `fail`."""


class Deciding(Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Waits for people to approve or reject."""

    question: int
    """Version of the event by which those were asked who are asked now."""
    prompt: str
    voices: tuple[Voice, ...]
    need: int
    """How many approvals are enough; when so many cannot be reached any more, it is rejected."""
    comment: str = "optional"
    """`optional` | `required` | `on_reject`."""
    form: Json = NULL
    """JSON Schema of what an approver hands over; null when nothing is asked for."""
    since: datetime
    due: datetime | None = None
    on_timeout: str = "fail"
    """`approve` | `reject` | `fail` | `escalate`."""
    escalation: Escalation | None = None
    """Who would be asked next; None when nobody would, or is already."""
    escalated: bool = False
    reminder: timedelta | None = None
    overruled: tuple[Voice, ...] = ()
    """What those have decided who were asked before an escalation."""
    refused: tuple[tuple[str, str], ...] = ()
    """Who has tried to do what without being allowed to: recorded once each."""
    notices: int = 0
    """How many notices were sent: the number of the next one."""

    @property
    def approvals(self) -> int:
        """How many have approved."""
        return sum(1 for voice in self.voices if voice.decision == "approved")

    @property
    def verdict(self) -> str:
        """`approved` | `rejected`; empty while it is open."""
        if self.approvals >= self.need:
            return "approved"
        open_or_for = sum(1 for voice in self.voices if voice.decision != "rejected")
        return "rejected" if open_or_for < self.need else ""


class Resumption(Struct, frozen=True, gc=False, kw_only=True):
    """The input that a handler goes on with after it has paused, and what it had asked for."""

    id: str
    input: Json
    reason: str
    expects: Json
    due: datetime | None = None
    """Until when it would have waited."""


class Suspended(Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Its handler has paused: the next attempt begins when somebody gives input."""

    question: int
    """Version of the event by which it was suspended."""
    attempt: int
    """Of the next call."""
    input: Json
    secrets: tuple[SecretSlot, ...]
    reason: str
    expects: Json = NULL
    """JSON Schema of the input; null for any."""
    problem: str = ""
    """Why the last input was not taken."""
    since: datetime
    due: datetime | None = None
    state: Json = NULL
    postponed: int = 0
    began: int = 0
    doubt: bool = False
    cache_key: str = ""
    resumed: Resumption | None = None


class Waiting(Struct, frozen=True, gc=False):
    """An input that came before its step asked for it."""

    id: str
    input: Json
