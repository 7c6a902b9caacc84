"""What the API needs of a daemon; daemon/main has it all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from daemon.nodes.gates import GateStatus
    from daemon.runtime.approval_links import ApprovalLinks
    from daemon.runtime.branches import Branches
    from daemon.runtime.brokers import Brokers
    from daemon.runtime.changes import Changes
    from daemon.runtime.checkpoints import Checkpoints
    from daemon.runtime.children import Children
    from daemon.runtime.clock import Clock
    from daemon.runtime.dead_letters import Letters
    from daemon.runtime.definitions import Compiler
    from daemon.runtime.engine import Engine
    from daemon.runtime.expiry import Expiry
    from daemon.runtime.history import History
    from daemon.runtime.intake import Intake
    from daemon.runtime.leases import Membership
    from daemon.runtime.measured_log import MeasuredLog
    from daemon.runtime.metrics import Metrics
    from daemon.runtime.migrations import Migrations
    from daemon.runtime.people import People
    from daemon.runtime.plans import Plans
    from daemon.runtime.recovery import Recovery
    from daemon.runtime.result_cache import ResultCache
    from daemon.runtime.streams import StreamHub
    from daemon.settings import Settings
    from eventstore.store import Store
    from triggers.message import ConnectionStatus
    from triggers.webhook import WebhookSettings


class Daemon(Protocol):
    """A daemon that runs."""

    @property
    def settings(self) -> Settings:
        """What it was started with."""

    @property
    def log(self) -> MeasuredLog:
        """Knows whether commits are answered."""

    @property
    def engine(self) -> Engine:
        """Takes commands."""

    @property
    def intake(self) -> Intake:
        """Takes messages."""

    @property
    def membership(self) -> Membership:
        """This daemon among others."""

    @property
    def recovery(self) -> Recovery:
        """Takes up executions."""

    @property
    def cache(self) -> ResultCache:
        """Keeps results of steps."""

    @property
    def streams(self) -> StreamHub:
        """The streams of steps."""

    @property
    def history(self) -> History:
        """Reads executions."""

    @property
    def expiry(self) -> Expiry:
        """Lets executions go."""

    @property
    def checkpoints(self) -> Checkpoints:
        """Snapshots, and versions with names."""

    @property
    def plans(self) -> Plans:
        """The loaded workflows."""

    @property
    def branches(self) -> Branches:
        """Forks and rewinds executions."""

    @property
    def migrations(self) -> Migrations:
        """Moves executions to other definitions."""

    @property
    def children(self) -> Children:
        """Undoes executions that have completed."""

    @property
    def changes(self) -> Changes:
        """Hints of commits."""

    @property
    def store(self) -> Store:
        """Where everything is."""

    @property
    def clock(self) -> Clock:
        """Gives the time."""

    @property
    def stopping(self) -> bool:
        """Whether the daemon takes no more work; open streams then end."""

    @property
    def metrics(self) -> Metrics:
        """What `/metrics` shows."""

    @property
    def people(self) -> People:
        """Takes what people decide and give."""

    @property
    def links(self) -> ApprovalLinks:
        """Reads the links by which they do."""

    @property
    def letters(self) -> Letters:
        """The dead letters."""

    @property
    def brokers(self) -> Brokers:
        """The connections to brokers."""

    @property
    def compiler(self) -> Compiler:
        """Reads definitions."""

    @property
    def receiving(self) -> bool:
        """Whether it has come to receive from its triggers."""

    @property
    def webhooks(self) -> Mapping[str, tuple[str, WebhookSettings]]:
        """Path (what follows `/hooks/`) -> qualified name of the trigger and its settings, secrets filled in."""

    @property
    def definition_schema(self) -> Mapping[str, Any]:
        """The JSON Schema of definitions."""

    def statuses(self) -> Sequence[ConnectionStatus]:
        """Return how each connection to a broker is."""

    def clients(self) -> Sequence[GateStatus]:
        """Return how the hosts and databases are that handlers share."""
