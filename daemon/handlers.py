"""What the author of handlers imports: `from daemon.handlers import handler, Context, StepFailure, Again, …`.

    @handler("payments.charge")
    async def charge(amount: float, reservation: str, *, context: Context) -> Receipt:
        return await bank.charge(amount, key=context.idempotency_key)

A handler is a function: it stays callable as it is, so a unit test calls it. A node's `with` is bound to its parameters
by name, checked and converted by their types; a function whose only parameter is called `input` gets the whole of
`with` instead. A parameter that is annotated `Context`, or called `context`, gets the attempt it runs in. Types may be
builtins, dataclasses, msgspec structs, TypedDicts and pydantic models.

`async def` runs in the event loop and must not block it; `def` runs in a thread; `cpu=True` is for `def` that computes
for long, and runs in a process of its own.

A generator, `def` or `async def`, streams: each value that it yields is a chunk, which readers see while the step is at
work. `collect` says what the step's output is then: `list` of the chunks, `text` joined from them, the `last` one, or
what a function makes of them: `(so_far, chunk) -> so_far`, where `so_far` is None at first. What a `def` generator
returns goes before that; an `Answer` that is yielded ends the stream and is the answer. Any other handler streams by
`await context.stream(chunk)`, without `await` in a thread. `count` is given every chunk, and its numbers are added up
and recorded with the result: `count=lambda chunk: {"tokens": len(chunk.split())}`.

What a handler returns is the step's output, and its `out` edges fire. It may say more than that: `Port(name, output)`
leaves by another port, `Route(ids, output)` chooses among the nodes that follow, `End(output)` ends the branch, and
`Again(after, state)` asks for another call later, which sees `state` as `context.state`; `Pause(reason, expects)` asks
for one when somebody has given input, which it sees as `context.resumed`. In the annotation of what it
returns they stand beside the type of the output: `-> Receipt | Port | Again`.

Goes to: daemon/runtime/handler_registry, which collects what is decorated.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from inspect import getattr_static
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, overload

from msgspec import Struct

from daemon.nodes.answers import Again, End, Pause, Port, Route
from daemon.nodes.context import StepFailure
from daemon.nodes.statements import DEFAULT_MAX_BYTES, DEFAULT_MAX_ROWS, Fetch

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    import httpx
    from structlog.typing import FilteringBoundLogger

    from daemon.nodes.context import Publication

__all__ = ["Again", "Context", "End", "HandlerSpec", "Pause", "Port", "Route", "StepFailure", "handler", "spec_of"]

F = TypeVar("F", bound=Callable[..., Any])

_ATTRIBUTE = "__sagad_handler__"
LOADED_AS = "sagad_handlers_"
"""What the names of modules begin with that were loaded from a file."""


class HandlerServices(Protocol):
    """What the daemon lends to handlers; what they raise, a `StepFailure` or httpx's errors, may pass through."""

    http: httpx.AsyncClient
    """Obeys the daemon's rules for outgoing calls; do not close it. Hand the idempotency key on as a header."""

    async def publish(self, publication: Publication) -> str:
        """Send a message; see `daemon.nodes.context.Services.publish`."""

    async def sql(
        self,
        connection: str,
        query: str,
        params: Mapping[str, Any] | None = None,
        *,
        fetch: Fetch = "all",
        timeout: timedelta | None = None,  # noqa: ASYNC109  the database gives up, not only we
        read_only: bool = False,
        max_rows: int = DEFAULT_MAX_ROWS,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> Any:
        """Run one statement, a transaction by itself; see `daemon.nodes.context.Services.sql`."""


class Context(Protocol):
    """One attempt of the step that a handler works for."""

    execution_id: str
    workflow: str
    address: str
    """Of the step: `charge`, `each[3].charge`."""
    attempt: int
    """Counts from 1."""
    idempotency_key: str
    """The same at each attempt of this step, and for no other step: hand it to whatever must not happen twice."""
    deadline: datetime | None
    """When the attempt is given up; None when the node has no timeout."""
    traceparent: str | None
    """W3C trace context of the attempt, to be passed on."""
    state: Any
    """What the last `Again` or `Pause` of this step has left, a copy of this attempt's own; None before the first."""
    resumed: Any
    """What was given to this step when it had paused last, a copy of this attempt's own; None before the first."""
    logger: FilteringBoundLogger
    """Bound to the execution, step, attempt and trace."""
    services: HandlerServices
    """HTTP, databases and brokers, shared by all steps. For `async def`; a `cpu=True` handler has none."""

    @property
    def cancelled(self) -> bool:
        """Tell whether the execution has ended or the attempt is given up.

        An `async` handler is cancelled besides. One in a thread cannot be, and should look here now and then.
        """

    def heartbeat(self) -> None:
        """Tell that the attempt is alive. Safe in threads."""

    def progress(self, value: object) -> None:
        """Record how far the attempt is: any value with a JSON form. Safe in threads; returns at once.

        Reports that come faster than one a second are thinned out; the last one is always recorded.
        """

    def stream(self, chunk: object) -> Awaitable[None]:
        """Give readers of the step's stream another chunk: any value with a JSON form, 1 MiB at most.

        Await it: it holds the handler back while too many chunks wait to be written. In a thread or a process it does
        so by itself, and need not be awaited. Chunks of an attempt that was given up go nowhere.
        """


Collect: TypeAlias = Literal["list", "text", "last"] | Callable[[Any, Any], Any]
Count: TypeAlias = Callable[[Any], Mapping[str, int | float]]


class HandlerSpec(Struct, frozen=True):
    """What `@handler` was told."""

    name: str | None
    """None takes the function's name, after its module's."""
    cpu: bool
    collect: Collect = "list"
    """What a generator's output is made of its chunks."""
    count: Count | None = None
    """Counts what is in a chunk, given in JSON types."""


@overload
def handler(name: F, /) -> F: ...
@overload
def handler(
    name: str | None = None, /, *, cpu: bool = False, collect: Collect = "list", count: Count | None = None
) -> Callable[[F], F]: ...
def handler(
    name: F | str | None = None, /, *, cpu: bool = False, collect: Collect = "list", count: Count | None = None
) -> F | Callable[[F], F]:
    """Mark a function as a handler, and return it unchanged.

    `name` is what definitions call it by: `task: inventory.reserve`. Nothing is registered: a daemon has the handlers
    of the modules that its settings name.
    """
    if callable(name):
        return _mark(name, HandlerSpec(None, cpu=False))
    spec = HandlerSpec(name, cpu, collect, count)
    return lambda function: _mark(function, spec)


def spec_of(value: object) -> HandlerSpec | None:
    """Return what `@handler` was told about this object; None if it was not decorated. Runs no code of the object."""
    spec = getattr_static(value, _ATTRIBUTE, None)
    return spec if isinstance(spec, HandlerSpec) else None


def _mark(function: F, spec: HandlerSpec) -> F:
    setattr(function, _ATTRIBUTE, spec)
    return function
