"""The state of one execution: what the fold of its events knows, no more.

Immutable; extending it copies O(log n), so an execution of 100,000 steps is not quadratic. Maps are persistent
(`immutables.Map`): their iteration order means nothing, so whoever needs an order sorts. Nothing here can be part of a
cycle, so the garbage collector need not look at it (`gc=False`, as for events, commands and effects).

Comes from: `evolve`. Goes to: `decide`, `effects.owed`, daemon/runtime/projection.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never
from uuid import UUID

from immutables import Map
from msgspec import Struct

from daemon.core.state_limits import Slots
from daemon.core.step_error import StepError
from daemon.core.templates import SecretSlot
from daemon.core.values import NULL, Json

# What can be said of a step. A step not in the map has not been reached.


class Queued(Struct, frozen=True, gc=False, tag=True):
    """Ready, waiting for a slot; `ticket` gives its place in the queue. Attempt 2 and on has what it takes along."""

    ticket: int
    since: datetime
    attempt: int = 1
    input: Json = NULL
    secrets: tuple[SecretSlot, ...] = ()
    state: Json = NULL
    postponed: int = 0
    began: int = 0
    doubt: bool = False


class Limited(Struct, frozen=True, gc=False, tag=True):
    """Ready, waiting for slots of limits that executions share. Attempt 2 and on has what it takes along."""

    since: datetime
    attempt: int = 1
    input: Json = NULL
    secrets: tuple[SecretSlot, ...] = ()
    state: Json = NULL
    postponed: int = 0
    began: int = 0
    doubt: bool = False


class InFlight(Struct, frozen=True, gc=False, tag=True):
    """A handler is owed or at work."""

    attempt: int
    input: Json
    secrets: tuple[SecretSlot, ...]
    since: datetime
    progress: Json = NULL
    progress_number: int = 0
    began: int = 0
    """Version of the event by which the first attempt began."""
    doubt: bool = False
    """Whether an attempt before has failed in a way that leaves open whether it took effect."""
    state: Json = NULL
    """What the last attempt that was postponed has left for this one."""
    postponed: int = 0
    """How many of the attempts before this one were postponed."""

    @property
    def tries(self) -> int:
        """How many attempts there were that a retry policy counts, this one among them."""
        return self.attempt - self.postponed


class Retrying(Struct, frozen=True, gc=False, tag=True):
    """The attempt before `attempt` failed, or was postponed; the timer for this one runs."""

    attempt: int
    input: Json
    secrets: tuple[SecretSlot, ...]
    error: StepError | None
    """None when it was postponed."""
    due: datetime
    since: datetime
    state: Json = NULL
    postponed: int = 0
    began: int = 0
    doubt: bool = False


class Sleeping(Struct, frozen=True, gc=False, tag=True):
    """A timer runs; the step succeeds when it fires."""

    due: datetime
    since: datetime


class Awaiting(Struct, frozen=True, gc=False, tag=True):
    """Waits for a signal, until the timer `timer_id` when there is one."""

    name: str
    since: datetime
    due: datetime | None = None


class Repeating(Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """A loop or fan-out whose turns are under way.

    With `collect` what its turns gave is kept as steps at their addresses, as `Succeeded` or `Failed`.
    """

    items: tuple[Json, ...] | None
    total: int | None
    first: int
    step: int
    collect: bool
    since: datetime
    begun: int = 0
    """How many turns have begun or were skipped: the number of the next one."""
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    last: Json = NULL
    """What the turn gave that succeeded last."""


class Turn(Struct, frozen=True, gc=False, tag=True):
    """One turn of a loop or fan-out, under way."""

    since: datetime
    open: int = 0
    """How many of its steps have begun and are not settled."""
    members: tuple[str, ...] = ()
    """Addresses of its steps, in the order in which they were reached."""


class Succeeded(Struct, frozen=True, gc=False, tag=True):
    """Has its result. `version` is the event's number: the order of success."""

    output: Json
    """Null when it was released."""
    port: str
    """Empty for none: no edge fires."""
    attempt: int
    version: int
    at: datetime
    released: bool = False
    """Whether the output is in the log only, because nothing can read it any more."""
    to: tuple[str, ...] | None = None
    """The nodes that go on, of those that its `out` edges lead to; None for all."""


class Failed(Struct, frozen=True, gc=False, tag=True):
    """Has failed for good.

    `port` names the edges that fire all the same: `error`, or `out` with the declared default as `output`; empty for
    none.
    """

    error: StepError
    port: str
    output: Json
    version: int
    at: datetime


class Abandoned(Struct, frozen=True, gc=False, tag=True):
    """Was given up because the execution is being undone."""

    at: datetime


class Skipped(Struct, frozen=True, gc=False, tag=True):
    """Will never run: no edge into it can fire."""

    at: datetime


Step = (
    Queued
    | Limited
    | InFlight
    | Retrying
    | Sleeping
    | Awaiting
    | Repeating
    | Turn
    | Succeeded
    | Failed
    | Skipped
    | Abandoned
)
Settled = (Succeeded, Failed, Skipped, Abandoned)


class Timer(Struct, frozen=True, gc=False):
    """A durable due time and what it is for (`wait`, `retry`, `signal`, `turn`, `start`, `execution`)."""

    address: str
    purpose: str
    due: datetime


class Signal(Struct, frozen=True, gc=False):
    """A received signal that no step has taken yet. `version` gives the order of arrival."""

    name: str
    data: Json
    version: int


