"""What the testing kit raises: each says what is wrong in the test, or in the workflow.

Comes from: `flow`, `execution`, `virtual_time`. Goes to: pytest, which shows the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.core.events import StepError


class Misused(Exception):
    """The test asks for what cannot be: an unknown handler, node, step or event, or arguments that contradict."""


class Unfaked(Exception):
    """The workflow needs a handler that is neither faked nor given, or has a node that would leave the test."""


class Stuck(Exception):
    """What the test waits for will not come: nothing is at work, and no timer is due."""


class WorkflowFailed(Exception):
    """The execution has ended without an output."""

    def __init__(self, message: str, *, status: str, error: StepError | None, step: str) -> None:
        super().__init__(message)
        self.status = status
        """`failed` | `cancelled`."""
        self.error = error
        """None when it was cancelled."""
        self.step = step
        """Address of the step at fault; empty when it was none."""
