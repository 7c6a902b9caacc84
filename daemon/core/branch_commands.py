"""Commands by which an execution goes on from a past of its own, or under another definition.

Comes from: daemon/runtime. Goes to: `commands`, which has the rules for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from daemon.core.events import Event
from daemon.core.state import State


class RewindExecution(Struct, frozen=True, gc=False, kw_only=True):
    """Undo what was done since a version, then go on from there. Identity: `rewind_id`, chosen by the sender."""

    to_version: int
    """After a decision of the execution."""
    base: State
    """At that version."""
    between: tuple[Event, ...]
    """All events since."""
    mode: str = "automatic"
    again: bool = False
    """Whether the decision that followed is to be made again."""
    down_to: int
    """What took effect up to this version stays: that decision's last, or `to_version`."""
    keep_signals: bool = True
    rewind_id: str = ""
    """Empty for none: a repeat is then done again."""
    reason: str = ""
    actor: str
    at: datetime


class MigrateExecution(Struct, frozen=True, gc=False, kw_only=True):
    """Go on under another definition: that of the plan that comes with it. Identity: that definition."""

    names: Mapping[str, str] = {}
    """Old id -> new id of the nodes that have another."""
    types: Mapping[str, str] = {}
    """Type of each node of the old definition, to see that what is open stays what it is; empty does not look."""
    reason: str = ""
    actor: str
    at: datetime
