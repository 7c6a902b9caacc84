"""What the engine needs of the rest of the shell.

Comes from: daemon/main, which wires them. Goes to: `engine`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from daemon.core.child_events import Parent
    from daemon.core.effects import Advance, ArmTimer, CancelChild, GoBack, RunStep, TellParent
    from daemon.core.plan import Plan
    from daemon.core.state import Running
    from daemon.nodes.answers import Child
    from daemon.runtime.children import Starting


class Pinned(Protocol):
    """Finds the plan that an execution is pinned to."""

    async def pinned(self, definition_hash: str) -> Plan:
        """Return it, or raise `Rejected` saying that the definition is missing."""


class StepRunner(Protocol):
    """Runs handlers; see `steps.Steps`."""

    def run(self, execution_id: UUID, plan: Plan, effect: RunStep, state: Running) -> None:
        """Start the step's attempt, unless it is at work already."""

    def cancel(self, execution_id: UUID, turn: str = "") -> None:
        """Cancel what runs for the execution, or in one turn of it."""

    def retain(self, execution_id: UUID, owed: Mapping[str, int]) -> None:
        """Cancel what runs for the execution and is not owed: `owed` is the attempt by address."""


class ChildStarter(Protocol):
    """Starts and undoes executions for steps; see `children.Children`."""

    async def start(self, wanted: Starting) -> Child:
        """Start the child, unless it is there already."""

    async def undo(self, child: UUID, parent: Parent) -> Child:
        """Have a child undone that has completed."""


class ChildKeeper(Protocol):
    """Ends executions for those that have started them, and tells those; see `children.Children`."""

    def cancel(self, execution_id: UUID, effect: CancelChild) -> None:
        """See that a child of the execution ends."""

    def tell(self, child: UUID, ended: TellParent) -> None:
        """See that the parent knows how the child has ended."""

    def parent_there(self, execution_id: UUID) -> None:
        """Tell a parent that was parked, and can be worked on again, of its children's ends."""


class FunctionRunner(Protocol):
    """Runs durable functions; see `functions.Functions`."""

    def advance(self, execution_id: UUID, effect: Advance, state: Running) -> None:
        """Let a function go on."""

    def forget(self, execution_id: UUID) -> None:
        """Let go of what is in memory of the execution's functions."""

    def forget_all(self) -> None:
        """Let go of all that is in memory."""

    def stop(self) -> None:
        """Begin nothing more."""


class PastKeeper(Protocol):
    """Lets executions go on from their past; see `branches.Branches`."""

    def go_back(self, execution_id: UUID, effect: GoBack) -> None:
        """See that an execution goes on from a version of its own, now that all is undone since."""

    def stop(self) -> None:
        """Begin nothing more."""


class TimerService(Protocol):
    """Fires timers; see `timers.Timers`."""

    def arm(self, due_at: ArmTimer) -> None:
        """Make sure that the timer, which the index holds, is not overslept."""
