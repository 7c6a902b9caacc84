"""A node type by itself: its config from YAML, one beginning, one attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
import yaml

from daemon.core.child_events import Parent
from daemon.core.node import Beginning, ConfigError, Run
from daemon.nodes import builtin_node_types
from daemon.nodes.answers import Child

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.core.node import Begin, NodeType
    from daemon.nodes.context import ChildStart, Mail, NodeContext, Publication, Services

PARENT = Parent(UUID("0c0ffee0-0000-5000-8000-000000000001"), "b", 2)
CHILD = UUID("0c0ffee0-0000-5000-8000-000000000002")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def type_and_config(text: str) -> tuple[NodeType, Any]:
    """Read a node as it stands in a definition; its structure is taken to be right."""
    own = yaml.safe_load(text)
    types = builtin_node_types()
    [name] = own.keys() & types.keys()
    return types[name], types[name].parse(own)


def ports_of(text: str) -> tuple[str, ...]:
    """Return the ports, without `error`."""
    node_type, config = type_and_config(text)
    return node_type.ports(config)


def begun(text: str, *, fired: tuple[str, ...] = (), **scope: Any) -> Begin:
    """Begin a step of this node at `NOON`."""
    node_type, config = type_and_config(text)
    return node_type.begin(config, Beginning(scope, fired, NOON))


def refusals(text: str) -> list[tuple[tuple[str | int, ...], str]]:
    """Return path and message of what is wrong with a node."""
    try:
        type_and_config(text)
    except ConfigError as error:
        return [(problem.path, problem.message) for problem in error.problems]
    return []


@dataclass
class FakeServices:
    """Remembers what is published; calls what it is given."""

    http: Any = None
    handlers: dict[str, Callable[[Any], object]] = field(default_factory=dict)
    published: list[Publication] = field(default_factory=list)
    started: list[ChildStart] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    rows: Any = None
    """What `sql` gives."""

    async def publish(self, publication: Publication) -> str:
        self.published.append(publication)
        return f"{publication.broker}:{publication.destination}"

    async def sql(self, connection: str, query: str, params: Any = None, **how: Any) -> Any:
        self.asked.append((connection, query, dict(params or {}), how))
        return self.rows

    async def mail(self, mail: Mail) -> object:
        raise AssertionError(f"no test sends a mail this way: {mail.subject}")

    def approval_link(
        self, execution_id: str, address: str, question: int, approver: str, due: datetime | None
    ) -> str | None:
        del execution_id, address, question, approver, due
        return None

    async def call(self, handler: str, value: Any, context: NodeContext) -> object:
        del context
        return self.handlers[handler](value)

    async def start_child(self, child: ChildStart, context: NodeContext) -> Child:
        del context
        self.started.append(child)
        return Child(CHILD, child.workflow, "current")

    async def undo_child(self, child: str, context: NodeContext) -> Child:
        del context
        self.undone.append(child)
        return Child(UUID(child), "w", "current")


@dataclass
class FakeContext:
    """One attempt."""

    config: Any
    services: Services = field(default_factory=FakeServices)
    execution_id: str = "0c0ffee0-0000-5000-8000-000000000001"
    workflow: str = "w"
    address: str = "b"
    attempt: int = 2
    idempotency_key: str = "execution/b"
    deadline: datetime | None = None
    traceparent: str | None = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    logger: Any = field(default_factory=structlog.get_logger)
    state: Any = None
    resumed: Any = None
    parent: Parent = PARENT
    subject: str = ""
    max_output_bytes: int = 2**20
    cancelled: bool = False

    def heartbeat(self) -> None:
        """Do nothing."""

    def progress(self, value: object) -> None:
        """Do nothing."""

    async def stream(self, chunk: object) -> None:
        """Do nothing."""


async def executed(text: str, services: FakeServices | None = None, **scope: Any) -> Any:
    """Begin a step of this node and execute its attempt, without secrets."""
    node_type, config = type_and_config(text)
    run = node_type.begin(config, Beginning(scope, (), NOON))
    assert node_type.execute is not None
    assert isinstance(run, Run)
    return await node_type.execute(FakeContext(config, services or FakeServices()), run.input)
