"""Events of subflows: an execution starts another, waits for it, and is told how it has ended.

Comes from: `children`. Goes to: `events`, which has the rules for all of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from msgspec import Struct

from daemon.core.values import NULL, Json


class Parent(Struct, frozen=True, gc=False, omit_defaults=True):
    """The step that has started an execution and is told how it ends."""

    execution_id: UUID
    address: str
    attempt: int
    depth: int = 1
    """How many executions there are above the child."""
    key: str = ""
    """What the step's idempotency key has in place of the execution's id, if anything; see `Running.keys`."""


class ChildStarted(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The child's own log has begun, or, for a compensation, its undo; the step now waits for the child's end."""

    NAME: ClassVar = "ChildStarted"
    VERSION: ClassVar = 1

    address: str
    attempt: int
    child: UUID
    workflow: str
    definition: str
    """Hash of the definition that the child is pinned to."""
    at: datetime


class ChildCancelRequested(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The child is to end: its step was given up, or has waited too long. It is waited for all the same."""

    NAME: ClassVar = "ChildCancelRequested"
    VERSION: ClassVar = 1

    address: str
    attempt: int
    child: UUID
    undo: bool
    """Whether it undoes first what it has done."""
    reason: str
    at: datetime


class ChildFinished(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The child has ended. What that means for the step that waits for it follows."""

    NAME: ClassVar = "ChildFinished"
    VERSION: ClassVar = 1

    address: str
    attempt: int
    child: UUID
    status: str
    """`completed` | `failed` | `cancelled`."""
    output: Json = NULL
    """Of the child, where the step's result is made of it; else that is the step's."""
    at: datetime


class UndoRequested(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An execution that had completed is to be undone after all."""

    NAME: ClassVar = "UndoRequested"
    VERSION: ClassVar = 1

    reason: str
    actor: str
    parent: Parent | None = None
    """The step that is told of the end, in place of the one that has started the execution."""
    at: datetime
