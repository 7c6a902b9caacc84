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

from daemon.core.child_events import Parent
from daemon.core.function_events import Call
from daemon.core.people import Waiting
from daemon.core.state_breaks import Breaking, Stop
from daemon.core.state_limits import Slots
from daemon.core.step_error import StepError
from daemon.core.step_state import (
    Abandoned,
    Awaiting,
    Failed,
    InFlight,
    Limited,
    Queued,
    Repeating,
    Retrying,
    Settled,
    Skipped,
    Sleeping,
    Step,
    Succeeded,
    Turn,
)
from daemon.core.templates import SecretSlot
from daemon.core.values import NULL, Json

__all__ = (
    "Abandoned",
    "Awaiting",
    "Failed",
    "InFlight",
    "Limited",
    "Queued",
    "Repeating",
    "Retrying",
    "Settled",
    "Skipped",
    "Sleeping",
    "Step",
    "Succeeded",
    "Turn",
)
"""What is defined elsewhere and found here too."""


class Timer(Struct, frozen=True, gc=False):
    """A durable due time and what it is for; see `events.TimerSet`."""

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
    child: UUID | None = None
    """The execution that is itself undone."""
    looks_up: bool = False
    lookup: Json = NULL
    lookup_secrets: tuple[SecretSlot, ...] = ()
    sent: Json = NULL
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
    left: bool = False
    """Whether a person has said that all stays as it is: also what ends after that."""
    down_to: int = 0
    """What had its effect by an event of this version, or before, stays."""
    compensated: int = 0
    by_hand: int = 0
    skipped: int = 0


class Leaving(Struct, frozen=True, gc=False):
    """A child that was asked to end, and has not ended yet. See `events.ChildCancelRequested`."""

    address: str
    attempt: int
    undo: bool
    reason: str


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


class Rewinding(Struct, frozen=True, gc=False):
    """Somebody wants the execution to go on from its past. See `events.RewindRequested`."""

    to_version: int
    again: bool
    keep_signals: bool
    ready: bool = False
    """Whether what it has done since is undone."""


class Journal(Struct, frozen=True, gc=False, kw_only=True):
    """A durable function under way, as far as deciding needs it; the rest of its journal is in the log."""

    function: str
    input: Json
    """Null once the function has begun: it is in the log."""
    number: int = 0
    """How many times it has gone on."""
    seen: int = 0
    """How many results of its calls it was given."""
    done: tuple[str, ...] = ()
    """Addresses of the calls whose results it was not given yet, in the order in which they settled."""
    diverged: bool = False
    """Whether the code that there was did not fit the journal: it does not go on until the execution is resumed."""


class NotStarted(Struct, frozen=True, gc=False, tag=True):
    """No start yet; signals may already be here."""

    version: int = 0
    signals: Map[str, Signal] = Map()
    seen: Map[str, bool] = Map()
    """Ids of all signals ever received."""

    @property
    def subject(self) -> str:
        """Whose data it holds is not known yet."""
        return ""


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
    parent: Parent | None = None
    """The step that is told of its end."""
    subject: str = ""
    """Whose data it holds; see `subjects`."""
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
    people: Map[str, int] = Map()
    """Address -> question of the steps that wait for people: `Deciding` and `Suspended`."""
    resumes: Map[str, tuple[Waiting, ...]] = Map()
    """Inputs that no step has taken yet, by the address that they are for, in the order in which they came."""
    children: Map[str, UUID] = Map()
    """Address -> the child of the steps that wait for one."""
    leaving: Map[UUID, Leaving] = Map()
    """The children that were asked to end."""
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
    breaking: Breaking | None = None
    """Its breakpoints, and where it stands; None for one that nobody debugs."""
    owed: Map[int, Owed] = Map()
    """By the version of the event by which the step had its effect."""
    newest_owed: int = 0
    undoing: Undoing | None = None
    groups: Map[str, Undoing] = Map()
    """What is undone of groups that have failed, by their turn; the others go on meanwhile."""
    asking: Map[str, Ask] = Map()
    """By the step's address; empty for the plan."""
    functions: Map[str, Journal] = Map()
    """The durable functions under way, by the address of their journals."""
    advancing: Map[str, int] = Map()
    """Journal -> its number, of the functions that can go on: the shell owes them that."""
    calls: Map[str, Call] = Map()
    """By address: the calls that are open or not yet seen, and those that can be undone."""
    keys: Map[str, str] = Map()
    """Address -> what the step's idempotency key has in place of the execution's id; see `evolve_branches`."""
    rewinding: Rewinding | None = None
    rewinds: int = 0
    """How often it has gone on from its past: what was undone meanwhile has another idempotency key each time."""
    size: int = 0
    """Bytes of its input, of the outputs and items in `steps`, and of `variables`: the execution's context."""

    @property
    def waits(self) -> bool:
        """Whether anything is waited for; if not, the execution is at its end."""
        return bool(
            self.in_flight
            or self.sleeping
            or self.queue
            or self.awaiting
            or self.children
            or self.leaving
            or self.functions
            or self.people
            or self.asking
            or self.limited
        )

    @property
    def stop(self) -> Stop | None:
        """The breakpoint that it stands at: no step begins."""
        return None if self.breaking is None else self.breaking.stop(self.steps)

    @property
    def busy(self) -> bool:
        """Whether a handler is owed, a durable function can go on, or all is undone that was done since a rewind."""
        return bool(self.in_flight or self.advancing) or (self.rewinding is not None and self.rewinding.ready)

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
    parent: Parent | None = None
    subject: str = ""
    started_at: datetime
    steps: Map[str, Step]
    seen: Map[str, bool]
    resumes: Map[str, tuple[Waiting, ...]] = Map()
    """As in `Running`: a compensation may take one yet."""
    variables: Map[str, Json] = Map()
    status: str
    """`completed` | `failed` | `cancelled`."""
    finished_at: datetime
    output: Json = NULL
    error: StepError | None = None
    failed_step: str = ""
    reason: str = ""
    owed: Map[int, Owed] = Map()
    """What could still be undone, as in `Running`."""
    newest_owed: int = 0
    calls: Map[str, Call] = Map()
    keys: Map[str, str] = Map()
    size: int = 0


State = NotStarted | Running | Finished

INITIAL: State = NotStarted()


def cause(state: State) -> str:
    """Return the one kind of thing that an execution waits for; empty when it has ended.

    With several at once the one nearest to progress is named: `step`, `pause`, `breakpoint`, `limit`, `slot`, `timer`,
    `signal`, `child`, `person`; one that was signalled before its start waits for its `start`. Empty for a running
    execution is a bug, and an alarm.
    """
    match state:
        case Finished():
            return ""
        case NotStarted():
            return "start"
        case Running() if state.busy:
            return "step"
        case Running():
            kinds = (
                ("pause", state.paused),
                ("breakpoint", state.stop),
                ("limit", state.limited),
                ("slot", state.queue),
                ("timer", state.sleeping),
                ("signal", state.awaiting),
                ("child", state.children or state.leaving),
                ("person", state.asking or state.people),
            )
            return next((kind for kind, waiting in kinds if waiting), "")
        case _:
            assert_never(state)


def has_work(state: State) -> bool:
    """Tell whether the shell owes more than timers: a handler, a function, the end of a child, or word to a parent.

    Such an execution has a lease.
    """
    match state:
        case Running():
            return bool(state.busy or state.leaving)
        case Finished():
            return state.parent is not None
        case NotStarted():
            return False
        case _:
            assert_never(state)


def depth_of(state: Running) -> int:
    """Return how many executions stand above it."""
    return state.parent.depth if state.parent is not None else 0
