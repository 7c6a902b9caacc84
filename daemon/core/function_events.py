"""Events of durable functions: what a function has called, and when it went on. Its calls are steps, as any other.

A function's journal is a turn of its node: `flow[0]`. A call stands in it, at an address that names its place in the
program: `flow[0].2@1:charge` is the second call of the first task that the function has begun, labelled `charge`.

Comes from: `functions`. Goes to: `events`, which has the rules for all of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from msgspec import Struct

from daemon.core.retry import RetryPolicy
from daemon.core.values import NULL, Json


class CallUndo(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The compensation of a call: a handler, and the template of its input, which sees `step.input`, `step.output`."""

    handler: str
    input: Json
    kind: str = "reversible"
    retry: RetryPolicy | None = None
    timeout: timedelta | None = None


class Call(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One call of a function, with all that its step needs: neither the fold nor the replay asks the code."""

    id: str
    """The last part of its address."""
    kind: str
    """`step` | `sleep` | `signal` | `child`."""
    name: str = ""
    """Of the handler, signal or workflow."""
    input: Json = NULL
    due: datetime | None = None
    """When a sleep ends."""
    timeout: timedelta | None = None
    """Of one attempt of a step, or of the wait for a signal."""
    retry: RetryPolicy | None = None
    undo: CallUndo | None = None
    on_close: str = "cancel"
    """What becomes of a child when the call is given up."""

    @property
    def undoable(self) -> bool:
        """Whether there may be something to undo after it has settled."""
        return self.undo is not None or self.kind == "child"


class Drawn(Struct, frozen=True, gc=False, omit_defaults=True):
    """What the function was given that no step gave: `random`, `uuid`, or a version (`version:name`)."""

    kind: str
    value: Json


class FunctionStarted(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A node's durable function is to run."""

    NAME: ClassVar = "FunctionStarted"
    VERSION: ClassVar = 1

    address: str
    function: str
    input: Json
    at: datetime


class FunctionAdvanced(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The function has run until it could not go on, after it was given its calls' results up to the number `seen`.

    Results are numbered in the order of the events that recorded them, from 1. `at` is what the function took for the
    time meanwhile. Its new `calls` begin with events of their own, in the same append.
    """

    NAME: ClassVar = "FunctionAdvanced"
    VERSION: ClassVar = 1

    address: str
    """Of the journal: `flow[0]`."""
    seen: int = 0
    calls: tuple[Call, ...] = ()
    cancelled: tuple[str, ...] = ()
    """Addresses of the calls that it has given up."""
    drawn: tuple[Drawn, ...] = ()
    at: datetime


class FunctionDiverged(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The code that there is now does not do what the journal says it did: the function stays as it is, until resumed.

    `version` is the event's whose replay differs, `recorded` and `found` are the two sides in words, `place` is where
    in the user's file.
    """

    NAME: ClassVar = "FunctionDiverged"
    VERSION: ClassVar = 1

    address: str
    version: int
    recorded: str
    found: str
    place: str = ""
    at: datetime
