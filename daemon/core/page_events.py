"""Events of loops whose items come page by page.

The page's own step is told of as any other: `StepStarted`, `StepSucceeded` at `each[0]~page`.

Comes from: `paging`. Goes to: `events`, which has the rules for all of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from msgspec import Struct

from daemon.core.values import NULL, Json


class PageAsked(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """All turns of the page before have ended, and the loop waits for its next page.

    The items of the page before leave the state with this; the log keeps them.
    """

    NAME: ClassVar = "PageAsked"
    VERSION: ClassVar = 1

    address: str
    """Of the loop."""
    number: int
    """Of the page, from 0."""
    at: datetime


class PageTaken(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The loop has the items that the step of its page gave; that step leaves the state."""

    NAME: ClassVar = "PageTaken"
    VERSION: ClassVar = 1

    address: str
    """Of the loop."""
    number: int
    count: int
    """Of the items."""
    next: Json = NULL
    """Where the next page begins; null after the last one."""
    at: datetime
