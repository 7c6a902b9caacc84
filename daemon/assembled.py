"""A daemon whose parts are connected: what the API, the CLI and tests see of it, and how it loads its definitions.

Comes from: daemon/main, which connects the parts. Goes to: `runtime/supervisor`, daemon/api.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from daemon.core.errors import Misconfigured
from daemon.core.schema import definition_schema
from daemon.runtime.routes import routes_of
from daemon.runtime.sealing import check_keys
from eventstore.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    from daemon.runtime.steps import Steps
    from daemon.runtime.streams import StreamHub
    from daemon.runtime.subscriptions import Subscriptions
    from daemon.runtime.supervisor import Supervisor
    from daemon.settings import Settings
    from eventstore.store import Store
    from triggers.message import ConnectionStatus
    from triggers.webhook import WebhookSettings

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """The parts of a running daemon that the API, the CLI and tests use."""

    settings: Settings
    clock: Clock
    store: Store
    history: History
    expiry: Expiry
    checkpoints: Checkpoints
    plans: Plans
    changes: Changes
    log: MeasuredLog
    """The store's log as the writer has it: it knows whether commits are answered."""
    engine: Engine
    intake: Intake
    steps: Steps
    children: Children
    branches: Branches
    migrations: Migrations
    cache: ResultCache
    streams: StreamHub
    membership: Membership
    recovery: Recovery
    brokers: Brokers
    subscriptions: Subscriptions
    supervisor: Supervisor
    compiler: Compiler
    metrics: Metrics
    people: People
    links: ApprovalLinks
    letters: Letters
    reloading: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while definitions are read again: one reload at a time."""

    @property
    def definition_schema(self) -> Mapping[str, Any]:
        """The JSON Schema of definitions."""
        return definition_schema(self.compiler.node_types)

    @property
    def stopping(self) -> bool:
        """Whether it takes no more work."""
        return self.supervisor.stopping

    @property
    def receiving(self) -> bool:
        """Whether it has come to receive from its triggers: the end of `start`."""
        return self.supervisor.receiving

    @property
    def webhooks(self) -> Mapping[str, tuple[str, WebhookSettings]]:
        """Path -> qualified name of the trigger and its settings."""
        return self.subscriptions.webhooks

    def statuses(self) -> Sequence[ConnectionStatus]:
        """How each connection to a broker is."""
        return self.supervisor.statuses()

    def clients(self) -> Sequence[GateStatus]:
        """How the hosts and databases are that handlers share."""
        return self.steps.clients()

    async def start(self) -> None:
        """Load the definitions, take up old work, then receive. Raises Misconfigured with every problem."""
        async with self.reloading:
            await self.load()
            await self.supervisor.start()
            await self.supervisor.subscribe(self.plans.triggers())

    async def load(self) -> None:
        """Compile the definition files and make them current, without receiving from their triggers yet."""
        loaded = self.compiler.load_files(self.settings.workflows.paths)
        for warning in loaded.warnings:
            _logger.warning("definition_warning", problem=str(warning))
        check_keys(loaded.plans, there=self.settings.encryption.keyring is not None)
        await self.plans.install(loaded.plans)
        self.intake.install({name: route for plan in loaded.plans for name, route in routes_of(plan).items()})

    async def reload(self) -> None:
        """Read the definition files again. With a problem in any of them all stays as it is, and it is logged."""
        async with self.reloading:
            await self._reload()

    async def _reload(self) -> None:
        try:
            loaded = self.compiler.load_files(self.settings.workflows.paths)
            triggers = {
                f"{plan.definition.workflow}/{trigger.name}": trigger
                for plan in loaded.plans
                for trigger in plan.definition.triggers
            }
            self.subscriptions.prepare(triggers)
        except Misconfigured as error:
            _logger.error("reload_refused", problems=[str(problem) for problem in error.problems])  # noqa: TRY400  foreseen: the message says all
            return
        try:
            await self.load()
        except (Misconfigured, Unavailable) as error:
            _logger.error("reload_refused", problems=str(error).splitlines())  # noqa: TRY400  as above
            return
        await self.supervisor.subscribe(self.plans.triggers())
        _logger.info("reloaded", workflows=self.plans.workflows())

    async def stop(self) -> None:
        """Stop in order; see `supervisor`."""
        await self.supervisor.stop()
