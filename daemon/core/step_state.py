"""What can be said of one step: a union of small types. A step that is in no map has not been reached.

Comes from: `evolve`. Goes to: `state`, which has the rules for all of it.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from daemon.core.people import Deciding, Resumption, Suspended
from daemon.core.step_error import StepError
from daemon.core.templates import SecretSlot
from daemon.core.values import NULL, Json


class Queued(Struct, frozen=True, gc=False, tag=True):
    """Ready, waiting for a slot; `ticket` gives its place in the queue. Attempt 2 and on has what it takes along.

    So has the first of one whose input is known already: a notice.
    """

    ticket: int
    since: datetime
    attempt: int = 1
    input: Json = NULL
    secrets: tuple[SecretSlot, ...] = ()
    state: Json = NULL
    postponed: int = 0
    began: int = 0
    doubt: bool = False
    cache_key: str = ""
    resumed: Resumption | None = None


class Limited(Struct, frozen=True, gc=False, tag=True):
    """Ready, waiting for slots of limits that executions share. Attempt 2 and on has what it takes along."""

    since: datetime
    attempt: int = 1
    input: Json = NULL
    secrets: tuple[SecretSlot, ...] = ()
    state: Json = NULL
    postponed: int = 0
    began: int = 0
    doubt: bool = False
    cache_key: str = ""
    resumed: Resumption | None = None


class InFlight(Struct, frozen=True, gc=False, tag=True):
    """A handler is owed or at work."""

    attempt: int
    input: Json
    secrets: tuple[SecretSlot, ...]
    since: datetime
    progress: Json = NULL
    progress_number: int = 0
    began: int = 0
    """Version of the event by which the first attempt began."""
    doubt: bool = False
    """Whether an attempt before has failed in a way that leaves open whether it took effect."""
    state: Json = NULL
    """What the last attempt that was postponed has left for this one."""
    postponed: int = 0
    """How many of the attempts before this one were postponed."""
    cache_key: str = ""
    """Hash of the key under which its result may be in the cache; empty for none."""
    resumed: Resumption | None = None
    """The input that it was resumed with last, if it has ever paused."""
    child: UUID | None = None
    """The execution whose end it waits for; no handler is owed then."""

    @property
    def tries(self) -> int:
        """How many attempts there were that a retry policy counts, this one among them."""
        return self.attempt - self.postponed


class Retrying(Struct, frozen=True, gc=False, tag=True):
    """The attempt before `attempt` failed, or was postponed; the timer for this one runs."""

    attempt: int
    input: Json
    secrets: tuple[SecretSlot, ...]
    error: StepError | None
    """None when it was postponed."""
    due: datetime
    since: datetime
    state: Json = NULL
    postponed: int = 0
    began: int = 0
    doubt: bool = False
    cache_key: str = ""
    resumed: Resumption | None = None


class Sleeping(Struct, frozen=True, gc=False, tag=True):
    """A timer runs; the step succeeds when it fires."""

    due: datetime
    since: datetime


class Awaiting(Struct, frozen=True, gc=False, tag=True):
    """Waits for a signal, until the timer `timer_id` when there is one."""

    name: str
    since: datetime
    due: datetime | None = None


class Repeating(Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """A loop or fan-out whose turns are under way.

    With `collect` what its turns gave is kept as steps at their addresses, as `Succeeded` or `Failed`.
    """

    items: tuple[Json, ...] | None
    total: int | None
    first: int
    step: int
    collect: bool
    since: datetime
    begun: int = 0
    """How many turns have begun or were skipped: the number of the next one."""
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    last: Json = NULL
    """What the turn gave that succeeded last."""
    paged: bool = False
    """Whether the items come page by page; `items` are those of one page then, and `total` is not known before the last
    page is there."""
    offset: int = 0
    """How many items were on the pages before."""
    pages: int = 0
    """How many pages have come: the number of the next one."""
    cursor: Json = NULL
    """What the last page has said of where the next one begins."""


class Turn(Struct, frozen=True, gc=False, tag=True):
    """One turn of a loop or fan-out, under way."""

    since: datetime
    open: int = 0
    """How many of its steps have begun and are not settled."""
    members: tuple[str, ...] = ()
    """Addresses of its steps, in the order in which they were reached."""


class Succeeded(Struct, frozen=True, gc=False, tag=True):
    """Has its result. `version` is the event's number: the order of success."""

    output: Json
    """Null when it was released."""
    port: str
    """Empty for none: no edge fires."""
    attempt: int
    version: int
    at: datetime
    released: bool = False
    """Whether the output is in the log only, because nothing can read it any more."""
    to: tuple[str, ...] | None = None
    """The nodes that go on, of those that its `out` edges lead to; None for all."""
    cached: bool = False
    """Whether another step has made the result."""


class Failed(Struct, frozen=True, gc=False, tag=True):
    """Has failed for good.

    `port` names the edges that fire all the same: `error`, or `out` with the declared default as `output`; empty for
    none.
    """

    error: StepError
    port: str
    output: Json
    version: int
    at: datetime


class Abandoned(Struct, frozen=True, gc=False, tag=True):
    """Was given up because the execution is being undone."""

    at: datetime


class Skipped(Struct, frozen=True, gc=False, tag=True):
    """Will never run: no edge into it can fire."""

    at: datetime


_Waits = Queued | Limited | InFlight | Retrying | Sleeping | Awaiting | Deciding | Suspended
Step = _Waits | Repeating | Turn | Succeeded | Failed | Skipped | Abandoned
Settled = (Succeeded, Failed, Skipped, Abandoned)
