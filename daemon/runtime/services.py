"""What the daemon lends to node types: outgoing HTTP, the brokers, and the registered handlers.

Comes from: daemon/main. Goes to: daemon/nodes, by way of the step's context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from daemon.core.errors import Rejected
from daemon.nodes.context import StepFailure
from daemon.nodes.outbound import Gates, OutboundPolicy, http_client
from daemon.nodes.statements import DEFAULT_MAX_BYTES, DEFAULT_MAX_ROWS, Fetch, Statement
from daemon.runtime.children import Starting
from daemon.runtime.databases import Databases, gate_rule
from daemon.runtime.lanes import InLoop, Threads
from daemon.runtime.processes import Processes
from eventstore.errors import StoreError
from triggers.cloudevents import to_cloudevent
from triggers.errors import BadCloudEvent, BrokerUnavailable, Unroutable
from triggers.publishing import Outbound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta
    from types import TracebackType
    from typing import Self

    import httpx

    from daemon.nodes.answers import Child
    from daemon.nodes.context import ChildStart, Mail, NodeContext, Publication
    from daemon.nodes.gates import GateStatus
    from daemon.runtime.handler_registry import Handler
    from daemon.runtime.lanes import Lane, Place
    from daemon.runtime.ports import ChildStarter
    from daemon.settings_outside import Outbound as OutboundSettings
    from daemon.settings_people import Smtp
    from triggers.publishing import Publisher

    MakeLink = Callable[[UUID, str, int, str, datetime | None], str | None]

_CLOUDEVENT_PREFIXES: Mapping[str, Literal["ce-", "ce_", "cloudEvents_"]] = {
    "kafka": "ce_",
    "rabbitmq": "cloudEvents_",
    "memory": "ce-",
}


class Outgoing:
    """The ways out of the daemon that all steps share. Use as `async with`: it closes the HTTP client and databases."""

    def __init__(
        self,
        publishers: Mapping[str, Publisher],
        policy: OutboundPolicy | None = None,
        databases: Databases | None = None,
        *,
        smtp: Smtp | None = None,
        link: MakeLink = lambda *_: None,
    ) -> None:
        """Take publishers by broker name (`kafka`, `rabbitmq`, `memory`); whoever made them closes them.

        `link` makes the links for approvals.
        """
        policy = policy or OutboundPolicy()
        self._smtp = smtp
        self.link = link
        self._gates = Gates(policy.gates)
        self.http: httpx.AsyncClient = http_client(policy, self._gates)
        self.databases = databases or Databases({}, str)
        self._publishers = dict(publishers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()
        await self.databases.close()

    def clients(self) -> list[GateStatus]:
        """Tell how the hosts and databases are that have limits."""
        return [*self._gates.statuses(), *self.databases.statuses()]

    async def publish(self, publication: Publication) -> str:
        """Send a message; see `daemon.nodes.context.Services.publish`."""
        publisher = self._publishers.get(publication.broker)
        if publisher is None:
            known = ", ".join(sorted(self._publishers)) or "none"
            message = f"the daemon is not connected to {publication.broker}; it is to: {known}"
            raise StepFailure(message, "broker_unknown", retryable=False)
        message_out = _outbound(publication)
        try:
            return await publisher.publish(message_out)
        except BrokerUnavailable as error:
            raise StepFailure(str(error), "broker_unavailable") from error
        except Unroutable as error:
            raise StepFailure(str(error), "unroutable", retryable=False) from error

    async def mail(self, mail: Mail) -> object:
        """Send a mail; see `daemon.nodes.context.Services.mail`."""
        if self._smtp is None:
            raise StepFailure("the daemon has no mail server: set [smtp] host", "smtp_unknown", retryable=False)
        from daemon.runtime.mail import send  # noqa: PLC0415  the mail library is slow to import, and seldom needed

        return await send(self._smtp, mail)


def outbound_policy(settings: OutboundSettings) -> OutboundPolicy:
    """Return the rules that the settings describe."""
    return OutboundPolicy(
        allow_hosts=settings.allow_hosts,
        allow_private=settings.allow_private,
        gates={host: gate_rule(client) for host, client in settings.clients.items()},
        verify=True if settings.ca_file is None else str(settings.ca_file),
    )


class Lanes:
    """The three ways to run a handler."""

    def __init__(self, *, max_threads: int, max_processes: int) -> None:
        self._lanes: dict[str, Lane] = {
            "loop": InLoop(),
            "thread": Threads(max_threads),
            "process": Processes(max_processes),
        }

    async def take(self, handler: Handler) -> Place:
        """Return a place for the handler; waits while its lane is full."""
        return await self._lanes[handler.runs_in].take(handler)

    async def close(self) -> None:
        """End idle threads and processes."""
        for lane in self._lanes.values():
            await lane.close()


class StepServices:
    """Implements `daemon.nodes.context.Services` for one attempt, which may have taken its place already."""

    def __init__(
        self, outgoing: Outgoing, handlers: Mapping[str, Handler], lanes: Lanes, children: ChildStarter | None = None
    ) -> None:
        self.http = outgoing.http
        self._outgoing = outgoing
        self._handlers = handlers
        self._lanes = lanes
        self._children = children
        self._taken: tuple[str, Place] | None = None

    async def reserve(self, handler: str | None) -> None:
        """Wait for a place for this handler, so that the wait does not count as work. An unknown one needs none."""
        if handler is not None and handler in self._handlers:
            self._taken = handler, await self._lanes.take(self._handlers[handler])

    def release(self) -> None:
        """Give the reserved place up. May be called more than once."""
        if self._taken is not None:
            self._taken[1].leave()

    async def publish(self, publication: Publication) -> str:
        """Send a message; see `daemon.nodes.context.Services.publish`."""
        return await self._outgoing.publish(publication)

    async def sql(
        self,
        connection: str,
        query: str,
        params: Mapping[str, Any] | None = None,
        *,
        fetch: Fetch = "all",
        timeout: timedelta | None = None,  # noqa: ASYNC109  as in the protocol
        read_only: bool = False,
        max_rows: int = DEFAULT_MAX_ROWS,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> Any:
        """Run one statement; see `daemon.nodes.context.Services.sql`."""
        statement = Statement(
            query=query,
            params=params or {},
            fetch=fetch,
            timeout=timeout,
            read_only=read_only,
            max_rows=max_rows,
            max_bytes=max_bytes,
        )
        return await self._outgoing.databases.run(connection, statement)

    async def mail(self, mail: Mail) -> object:
        """Send a mail; see `daemon.nodes.context.Services.mail`."""
        return await self._outgoing.mail(mail)

    def approval_link(
        self, execution_id: str, address: str, question: int, approver: str, due: datetime | None
    ) -> str | None:
        """Return a link; see `daemon.nodes.context.Services.approval_link`."""
        return self._outgoing.link(UUID(execution_id), address, question, approver, due)

    async def call(self, handler: str, value: Any, context: NodeContext) -> object:
        """Run a handler; see `daemon.nodes.context.Services.call`. One that is unknown here fails retryably."""
        found = self._handlers.get(handler)
        if found is None:
            message = f"the daemon has no handler {handler!r}; it has: {', '.join(sorted(self._handlers)) or 'none'}"
            raise StepFailure(message, "handler_unknown")
        if self._taken is not None and self._taken[0] == handler:
            return await self._taken[1].run(found, value, context)
        place = await self._lanes.take(found)
        try:
            return await place.run(found, value, context)
        finally:
            place.leave()

    async def start_child(self, child: ChildStart, context: NodeContext) -> Child:
        """Start an execution for the step; see `daemon.nodes.context.Services.start_child`."""
        name = f"{context.workflow}/{context.address}"
        wanted = Starting(
            parent=context.parent,
            subject=context.subject,
            workflow=child.workflow,
            version=child.version,
            input=child.input,
            traceparent=context.traceparent,
            trigger={"name": name, "source": "subflow", "key": context.execution_id, "headers": {}},
        )
        return await self._starter.start(wanted)

    async def undo_child(self, child: str, context: NodeContext) -> Child:
        """Have a child undone; see `daemon.nodes.context.Services.undo_child`."""
        try:
            return await self._starter.undo(UUID(child), context.parent)
        except (Rejected, StoreError) as error:
            raise StepFailure(str(error), "not_undone") from error

    @property
    def _starter(self) -> ChildStarter:
        if self._children is None:
            raise StepFailure("a remote worker starts no executions", "no_children", retryable=False)
        return self._children


def _outbound(publication: Publication) -> Outbound:
    body, content_type, headers = publication.body, publication.content_type, dict(publication.headers)
    if publication.cloudevent is not None:
        mode: Literal["binary", "structured"] = (
            "structured" if publication.cloudevent_mode == "structured" else "binary"
        )
        prefix = _CLOUDEVENT_PREFIXES.get(publication.broker, "ce-")
        try:
            event = to_cloudevent(publication.cloudevent, body, content_type, mode=mode, prefix=prefix)
        except BadCloudEvent as error:
            raise StepFailure(str(error), "cloudevent", retryable=False) from error
        body, content_type, headers = event.body, event.content_type, event.headers | headers
    return Outbound(
        destination=publication.destination,
        body=body,
        key=publication.key,
        headers=headers,
        content_type=content_type,
        message_id=publication.message_id,
        exchange=publication.exchange,
        partition=publication.partition,
    )
