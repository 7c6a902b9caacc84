"""Migrations of one daemon: executions under way to another definition of their workflow, one by one.

What the other definition would have decided until now is asked first (see `what_if`): a person says how much may be
another, and learns what it is when it is more.

Comes from: daemon/api. Goes to: `what_if`, `engine`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from daemon.core.commands import MigrateExecution
from daemon.core.decide import decide
from daemon.core.errors import ExecutionFinished, Rejected
from daemon.core.state import Running
from daemon.runtime.deciding_again import past_of
from daemon.runtime.projection import status_of
from daemon.runtime.what_if import SEVERITIES, Severity, Verdict, verdict

if TYPE_CHECKING:
    from uuid import UUID

    from daemon.core.plan import Plan
    from daemon.runtime.clock import Clock
    from daemon.runtime.engine import Engine
    from daemon.runtime.history import History
    from daemon.runtime.plans import Plans


class MigrationWish(Struct, frozen=True, kw_only=True):
    """What somebody wants an execution to go on under."""

    version: str = "current"
    """A hash, or how it begins; `current` for what starts executions now."""
    names: Mapping[str, str] = {}
    """Old id -> new id of the nodes that have another."""
    accept: Severity = "minor"
    """The worst that may be another."""
    reason: str = ""
    actor: str


class Migration(Struct, frozen=True, kw_only=True):
    """What a migration is, or would be."""

    source: str
    """Hash of the definition before."""
    target: str
    told: Verdict
    """What the other definition would have decided until now."""
    refused: str
    """Why it is not done; empty when it is, or could be."""


class Migrations:
    """Moves executions to other definitions."""

    def __init__(self, *, engine: Engine, plans: Plans, history: History, clock: Clock) -> None:
        self._engine = engine
        self._plans = plans
        self._history = history
        self._clock = clock

    async def look(self, execution_id: UUID, wish: MigrationWish) -> Migration:
        """Return what a migration would be; nothing is changed.

        Raises ExecutionNotFound, ExecutionFinished, MissingDefinition, UnknownWorkflow.
        """
        return (await self._looked(execution_id, wish))[0]

    async def migrate(self, execution_id: UUID, wish: MigrationWish) -> Migration:
        """Migrate; return when it is durable. A repeat is harmless.

        Raises what `look` raises, and Rejected, with the reason, when more would be another than is accepted, or what
        is there does not fit.
        """
        found, new, command = await self._looked(execution_id, wish)
        if found.refused:
            raise Rejected(found.refused)
        await self._engine.send(execution_id, command, plan=new)
        return found

    async def _looked(self, execution_id: UUID, wish: MigrationWish) -> tuple[Migration, Plan, MigrateExecution]:
        state = await self._history.existing(execution_id)
        if not isinstance(state, Running):
            raise ExecutionFinished(f"the execution {status_of(state)}: fork it to go on under another definition")
        old, new = await self._plans.pinned(state.definition), await self._new(state, wish.version)
        events, base = await past_of(self._history, execution_id, up_to_version=state.version)
        told = verdict(execution_id, old, new, events, base, status=status_of(state), names=wish.names)
        command = MigrateExecution(
            names=wish.names,
            types={node_id: node.type.name for node_id, node in old.nodes.items()},
            reason=wish.reason,
            actor=wish.actor,
            at=self._clock.now(),
        )
        refused = _misfit(new, state, command)  # first: what is missing there makes the decisions part, too
        if not refused and SEVERITIES.index(told.severity) > SEVERITIES.index(wish.accept):
            step = f", step {told.step}" if told.step else ""
            refused = f"{told.severity}: {told.reason} (version {told.version}{step}); accept it, or leave it as it is"
        return Migration(source=old.hash, target=new.hash, told=told, refused=refused), new, command

    async def _new(self, state: Running, version: str) -> Plan:
        if version == "current":
            return self._plans.current(state.workflow)
        return await self._plans.version(state.workflow, version)


def _misfit(new: Plan, state: Running, command: MigrateExecution) -> str:
    """Return why what is there does not fit the definition; empty when it does."""
    try:
        decide(new, state, command, None)
    except Rejected as error:
        return str(error)
    return ""
