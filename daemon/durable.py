"""What the author of durable functions imports: `from daemon.durable import durable, DurableContext, CallFailed, Undo`.

    @durable("orders.fulfil")
    async def fulfil(ctx: DurableContext, order: str, total: float) -> str:
        paid = await ctx.step("payments.charge", {"amount": total}, compensate="payments.refund")
        async with asyncio.timeout(3600):
            await ctx.signal("shipped")
        return paid["id"]

A durable function is plain `asyncio` code: `gather`, `TaskGroup`, `as_completed`, `wait`, `timeout`, `sleep`, queues,
cancellation. What it calls on `ctx` is journaled, so after a crash, or a wait of a year, it is run again from its start
with what the journal says, in the order in which it came, and takes the same way to where it was. For that it must do
nothing by itself but compute, and not for long: what reads a clock, throws dice, or touches a file or the network is a
step. `ctx.now`, `ctx.random`, `ctx.uuid` give what is recorded; sockets, threads and processes of its event loop are
refused.

A node `{function: orders.fulfil, with: {...}}` runs it; `with` is bound to its parameters as to a handler's. Its first
parameter is the context.

Goes to: daemon/runtime/handler_registry, which collects what is decorated; daemon/runtime/functions, which runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from inspect import getattr_static
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from msgspec import Struct

from daemon.core.retry import RetryPolicy

if TYPE_CHECKING:
    from uuid import UUID

    from structlog.typing import FilteringBoundLogger

__all__ = ["CallFailed", "DurableContext", "DurableSpec", "SignalTimeout", "Undo", "durable", "durable_spec_of"]

F = TypeVar("F", bound=Callable[..., Any])

_ATTRIBUTE = "__sagad_durable__"

Retry = int | Mapping[str, Any] | RetryPolicy
"""How many attempts in all; or the keys of a node's `retry`, such as `{"max_attempts": 5, "initial": "200ms"}`."""
Length = str | float | timedelta
"""`10s`, `1h30m`, seconds, or a timedelta."""


class CallFailed(Exception):
    """A call has failed for good: its step's error, which the function may handle."""

    def __init__(self, message: str, code: str, error_type: str = "", attempt: int = 1, details: object = None) -> None:
        super().__init__(message)
        self.message, self.code, self.details = message, code, details
        self.error_type = error_type
        """Name of the exception's class that the handler raised; empty for a `StepFailure`."""
        self.attempt = attempt


class SignalTimeout(CallFailed, TimeoutError):
    """The signal did not come in time."""


class Undo(Struct, frozen=True):
    """What undoes a call if the execution does not complete: the `compensate` of a node."""

    handler: str | Callable[..., Any]
    input: Any = "{{ step.output }}"
    """A template, rendered when the call has settled: it sees `step.input` and `step.output`."""
    kind: str = "reversible"
    """`reversible` | `idempotent` | `eventual`."""
    retry: Retry | None = None
    timeout: Length | None = None


class DurableContext(Protocol):
    """What a durable function can ask for. Whatever is awaited may raise `CallFailed`."""

    execution_id: str
    workflow: str
    address: str
    """Of the function's step."""
    logger: FilteringBoundLogger
    """Bound to the execution and step; silent while the function is replayed."""

    @property
    def replaying(self) -> bool:
        """Tell whether the function only does again what it has done before."""

    def step(
        self,
        handler: str | Callable[..., Any],
        input: Any = None,  # noqa: A002  what definitions call it too
        *,
        id: str | None = None,  # noqa: A002  what definitions call it too
        retry: Retry | None = None,
        timeout: Length | None = None,
        compensate: str | Callable[..., Any] | Undo | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Run a handler, by its name or itself, as a step; give its output.

        `input` is what a node's `with` would be. `id` is a word that names the step for people; `timeout` is that of
        one attempt.
        """

    def sleep(self, until: Length | datetime) -> Coroutine[Any, Any, None]:
        """Sleep for a length of time, or until a time that has an offset from UTC: durably, for years if need be."""

    def signal(self, name: str, timeout: Length | None = None) -> Coroutine[Any, Any, Any]:
        """Wait for a signal, and give its data; one that came before is taken at once. May raise `SignalTimeout`."""

    def child(
        self,
        workflow: str,
        input: Any = None,  # noqa: A002  what definitions call it too
        *,
        id: str | None = None,  # noqa: A002  what definitions call it too
        version: str | None = None,
        retry: Retry | None = None,
        timeout: Length | None = None,
        on_close: str = "cancel",
    ) -> Coroutine[Any, Any, Any]:
        """Start an execution of another workflow, wait for its end, and give its output; as a `subflow` node does.

        It is undone in its turn when this execution is. `on_close` (`cancel` | `terminate` | `abandon`) says what
        becomes of it when the call is given up.
        """

    def now(self) -> datetime:
        """Return the time at which the function last went on, in UTC: the same at each replay."""

    def random(self) -> float:
        """Return a random number from 0 to 1, 1 excluded, which is recorded."""

    def uuid(self) -> UUID:
        """Return a random UUID, which is recorded."""

    def version(self, name: str, oldest: int, newest: int) -> int:
        """Return which version of the code this execution is to follow from here on, for a change made on purpose.

        The newest for one that comes here for the first time; what is recorded for one that did; the oldest for one
        that had passed here before there was this call.
        """


class DurableSpec(Struct, frozen=True):
    """What `@durable` was told."""

    name: str | None
    """None takes the function's name, after its module's."""


def durable(name: str | None = None, /) -> Callable[[F], F]:
    """Mark an `async def` as a durable function, and return it unchanged; `name` is what `function:` calls it by."""

    def mark(function: F) -> F:
        setattr(function, _ATTRIBUTE, DurableSpec(name))
        return function

    return mark


def durable_spec_of(value: object) -> DurableSpec | None:
    """Return what `@durable` was told about this object; None if it was not decorated. Runs no code of the object."""
    spec = getattr_static(value, _ATTRIBUTE, None)
    return spec if isinstance(spec, DurableSpec) else None
