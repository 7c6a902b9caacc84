"""Events: recorded facts. These are a storage format.

What stands here is in databases for ever, so a class is only ever added to: a new field has a default; a change of
meaning raises `VERSION` and adds an upcaster (`dict -> dict`) to `UPCASTERS`. `NAME` and the JSON of the fields are
what is stored, never the Python path. `tests/core/golden/` holds what each release wrote.

Names kept for what is to come: CheckpointMarked.

Comes from: `decide`. Goes to: `evolve`, `eventstore/codec`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from msgspec import Struct

from daemon.core.approval_events import (
    ApprovalDelegated,
    ApprovalEscalated,
    ApprovalGiven,
    ApprovalRefused,
    ApprovalReminded,
    ApprovalRequested,
)
from daemon.core.branch_events import (
    Edits,
    ExecutionForked,
    ExecutionMigrated,
    ExecutionRewound,
    InputEdit,
    RewindRequested,
    StepEdit,
)
from daemon.core.break_events import (
    Breakpoint,
    BreakpointEdited,
    BreakpointHit,
    BreakpointLeft,
    BreakpointsSet,
)
from daemon.core.child_events import ChildCancelRequested, ChildFinished, ChildStarted, Parent, UndoRequested
from daemon.core.function_events import FunctionAdvanced, FunctionDiverged, FunctionStarted
from daemon.core.limit_events import ExecutionBegan, MessageCollected, Slot, SlotsAsked, SlotsTaken
from daemon.core.page_events import PageAsked, PageTaken
from daemon.core.pause_events import ExecutionPaused, ExecutionResumed
from daemon.core.result_events import Origin, StepCached, Streamed
from daemon.core.saga_events import (
    CompensationOwed,
    EffectLookedUp,
    ManualActionDone,
    ManualActionRequested,
    UndoCompleted,
    UndoPlanned,
)
from daemon.core.step_error import StepError
from daemon.core.suspend_events import ResumeReceived, StepResumed, StepSuspended
from daemon.core.templates import SecretSlot
from daemon.core.turn_events import (
    FanOutExpanded,
    LoopStarted,
    SagaStarted,
    TurnAbandoned,
    TurnFailed,
    TurnSkipped,
    TurnStarted,
    TurnSucceeded,
)
from daemon.core.update_events import UpdateHandled
from daemon.core.values import NULL, Json
from daemon.core.wait_events import SignalAwaited, SignalReceived, TimerCancelled, TimerFired, TimerSet

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "ApprovalDelegated",
    "ApprovalEscalated",
    "ApprovalGiven",
    "ApprovalRefused",
    "ApprovalReminded",
    "ApprovalRequested",
    "Breakpoint",
    "BreakpointEdited",
    "BreakpointHit",
    "BreakpointLeft",
    "BreakpointsSet",
    "ChildCancelRequested",
    "ChildFinished",
    "ChildStarted",
    "CompensationOwed",
    "Edits",
    "EffectLookedUp",
    "ExecutionBegan",
    "ExecutionForked",
    "ExecutionMigrated",
    "ExecutionPaused",
    "ExecutionResumed",
    "ExecutionRewound",
    "FanOutExpanded",
    "FunctionAdvanced",
    "FunctionDiverged",
    "FunctionStarted",
    "InputEdit",
    "LoopStarted",
    "ManualActionDone",
    "ManualActionRequested",
    "MessageCollected",
    "Origin",
    "PageAsked",
    "PageTaken",
    "Parent",
    "ResumeReceived",
    "RewindRequested",
    "SagaStarted",
    "SignalAwaited",
    "SignalReceived",
    "Slot",
    "SlotsAsked",
    "SlotsTaken",
    "StepCached",
    "StepEdit",
    "StepError",
    "StepResumed",
    "StepSuspended",
    "Streamed",
    "TimerCancelled",
    "TimerFired",
    "TimerSet",
    "TurnAbandoned",
    "TurnFailed",
    "TurnSkipped",
    "TurnStarted",
    "TurnSucceeded",
    "UndoCompleted",
    "UndoPlanned",
    "UndoRequested",
    "UpdateHandled",
)
"""What is defined elsewhere and found here too."""


class ExecutionStarted(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The execution exists, pinned to one definition."""

    NAME: ClassVar = "ExecutionStarted"
    VERSION: ClassVar = 1

    execution_id: UUID
    workflow: str
    definition: str
    """Hash of the definition."""
    input: Json
    trigger: Json = NULL
    trigger_name: str | None = None
    dedupe_key: str | None = None
    traceparent: str | None = None
    parent: Parent | None = None
    """The step of another execution that has started this one as a subflow."""
    subject: str = ""
    """Whose data it holds; empty for nobody's in particular. See `subjects`."""
    actor: str
    at: datetime