class Owed(Struct, frozen=True, gc=False):
    """A compensation that is owed if the execution does not complete. See `events.CompensationOwed`."""

    address: str
    began: int
    kind: str
    unknown: bool
    input: Json
    secrets: tuple[SecretSlot, ...]
    problem: str
    older: int
    """Version of the one before, 0 for none: from the newest they are a list."""
    attempts: int = 0
    """Of the compensation, that failed before a person asked for another."""
    cleared: bool = False
    """Whether a person has said that it may run."""


class Undoing(Struct, frozen=True, gc=False, kw_only=True):
    """The execution is at its end, and what it has done is being undone. See `events.UndoPlanned`."""

    status: str
    mode: str
    error: StepError | None
    failed_step: str
    reason: str
    since: datetime
    cleared: bool = False
    """Whether a person has let the plan run."""
    compensated: int = 0
    by_hand: int = 0
    skipped: int = 0


class Ask(Struct, frozen=True, gc=False):
    """A question to a person about one compensation, or about the plan. `version` is the event's: its identity."""

    kind: str
    message: str
    version: int
    since: datetime


class Paused(Struct, frozen=True, gc=False):
    """Nobody is to begin a handler."""

    reason: str
    actor: str
    since: datetime


class NotStarted(Struct, frozen=True, gc=False, tag=True):
    """No start yet; signals may already be here."""

    version: int = 0
    signals: Map[str, Signal] = Map()
    seen: Map[str, bool] = Map()
    """Ids of all signals ever received."""


class Running(Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Started and not ended."""

    version: int
    execution_id: UUID
    workflow: str
    definition: str
    input: Json
    trigger: Json
    trigger_name: str | None
    dedupe_key: str | None
    traceparent: str | None
    started_at: datetime
    steps: Map[str, Step] = Map()
    timers: Map[str, Timer] = Map()
    signals: Map[str, Signal] = Map()
    seen: Map[str, bool] = Map()
    queue: Map[int, str] = Map()
    """Ticket -> address of the steps that wait for a slot."""
    first_ticket: int = 1
    """No smaller ticket is in the queue."""
    next_ticket: int = 1
    in_flight: Map[str, int] = Map()
    """Address -> attempt of the steps that a handler is owed for."""
    awaiting: Map[str, str] = Map()
    """Address -> signal name of the steps that wait for a signal."""
    sleeping: int = 0
    """How many steps wait for a timer: `Sleeping` and `Retrying`, and a `Repeating` that takes breath; and the
    execution itself, when it begins later."""
    limited: Map[str, Slots] = Map()
    """Address -> what is waited for of limits that executions share; empty for the execution's own begin."""
    holding: Map[str, Slots] = Map()
    """The same of what is held."""
    collected: Map[int, Json] = Map()
    """What the messages give that were collected so far, by the version of their event."""
    messages: Map[str, int] = Map()
    """Keys of all messages that were ever collected."""
    variables: Map[str, Json] = Map()
    """What the execution has set; until then a variable is as the definition says."""
    paused: Paused | None = None
    owed: Map[int, Owed] = Map()
    """By the version of the event by which the step had its effect."""
    newest_owed: int = 0
    undoing: Undoing | None = None
    groups: Map[str, Undoing] = Map()
    """What is undone of groups that have failed, by their turn; the others go on meanwhile."""
    asking: Map[str, Ask] = Map()
    """By the step's address; empty for the plan."""
    size: int = 0
    """Bytes of its input, of the outputs and items in `steps`, and of `variables`: the execution's context."""

    @property
    def open(self) -> int:
        """How many things are waited for; none left means that the execution is at its end."""
        waiting = len(self.queue) + len(self.limited) + len(self.awaiting) + self.sleeping + len(self.asking)
        return len(self.in_flight) + waiting

    def repeating(self, address: str) -> Repeating:
        """Return the loop or fan-out that is under way there. TypeError when there is none."""
        step = self.steps.get(address)
        if not isinstance(step, Repeating):
            raise TypeError(f"{address} has no turns under way")
        return step


class Finished(Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Ended. It absorbs every command; steps stay to be looked at."""

    version: int
    execution_id: UUID
    workflow: str
    definition: str
    input: Json
    trigger: Json
    trigger_name: str | None
    dedupe_key: str | None
    traceparent: str | None
    started_at: datetime
    steps: Map[str, Step]
    seen: Map[str, bool]
    variables: Map[str, Json] = Map()
    status: str
    """`completed` | `failed` | `cancelled`."""
    finished_at: datetime
    output: Json = NULL
    error: StepError | None = None
    failed_step: str = ""
    reason: str = ""


State = NotStarted | Running | Finished

INITIAL: State = NotStarted()


def cause(state: State) -> str:
    """Return the one kind of thing that an execution waits for; empty when it has ended.

    With several at once the one nearest to progress is named: `step`, `pause`, `limit`, `slot`, `timer`, `signal`,
    `person`; one that was signalled before its start waits for its `start`. Empty for a running execution is a bug, and
    an alarm.
    """
    match state:
        case Finished():
            return ""
        case NotStarted():
            return "start"
        case Running():
            kinds = (
                ("step", state.in_flight),
                ("pause", state.paused),
                ("limit", state.limited),
                ("slot", state.queue),
                ("timer", state.sleeping),
                ("signal", state.awaiting),
                ("person", state.asking),
            )
            return next((kind for kind, waiting in kinds if waiting), "")
        case _:
            assert_never(state)
