"""What daemons and remote workers tell each other: JSON messages by way of a broker.

1. The daemon puts a `Request` into its queue. 2. A worker that takes it asks the daemon with a `Claim`. 3. The daemon
lets the first one `Begin`, and tells others to `Leave` it. 4. At work, the worker says `Alive`, and `Progressed`.
5. The `Outcome` goes to a place that all daemons share, so that it arrives though the one that asked has died; then the
request is acknowledged. A worker that must go before it is done says `Released`, and the daemon asks anew.

Secrets travel as places in the input; the worker fills them in from its own.

Comes from: `remote_calls`, `worker`. Goes to: `remote_channel`.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Struct

from daemon.core.commands import CompleteStep, FailStep, PostponeStep, SuspendStep
from daemon.core.people import Resumption
from daemon.core.templates import SecretSlot
from daemon.core.values import Json

Result: TypeAlias = CompleteStep | PostponeStep | SuspendStep | FailStep


class AttemptId(NamedTuple):
    """One attempt of one step, everywhere."""

    execution_id: UUID
    address: str
    attempt: int


class Request(Struct, frozen=True, kw_only=True):
    """Run a handler; answered with `Claim`, and in the end with an `Outcome`."""

    id: str
    """Of this request; the same attempt may be asked for again, by another daemon say."""
    daemon: str
    """Who asks, and gets the signs."""
    heartbeat_s: float
    """How long the worker may be silent before it counts as lost."""
    handler: str
    execution_id: UUID
    workflow: str
    traceparent: str | None
    """Of the execution."""
    address: str
    attempt: int
    input: Json
    secrets: tuple[SecretSlot, ...]
    state: Json
    progress_number: int
    since: datetime
    deadline: datetime | None
    resumed: Resumption | None = None
    key: str = ""
    """What the idempotency key has in place of the execution's id, if anything."""

    @property
    def attempt_id(self) -> AttemptId:
        """The attempt that is asked for."""
        return AttemptId(self.execution_id, self.address, self.attempt)


class Claim(Struct, frozen=True, tag=True):
    """A worker has taken the request, and asks whether it is to begin."""

    worker: str
    attempt_id: AttemptId


class Alive(Struct, frozen=True, tag=True):
    """A worker is at work for these."""

    worker: str
    attempt_ids: tuple[AttemptId, ...]


class Progressed(Struct, frozen=True, tag=True):
    """The handler tells how far it is."""

    worker: str
    attempt_id: AttemptId
    value: Json


class Released(Struct, frozen=True, tag=True):
    """A worker gives the attempt back without an outcome."""

    worker: str
    attempt_id: AttemptId


Sign: TypeAlias = Claim | Alive | Progressed | Released


class Begin(Struct, frozen=True, tag=True):
    """The worker is to do it."""

    daemon: str
    attempt_id: AttemptId


class Leave(Struct, frozen=True, tag=True):
    """This daemon does not want it from the worker: it is cancelled, given up, or another worker has it."""

    daemon: str
    attempt_id: AttemptId


Order: TypeAlias = Begin | Leave


class Outcome(Struct, frozen=True, kw_only=True):
    """How an attempt has ended: one of the four. Secrets are struck out."""

    worker: str
    execution_id: UUID
    completed: CompleteStep | None = None
    postponed: PostponeStep | None = None
    suspended: SuspendStep | None = None
    failed: FailStep | None = None

    @property
    def result(self) -> Result:
        """What is to be reported."""
        result = self.completed or self.postponed or self.suspended or self.failed
        if result is None:
            raise ValueError("an outcome without a result")
        return result

    @property
    def attempt_id(self) -> AttemptId:
        """The attempt that has ended."""
        return AttemptId(self.execution_id, self.result.address, self.result.attempt)


Message: TypeAlias = Request | Sign | Order | Outcome


def outcome_of(worker: str, execution_id: UUID, result: Result) -> Outcome:
    """Return the message that carries the result."""
    match result:
        case CompleteStep():
            return Outcome(worker=worker, execution_id=execution_id, completed=result)
        case PostponeStep():
            return Outcome(worker=worker, execution_id=execution_id, postponed=result)
        case SuspendStep():
            return Outcome(worker=worker, execution_id=execution_id, suspended=result)
        case FailStep():
            return Outcome(worker=worker, execution_id=execution_id, failed=result)


encode = msgspec.json.Encoder().encode
read_request = msgspec.json.Decoder(Request).decode
read_sign = msgspec.json.Decoder(Sign).decode
read_order = msgspec.json.Decoder(Order).decode
read_outcome = msgspec.json.Decoder(Outcome).decode
"""They raise `msgspec.MsgspecError`, or `UnicodeDecodeError`, for what is none."""
