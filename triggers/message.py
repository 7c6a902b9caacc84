"""The port between brokers and the daemon: a message in, exactly one verdict out.

Comes from: the adapters (`kafka`, `rabbitmq`, `webhook`, `schedule`, `memory`). Goes to: daemon/runtime/intake, which
implements `Sink`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence


class Inbound(Struct, frozen=True, kw_only=True):
    """One delivery of one message, as the broker gave it."""

    trigger: str
    """Qualified name of the trigger that received it: `workflow/trigger`."""
    source: str
    """Where it came from, for people: `kafka:orders/3@42`, `rabbitmq:orders`, `webhook:orders`."""
    identity: str | None
    """The broker's own stable id of the message, the same at each redelivery (`orders/3/42`, a message id); None when
    it has none, and then the trigger must say how to `dedupe`. A CloudEvent's own id goes before it: see `routing`."""
    body: bytes
    key: str | None = None
    headers: Mapping[str, str] = {}
    """Names in lower case; values that are not text are Base64."""
    content_type: str | None = None
    received_at: datetime


class Ack(Struct, frozen=True, tag=True):
    """Done with it: what it caused is durable, or it is filtered out or a duplicate."""

    outcome: str
    """`started` | `collected` | `signalled` | `duplicate` | `skipped` | `filtered`."""
    execution_id: UUID | None = None


class Retry(Struct, frozen=True, tag=True):
    """Not now. `after` is the least pause.

    `counted` tells whether this uses up one of the trigger's attempts: a store that is away does not make the message
    bad, so it is tried again for as long as it takes.
    """

    reason: str
    after: timedelta
    counted: bool


class DeadLetter(Struct, frozen=True, tag=True):
    """It can never be handled as it is: set it aside with the reason, then acknowledge it."""

    reason: str
    code: str
    """`undecodable` | `invalid` | `expression` | `unidentified` | `refused` | `exhausted` …, one word, for filters."""


Verdict = Ack | Retry | DeadLetter


class Sink(Protocol):
    """What adapters hand messages to."""

    async def __call__(self, batch: Sequence[Inbound]) -> Sequence[Verdict]:
        """Return one verdict for each message, in order; an `Ack` only after the commit.

        The batch is one append. Does not raise for anything a message can cause; an exception is a bug of ours and
        must stop the daemon. May wait while the engine is full: that is the back-pressure.
        """


class Aside(Protocol):
    """Keeps what is dead-lettered, beside where the broker has it."""

    async def __call__(self, inbound: Inbound, verdict: DeadLetter, place: str) -> None:
        """Return when it is kept; a repeat is harmless. `place` is the broker's: `kafka:orders.dlq`.

        Raises `BrokerUnavailable` when it cannot be now.
        """


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How often a message whose handling failed is tried before it is dead-lettered."""

    max_attempts: int = 3
    """Tries in all, from 1."""
    backoff: str = "exponential"
    """`fixed` | `linear` | `exponential`."""
    initial: timedelta
    max: timedelta | None = None


class Trigger(Protocol):
    """A running source of messages.

    `run` receives until cancelled, reconnecting by itself; it raises only for bugs and for settings that can never
    work. `stop` ends intake: no new message is taken, verdicts in flight are obeyed, then `run` returns. Both are
    safe to call in any order and more than once.
    """

    name: str

    async def run(self) -> None:
        """Receive until stopped."""

    async def stop(self) -> None:
        """Take no new message; return when those in flight have their verdict carried out."""

    @property
    def status(self) -> ConnectionStatus:
        """How the connection is, for readiness."""


class ConnectionStatus(Struct, frozen=True):
    """State of one connection, shown by `/readyz` and `sagad doctor`."""

    name: str
    connected: bool
    detail: str = ""
    """Why it is down, in words an operator can act on."""
