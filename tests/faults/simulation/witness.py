"""Who sees what really happens: each run of a handler, by whom and what it gave, whatever became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.state import InFlight, Running

if TYPE_CHECKING:
    from random import Random
    from uuid import UUID

    from daemon.handlers import Context
    from tests.faults.simulation.world import World


class Run:
    """One run of a handler."""

    def __init__(self, dice: Random, token: str, member: UUID | None) -> None:
        self.dice = dice
        self.token = token
        """What it gives when it succeeds: nobody else gives the same."""
        self.member = member
        """The id under which its daemon had joined."""
        self.succeeded = False

    def succeed(self) -> str:
        """Note that it has come to its end; return the result."""
        self.succeeded = True
        return self.token


class Witness:
    """Keeps all runs of a world, and objects to those that should not be."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.problems: list[str] = []
        self.runs: dict[tuple[str, int], list[Run]] = {}
        """Idempotency key and attempt -> the runs, oldest first."""

    def begin(self, context: Context) -> Run:
        """Note that a handler has begun."""
        key, attempt = context.idempotency_key, context.attempt
        member = self._world.member_of(self._world.loop.current)
        runs = self.runs.setdefault((key, attempt), [])
        own = self._world.dice(f"{key} {attempt} {len(runs)}")
        run = Run(own, f"{attempt}.{len(runs) + 1}", member)
        if key != f"{context.execution_id}/{context.address}":
            self.problems.append(f"the idempotency key of {context.address} is {key}")
        if any(earlier.member == member for earlier in runs):
            self.problems.append(f"one daemon has run attempt {attempt} of {key} twice")
        if not (runs and self._began_with_its_execution(context)):
            self._look_at_lease(context, member)
        runs.append(run)
        self._world.tell(f"handler {context.address} attempt {attempt} run {len(runs)}")
        return run

    def _began_with_its_execution(self, context: Context) -> bool:
        """Tell whether the step began in the append that started its execution.

        Here two daemons may decide that from one message in the same microsecond, with equal events: whose answer was
        lost then takes the other's append for its own, and runs the step too. It runs twice with one key, no more.
        """
        target = self._world.target(context.execution_id)
        events = [recorded.event for recorded in self._world.events() if recorded.execution_id == target]
        began = next((event.at for event in events if isinstance(event, e.ExecutionStarted)), None)
        return any(
            isinstance(event, e.StepStarted)
            and (event.address, event.attempt, event.at) == (context.address, context.attempt, began)
            for event in events
        )

    def _look_at_lease(self, context: Context, member: UUID | None) -> None:
        """Object to a daemon that nobody has fenced, and that works on what is not its own."""
        leases, members = self._world.leases()
        target = self._world.target(context.execution_id)
        holder = leases.get(target)
        if holder == member or member not in members or not self._is_owed(target, context):
            return
        self.problems.append(f"{member} works on {context.idempotency_key}, whose lease is of {holder}")

    def _is_owed(self, target: UUID, context: Context) -> bool:
        state = self._world.state(target)
        step = state.steps.get(context.address) if isinstance(state, Running) else None
        return isinstance(step, InFlight) and step.attempt == context.attempt
