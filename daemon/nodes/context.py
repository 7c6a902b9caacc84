"""What a node type's `execute` gets, and how it fails.

Comes from: daemon/runtime/steps, which makes the context. Goes to: the `execute` of each node type.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from daemon.nodes.statements import DEFAULT_MAX_BYTES, DEFAULT_MAX_ROWS, Fetch

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    import httpx
    from structlog.typing import FilteringBoundLogger

    from daemon.core.child_events import Parent
    from daemon.nodes.answers import Child


class StepFailure(Exception):
    """The attempt failed in a way that is part of the game; recorded as the step's error.

    `code` is a stable word for rules (`http_404`); `details` is a JSON value for people and `error` edges. An attempt
    that is not `retryable` is the last, whatever the node's retry policy says.
    """

    def __init__(self, message: str, code: str, *, retryable: bool = True, details: object = None) -> None:
        super().__init__(message)
        self.message, self.code, self.retryable, self.details = message, code, retryable, details


class Publication(Struct, frozen=True, kw_only=True):
    """A message that the `publish` node sends."""

    broker: str
    """`kafka` | `rabbitmq` | `memory`."""
    destination: str
    """Kafka or in-process topic, RabbitMQ routing key."""
    body: bytes
    content_type: str
    message_id: str
    """The step's idempotency key: the same at each attempt."""
    key: str | None = None
    """Kafka only."""
    partition: int | None = None
    """Kafka only; None leaves it to the key."""
    exchange: str = ""
    """RabbitMQ only; empty for the default exchange."""
    headers: Mapping[str, str] = {}
    cloudevent: Mapping[str, str] | None = None
    """Attributes of the CloudEvent that the body is the data of; None sends it as it is."""
    cloudevent_mode: str = "binary"
    """`binary` | `structured`."""


class Mail(Struct, frozen=True, kw_only=True):
    """A mail that a notice is."""

    to: tuple[str, ...]
    subject: str
    text: str
    key: str
    """The step's idempotency key; it becomes the message's id, so that a mail sent twice can be told."""


class Services(Protocol):
    """What the daemon lends to node types. All of it may be used by many steps at once."""

    http: httpx.AsyncClient
    """Obeys the daemon's rules for outgoing calls (see `daemon/nodes/outbound`); closed by the daemon."""

    async def publish(self, publication: Publication) -> str:
        """Send, and return where it went (`kafka:orders/3@42`) when the broker has confirmed.

        Raises `StepFailure`: retryable with code `broker_unavailable`, not retryable with `unroutable` or
        `broker_unknown` (the daemon has no such broker).
        """

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
        """Run one statement, a transaction by itself, and return its result in JSON types.

        `connection` is a name under `[connections]`. Raises `StepFailure` with a code that begins with `sql_`.
        """

    async def mail(self, mail: Mail) -> object:
        """Send by the SMTP server of the settings, and return what is to be recorded.

        Raises `StepFailure`: retryable with code `smtp_unavailable`, not retryable with `smtp_refused`, or with
        `smtp_unknown` (the daemon has no server).
        """

    def approval_link(
        self, execution_id: str, address: str, question: int, approver: str, due: datetime | None
    ) -> str | None:
        """Return the signed link by which the approver can decide; None when the settings give no secret or URL."""

    async def call(self, handler: str, value: Any, context: NodeContext) -> object:
        """Run a registered handler with this input and return its output, a value with a JSON form, or its `Answer`.

        What the handler raises passes through.
        """

    async def start_child(self, child: ChildStart, context: NodeContext) -> Child:
        """Start an execution that tells the step of its end; harmless when repeated. The step's answer.

        Raises `StepFailure` with code `unknown_workflow` or `invalid_input`.
        """

    async def undo_child(self, child: str, context: NodeContext) -> Child:
        """Have a child that has completed undone, by its id; harmless when repeated. The step's answer.

        Raises `StepFailure` with code `not_undone`.
        """


class ChildStart(Struct, frozen=True, kw_only=True):
    """The execution that the `subflow` node starts."""

    workflow: str
    version: str | None = None
    """Hash of a definition, or how it begins; None for the workflow's current one."""
    input: Any = None


class NodeContext(Protocol):
    """One attempt of one step, as `execute` and handlers see it."""

    execution_id: str
    workflow: str
    address: str
    attempt: int
    """Counts from 1."""
    idempotency_key: str
    """The same at each attempt of this step, and for no other step."""
    deadline: datetime | None
    """When the attempt is given up; None when the node has no timeout."""
    parent: Parent
    """What an execution that the step starts has above it."""
    subject: str
    """Whose data the execution holds; empty for nobody's in particular."""
    traceparent: str | None
    """W3C trace context of the attempt, to be passed on."""
    state: Any
    """What the last `Again` or `Pause` of this step has left; None before the first."""
    resumed: Any
    """What was given to this step when it had paused last; None before the first."""
    config: Any
    """What the node type's `parse` made."""
    max_output_bytes: int
    """A larger output fails the step."""
    services: Services
    logger: FilteringBoundLogger

    @property
    def cancelled(self) -> bool:
        """Tell whether the execution has ended or the attempt is given up; handlers in threads look at it."""

    def heartbeat(self) -> None:
        """Tell that the attempt is alive. Safe in threads."""

    def progress(self, value: object) -> None:
        """Record how far the attempt is: any value with a JSON form. Safe in threads; returns at once."""

    def stream(self, chunk: object) -> Awaitable[None]:
        """Give readers another chunk; see `daemon.handlers.Context.stream`."""
