"""Commands: wishes that reach one execution. They carry their identity, the time and any randomness they need.

Comes from: daemon/runtime (intake, steps, timers, API). Goes to: `decide`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from daemon.core.branch_commands import MigrateExecution, RewindExecution
from daemon.core.break_commands import EditAtBreakpoint, LeaveBreakpoint, SetBreakpoints
from daemon.core.break_events import Breakpoint
from daemon.core.events import Edits, Event, Origin, Parent, StepError, Streamed
from daemon.core.function_events import Call, Drawn
from daemon.core.state import State
from daemon.core.values import NULL, Json

__all__ = ("EditAtBreakpoint", "LeaveBreakpoint", "MigrateExecution", "RewindExecution", "SetBreakpoints")
"""What is defined elsewhere and found here too."""


class CollectMessage(Struct, frozen=True, gc=False, kw_only=True):
    """One more message for an execution that has not begun. Identity: the message's dedupe key in its scope."""

    message: str
    scope: str
    input: Json
    at: datetime


class StartExecution(Struct, frozen=True, gc=False, kw_only=True):
    """Begin the execution. Identity: the execution itself; an execution that has started decides nothing."""

    execution_id: UUID
    input: Json
    trigger: Json = NULL
    """What started it, as expressions see it: `{name, source, key, headers}`."""
    trigger_name: str | None = None
    dedupe_key: str | None = None
    traceparent: str | None = None
    parent: Parent | None = None
    """The step that starts it as a subflow."""
    subject: str = ""
    """Of the parent: the child's, unless its workflow says another."""
    collect: CollectMessage | None = None
    """The first of the messages that are collected before it begins."""
    collect_key: str = ""
    breakpoints: tuple[Breakpoint, ...] = ()
    """Those that it has from its beginning."""
    actor: str
    at: datetime


class CompleteStep(Struct, frozen=True, gc=False, kw_only=True):
    """A handler answered. Identity: address and attempt."""

    address: str
    attempt: int
    output: Json
    port: str = "out"
    """Empty for none: no edge fires."""
    to: tuple[str, ...] | None = None
    """Of the nodes that the `out` edges lead to, those that go on; None for all."""
    origin: Origin | None = None
    """The step that made the result, when it was in the cache; None when this step's handler made it."""
    streamed: Streamed | None = None
    at: datetime


class PostponeStep(Struct, frozen=True, gc=False, kw_only=True):
    """A handler asks to be called again after this length of time. Identity: address and attempt."""

    address: str
    attempt: int
    after: timedelta
    state: Json
    """What the next attempts see as `context.state`."""
    at: datetime


class AwaitChild(Struct, frozen=True, gc=False, kw_only=True):
    """The child that the step has started is there; the step waits for its end. Identity: address and attempt."""

    address: str
    attempt: int
    child: UUID
    workflow: str
    definition: str
    at: datetime


class FinishChild(Struct, frozen=True, gc=False, kw_only=True):
    """A child has ended. Identity: address and attempt of the step that has started it, or has it undone."""

    address: str
    attempt: int
    child: UUID
    workflow: str = ""
    definition: str = ""
    """Empty for one that never began."""
    status: str
    """`completed` | `failed` | `cancelled`."""
    output: Json = NULL
    error: StepError | None = None
    """Why it has failed, or was cancelled."""
    owes: bool = False
    """Whether there is something of it that can be undone."""
    at: datetime


class FailStep(Struct, frozen=True, gc=False, kw_only=True):
    """An attempt failed. Identity: address and attempt. `jitter` in [0, 1) spreads the retry delay."""

    address: str
    attempt: int
    error: StepError
    retryable: bool = True
    """The handler may say that trying again cannot help; the node's retry policy decides the rest."""
    jitter: float
    at: datetime


class ReportProgress(Struct, frozen=True, gc=False, kw_only=True):
    """A handler tells how far it is. Identity: address, attempt and the report's number within the attempt, from 1."""

    address: str
    attempt: int
    number: int
    progress: Json
    at: datetime


class GrantSlots(Struct, frozen=True, gc=False, kw_only=True):
    """Take the slots that the address waits for. Identity: the address; one that does not wait decides nothing."""

    address: str
    at: datetime


class FireTimer(Struct, frozen=True, gc=False, kw_only=True):
    """A timer has come due. Identity: the timer's id; one that is not set any more decides nothing."""

    timer_id: str
    at: datetime


class ReceiveSignal(Struct, frozen=True, gc=False, kw_only=True):
    """A message for the execution, started or not. Identity: the signal id, chosen by the sender."""

    signal_id: str
    name: str
    data: Json
    actor: str
    at: datetime


class HandleUpdate(Struct, frozen=True, gc=False, kw_only=True):
    """A message that is answered with a result. Identity: the update id, chosen by the sender, as a signal's is."""

    update_id: str
    name: str
    data: Json
    actor: str
    at: datetime


class CancelExecution(Struct, frozen=True, gc=False, kw_only=True):
    """End it without a result. A finished execution decides nothing."""

    reason: str
    undo: bool = True
    """Whether what it has done is undone first; else it ends at once."""
    actor: str
    at: datetime


