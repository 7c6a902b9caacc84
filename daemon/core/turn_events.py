"""Events of loops, fan-outs and groups, and of their turns.

Comes from: `turns`, `settling`. Goes to: `events`, which has the rules for all of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from msgspec import Struct

from daemon.core.step_error import StepError
from daemon.core.values import Json


class Repeats(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What has turns has begun; never recorded itself.

    With `items` or a `total` it is known how many turns there are at most. `item` in turn n is `items[n]`, or
    `first + n * step` without items. `paged`: the items come page by page. `collect`: what the turns give is kept,
    until the last has ended.
    """

    address: str
    items: Json | None = None
    total: int | None = None
    first: int = 0
    step: int = 1
    paged: bool = False
    collect: bool = False
    at: datetime


class LoopStarted(Repeats, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A loop has begun: its turns follow one another."""

    NAME: ClassVar = "LoopStarted"
    VERSION: ClassVar = 1


class FanOutExpanded(Repeats, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A fan-out has begun: its turns run beside each other."""

    NAME: ClassVar = "FanOutExpanded"
    VERSION: ClassVar = 1


class SagaStarted(Repeats, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A group has begun that is undone by itself if it fails: it has one turn."""

    NAME: ClassVar = "SagaStarted"
    VERSION: ClassVar = 1


class TurnStarted(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A turn of a loop or fan-out has begun. Its address is that of the node with its number: `each[3]`."""

    NAME: ClassVar = "TurnStarted"
    VERSION: ClassVar = 1

    address: str
    at: datetime


class TurnSkipped(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A turn was left out by a condition."""

    NAME: ClassVar = "TurnSkipped"
    VERSION: ClassVar = 1

    address: str
    at: datetime


class TurnSucceeded(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """All that a turn held is settled. Its steps leave the state with this; the log keeps them."""

    NAME: ClassVar = "TurnSucceeded"
    VERSION: ClassVar = 1

    address: str
    output: Json
    at: datetime


class TurnFailed(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A step in it failed, and nothing took the error. What is under way in the turn is given up."""

    NAME: ClassVar = "TurnFailed"
    VERSION: ClassVar = 1

    address: str
    error: StepError
    at: datetime


class TurnAbandoned(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The turn is not needed any more: another one failed, or there are enough. What is under way in it is given up."""

    NAME: ClassVar = "TurnAbandoned"
    VERSION: ClassVar = 1

    address: str
    at: datetime
