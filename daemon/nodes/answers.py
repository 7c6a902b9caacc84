"""What a handler, or the `execute` of a node type, may answer beside a plain value.

They say how the flow goes on, so the way is on record with the result: nothing is computed again to know it.

Comes from: the handlers, `execute`. Goes to: daemon/runtime/step_answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID

from msgspec import Struct


class Port(Struct, frozen=True):
    """Leave by this port: the edges that leave the node by it fire, all its others are dead.

    The node must have the port, as a `task` has those in its key `ports`; else the step fails with code `port`. Not for
    failures: those are raised.
    """

    name: str
    output: Any = None
    """The step's output; any value with a JSON form."""


class Route(Struct, frozen=True):
    """Of the nodes that the step's `out` edges lead to, only these go on; what else they lead to is skipped.

    An id that no `out` edge leads to fails the step with code `route`. To no node at all is allowed, and as `End`.
    """

    to: str | Iterable[str]
    """An id, or several; in the body of a loop the ids of nodes in the same body."""
    output: Any = None
    """The step's output; any value with a JSON form."""


class End(Struct, frozen=True):
    """The branch ends here, well: no edge fires, and what follows is skipped, unless another way leads there."""

    output: Any = None
    """The step's output; any value with a JSON form."""


class Again(Struct, frozen=True):
    """Call me again after this length of time: to poll, to go on with the next page, to wait for what is not yet there.

    No failure: `retry.max_attempts` does not count it. The wait is recorded, so it outlives the daemon, and it takes no
    slot. The next call is an attempt of its own, with the same input and a `timeout` of its own.
    """

    after: str | timedelta
    """`10s`, `1h30m`, or a timedelta; nothing is allowed, and is a way to record how far the work is."""
    state: Any = None
    """What `context.state` is from then on, until another `Again`: any value with a JSON form. Keep it small: it is
    recorded each time."""


class Pause(Struct, frozen=True):
    """Wait until somebody gives input, by the API or `sagad resume --step`; then call me again.

    No failure: `retry.max_attempts` does not count it. The wait is recorded, so it outlives the daemon, and it takes no
    slot. The next call is an attempt of its own, with the same input, and with what was given as `context.resumed`.
    """

    reason: str
    """What people read who are to give the input."""
    expects: Any = None
    """JSON Schema (2020-12) of the input; what does not match is refused. None takes anything."""
    state: Any = None
    """What `context.state` is from then on: any value with a JSON form. Keep it small."""
    timeout: str | timedelta | None = None
    """`2d`, or a timedelta; after this time the step fails with code `timeout`. None waits for ever."""


class Child(Struct, frozen=True):
    """The step has started an execution and waits for its end. For node types, not for handlers."""

    execution_id: UUID
    workflow: str
    definition: str
    """Hash of the definition that it is pinned to."""


Answer: TypeAlias = Port | Route | End | Again | Pause
