"""The testing kit for workflows: in pytest, on virtual time, on a store of the test's own, crashing where you like.

    async def test_an_order_is_charged(sagad):
        flow = sagad.workflow("order.yaml")
        flow.fake("payments.charge", returns={"id": "p1"})
        execution = await flow.start({"order_id": "A7", "total": 20})
        assert await execution.result() == {"id": "p1"}

The fixture `sagad` comes with the plugin of that name (`plugin`), for tests that pytest-asyncio runs. What a test
runs is the whole daemon (`lives`), with `fakes` for handlers and for nodes that would leave the test, on a time that
moves by itself when the test waits for something (`virtual_time`). `crash_everywhere` runs a workflow again for each
place where a daemon may die.

Nothing of sagad imports this. What stands below is loaded when it is asked for: the plugin is loaded in every run of
pytest, whether or not it tests workflows.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.testing.crashes import CrashReport, crash_everywhere
    from daemon.testing.errors import Misused, Stuck, Unfaked, WorkflowFailed
    from daemon.testing.execution import Execution, StepSeen
    from daemon.testing.flow import Flow, Sagad

__all__ = [
    "CrashReport",
    "Execution",
    "Flow",
    "Misused",
    "Sagad",
    "StepSeen",
    "Stuck",
    "Unfaked",
    "WorkflowFailed",
    "crash_everywhere",
]

_PLACES = {
    "crashes": ("CrashReport", "crash_everywhere"),
    "errors": ("Misused", "Stuck", "Unfaked", "WorkflowFailed"),
    "execution": ("Execution", "StepSeen"),
    "flow": ("Flow", "Sagad"),
}


def __getattr__(name: str) -> object:
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
