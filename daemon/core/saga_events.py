"""Events of sagas: what is to be undone, and how that went. The compensations themselves are steps, as any other.

Comes from: `saga`. Goes to: `events`, which has the rules for all of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from msgspec import Struct

from daemon.core.step_error import StepError
from daemon.core.templates import SecretSlot
from daemon.core.values import NULL, Json


class CompensationOwed(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A step that declares a compensation has succeeded, or may have: what would undo it is settled now.

    Follows the step's own event in the same append, so it is there whatever becomes of the execution. `input` is what
    the compensation will be sent, rendered from what was known then, secrets masked.
    """

    NAME: ClassVar = "CompensationOwed"
    VERSION: ClassVar = 1

    address: str
    """Of the step."""
    began: int
    """Version of the event by which the step had begun: what succeeded before that came before it."""
    kind: str = "reversible"
    """`reversible` | `idempotent` | `eventual` | `irreversible`."""
    unknown: bool = False
    """The step has failed in a way that leaves open whether it took effect."""
    input: Json = NULL
    secrets: tuple[SecretSlot, ...] = ()
    child: UUID | None = None
    """The execution that was started as a subflow, and is itself undone."""
    looks_up: bool = False
    """Whether it can be found out if the step took effect."""
    lookup: Json = NULL
    """What is sent to whoever finds that out."""
    lookup_secrets: tuple[SecretSlot, ...] = ()
    sent: Json = NULL
    """The step's own input, where it has to be looked up what came of it."""
    problem: str = ""
    """Why a person must see to it: the declared reason, or what is wrong with the input."""
    at: datetime


class EffectLookedUp(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """It was found out whether a step took effect. One that did not is not undone."""

    NAME: ClassVar = "EffectLookedUp"
    VERSION: ClassVar = 1

    address: str
    """Of the step."""
    found: bool
    input: Json = NULL
    """What the compensation will be sent, in place of what `CompensationOwed` has said."""
    secrets: tuple[SecretSlot, ...] = ()
    problem: str = ""
    at: datetime


class UndoPlanned(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The execution, or a group in it, would end, and what it has done is to be undone first, newest first.

    Everything under way is given up but the `draining` steps: they have a compensation, and are waited for.
    """

    NAME: ClassVar = "UndoPlanned"
    VERSION: ClassVar = 1

    status: str
    """How the execution ends then: `failed` | `cancelled`; `rewound` when it goes on from its past."""
    mode: str
    """`automatic` | `manual` | `confirm_each`."""
    error: StepError | None = None
    failed_step: str = ""
    reason: str = ""
    draining: tuple[str, ...] = ()
    scope: str = ""
    """The turn of the group; empty for the whole execution."""
    down_to: int = 0
    """What had its effect by an event of this version, or before, is not undone; 0 for a whole execution or group."""
    at: datetime


class ManualActionRequested(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The undo waits for a person to decide. The address is the step's; empty for the plan as a whole."""

    NAME: ClassVar = "ManualActionRequested"
    VERSION: ClassVar = 1

    address: str
    kind: str
    """`plan` | `confirm` | `failed` | `irreversible` | `unknown` | `broken`; it tells which choices there are."""
    message: str
    at: datetime


class ManualActionDone(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A person has decided."""

    NAME: ClassVar = "ManualActionDone"
    VERSION: ClassVar = 1

    address: str
    choice: str
    """`go` (run the compensation) | `retry` | `skip` | `done` (it was undone by hand)."""
    note: str = ""
    actor: str
    at: datetime


class UndoCompleted(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Nothing is left to undo; the end follows, of the execution or of the group in this turn."""

    NAME: ClassVar = "UndoCompleted"
    VERSION: ClassVar = 1

    compensated: int
    by_hand: int
    skipped: int
    scope: str = ""
    at: datetime