class PauseExecution(Struct, frozen=True, gc=False, kw_only=True):
    """Begin no handler until it is resumed. One that is paused, or has ended, decides nothing."""

    reason: str = ""
    actor: str
    at: datetime


class ResumeExecution(Struct, frozen=True, gc=False, kw_only=True):
    """Go on after a pause. One that is not paused decides nothing."""

    actor: str
    at: datetime


class UndoExecution(Struct, frozen=True, gc=False, kw_only=True):
    """Undo what a completed execution has done. One that is being undone, or was, decides nothing."""

    reason: str
    parent: Parent | None = None
    """The step that is to be told of the end."""
    actor: str
    at: datetime


class AnswerUndo(Struct, frozen=True, gc=False, kw_only=True):
    """A person decides about a compensation, or about the undo plan. Identity: the question, by its event's version."""

    address: str
    """Of the step; empty for the plan."""
    question: int
    choice: str
    """`go` | `retry` | `skip` | `done`; which, is said in `saga.CHOICES`."""
    note: str = ""
    actor: str
    at: datetime


class GiveApproval(Struct, frozen=True, gc=False, kw_only=True):
    """Somebody approves or rejects. Identity: the question, by its event's version, the actor, and the decision."""

    address: str
    question: int
    decision: str
    """`approved` | `rejected`."""
    actor: str
    groups: tuple[str, ...] = ()
    """Those that the actor is in."""
    comment: str = ""
    data: Json = NULL
    at: datetime


class DelegateApproval(Struct, frozen=True, gc=False, kw_only=True):
    """Somebody who is asked lets another decide. Identity: the question, the actor, and the other."""

    address: str
    question: int
    to: str
    actor: str
    groups: tuple[str, ...] = ()
    comment: str = ""
    at: datetime


class SuspendStep(Struct, frozen=True, gc=False, kw_only=True):
    """A handler pauses until somebody gives input. Identity: address and attempt."""

    address: str
    attempt: int
    reason: str
    expects: Json = NULL
    """JSON Schema of the input; null for any."""
    state: Json = NULL
    until: datetime | None = None
    problem: str = ""
    """Why the input that it was called with was not taken."""
    at: datetime


class ResumeStep(Struct, frozen=True, gc=False, kw_only=True):
    """An input for a step, whether it has paused yet or not. Identity: the address and the id, chosen by the sender."""

    address: str
    resume_id: str
    input: Json
    actor: str
    at: datetime


class AdvanceFunction(Struct, frozen=True, gc=False, kw_only=True):
    """A durable function has run until it could not go on. Identity: its journal, and the number of the advance.

    `outcome` is None while it waits for its calls.
    """

    address: str
    """Of the journal."""
    number: int
    """How many advances there were before."""
    seen: int
    """How many results it was given so far."""
    calls: tuple[Call, ...] = ()
    cancelled: tuple[str, ...] = ()
    """Addresses of the calls that it does not want any more; one that has settled meanwhile is left alone."""
    drawn: tuple[Drawn, ...] = ()
    outcome: Json | StepError | None = None
    """What it has returned, or failed with."""
    at: datetime


class StopFunction(Struct, frozen=True, gc=False, kw_only=True):
    """The code does not do what the journal says. Identity: the journal, and the number of its advance."""

    address: str
    number: int
    version: int
    recorded: str
    found: str
    place: str = ""
    at: datetime


class ForkExecution(Struct, frozen=True, gc=False, kw_only=True):
    """Begin an execution that goes on from the past of another. Identity: the fork's own id, chosen by the sender.

    The plan that comes with it is the fork's: that of its source, or another.
    """

    execution_id: UUID
    source: UUID
    at_version: int
    """Of the source: after a decision of its."""
    base: State
    """Of the source at that version."""
    edits: Edits = Edits()
    again: Command | None = None
    """What was decided next, if it is to be decided again."""
    reason: str = ""
    actor: str
    at: datetime


class FinishRewind(Struct, frozen=True, gc=False, kw_only=True):
    """Go on from the past, now that all is undone. Identity: the version; decides nothing before it is time.

    Refused when `between` are not all events since the version.
    """

    to_version: int
    base: State
    between: tuple[Event, ...]
    again: Command | None = None
    at: datetime


Command = (
    StartExecution
    | ForkExecution
    | RewindExecution
    | FinishRewind
    | MigrateExecution
    | CompleteStep
    | PostponeStep
    | SuspendStep
    | ResumeStep
    | GiveApproval
    | DelegateApproval
    | FailStep
    | AwaitChild
    | FinishChild
    | ReportProgress
    | CollectMessage
    | GrantSlots
    | FireTimer
    | ReceiveSignal
    | HandleUpdate
    | CancelExecution
    | PauseExecution
    | ResumeExecution
    | UndoExecution
    | AnswerUndo
    | AdvanceFunction
    | StopFunction
    | SetBreakpoints
    | LeaveBreakpoint
    | EditAtBreakpoint
)
