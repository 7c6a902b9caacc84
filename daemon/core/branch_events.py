"""Events by which an execution goes on from another place: a past of its own or another's, or another definition.

Comes from: `branching`. Goes to: `events`, which has the rules for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from msgspec import Struct

from daemon.core.values import Json


class StepEdit(Struct, frozen=True, gc=False, omit_defaults=True):
    """The result that a step is given by hand."""

    output: Json
    port: str = "out"


class InputEdit(Struct, frozen=True, gc=False):
    """Another input."""

    value: Json


class Edits(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What is different in a fork from the execution that it was forked from."""

    input: InputEdit | None = None
    """None leaves it as it was."""
    variables: Mapping[str, Json] = {}
    steps: Mapping[str, StepEdit] = {}
    """By address. Of a step that is still open, it is the end."""


class ExecutionForked(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The first event of a fork. It goes on from the state that another execution had after its event `at_version`.

    The events up to there are not copied: a fold begins with theirs. What they have done is not repeated, and not
    the fork's to undo.
    """

    NAME: ClassVar = "ExecutionForked"
    VERSION: ClassVar = 1

    execution_id: UUID
    source: UUID
    at_version: int
    definition: str
    """Hash of the definition that the fork is pinned to."""
    edits: Edits = Edits()
    reason: str = ""
    actor: str
    at: datetime


class RewindRequested(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Somebody wants the execution to go on from its own past. What it has done since is undone first.

    With `again` the decision that followed the version is made once more then, on what it was made before.
    """

    NAME: ClassVar = "RewindRequested"
    VERSION: ClassVar = 1

    to_version: int
    mode: str
    """`automatic` | `manual` | `confirm_each` | `none`: how what was done since is undone."""
    again: bool = False
    keep_signals: bool = True
    """Whether what was sent to it since then is kept for whoever takes it."""
    rewind_id: str = ""
    """Chosen by the sender: the same is done once."""
    reason: str = ""
    actor: str
    at: datetime


class ExecutionRewound(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The fold goes on from the state after `to_version`; all in between stays in the log, and counts no more.

    But signals and inputs that came since are not lost, unless that is wanted: they wait for whoever takes them.
    """

    NAME: ClassVar = "ExecutionRewound"
    VERSION: ClassVar = 1

    to_version: int
    keep_signals: bool = True
    at: datetime


class ExecutionMigrated(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The execution goes on under another definition of its workflow. What was done stays done."""

    NAME: ClassVar = "ExecutionMigrated"
    VERSION: ClassVar = 1

    definition: str
    """Hash of the definition that it is pinned to from now on."""
    names: Mapping[str, str] = {}
    """Old id -> new id of the nodes that have another: their steps have it too from now on."""
    reason: str = ""
    actor: str
    at: datetime