class StepQueued(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """All inputs of the step are there; it waits for a slot of the workflow's concurrency limit."""

    NAME: ClassVar = "StepQueued"
    VERSION: ClassVar = 1

    address: str
    input: Json = NULL
    """Of the first attempt, where it is known already: of a notice."""
    secrets: tuple[SecretSlot, ...] = ()
    at: datetime


class StepStarted(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An attempt is owed: the shell must run the handler.

    `input` is what is really sent, secrets masked, their places in `secrets`. Attempts after the first send the same
    and leave both out.
    """

    NAME: ClassVar = "StepStarted"
    VERSION: ClassVar = 1

    address: str
    attempt: int = 1
    input: Json = NULL
    secrets: tuple[SecretSlot, ...] = ()
    cache_key: str = ""
    """Hash of the key under which the result may be in the node's cache already; empty for none."""
    at: datetime


class StepProgressed(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A handler told how far it is."""

    NAME: ClassVar = "StepProgressed"
    VERSION: ClassVar = 1

    address: str
    attempt: int
    number: int
    progress: Json
    at: datetime


class StepSucceeded(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The step has its result, once and for all; the edges of `port` fire.

    Steps that need no handler (branch, transform, join) have only this event.
    """

    NAME: ClassVar = "StepSucceeded"
    VERSION: ClassVar = 1

    address: str
    attempt: int = 1
    output: Json
    port: str = "out"
    """Empty for none: no edge fires."""
    to: tuple[str, ...] | None = None
    """The nodes that the step has chosen of those that its `out` edges lead to; None for all."""
    signal_id: str | None = None
    """The buffered signal that this step has consumed."""
    streamed: Streamed | None = None
    at: datetime


class StepFailed(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An attempt failed. With `retry_at` another follows; without, the step has failed."""

    NAME: ClassVar = "StepFailed"
    VERSION: ClassVar = 1

    address: str
    attempt: int = 1
    error: StepError
    retry_at: datetime | None = None
    port: str = ""
    """Which edges fire all the same: `error` where there is such an edge, `out` when the policy is to continue and
    the node declares a default; empty for none."""
    output: Json = NULL
    """The declared default; of use with port `out` only."""
    unknown: bool = False
    """Whether it is open that the attempt took effect: there was no answer."""
    at: datetime


class StepPostponed(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The attempt ended without a result, and another follows at `due`: the handler has asked for it. No failure.

    `state` is what the attempts to come are handed, until one asks again.
    """

    NAME: ClassVar = "StepPostponed"
    VERSION: ClassVar = 1

    address: str
    attempt: int = 1
    due: datetime
    state: Json = NULL
    at: datetime


class OutputsReleased(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """No node that can still begin reads these outputs: they leave the state, and stay in the log."""

    NAME: ClassVar = "OutputsReleased"
    VERSION: ClassVar = 1

    addresses: tuple[str, ...]
    at: datetime


class StepSkipped(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """No edge into the step can fire any more."""

    NAME: ClassVar = "StepSkipped"
    VERSION: ClassVar = 1

    address: str
    at: datetime


class VariableSet(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A variable of the execution has a new value, which the step at `address` gave it."""

    NAME: ClassVar = "VariableSet"
    VERSION: ClassVar = 1

    address: str
    name: str
    value: Json
    at: datetime


class CancelRequested(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Somebody wants it ended."""

    NAME: ClassVar = "CancelRequested"
    VERSION: ClassVar = 1

    reason: str
    undo: bool = True
    """Whether what it has done is undone first."""
    actor: str
    at: datetime


class ExecutionCancelled(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """It has ended because somebody wanted it to."""

    NAME: ClassVar = "ExecutionCancelled"
    VERSION: ClassVar = 1

    reason: str
    at: datetime


class ExecutionCompleted(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """It has ended with its output."""

    NAME: ClassVar = "ExecutionCompleted"
    VERSION: ClassVar = 1

    output: Json
    at: datetime


class ExecutionFailed(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """It has ended without a result; `address` names the step at fault, empty when it was none."""

    NAME: ClassVar = "ExecutionFailed"
    VERSION: ClassVar = 1

    error: StepError
    address: str = ""
    at: datetime


_Steps = (
    StepQueued | StepStarted | StepProgressed | StepSucceeded | StepFailed | StepPostponed | StepSkipped | StepCached
)
_Loops = LoopStarted | FanOutExpanded | SagaStarted | FunctionStarted | FunctionAdvanced | FunctionDiverged
_Turns = TurnStarted | TurnSkipped | TurnSucceeded | TurnFailed | TurnAbandoned | PageAsked | PageTaken
_Values = OutputsReleased | VariableSet
_Waits = TimerSet | TimerCancelled | TimerFired | SignalAwaited | SignalReceived | UpdateHandled
_Ends = ExecutionPaused | ExecutionResumed | CancelRequested | ExecutionCancelled | ExecutionCompleted | ExecutionFailed
_Breaks = BreakpointsSet | BreakpointHit | BreakpointLeft | BreakpointEdited
_Branches = ExecutionForked | RewindRequested | ExecutionRewound | ExecutionMigrated
_Limits = SlotsAsked | SlotsTaken | MessageCollected | ExecutionBegan
_Children = ChildStarted | ChildCancelRequested | ChildFinished
_Undo = UndoRequested | CompensationOwed | EffectLookedUp | UndoPlanned | UndoCompleted
_Asked = ApprovalRequested | ApprovalGiven | ApprovalDelegated | ApprovalRefused | ApprovalReminded | ApprovalEscalated
_People = _Asked | StepSuspended | ResumeReceived | StepResumed | ManualActionRequested | ManualActionDone

_Whole = ExecutionStarted | _Branches | _Ends | _Breaks
Event = _Whole | _Steps | _Children | _Loops | _Turns | _Values | _Waits | _Limits | _People | _Undo

EVENT_TYPES: tuple[type[Event], ...] = Event.__args__

UPCASTERS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""`(name, version)` -> a pure function from that version's fields to the next version's."""
